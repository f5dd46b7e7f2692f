//! What the types can not say: ranges, regular expressions, names that must be unique or known.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::broker::accounts::{self, QUEUE_TYPES};
use crate::broker::password::PasswordHash;
use crate::broker::permission::PatternError;
use crate::broker::policy::PolicyKind;
use crate::broker::{pattern, permission};
use crate::config::key_path::KeyPath;
use crate::config::{Config, Mechanism, Permission, Policy, TopicPermission, User, Verify, Watermark};

/// The protocol's smallest frame size.
const FRAME_MIN: u32 = 4096;
/// `RabbitMQ`'s ceiling.
const MESSAGE_SIZE_CEILING: u32 = 512 << 20;
/// Longer would let those who never log in stay for ever.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// Names go over the wire as short strings.
const NAME_BYTES_MAX: usize = 255;

type Found = Vec<(KeyPath, String)>;

impl Config {
    /// Every value that decoded but makes no sense, with its reason.
    pub(super) fn check(&self) -> Found {
        let mut found = Found::new();
        self.check_listeners(&mut found);
        self.check_amqp(&mut found);
        self.check_mechanisms(&mut found);
        self.check_storage(&mut found);
        self.check_log_and_identity(&mut found);
        self.check_vhosts(&mut found);
        self.check_users(&mut found);
        check_policies("policies", PolicyKind::User, &self.policies, &mut found);
        check_policies(
            "operator_policies",
            PolicyKind::Operator,
            &self.operator_policies,
            &mut found,
        );
        found
    }

    fn check_listeners(&self, found: &mut Found) {
        let mut require = require_into(found);
        let (listeners, tls) = (&self.listeners, &self.tls);
        let is_given = |file: &Path| !file.as_os_str().is_empty();
        let speaks_tls = !listeners.amqps.is_empty();
        require(
            speaks_tls || !listeners.amqp.is_empty(),
            "listeners.amqp",
            "needs at least one address, or listeners.amqps does",
        );
        require(
            !speaks_tls || is_given(&tls.certificate),
            "tls.certificate",
            "listeners.amqps needs the file of a certificate here",
        );
        require(
            !speaks_tls || is_given(&tls.key),
            "tls.key",
            "listeners.amqps needs the file of the certificate's key here",
        );
        require(
            tls.verify == Verify::None || is_given(&tls.client_ca),
            "tls.client_ca",
            "tls.verify needs the file of the authorities here that may have made clients' certificates",
        );
        // Who gives authorities believes that certificates are asked for.
        require(
            tls.verify != Verify::None || !is_given(&tls.client_ca),
            "tls.client_ca",
            "counts for nothing while tls.verify is \"none\": make that \"optional\" or \"required\", or leave this out",
        );
    }

    fn check_amqp(&self, found: &mut Found) {
        let mut require = require_into(found);
        let amqp = &self.amqp;
        let seconds = amqp.heartbeat.as_secs();
        require(
            amqp.frame_max == 0 || amqp.frame_max >= FRAME_MIN,
            "amqp.frame_max",
            "must be at least 4 KiB, or 0 for no limit",
        );
        require(
            amqp.initial_frame_max >= FRAME_MIN,
            "amqp.initial_frame_max",
            "must be at least 4 KiB",
        );
        require(
            amqp.heartbeat == Duration::from_secs(seconds) && u16::try_from(seconds).is_ok(),
            "amqp.heartbeat",
            "must be whole seconds, at most 65535s",
        );
        require(
            !amqp.handshake_timeout.is_zero() && amqp.handshake_timeout <= HANDSHAKE_TIMEOUT_MAX,
            "amqp.handshake_timeout",
            "must be above zero and at most 1h",
        );
        require(
            (1..=MESSAGE_SIZE_CEILING).contains(&amqp.max_message_size),
            "amqp.max_message_size",
            "must be between 1 B and 512 MiB",
        );
    }

    fn check_mechanisms(&self, found: &mut Found) {
        let key = KeyPath::of("auth.mechanisms");
        if self.auth.mechanisms.is_empty() {
            found.push((key.clone(), String::from("needs at least one mechanism")));
        }
        for (index, mechanism) in self.auth.mechanisms.iter().enumerate() {
            if self.auth.mechanisms[..index].contains(mechanism) {
                found.push((
                    key.clone().index(index),
                    format!("{:?} stands there twice", mechanism.name()),
                ));
            }
            let has_certificates = !self.listeners.amqps.is_empty() && self.tls.verify != Verify::None;
            let lacks = match mechanism {
                Mechanism::External if !has_certificates => {
                    "listeners.amqps, and tls.verify as \"optional\" or \"required\""
                }
                Mechanism::Anonymous if self.auth.anonymous_user.is_empty() => "auth.anonymous_user",
                _ => continue,
            };
            let reason = format!("{:?} needs {lacks}", mechanism.name());
            found.push((key.clone().index(index), reason));
        }
    }

