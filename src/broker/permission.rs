//! What users may do: regular expressions on the names of exchanges and queues, and on routing keys.
//!
//! Pure data and its check. It knows neither methods nor entities: the caller says which name needs which access,
//! and checks the default exchange as `amq.default`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that one compiled pattern may take, and its search cache again.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A kind of access to an exchange or queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Declare and delete.
    Configure,
    /// Publish to; bind, as the destination.
    Write,
    /// Consume from; bind, as the source.
    Read,
}

/// A user's rights in one virtual host.
#[derive(Clone, Debug)]
pub struct Permission {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
}

/// A user's rights on the routing keys of one topic exchange.
#[derive(Clone, Debug)]
pub struct TopicPermission {
    write: Pattern,
    read: Pattern,
}

/// Everybody's rights. Nobody has any in a virtual host without an entry for it.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    /// By user, then by virtual host.
    users: HashMap<Box<str>, HashMap<Box<str>, Rights>>,
}

#[derive(Clone, Debug, Default)]
struct Rights {
    permission: Option<Arc<Permission>>,
    /// By exchange; where there is none, every routing key is allowed.
    topics: HashMap<Box<str>, Arc<TopicPermission>>,
}

/// A pattern that can not be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the {access} pattern {pattern:?} is no regular expression that can be used")]
pub struct PatternError {
    /// What the pattern is for.
    pub access: Access,
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub reason: regex::Error,
}

/// An unanchored search, as `RabbitMQ` takes patterns.
#[derive(Clone, Debug)]
enum Pattern {
    /// `.*`: matches without looking.
    Everything,
    /// An empty pattern: matches the empty name only.
    Blank,
    Search(Regex),
}

impl Permissions {
    /// Gives a user rights in a virtual host, in the place of those that were there.
    pub fn set(&mut self, user: &str, vhost: &str, permission: Permission) {
        self.rights(user, vhost).permission = Some(Arc::new(permission));
    }

    /// Narrows what routing keys a user may use with a topic exchange, in the place of what was there.
    pub fn set_topic(&mut self, user: &str, vhost: &str, exchange: &str, permission: TopicPermission) {
        let topics = &mut self.rights(user, vhost).topics;
        topics.insert(exchange.into(), Arc::new(permission));
    }

    /// The rights of a user in a virtual host; without any the user may not even open it.
    pub fn get(&self, user: &str, vhost: &str) -> Option<&Arc<Permission>> {
        self.users.get(user)?.get(vhost)?.permission.as_ref()
    }

    /// The rights of a user on an exchange's routing keys; without any all keys are allowed. They count for
    /// exchanges of type topic only.
    pub fn topic(&self, user: &str, vhost: &str, exchange: &str) -> Option<&Arc<TopicPermission>> {
        self.users.get(user)?.get(vhost)?.topics.get(exchange)
    }

    fn rights(&mut self, user: &str, vhost: &str) -> &mut Rights {
        let vhosts = self.users.entry(user.into()).or_default();
        vhosts.entry(vhost.into()).or_default()
    }
}

impl Permission {
    /// Compiles the three patterns. An empty one allows the empty name only.
    ///
    /// # Errors
    /// Names the first pattern that does not compile or compiles to too much.
    pub fn new(configure: &str, write: &str, read: &str) -> Result<Self, PatternError> {
        Ok(Self {
            configure: Pattern::compile(Access::Configure, configure)?,
            write: Pattern::compile(Access::Write, write)?,
            read: Pattern::compile(Access::Read, read)?,
        })
    }

    /// Whether an exchange or queue of this name may be accessed so.
    pub fn allows(&self, access: Access, name: &str) -> bool {
        let pattern = match access {
            Access::Configure => &self.configure,
            Access::Write => &self.write,
            Access::Read => &self.read,
        };
        pattern.matches(name.as_bytes())
    }
}

impl TopicPermission {
    /// Compiles the patterns with the user's name for `{username}` and the virtual host's for `{vhost}`, both
    /// taken literally.
    ///
    /// # Errors
    /// Names the first pattern that does not compile or compiles to too much.
    pub fn new(user: &str, vhost: &str, write: &str, read: &str) -> Result<Self, PatternError> {
        let fill = |pattern: &str| fill(pattern, &[("{username}", user), ("{vhost}", vhost)]);
        Ok(Self {
            write: Pattern::compile(Access::Write, &fill(write))?,
            read: Pattern::compile(Access::Read, &fill(read))?,
        })
    }

