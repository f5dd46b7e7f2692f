//! Log lines on the standard output, as text or JSON.
//!
//! Names come from peers and may hold line breaks or escape sequences. Whatever an event holds, it is one line: the
//! writer below escapes control characters, so that nobody can forge a line or take over a terminal.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use leveret::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// Changes the level of what is logged from now on, not its format.
pub type SetLog = Box<dyn Fn(&Log) -> Result<(), String> + Send + Sync>;

/// Begins logging for the rest of the process.
pub fn start(log: &Log) -> Result<SetLog, Box<dyn Error>> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let is_terminal = io::stdout().is_terminal();
    // A reader that went away must not end the broker: by default a failed write is told on the standard error,
    // and when that is gone too, by a panic.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(is_terminal);
    let failed = |error: Box<dyn Error + Send + Sync>| -> Box<dyn Error> { error };
    Ok(match log.format {
        LogFormat::Text => {
            let lines = lines
                .with_writer(|| Line::text(io::stdout()))
                .with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(failed)?;
            setter(handle)
        }
        LogFormat::Json => {
            let lines = lines.json().with_writer(|| Line::json(io::stdout()));
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(failed)?;
            setter(handle)
        }
    })
}

fn setter<S: 'static>(handle: Handle<EnvFilter, S>) -> SetLog {
    Box::new(move |log| {
        let filter = EnvFilter::builder()
            .parse(&log.level)
            .map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

/// Makes one line of each event. The subscriber writes an event with one call, a line break at its end.
struct Line<W> {
    to: W,
    /// Appends what stands for a character that is not written as it is.
    escape: fn(&mut String, char),
}

impl<W> Line<W> {
    fn text(to: W) -> Self {
        let escape = |line: &mut String, character: char| line.extend(character.escape_default());
        Self { to, escape }
    }

    /// For lines of JSON, which has escaped most already, but not what the second half of Latin-1 can do to a terminal.
    fn json(to: W) -> Self {
        let escape = |line: &mut String, character: char| {
            write!(line, "\\u{:04x}", u32::from(character)).expect("a string takes all that is written");
        };
        Self { to, escape }
    }
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut line = String::with_capacity(event.len());
        for (offset, character) in text.char_indices() {
            if is_harmful(character) && !is_colour(&text[offset..]) {
                (self.escape)(&mut line, character);
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Controls, and what breaks lines or turns the order of text around where Unicode is shown.
fn is_harmful(character: char) -> bool {
    let breaks_or_turns = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    breaks_or_turns || character.is_control() && character != '\t'
}

/// Whether the text begins with a change of colour: the subscriber makes those for a terminal, and no name can do
/// harm with one.
fn is_colour(text: &str) -> bool {
    let parameters = text
        .strip_prefix("\u{1b}[")
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    parameters.is_some_and(|rest| rest.starts_with('m'))
}

#[cfg(test)]
mod tests {
    use tracing::info;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_a_name_holds() {
        let shared = Shared::default();
        let writer = shared.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Line::text(writer.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let name = "evil\n2026-11-21 INFO forged\r\u{1b}[2J\u{9b}\u{7f}\u{2028}\u{202e}";
            info!(debug = ?name, display = %name, "declared {name}");
            info!("second");
        });
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.split_terminator('\n').collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert!(
            lines[0].contains("evil") && lines[1].ends_with("second"),
            "{text:?}"
        );
        assert!(!text.contains(|c: char| is_harmful(c) && c != '\n'), "{text:?}");
    }

    #[test]
    fn what_json_leaves_as_it_is_stays_json() {
        let mut lines = Vec::new();
        let event = "{\"name\":\"\u{9b}2J\u{85}\u{202e}\\u001b\"}\n";
        Line::json(&mut lines).write_all(event.as_bytes()).unwrap();
        let text = String::from_utf8(lines).unwrap();
        assert_eq!(text, "{\"name\":\"\\u009b2J\\u0085\\u202e\\u001b\"}\n");
    }
}
