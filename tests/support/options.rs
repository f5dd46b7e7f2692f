//! The command line of a test program with a main of its own.

use std::env;
use std::process;
use std::str::FromStr;

/// What the command line asks for.
pub struct Options {
    /// What is no option: names, or parts of them.
    words: Vec<String>,
    /// Options of the program's own, with their values.
    values: Vec<(String, String)>,
    /// Cargo asks for a list of tests.
    pub is_list: bool,
}

impl Options {
    /// Reads the command line, where each of `own` has a value. Options of Rust's own test programs are passed over;
    /// any other ends the process.
    pub fn read(own: &[&str]) -> Self {
        let mut options = Self {
            words: Vec::new(),
            values: Vec::new(),
            is_list: false,
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match &*argument {
                name if own.contains(&name) => {
                    let value = arguments.next();
                    let value = value.unwrap_or_else(|| refuse(&format!("{name} needs a value")));
                    options.values.push((argument, value));
                }
                "--list" => options.is_list = true,
                "--test-threads" | "--color" | "--format" | "--skip" | "-Z" => {
                    arguments.next();
                }
                "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--exact" | "--ignored"
                | "--include-ignored" | "--show-output" => {}
                joined
                    if ["--test-threads=", "--color=", "--format=", "--skip=", "-Z="]
                        .iter()
                        .any(|name| joined.starts_with(name)) => {}
                other if other.starts_with('-') => {
                    refuse(&format!("there is no option {other}, but {}", own.join(", ")));
                }
                _ => options.words.push(argument),
            }
        }
        options
    }

    /// The value of an option, if it was given.
    pub fn value<T: FromStr>(&self, name: &str) -> Option<T> {
        let (_, text) = self.values.iter().rev().find(|(given, _)| given == name)?;
        let value = text.parse();
        Some(value.unwrap_or_else(|_| refuse(&format!("{name} has no use for '{text}'"))))
    }

    /// Takes out the words that are `of` a kind.
    pub fn take(&mut self, of: impl Fn(&str) -> bool) -> Vec<String> {
        self.words.extract_if(.., |word| of(word)).collect()
    }

    /// Which of these the words are for: all that have one of them in their names, or all if there is no word. A word
    /// for none is told but no mistake: `cargo test NAME` gives it to all programs.
    pub fn wanted<'a, T>(&self, all: &'a [T], name: impl Fn(&T) -> &str) -> Vec<&'a T> {
        let is_for = |word: &String, one: &T| name(one).contains(word.as_str());
        for word in &self.words {
            if !all.iter().any(|one| is_for(word, one)) {
                let names: Vec<&str> = all.iter().map(&name).collect();
                eprintln!("nothing here is called '{word}', but {}", names.join(", "));
            }
        }
        let is_wanted = |one: &&T| self.words.is_empty() || self.words.iter().any(|word| is_for(word, one));
        all.iter().filter(is_wanted).collect()
    }
}

fn refuse(why: &str) -> ! {
    eprintln!("{why}");
    process::exit(2)
}
