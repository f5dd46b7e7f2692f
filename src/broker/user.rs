//! Users: who may log in, with which password, and from where.
//!
//! It draws no salt itself and grants nothing: rights are in `permission`. What was wrong with a login is for the
//! log only; a peer must not learn whether the name or the password was.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

/// Bytes of salt in front of a password, as in `RabbitMQ`'s hashes.
pub const SALT_BYTES: usize = 4;

/// Hashed for names that nobody has; no password is known to give it.
const DECOY: PasswordHash = PasswordHash {
    salt: [0; SALT_BYTES],
    digest: Digest::Sha256([0; 32]),
};

/// Someone who may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// The name, as clients give it.
    pub name: Arc<str>,
    /// Such as `administrator`; without effect on AMQP, except that an `impersonator` may claim any user id.
    pub tags: Vec<String>,
    /// Tells the password when it is given.
    pub password: PasswordHash,
}

/// A password, salted and hashed as `RabbitMQ` does: SHA-256 or SHA-512 of salt and password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    salt: [u8; SALT_BYTES],
    digest: Digest,
}

#[derive(Clone, PartialEq, Eq)]
enum Digest {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// A text that is no password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password hash is base64 of 4 bytes of salt and a SHA-256 or SHA-512")]
pub struct PasswordHashError;

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// No user has this name.
    #[error("there is no such user")]
    UnknownUser,
    /// Blank passwords are refused whatever is stored.
    #[error("the password is blank")]
    BlankPassword,
    /// The password is another.
    #[error("the password is wrong")]
    WrongPassword,
    /// The user may log in from this machine only.
    #[error("the user may only log in over the loopback interface")]
    NotLoopback,
}

/// All users.
#[derive(Clone, Debug)]
pub struct Users {
    users: HashMap<Arc<str>, Arc<User>>,
    /// Names that may log in from this machine only.
    loopback_users: Vec<String>,
}

impl Users {
    /// Without users; `loopback_users` may name such as do not exist.
    pub fn new(loopback_users: Vec<String>) -> Self {
        Self {
            users: HashMap::new(),
            loopback_users,
        }
    }

    /// Adds a user, in the place of the one who had the name.
    pub fn insert(&mut self, user: User) {
        self.users.insert(Arc::clone(&user.name), Arc::new(user));
    }

    /// The user of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// The user who gave this name and password from this address. It takes as long for a name that nobody has.
    ///
    /// # Errors
    /// The reason, which is for the log.
    pub fn authenticate(&self, name: &str, password: &[u8], ip: IpAddr) -> Result<Arc<User>, LoginRefused> {
        if password.is_empty() {
            return Err(LoginRefused::BlankPassword);
        }
        let Some(user) = self.users.get(name) else {
            DECOY.verify(password);
            return Err(LoginRefused::UnknownUser);
        };
        if !user.password.verify(password) {
            return Err(LoginRefused::WrongPassword);
        }
        if !user.may_log_in_from(ip, &self.loopback_users) {
            return Err(LoginRefused::NotLoopback);
        }
        Ok(Arc::clone(user))
    }
}

impl User {
    /// Whether the address is one that this user may come from: users in `loopback_users` only from 127/8, `::1`
    /// and `::ffff:127/104`.
    pub fn may_log_in_from(&self, ip: IpAddr, loopback_users: &[String]) -> bool {
        ip.to_canonical().is_loopback() || !loopback_users.iter().any(|name| **name == *self.name)
    }
}

impl PasswordHash {
    /// Hashes with SHA-256. The salt should be random; passwords are bytes, UTF-8 by custom.
    pub fn new(password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let digest = Digest::Sha256(sha256(salt, password));
        Self { salt, digest }
    }

    /// Reads what `rabbitmqctl hash_password` prints and definitions hold; the length tells the algorithm.
    ///
    /// # Errors
    /// When it is no base64, or of another length.
    pub fn decode(text: &str) -> Result<Self, PasswordHashError> {
        let bytes = STANDARD.decode(text).map_err(|_| PasswordHashError)?;
        let (salt, digest) = bytes.split_first_chunk().ok_or(PasswordHashError)?;
        let digest = match digest.len() {
            32 => Digest::Sha256(digest.try_into().expect("32 bytes")),
            64 => Digest::Sha512(digest.try_into().expect("64 bytes")),
            _ => return Err(PasswordHashError),
        };
        Ok(Self { salt: *salt, digest })
    }

    /// What [`PasswordHash::decode`] reads.
    pub fn encode(&self) -> String {
        let digest: &[u8] = match &self.digest {
            Digest::Sha256(digest) => digest,
            Digest::Sha512(digest) => digest,
        };
        STANDARD.encode([&self.salt, digest].concat())
    }

