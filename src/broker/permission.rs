//! What users may do: regular expressions on the names of exchanges and queues, and on routing keys.
//!
//! Pure data and its check. It knows neither methods nor entities: the caller says which name needs which access,
//! and checks the default exchange as `amq.default`.

use std::fmt;
use std::sync::Arc;

use regex::bytes::Regex;
use rustc_hash::FxHashMap;

use crate::store::access::{PermissionRow, TopicPermissionRow};

use super::pattern;

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
    users: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Arc<Rights>>>,
}

/// What a user may do in a virtual host.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    permission: Option<Arc<(PermissionRow, Permission)>>,
    /// By exchange; where there is none, every routing key is allowed.
    topics: FxHashMap<Arc<str>, Arc<(TopicPermissionRow, TopicPermission)>>,
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
    ///
    /// # Errors
    /// When a pattern can not be used.
    pub fn set(&mut self, row: &PermissionRow) -> Result<(), PatternError> {
        let permission = Permission::new(&row.configure, &row.write, &row.read)?;
        self.rights(&row.user, &row.vhost).permission = Some(Arc::new((row.clone(), permission)));
        Ok(())
    }

    /// Narrows what routing keys a user may use with a topic exchange, in the place of what was there.
    ///
    /// # Errors
    /// When a pattern can not be used.
    pub fn set_topic(&mut self, row: &TopicPermissionRow) -> Result<(), PatternError> {
        let permission = TopicPermission::new(&row.user, &row.vhost, &row.write, &row.read)?;
        let topics = &mut self.rights(&row.user, &row.vhost).topics;
        topics.insert(Arc::clone(&row.exchange), Arc::new((row.clone(), permission)));
        Ok(())
    }

    /// Takes a user's rights in a virtual host away; those on routing keys stay.
    pub fn clear(&mut self, user: &Arc<str>, vhost: &Arc<str>) {
        self.rights(user, vhost).permission = None;
    }

    /// Allows all routing keys of an exchange, or of all exchanges, again.
    pub fn clear_topics(&mut self, user: &Arc<str>, vhost: &Arc<str>, exchange: Option<&str>) {
        let topics = &mut self.rights(user, vhost).topics;
        match exchange {
            Some(exchange) => drop(topics.remove(exchange)),
            None => topics.clear(),
        }
    }

    /// Forgets a user.
    pub fn forget_user(&mut self, user: &str) {
        self.users.remove(user);
    }

    /// Forgets a virtual host.
    pub fn forget_vhost(&mut self, vhost: &str) {
        for vhosts in self.users.values_mut() {
            vhosts.remove(vhost);
        }
    }

    /// The rights of a user in a virtual host; none if nothing was ever said of them.
    pub fn get(&self, user: &str, vhost: &str) -> Arc<Rights> {
        let found = self.users.get(user).and_then(|vhosts| vhosts.get(vhost));
        found.cloned().unwrap_or_default()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Rights> {
        self.users
            .values()
            .flat_map(FxHashMap::values)
            .map(|rights| &**rights)
    }

    fn rights(&mut self, user: &Arc<str>, vhost: &Arc<str>) -> &mut Rights {
        let vhosts = self.users.entry(Arc::clone(user)).or_default();
        Arc::make_mut(vhosts.entry(Arc::clone(vhost)).or_default())
    }
}

impl Rights {
    /// Whether the user may open the virtual host.
    pub fn may_open(&self) -> bool {
        self.permission.is_some()
    }

    /// Whether an exchange or queue of this name may be accessed so.
    pub fn allows(&self, access: Access, name: &str) -> bool {
        let permission = self.permission.as_ref();
        permission.is_some_and(|granted| granted.1.allows(access, name))
    }

    /// Whether the routing key may be used so with an exchange of type topic.
    pub fn allows_topic(&self, access: Access, exchange: &str, routing_key: &[u8]) -> bool {
        let found = self.topics.get(exchange);
        found.is_none_or(|granted| granted.1.allows(access, routing_key))
    }