    fn check_storage(&self, found: &mut Found) {
        let mut require = require_into(found);
        let storage = &self.storage;
        require(
            !storage.directory.as_os_str().is_empty(),
            "storage.directory",
            "must not be empty",
        );
        require(
            storage.memory_window_messages > 0,
            "storage.memory_window_messages",
            "must be above zero",
        );
        let sizes = [
            ("storage.memory_window_bytes", storage.memory_window_bytes),
            ("storage.group_bytes_max", storage.group_bytes_max),
            ("storage.pending_bytes_max", storage.pending_bytes_max),
            ("storage.checkpoint_bytes", storage.checkpoint_bytes),
        ];
        for (key, size) in sizes {
            require(size > 0, key, "must be above zero");
        }
        let interval_max = Duration::from_secs(1);
        require(
            storage.commit_interval <= interval_max,
            "storage.commit_interval",
            "must be at most 1s",
        );
        let is_watermark = match self.limits.memory_high_watermark {
            Watermark::Ratio(ratio) => ratio > 0.0 && ratio <= 1.0,
            Watermark::Bytes(bytes) => bytes > 0,
        };
        require(
            is_watermark,
            "limits.memory_high_watermark",
            "must be a ratio above 0 and at most 1, or a size above zero",
        );
    }

    fn check_log_and_identity(&self, found: &mut Found) {
        if let Err(reason) = check_log_level(&self.log.level) {
            found.push((KeyPath::of("log.level"), reason));
        }
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let mut require = require_into(found);
        require(
            self.identity.version.split('.').count() >= 2 && self.identity.version.split('.').all(is_number),
            "identity.version",
            "must be numbers and dots such as \"4.1.0\": clients take it apart",
        );
    }

    fn check_vhosts(&self, found: &mut Found) {
        let vhosts = KeyPath::of("vhosts");
        if self.vhosts.is_empty() {
            found.push((vhosts.clone(), String::from("needs at least one virtual host")));
        }
        check_names(
            &vhosts,
            self.vhosts.iter().map(|vhost| vhost.name.as_str()),
            found,
        );
        for (index, vhost) in self.vhosts.iter().enumerate() {
            let key = vhosts.clone().index(index);
            check_tags(&key, &vhost.tags, found);
            if let Some(kind) = &vhost.default_queue_type
                && !QUEUE_TYPES.contains(&kind.as_str())
            {
                let reason = format!("{kind:?} is none; there are {}", QUEUE_TYPES.join(", "));
                found.push((key.key("default_queue_type"), reason));
            }
        }
    }

    fn check_users(&self, found: &mut Found) {
        let users = KeyPath::of("users");
        check_names(&users, self.users.iter().map(|user| user.name.as_str()), found);
        for (index, user) in self.users.iter().enumerate() {
            let key = users.clone().index(index);
            let may_lack_one =
                self.auth.mechanisms.contains(&Mechanism::External) || self.auth.anonymous_user == user.name;
            check_password(&key, user, may_lack_one, found);
            check_tags(&key, &user.tags, found);
            self.check_permissions(&key, user, found);
        }
    }

    fn check_permissions(&self, user_key: &KeyPath, user: &User, found: &mut Found) {
        let mut vhosts = HashSet::new();
        for (index, permission) in user.permissions.iter().enumerate() {
            let key = user_key.clone().key("permissions").index(index);
            if !vhosts.insert(permission.vhost.as_str()) {
                let reason = format!("the user has a second entry for vhost {:?}", permission.vhost);
                found.push((key.clone().key("vhost"), reason));
            }
            self.check_vhost(&key, &permission.vhost, found);
            check_patterns(&key, permission, found);
        }
        let mut exchanges = HashSet::new();
        for (index, permission) in user.topic_permissions.iter().enumerate() {
            let TopicPermission { vhost, exchange, .. } = permission;
            let key = user_key.clone().key("topic_permissions").index(index);
            if !exchanges.insert((vhost.as_str(), exchange.as_str())) {
                let reason =
                    format!("the user has a second entry for exchange {exchange:?} in vhost {vhost:?}");
                found.push((key.clone().key("exchange"), reason));
            }
            self.check_vhost(&key, vhost, found);
            check_topic_patterns(&key, permission, found);
        }
    }