    /// Whether this is the password. The time tells nothing about how much of it was right; a blank one never is.
    pub fn verify(&self, password: &[u8]) -> bool {
        let equal = match &self.digest {
            Digest::Sha256(digest) => digest.ct_eq(&sha256(self.salt, password)),
            Digest::Sha512(digest) => digest.ct_eq(&sha512(self.salt, password)),
        };
        !password.is_empty() && equal.into()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

fn sha256(salt: [u8; SALT_BYTES], password: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into()
}

fn sha512(salt: [u8; SALT_BYTES], password: &[u8]) -> [u8; 64] {
    Sha512::new()
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From RabbitMQ's guide on passwords: salt 90 8D C6 0A, password "test12".
    const TEST12: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

    const HERE: &str = "127.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn users() -> Users {
        let mut users = Users::new(vec!["guest".to_owned(), "nobody".to_owned()]);
        for (name, password) in [("guest", "guest"), ("anna", "s3cret"), ("blank", "")] {
            users.insert(User {
                name: name.into(),
                tags: Vec::new(),
                password: PasswordHash::new(password.as_bytes(), [1, 2, 3, 4]),
            });
        }
        users
    }

    #[test]
    fn a_hash_made_by_rabbitmq_tells_the_password() {
        let hash = PasswordHash::decode(TEST12).unwrap();
        assert!(hash.verify(b"test12"));
        assert!(!hash.verify(b"test13"));
        assert!(!hash.verify(b""));
        assert_eq!(hash.encode(), TEST12);
        assert_eq!(PasswordHash::new(b"test12", [0x90, 0x8D, 0xC6, 0x0A]), hash);
    }

    #[test]
    fn a_sha_512_hash_is_known_by_its_length() {
        let salt = [9, 8, 7, 6];
        let text = STANDARD.encode([&salt[..], &Sha512::digest([&salt[..], b"pass"].concat())].concat());
        let hash = PasswordHash::decode(&text).unwrap();
        assert!(hash.verify(b"pass"));
        assert!(!hash.verify(b"Pass"));
        assert_eq!(hash.encode(), text);
    }

    #[test]
    fn other_texts_are_no_hashes() {
        for text in [
            "",
            "abc",
            "?",
            "AAAA",
            &STANDARD.encode([0; 35]),
            &STANDARD.encode([0; 37]),
        ] {
            assert_eq!(PasswordHash::decode(text), Err(PasswordHashError), "{text:?}");
        }
    }

    #[test]
    fn logins_are_refused_for_name_password_and_address() {
        let rows = [
            ("guest", "guest", HERE, None),
            ("anna", "s3cret", "10.0.0.1", None),
            ("anna", "guest", HERE, Some(LoginRefused::WrongPassword)),
            ("anna", "s3cre", HERE, Some(LoginRefused::WrongPassword)),
            ("anna", "s3cret ", HERE, Some(LoginRefused::WrongPassword)),
            ("anna", "", HERE, Some(LoginRefused::BlankPassword)),
            ("blank", "", HERE, Some(LoginRefused::BlankPassword)),
            ("nobody", "guest", HERE, Some(LoginRefused::UnknownUser)),
            ("Guest", "guest", HERE, Some(LoginRefused::UnknownUser)),
            ("guest", "guest", "10.0.0.1", Some(LoginRefused::NotLoopback)),
            ("guest", "wrong", "10.0.0.1", Some(LoginRefused::WrongPassword)),
        ];
        let users = users();
        for (name, password, from, expected) in rows {
            let login = users.authenticate(name, password.as_bytes(), ip(from));
            assert_eq!(
                login.as_ref().err().copied(),
                expected,
                "{name} {password:?} from {from}"
            );
            assert!(login.is_err() || *login.unwrap().name == *name);
        }
    }

    #[test]
    fn guest_comes_from_loopback_addresses_only() {
        let rows = [
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:127.9.9.9", true),
            ("128.0.0.1", false),
            ("0.0.0.0", false),
            ("192.168.0.1", false),
            ("::", false),
            ("::2", false),
            ("::ffff:128.0.0.1", false),
            ("::127.0.0.1", false),
            ("fe80::1", false),
        ];
        let users = users();
        for (from, allowed) in rows {
            let guest = users.get("guest").unwrap();
            assert_eq!(
                guest.may_log_in_from(ip(from), &users.loopback_users),
                allowed,
                "{from}"
            );
            let anna = users.get("anna").unwrap();
            assert!(anna.may_log_in_from(ip(from), &users.loopback_users), "{from}");
        }
    }

    #[test]
    fn a_hash_is_not_printed() {
        let printed = format!("{:?}", users());
        assert!(!printed.contains("Sha") && printed.contains("PasswordHash(..)"));
    }
}