    /// As it is stored.
    pub fn row(&self) -> Option<&PermissionRow> {
        self.permission.as_ref().map(|granted| &granted.0)
    }

    /// As they are stored, in no order.
    pub fn topic_rows(&self) -> impl Iterator<Item = &TopicPermissionRow> {
        self.topics.values().map(|granted| &granted.0)
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
    fn compile(access: Access, pattern: &str) -> Result<Self, PatternError> {
        match pattern {
            "" => Ok(Self::Blank),
            ".*" => Ok(Self::Everything),
            _ => pattern::compile(pattern)
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

    fn row(user: &str, vhost: &str, pattern: &str) -> PermissionRow {
        PermissionRow {
            user: user.into(),
            vhost: vhost.into(),
            configure: pattern.into(),
            write: pattern.into(),
            read: pattern.into(),
        }
    }

    fn topic_row(user: &str, exchange: &str, pattern: &str) -> TopicPermissionRow {
        TopicPermissionRow {
            user: user.into(),
            vhost: "/".into(),
            exchange: exchange.into(),
            write: pattern.into(),
            read: pattern.into(),
        }
    }

    #[test]
    fn rights_are_per_user_and_virtual_host() {
        let mut permissions = Permissions::default();
        permissions.set(&row("anna", "/", "a")).unwrap();
        permissions.set(&row("anna", "/", "b")).unwrap();
        let anna = permissions.get("anna", "/");
        assert!(anna.may_open() && anna.allows(Access::Read, "b") && !anna.allows(Access::Read, "a"));
        assert_eq!(anna.row(), Some(&row("anna", "/", "b")));
        for (user, vhost) in [("anna", "other"), ("bert", "/"), ("/", "anna"), ("", "")] {
            let rights = permissions.get(user, vhost);
            assert!(
                !rights.may_open() && !rights.allows(Access::Read, "b"),
                "{user} {vhost}"
            );
        }
        permissions.clear(&"anna".into(), &"/".into());
        assert!(!permissions.get("anna", "/").may_open());
        assert!(anna.may_open(), "who holds rights holds what they were");
    }

    #[test]
    fn rights_on_routing_keys_stand_beside_the_others() {
        let mut permissions = Permissions::default();
        permissions
            .set_topic(&topic_row("bert", "t", "^{username}$"))
            .unwrap();
        permissions.set_topic(&topic_row("bert", "u", "")).unwrap();
        let allows = |permissions: &Permissions, exchange, key: &[u8]| {
            let rights = permissions.get("bert", "/");
            rights.allows_topic(Access::Write, exchange, key)
        };
        assert!(
            !permissions.get("bert", "/").may_open(),
            "topic rights do not open a virtual host"
        );
        assert!(allows(&permissions, "t", b"bert") && !allows(&permissions, "t", b"anna"));
        assert!(!allows(&permissions, "u", b"k") && allows(&permissions, "v", b"k"));
        let kept = permissions.get("bert", "/");
        assert!(
            kept.topic_rows()
                .any(|row| *row == topic_row("bert", "t", "^{username}$"))
        );
        permissions.clear_topics(&"bert".into(), &"/".into(), Some("t"));
        assert!(allows(&permissions, "t", b"anna") && !allows(&permissions, "u", b"k"));
        permissions.clear_topics(&"bert".into(), &"/".into(), None);
        assert!(allows(&permissions, "u", b"k"));
    }

    #[test]
    fn who_is_forgotten_has_no_rights() {
        let mut permissions = Permissions::default();
        for (user, vhost) in [("anna", "/"), ("anna", "other"), ("bert", "/")] {
            permissions.set(&row(user, vhost, "")).unwrap();
        }
        permissions.forget_vhost("/");
        assert_eq!(permissions.iter().count(), 1);
        assert!(permissions.get("anna", "other").may_open());
        permissions.forget_user("anna");
        assert_eq!(permissions.iter().count(), 0);
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
