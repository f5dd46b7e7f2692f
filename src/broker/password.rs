//! Hashes of passwords: RabbitMQ's salted SHA-256 and SHA-512, and Argon2id for those that are made here.
//!
//! It draws no salt itself. Argon2id takes OWASP's least memory and time: 19 MiB and two passes, some 20 ms. That
//! is too long for a thread that serves connections; see `login` for who does it.

use std::fmt;
use std::sync::Arc;

use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHash as Phc, PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

/// Bytes of salt in front of a password in `RabbitMQ`'s hashes.
pub const SALT_BYTES: usize = 4;

/// Bytes of salt of a hash made with Argon2id.
pub const ARGON2_SALT_BYTES: usize = 16;

/// A hash that others made may ask for so much memory, KiB, and so many passes over it: about a second.
const ARGON2_KIB_MAX: u32 = 64 << 10;
const ARGON2_PASSES_MAX: u32 = 10;
const ARGON2_LANES_MAX: u32 = 16;

/// Salt and hash are zeros.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Of salt and MD5.
const MD5_BYTES: usize = SALT_BYTES + 16;

/// What tells a password when it is given.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Sha256([u8; SALT_BYTES], [u8; 32]),
    Sha512([u8; SALT_BYTES], [u8; 64]),
    /// A string of the password hashing competition's format, which was found to be usable.
    Argon2id(Arc<str>),
}

/// A text that can not be used as a password hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    /// It is none.
    #[error(
        "is neither what `leveret hash-password` prints nor base64 of 4 bytes of salt and a SHA-256 or SHA-512"
    )]
    Unknown,
    /// Whoever has such a hash has the password.
    #[error("is made with MD5, which is undone in no time: hash the password with `leveret hash-password`")]
    Md5,
    /// A login would take too much.
    #[error("asks for more than 64 MiB, 10 passes and 16 lanes of Argon2id")]
    TooCostly,
    /// Only Argon2id is offered.
    #[error("is made with another algorithm than Argon2id: hash the password with `leveret hash-password`")]
    OtherAlgorithm,
    /// It was made otherwise than was said.
    #[error("is not of the algorithm {said:?}, but of {found:?}")]
    Mismatch {
        /// The algorithm as given.
        said: String,
        /// The algorithm that the hash tells.
        found: &'static str,
    },
}

impl PasswordHash {
    /// Hashes with SHA-256, which costs next to nothing. The salt should be random; passwords are bytes, UTF-8 by
    /// custom.
    pub fn sha256(password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        Self(Kind::Sha256(salt, sha256(salt, password)))
    }

    /// Hashes with Argon2id, which takes a while. The salt should be random.
    pub fn argon2id(password: &[u8], salt: [u8; ARGON2_SALT_BYTES]) -> Self {
        let hash = Argon2::default()
            .hash_password_with_salt(password, &salt)
            .expect("passwords are shorter than 4 GiB, and all else is fixed");
        Self(Kind::Argon2id(hash.to_string().into()))
    }

    /// Takes as long as another SHA-256; no password is known to give it.
    pub(super) fn quick_decoy() -> Self {
        Self(Kind::Sha256([0; SALT_BYTES], [0; 32]))
    }

    /// Takes as long as [`PasswordHash::argon2id`]; no password is known to give it.
    pub(super) fn slow_decoy() -> Self {
        Self(Kind::Argon2id(DECOY.into()))
    }

    /// Reads what `leveret hash-password` and `rabbitmqctl hash_password` print; form and length tell the algorithm.
    ///
    /// # Errors
    /// When it is none of these, or one that is not used.
    pub fn decode(text: &str) -> Result<Self, PasswordHashError> {
        if text.starts_with('$') {
            check_argon2(text)?;
            return Ok(Self(Kind::Argon2id(text.into())));
        }
        let bytes = STANDARD.decode(text).map_err(|_| PasswordHashError::Unknown)?;
        let (salt, digest) = bytes.split_first_chunk().ok_or(PasswordHashError::Unknown)?;
        match digest.len() {
            32 => Ok(Self(Kind::Sha256(*salt, digest.try_into().expect("32 bytes")))),
            64 => Ok(Self(Kind::Sha512(*salt, digest.try_into().expect("64 bytes")))),
            _ if bytes.len() == MD5_BYTES => Err(PasswordHashError::Md5),
            _ => Err(PasswordHashError::Unknown),
        }
    }

