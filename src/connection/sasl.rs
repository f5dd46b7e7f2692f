//! SASL: who a client says it is.

use crate::amqp::field_table::{self, Value};

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password, separated by NUL (RFC 4616, the authorisation identity must be empty).
    Plain,
    /// Name and password as a field table without its length.
    AmqPlain,
}

/// What a client showed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub name: String,
    /// Password; any bytes.
    pub password: Vec<u8>,
}

impl Mechanism {
    /// The mechanism of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "PLAIN" => Some(Self::Plain),
            "AMQPLAIN" => Some(Self::AmqPlain),
            _ => None,
        }
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
        }
    }

    /// Reads the response of connection.start-ok; `None` when it is malformed.
    pub fn credentials(self, response: &[u8]) -> Option<Credentials> {
        let (name, password) = match self {
            Self::Plain => {
                let [b'\0', rest @ ..] = response else { return None };
                let end = rest.iter().position(|byte| *byte == 0)?;
                let (name, password) = (&rest[..end], &rest[end + 1..]);
                if password.contains(&0) {
                    return None;
                }
                (name, password)
            }
            Self::AmqPlain => {
                field_table::validate(response).ok()?;
                (string(response, b"LOGIN")?, string(response, b"PASSWORD")?)
            }
        };
        Some(Credentials {
            name: String::from_utf8(name.to_vec()).ok()?,
            password: password.to_vec(),
        })
    }
}

fn string<'a>(entries: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    match field_table::lookup(entries, key)? {
        Value::LongString(value) | Value::Bytes(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(response: &[u8]) -> Option<(String, Vec<u8>)> {
        Mechanism::Plain
            .credentials(response)
            .map(|credentials| (credentials.name, credentials.password))
    }

    #[test]
    fn plain_is_nul_name_nul_password() {
        assert_eq!(
            plain(b"\0guest\0secret"),
            Some(("guest".to_owned(), b"secret".to_vec()))
        );
        assert_eq!(plain(b"\0guest\0"), Some(("guest".to_owned(), Vec::new())));
        for malformed in [
            &b""[..],
            b"guest\0secret",
            b"\0guest",
            b"admin\0guest\0secret",
            b"\0guest\0sec\0ret",
        ] {
            assert_eq!(plain(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn amqplain_is_a_table_without_length() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        let credentials = Mechanism::AmqPlain.credentials(response).expect("well formed");
        assert_eq!(
            (credentials.name.as_str(), &credentials.password[..]),
            ("guest", &b"secret"[..])
        );
        assert!(Mechanism::AmqPlain.credentials(&response[..20]).is_none());
        assert!(
            Mechanism::AmqPlain
                .credentials(b"\x05LOGINS\0\0\0\x05guest")
                .is_none()
        );
    }
}