    fn check_vhost(&self, key: &KeyPath, name: &str, found: &mut Found) {
        if self.vhosts.iter().any(|vhost| vhost.name == name) {
            return;
        }
        let known: Vec<_> = self
            .vhosts
            .iter()
            .map(|vhost| format!("{:?}", vhost.name))
            .collect();
        let reason = format!("there is no vhost {name:?}; there are {}", known.join(", "));
        found.push((key.clone().key("vhost"), reason));
    }
}

fn require_into(found: &mut Found) -> impl FnMut(bool, &str, &str) {
    |holds, key, reason| {
        if !holds {
            found.push((KeyPath::of(key), reason.to_owned()));
        }
    }
}

fn check_names<'n>(list: &KeyPath, names: impl Iterator<Item = &'n str>, found: &mut Found) {
    let mut seen = HashSet::new();
    for (index, name) in names.enumerate() {
        let key = || list.clone().index(index).key("name");
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            found.push((key(), format!("must have 1 to {NAME_BYTES_MAX} bytes")));
        } else if !seen.insert(name) {
            found.push((key(), format!("{name:?} stands there twice")));
        }
    }
}

fn check_tags(owner: &KeyPath, tags: &[String], found: &mut Found) {
    for (index, tag) in tags.iter().enumerate() {
        if let Err(error) = accounts::check_tag(tag) {
            found.push((owner.clone().key("tags").index(index), error.to_string()));
        }
    }
}

fn check_password(key: &KeyPath, user: &User, may_lack_one: bool, found: &mut Found) {
    let reason = match (&user.password, &user.password_hash) {
        (None, None) if may_lack_one => None,
        (None, None) => Some("needs password or password_hash"),
        (Some(_), Some(_)) => Some("has password and password_hash; give one of them"),
        (Some(password), None) => {
            // RabbitMQ refuses blank passwords at every login.
            password
                .expose()
                .is_empty()
                .then_some("has an empty password, which can not log in")
        }
        (None, Some(hash)) => {
            let decoded = PasswordHash::decode(hash.expose());
            let unusable = decoded
                .err()
                .map(|error| format!("has a password_hash that {error}"));
            if let Some(reason) = unusable {
                found.push((key.clone(), format!("user {:?} {reason}", user.name)));
            }
            None
        }
    };
    if let Some(reason) = reason {
        found.push((key.clone(), format!("user {:?} {reason}", user.name)));
    }
}

fn check_policies(list: &str, kind: PolicyKind, policies: &[Policy], found: &mut Found) {
    let mut seen = HashSet::new();
    for (index, policy) in policies.iter().enumerate() {
        let key = KeyPath::of(list).index(index);
        if let Err(error) = policy.checked(kind) {
            found.push((key.clone(), format!("policy {:?}: {error}", policy.name)));
        }
        if !seen.insert((&policy.vhost, &policy.name)) {
            let reason = format!(
                "{:?} stands there twice for vhost {:?}",
                policy.name, policy.vhost
            );
            found.push((key.key("name"), reason));
        }
    }
}

fn check_patterns(key: &KeyPath, permission: &Permission, found: &mut Found) {
    let patterns = [
        ("configure", &permission.configure),
        ("write", &permission.write),
        ("read", &permission.read),
    ];
    for (verb, pattern) in patterns {
        let compiled = permission::Permission::new(pattern, "", "").map(|_| ());
        check_pattern(key.clone().key(verb), pattern, compiled, found);
    }
}

fn check_topic_patterns(key: &KeyPath, permission: &TopicPermission, found: &mut Found) {
    for (verb, pattern) in [("write", &permission.write), ("read", &permission.read)] {
        let compiled = permission::TopicPermission::new("", "", pattern, "").map(|_| ());
        check_pattern(key.clone().key(verb), pattern, compiled, found);
    }
}

fn check_pattern(key: KeyPath, pattern: &str, compiled: Result<(), PatternError>, found: &mut Found) {
    let Err(error) = compiled else { return };
    let reason = pattern::reason(&error.reason);
    found.push((key, format!("{pattern:?} is no regular expression: {reason}")));
}

/// `EnvFilter` takes a misspelt level for the name of a module; here a bare word must be a level.
fn check_log_level(level: &str) -> Result<(), String> {
    for directive in level.split(',').map(str::trim) {
        let is_bare = !directive.contains(['=', '[']);
        if is_bare && directive.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{directive:?} is no level; write off, error, warn, info, debug or trace, or TARGET=LEVEL"
            ));
        }
    }
    match EnvFilter::builder().parse(level) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{level:?} is no log filter: {error}")),
    }
}
