//! Tables of mistakes: what is sent, and the close that answers it.

use crate::bytes::{Reader, method};
use crate::client::{Client, Frame, server};

/// A close as the broker sent it. Channel 0 is the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub channel: u16,
    pub code: u16,
    pub text: String,
    pub id: (u16, u16),
}

/// One mistake.
pub struct Row {
    /// What it is, for the failure's text.
    pub name: &'static str,
    /// What is sent after channel 1 was opened.
    pub sent: Vec<u8>,
    /// What answers it.
    pub close: Close,
}

/// A row whose mistake costs channel 1.
pub fn channel(name: &'static str, sent: Vec<u8>, code: u16, text: &str, id: (u16, u16)) -> Row {
    Row {
        name,
        sent,
        close: Close {
            channel: 1,
            code,
            text: text.to_owned(),
            id,
        },
    }
}

/// A row whose mistake costs the connection.
pub fn connection(name: &'static str, sent: Vec<u8>, code: u16, text: &str, id: (u16, u16)) -> Row {
    Row {
        name,
        sent,
        close: Close {
            channel: 0,
            code,
            text: text.to_owned(),
            id,
        },
    }
}

impl Close {
    pub fn read(frame: &Frame) -> Option<Self> {
        if !matches!(frame.id(), (10, 50) | (20, 40)) {
            return None;
        }
        let mut reader = Reader(&frame.payload[4..]);
        let (code, text) = (reader.u16(), reader.text());
        let id = (reader.u16(), reader.u16());
        assert_eq!(reader.0, [0; 0], "bytes behind a close");
        Some(Self {
            channel: frame.channel,
            code,
            text,
            id,
        })
    }
}

impl Client {
    /// The close that comes next, whatever comes before it; `None` when the broker just hangs up.
    pub fn close(&mut self) -> Option<Close> {
        loop {
            if let Some(close) = Close::read(&self.frame()?) {
                return Some(close);
            }
        }
    }

    /// Sends a mistake and expects this close; then the connection goes on, or ends, as it should.
    #[track_caller]
    pub fn refused(&mut self, sent: &[u8], channel: u16, code: u16, text: &str, id: (u16, u16)) {
        self.send(sent);
        let expected = Close {
            channel,
            code,
            text: text.to_owned(),
            id,
        };
        assert_eq!(self.close(), Some(expected));
        self.settle_close(channel);
    }

    /// After a close of the broker: a channel can be opened again, a connection ends.
    #[track_caller]
    fn settle_close(&mut self, channel: u16) {
        if channel == 0 {
            self.send_carelessly(&method(10, 51).on(0));
            self.expect_end();
        } else {
            self.send(&method(20, 41).on(channel));
            self.call(&crate::bytes::channel_open(channel), channel, (20, 11));
        }
    }
}

/// Makes each mistake on a connection of its own and compares all answers.
#[track_caller]
pub fn check(rows: Vec<Row>) {
    let server = server();
    let mut wrong = Vec::new();
    for row in rows {
        let mut client = Client::open(server.address());
        client.send_carelessly(&row.sent);
        let close = client.close();
        if close.as_ref() == Some(&row.close) {
            client.settle_close(row.close.channel);
        } else {
            wrong.push(format!(
                "{}\n  expected {:?}\n  but got  {close:?}",
                row.name, row.close
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