    /// Reads a hash of which the algorithm is told, as definitions do; an empty name leaves it to the hash.
    ///
    /// # Errors
    /// When it can not be used, or is of another algorithm.
    pub fn decode_as(text: &str, algorithm: &str) -> Result<Self, PasswordHashError> {
        let hash = Self::decode(text)?;
        let found = hash.algorithm();
        if algorithm.is_empty() || algorithm == found {
            return Ok(hash);
        }
        Err(PasswordHashError::Mismatch {
            said: algorithm.to_owned(),
            found,
        })
    }

    /// What [`PasswordHash::decode`] reads.
    pub fn encode(&self) -> String {
        match &self.0 {
            Kind::Sha256(salt, digest) => STANDARD.encode([&salt[..], digest].concat()),
            Kind::Sha512(salt, digest) => STANDARD.encode([&salt[..], digest].concat()),
            Kind::Argon2id(text) => text.to_string(),
        }
    }

    /// The algorithm, in the words of definitions.
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Kind::Sha256(..) => "rabbit_password_hashing_sha256",
            Kind::Sha512(..) => "rabbit_password_hashing_sha512",
            Kind::Argon2id(_) => "argon2id",
        }
    }

    /// Whether [`PasswordHash::verify`] takes longer than a connection's thread should.
    pub fn is_slow(&self) -> bool {
        matches!(self.0, Kind::Argon2id(_))
    }

    /// Whether this is the password. The time tells nothing about how much of it was right; a blank one never is.
    pub fn verify(&self, password: &[u8]) -> bool {
        let is_equal = match &self.0 {
            Kind::Sha256(salt, digest) => digest.ct_eq(&sha256(*salt, password)).into(),
            Kind::Sha512(salt, digest) => digest.ct_eq(&sha512(*salt, password)).into(),
            Kind::Argon2id(text) => Argon2::default().verify_password(password, &**text).is_ok(),
        };
        is_equal && !password.is_empty()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

/// Looks at everything that a login would stumble over.
fn check_argon2(text: &str) -> Result<(), PasswordHashError> {
    let hash = Phc::new(text).map_err(|_| PasswordHashError::Unknown)?;
    if hash.algorithm != ARGON2ID_IDENT {
        return Err(PasswordHashError::OtherAlgorithm);
    }
    if hash.salt.is_none() || hash.hash.is_none() || hash.version.is_some_and(|version| version != 0x13) {
        return Err(PasswordHashError::Unknown);
    }
    let params = Params::try_from(&hash).map_err(|_| PasswordHashError::Unknown)?;
    let is_modest = params.m_cost() <= ARGON2_KIB_MAX
        && params.t_cost() <= ARGON2_PASSES_MAX
        && params.p_cost() <= ARGON2_LANES_MAX;
    is_modest.then_some(()).ok_or(PasswordHashError::TooCostly)
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

    /// "password" with the salt "somesalt", from the tests of the reference implementation.
    const CHEAP: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn a_hash_made_by_rabbitmq_tells_the_password() {
        let hash = PasswordHash::decode(TEST12).unwrap();
        assert!(hash.verify(b"test12"));
        assert!(!hash.verify(b"test13"));
        assert!(!hash.verify(b""));
        assert!(!hash.is_slow());
        assert_eq!(hash.encode(), TEST12);
        assert_eq!(hash.algorithm(), "rabbit_password_hashing_sha256");
        assert_eq!(PasswordHash::sha256(b"test12", [0x90, 0x8D, 0xC6, 0x0A]), hash);
    }

    #[test]
    fn a_sha_512_hash_is_known_by_its_length() {
        let salt = [9, 8, 7, 6];
        let text = STANDARD.encode([&salt[..], &Sha512::digest([&salt[..], b"pass"].concat())].concat());
        let hash = PasswordHash::decode_as(&text, "rabbit_password_hashing_sha512").unwrap();
        assert!(hash.verify(b"pass"));
        assert!(!hash.verify(b"Pass"));
        assert_eq!(hash.encode(), text);
    }

    #[test]
    fn an_argon2_hash_of_others_tells_the_password() {
        let hash = PasswordHash::decode(CHEAP).unwrap();
        assert!(hash.verify(b"password"));
        assert!(!hash.verify(b"Password"));
        assert!(hash.is_slow());
        assert_eq!(hash.encode(), CHEAP);
    }

    #[test]
    fn an_argon2_hash_made_here_tells_the_password_and_costs_what_owasp_asks() {
        let hash = PasswordHash::argon2id(b"s3cret", [7; ARGON2_SALT_BYTES]);
        let text = hash.encode();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let again = PasswordHash::decode_as(&text, "argon2id").unwrap();
        assert!(again.verify(b"s3cret"));
        assert!(!again.verify(b"s3cre"));
        assert!(!PasswordHash::argon2id(b"", [7; ARGON2_SALT_BYTES]).verify(b""));
        let other = PasswordHash::argon2id(b"s3cret", [8; ARGON2_SALT_BYTES]);
        assert_ne!(other.encode(), text);
    }

    #[test]
    fn a_slow_decoy_costs_what_our_hashes_cost() {
        assert_eq!(PasswordHash::decode(DECOY), Ok(PasswordHash::slow_decoy()));
        let made = PasswordHash::argon2id(b"x", [0; ARGON2_SALT_BYTES]).encode();
        assert_eq!(made.len(), DECOY.len());
        assert_eq!(made[..30], DECOY[..30]);
    }

    #[test]
    fn what_can_not_be_used_is_refused_with_the_reason() {
        let md5 = STANDARD.encode([0; MD5_BYTES]);
        let (short, long) = (STANDARD.encode([0; 35]), STANDARD.encode([0; 37]));
        let rows = [
            ("", PasswordHashError::Unknown),
            ("abc", PasswordHashError::Unknown),
            ("?", PasswordHashError::Unknown),
            ("AAAA", PasswordHashError::Unknown),
            (&short, PasswordHashError::Unknown),
            (&long, PasswordHashError::Unknown),
            (&md5, PasswordHashError::Md5),
            ("$", PasswordHashError::Unknown),
            ("$argon2id$v=19$m=256,t=2,p=1", PasswordHashError::Unknown),
            (&CHEAP.replace("v=19", "v=16"), PasswordHashError::Unknown),
            (&CHEAP.replace("p=1", "p=1,x=2"), PasswordHashError::Unknown),
            (
                &CHEAP.replace("argon2id", "argon2i"),
                PasswordHashError::OtherAlgorithm,
            ),
            (
                &CHEAP.replace("argon2id", "scrypt"),
                PasswordHashError::OtherAlgorithm,
            ),
            (&CHEAP.replace("m=256", "m=65537"), PasswordHashError::TooCostly),
            (&CHEAP.replace("t=2", "t=11"), PasswordHashError::TooCostly),
            (&CHEAP.replace("p=1", "p=17"), PasswordHashError::TooCostly),
        ];
        for (text, expected) in rows {
            assert_eq!(PasswordHash::decode(text), Err(expected), "{text:?}");
        }
        let mismatch = PasswordHash::decode_as(TEST12, "rabbit_password_hashing_md5").unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "is not of the algorithm \"rabbit_password_hashing_md5\", but of \"rabbit_password_hashing_sha256\""
        );
    }

    #[test]
    fn a_hash_is_not_printed() {
        let hash = PasswordHash::sha256(b"guest", [0; SALT_BYTES]);
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
