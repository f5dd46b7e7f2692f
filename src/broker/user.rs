//! Users: their names, tags and passwords. It grants nothing: rights are in `permission`.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::store::access::UserRow;

use super::password::{PasswordHash, PasswordHashError};

/// The tag of users who may publish under any user id.
pub const IMPERSONATOR: &str = "impersonator";

/// Someone who may log in.
#[derive(Debug)]
pub struct User {
    /// The name, as clients give it.
    pub name: Arc<str>,
    /// Such as `administrator`; without effect on AMQP, except for [`IMPERSONATOR`].
    pub tags: Vec<Arc<str>>,
    /// Tells the password when it is given; without it nobody logs in with one.
    pub password: Option<PasswordHash>,
    last: LastRight,
}

/// Recognises the password that was right, so that only the first login costs what a slow hash costs. It is in
/// memory only, and without the key, which is drawn at each start, it can not be guessed at.
#[derive(Debug)]
struct LastRight {
    key: [u8; 32],
    digest: OnceLock<[u8; 32]>,
}

impl User {
    /// The user of this row; `key` should be random and known to nobody.
    ///
    /// # Errors
    /// When the hash can not be used.
    pub fn new(row: &UserRow, key: [u8; 32]) -> Result<Self, PasswordHashError> {
        let password = if row.password_hash.is_empty() {
            None
        } else {
            Some(PasswordHash::decode_as(&row.password_hash, &row.algorithm)?)
        };
        Ok(Self {
            name: Arc::clone(&row.name),
            tags: row.tags.clone(),
            password,
            last: LastRight {
                key,
                digest: OnceLock::new(),
            },
        })
    }

    /// As it is stored.
    pub fn row(&self) -> UserRow {
        let password = self.password.as_ref();
        UserRow {
            name: Arc::clone(&self.name),
            password_hash: password.map_or_else(String::new, PasswordHash::encode).into(),
            algorithm: password.map_or("", PasswordHash::algorithm).into(),
            tags: self.tags.clone(),
        }
    }

    /// Whether the user has the tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| **own == *tag)
    }

    /// Whether the address is one that this user may come from: users in `loopback_users` only from 127/8, `::1`
    /// and `::ffff:127/104`.
    pub fn may_log_in_from(&self, ip: IpAddr, loopback_users: &[String]) -> bool {
        ip.to_canonical().is_loopback() || !loopback_users.iter().any(|name| **name == *self.name)
    }

    /// Whether [`User::has_password`] takes longer than a connection's thread should.
    pub(super) fn is_slow_to_check(&self, password: &[u8]) -> bool {
        self.password.as_ref().is_some_and(PasswordHash::is_slow) && !self.last.is(password)
    }

    /// Whether this is the user's password.
    pub(super) fn has_password(&self, password: &[u8]) -> bool {
        let Some(hash) = &self.password else {
            return false;
        };
        if !hash.is_slow() {
            return hash.verify(password);
        }
        if self.last.is(password) {
            return true;
        }
        let is_right = hash.verify(password);
        if is_right {
            self.last.digest.get_or_init(|| self.last.digest_of(password));
        }
        is_right
    }
}

impl LastRight {
    fn is(&self, password: &[u8]) -> bool {
        self.digest
            .get()
            .is_some_and(|digest| digest.ct_eq(&self.digest_of(password)).into())
    }

    /// The key has a fixed length and stands first, so that nobody can extend what was hashed to something useful.
    fn digest_of(&self, password: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.key)
            .chain_update(password)
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::password::ARGON2_SALT_BYTES;

    fn user(name: &str, hash: &str) -> User {
        let row = UserRow {
            name: name.into(),
            password_hash: hash.into(),
            algorithm: "".into(),
            tags: vec!["monitoring".into()],
        };
        User::new(&row, [1; 32]).unwrap()
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
        let loopback_users = ["guest".to_owned()];
        for (from, allowed) in rows {
            let from: IpAddr = from.parse().unwrap();
            let may = |name| user(name, "").may_log_in_from(from, &loopback_users);
            assert_eq!(may("guest"), allowed, "{from}");
            assert!(may("anna"), "{from}");
        }
    }

    #[test]
    fn only_the_first_login_is_slow() {
        let hash = PasswordHash::argon2id(b"s3cret", [3; ARGON2_SALT_BYTES]).encode();
        let anna = user("anna", &hash);
        assert!(anna.is_slow_to_check(b"s3cret"));
        assert!(!anna.has_password(b"other"));
        assert!(
            anna.is_slow_to_check(b"s3cret"),
            "nothing is learnt from a wrong one"
        );
        assert!(anna.has_password(b"s3cret"));
        assert!(!anna.is_slow_to_check(b"s3cret"));
        assert!(anna.has_password(b"s3cret"));
        assert!(anna.is_slow_to_check(b"other"));
        assert!(!anna.has_password(b"other"));
    }

    #[test]
    fn who_has_no_password_logs_in_with_none() {
        let anna = user("anna", "");
        for password in ["", "anna"] {
            assert!(!anna.is_slow_to_check(password.as_bytes()));
            assert!(!anna.has_password(password.as_bytes()));
        }
    }

    #[test]
    fn a_row_comes_back() {
        for hash in ["", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"] {
            let row = user("anna", hash).row();
            assert_eq!(&*row.password_hash, hash);
            assert_eq!(row.algorithm.is_empty(), hash.is_empty());
            assert_eq!(User::new(&row, [2; 32]).unwrap().row(), row);
        }
    }
}