    /// Whether the routing key may be published with (write) or bound and unbound with (read). Nobody configures
    /// a routing key, so that is always allowed.
    pub fn allows(&self, access: Access, routing_key: &[u8]) -> bool {
        match access {
            Access::Configure => true,
            Access::Write => self.write.matches(routing_key),
            Access::Read => self.read.matches(routing_key),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

impl Pattern {
    /// By bytes, as `RabbitMQ` searches; a pattern that needs letters beyond ASCII in a class goes by letters.
    fn compile(access: Access, pattern: &str) -> Result<Self, PatternError> {
        let build = |unicode| {
            RegexBuilder::new(pattern)
                .unicode(unicode)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX)
                .build()
        };
        match pattern {
            "" => Ok(Self::Blank),
            ".*" => Ok(Self::Everything),
            _ => build(false)
                .or_else(|_| build(true))
                .map(Self::Search)
                .map_err(|reason| PatternError {
                    access,
                    pattern: pattern.to_owned(),
                    reason,
                }),
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Blank => text.is_empty(),
            Self::Search(regex) => regex.is_match(text),
        }
    }
}

/// Puts escaped values in the place of variables, from left to right, so that no value is filled again.
fn fill(pattern: &str, variables: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let variable = variables.iter().find(|(variable, _)| from.starts_with(variable));
        if let Some((variable, value)) = variable {
            filled.push_str(&regex::escape(value));
            rest = &from[variable.len()..];
        } else {
            filled.push('{');
            rest = &from[1..];
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, name: &str) -> bool {
        let permission = Permission::new("^$", pattern, "").unwrap();
        permission.allows(Access::Write, name)
    }

    #[test]
    fn patterns_are_searched_for_without_anchors() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            (".*", &["", "a", "amq.default", "line\nbreak"], &[]),
            ("", &[""], &["a", " "]),
            ("^$", &[""], &["a"]),
            ("a", &["a", "bar", "xa"], &["", "b", "A"]),
            ("^lim-.*", &["lim-", "lim-a"], &["xlim-a", "lim", ""]),
            (
                "^(amq\\.gen.*|amq\\.default)$",
                &["amq.gen-abc", "amq.default"],
                &["amq.direct", "amqxgenx"],
            ),
            ("^.{2}$", &["ab", "é"], &["a", "abc"]),
            ("é", &["café"], &["cafe"]),
            ("^[é]$", &["é"], &["e", "è"]),
            ("(?i)^Orders$", &["ORDERS"], &["order"]),
        ];
        for (pattern, yes, no) in rows {
            for name in *yes {
                assert!(allows(pattern, name), "{pattern:?} does not allow {name:?}");
            }
            for name in *no {
                assert!(!allows(pattern, name), "{pattern:?} allows {name:?}");
            }
        }
    }

    #[test]
    fn each_access_has_its_own_pattern() {
        let permission = Permission::new("^c", "^w", "^r").unwrap();
        for (access, name) in [
            (Access::Configure, "configure"),
            (Access::Write, "write"),
            (Access::Read, "read"),
        ] {
            for other in ["configure", "write", "read"] {
                assert_eq!(
                    permission.allows(access, other),
                    other == name,
                    "{access} {other}"
                );
            }
            assert_eq!(access.to_string(), name);
        }
    }

    #[test]
    fn an_unusable_pattern_is_named() {
        let error = Permission::new(".*", "(open", "[").unwrap_err();
        assert_eq!((error.access, error.pattern.as_str()), (Access::Write, "(open"));
        assert!(error.to_string().contains("write pattern \"(open\""), "{error}");
        assert!(matches!(error.reason, regex::Error::Syntax(_)));
        for pattern in ["(?=a)", "(a)\\1", "[z-a]", "a**{"] {
            assert!(Permission::new(pattern, "", "").is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_can_not_take_all_memory() {
        let huge = "((a{1000}){1000}){1000}";
        let error = Permission::new("", "", huge).unwrap_err();
        assert_eq!(error.access, Access::Read);
        assert!(
            matches!(error.reason, regex::Error::CompiledTooBig(_)),
            "{:?}",
            error.reason
        );
    }

    #[test]
    fn rights_are_per_user_and_virtual_host() {
        let mut permissions = Permissions::default();
        permissions.set("anna", "/", Permission::new("a", "a", "a").unwrap());
        permissions.set("anna", "/", Permission::new("b", "b", "b").unwrap());
        assert!(permissions.get("anna", "/").unwrap().allows(Access::Read, "b"));
        assert!(!permissions.get("anna", "/").unwrap().allows(Access::Read, "a"));
        for (user, vhost) in [("anna", "other"), ("bert", "/"), ("/", "anna"), ("", "")] {
            assert!(permissions.get(user, vhost).is_none(), "{user} {vhost}");
        }
        permissions.set_topic(
            "bert",
            "/",
            "t",
            TopicPermission::new("bert", "/", "", "").unwrap(),
        );
        assert!(
            permissions.get("bert", "/").is_none(),
            "topic rights do not open a virtual host"
        );
        assert!(permissions.topic("bert", "/", "t").is_some());
        assert!(permissions.topic("bert", "/", "u").is_none());
        assert!(permissions.topic("anna", "/", "t").is_none());
    }

    #[test]
    fn topic_patterns_take_user_and_virtual_host_literally() {
        let rows: &[(&str, &str, &str, bool)] = &[
            // pattern, user, routing key, allowed
            ("^{username}\\.", "anna", "anna.orders", true),
            ("^{username}\\.", "anna", "bert.orders", false),
            ("^{username}\\.", "a.na", "axna.orders", false),
            ("^{username}\\.", ".*", "anna.orders", false),
            ("^{username}\\.", ".*", ".*.orders", true),
            ("^{vhost}-{username}$", "anna", "v.1-anna", true),
            ("^{vhost}-{username}$", "anna", "vx1-anna", false),
            ("^{username}$", "{vhost}", "{vhost}", true),
            ("^{username}$", "{vhost}", "v.1", false),
            ("^a{2}$", "anna", "aa", true),
            ("^a{2}$", "anna", "a", false),
            ("", "anna", "", true),
            ("", "anna", "a", false),
        ];
        for (pattern, user, key, allowed) in rows {
            let permission = TopicPermission::new(user, "v.1", pattern, "^never$").unwrap();
            assert_eq!(
                permission.allows(Access::Write, key.as_bytes()),
                *allowed,
                "{pattern} {user} {key}"
            );
            assert!(!permission.allows(Access::Read, key.as_bytes()));
            assert!(permission.allows(Access::Configure, key.as_bytes()));
        }
    }

    #[test]
    fn routing_keys_need_not_be_text() {
        let permission = TopicPermission::new("anna", "/", "^a\\..*$", ".*").unwrap();
        assert!(permission.allows(Access::Write, b"a.\xff\xfe"));
        assert!(!permission.allows(Access::Write, b"\xffa."));
        assert!(permission.allows(Access::Read, b"\xff"));
    }
}
