//! SASL: who a client says it is.

use crate::amqp::field_table::{self, Value};
use crate::broker::certificate::NoName;

use super::{Peer, Settings};

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password, separated by NUL (RFC 4616, the authorisation identity must be empty).
    Plain,
    /// Name and password as a field table without its length.
    AmqPlain,
    /// The name is in the client's certificate; what the client sends does not count.
    External,
    /// Nobody in particular; what the client sends does not count.
    Anonymous,
}

/// What a client showed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub name: String,
    /// Password; any bytes. None where the name needs no further proof.
    pub password: Option<Vec<u8>>,
}

/// Why it is not clear who wants to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The response of connection.start-ok is not as the mechanism has it.
    Malformed,
    /// The certificate names nobody.
    NoName(NoName),
}

impl Mechanism {
    /// The mechanism of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "PLAIN" => Some(Self::Plain),
            "AMQPLAIN" => Some(Self::AmqPlain),
            "EXTERNAL" => Some(Self::External),
            "ANONYMOUS" => Some(Self::Anonymous),
            _ => None,
        }
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
            Self::External => "EXTERNAL",
            Self::Anonymous => "ANONYMOUS",
        }
    }

    /// Who wants to log in, by the response of connection.start-ok or by what else is known of the peer.
    ///
    /// # Errors
    /// When nobody is named.
    pub fn credentials(
        self,
        response: &[u8],
        settings: &Settings,
        peer: &Peer,
    ) -> Result<Credentials, Unclear> {
        let without_password = |name| Credentials { name, password: None };
        match self {
            Self::Plain => plain(response).ok_or(Unclear::Malformed),
            Self::AmqPlain => amqplain(response).ok_or(Unclear::Malformed),
            Self::External => {
                let certificate = peer
                    .certificate
                    .as_ref()
                    .expect("offered with a certificate only");
                let name = settings.external_name_from.name(certificate);
                name.map(without_password).map_err(Unclear::NoName)
            }
            Self::Anonymous => {
                let name = settings
                    .anonymous_user
                    .as_ref()
                    .expect("offered with a user only");
                Ok(without_password(name.clone()))
            }
        }
    }
}

fn plain(response: &[u8]) -> Option<Credentials> {
    let [b'\0', rest @ ..] = response else { return None };
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, password) = (&rest[..end], &rest[end + 1..]);
    if password.contains(&0) {
        return None;
    }
    with_password(name, password)
}

fn amqplain(response: &[u8]) -> Option<Credentials> {
    field_table::validate(response).ok()?;
    with_password(string(response, b"LOGIN")?, string(response, b"PASSWORD")?)
}

fn with_password(name: &[u8], password: &[u8]) -> Option<Credentials> {
    Some(Credentials {
        name: String::from_utf8(name.to_vec()).ok()?,
        password: Some(password.to_vec()),
    })
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

    fn read(credentials: Option<Credentials>) -> Option<(String, Vec<u8>)> {
        credentials.map(|found| (found.name, found.password.expect("both have passwords")))
    }

    #[test]
    fn plain_is_nul_name_nul_password() {
        assert_eq!(
            read(plain(b"\0guest\0secret")),
            Some(("guest".to_owned(), b"secret".to_vec()))
        );
        assert_eq!(read(plain(b"\0guest\0")), Some(("guest".to_owned(), Vec::new())));
        for malformed in [
            &b""[..],
            b"guest\0secret",
            b"\0guest",
            b"admin\0guest\0secret",
            b"\0guest\0sec\0ret",
        ] {
            assert_eq!(read(plain(malformed)), None, "{malformed:?}");
        }
    }

    #[test]
    fn amqplain_is_a_table_without_length() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(
            read(amqplain(response)),
            Some(("guest".to_owned(), b"secret".to_vec()))
        );
        assert_eq!(read(amqplain(&response[..20])), None);
        assert_eq!(read(amqplain(b"\x05LOGINS\0\0\0\x05guest")), None);
    }
}
