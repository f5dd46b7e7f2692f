//! Virtual hosts, users, permissions and limits of a file of definitions, as changes that the broker makes.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::broker::Broker;
use crate::broker::accounts::Accounts;
use crate::store::access::{
    AccessChange, LimitOwner, LimitRow, LimitedResource, PermissionRow, TopicPermissionRow, UserRow, VhostRow,
};

use super::DefinitionsError;
use super::document::Document;
use super::entries::{Parameter, Permission, TopicPermission, User, Vhost};

/// The component and the name of a parameter that holds a virtual host's limits.
pub(super) const VHOST_LIMITS: (&str, &str) = ("vhost-limits", "limits");

/// How the names of RabbitMQ's ways to hash passwords begin.
const RABBITMQS: &str = "rabbit_password_hashing_";

/// How files name what can be limited.
const LIMITS: [(&str, LimitedResource); 3] = [
    ("max-connections", LimitedResource::Connections),
    ("max-channels", LimitedResource::Channels),
    ("max-queues", LimitedResource::Queues),
];

/// Makes all changes that the file asks for at once. What a file says nothing of stays as it is.
pub(super) fn import(document: &Document, broker: &Broker) -> Result<(), DefinitionsError> {
    let mut changes = Changes {
        accounts: Accounts::clone(&broker.accounts()),
        made: Vec::new(),
    };
    for vhost in &document.vhosts {
        changes.vhost(vhost)?;
    }
    for user in &document.users {
        changes.user(user)?;
    }
    for permission in &document.permissions {
        changes.permission(permission)?;
    }
    for permission in &document.topic_permissions {
        changes.topic_permission(permission)?;
    }
    for parameter in &document.parameters {
        if (parameter.component.as_str(), parameter.name.as_str()) == VHOST_LIMITS {
            let vhost = parameter.vhost.as_deref().unwrap_or_default();
            let what = format!("limits of vhost '{vhost}'");
            let Value::Object(limits) = &parameter.value else {
                return Err(DefinitionsError::entry(what, "the value is not an object"));
            };
            changes.limits(&what, &LimitOwner::Vhost(vhost.into()), limits)?;
        }
    }
    let made = broker.change(changes.made);
    made.map(|_| ())
        .map_err(|refused| DefinitionsError::entry("users and vhosts", refused))
}

/// Changes that were tried one by one, so that the one that is refused can be named.
struct Changes {
    accounts: Accounts,
    made: Vec<AccessChange>,
}

impl Changes {
    fn vhost(&mut self, vhost: &Vhost) -> Result<(), DefinitionsError> {
        let what = format!("vhost '{}'", vhost.name);
        let name: Arc<str> = vhost.name.as_str().into();
        let metadata = |key: &str| vhost.metadata.get(key);
        let text = |key: &str| metadata(key).and_then(Value::as_str).map(str::to_owned);
        let description = vhost.description.clone().or_else(|| text("description"));
        let queue_type = vhost
            .default_queue_type
            .clone()
            .or_else(|| text("default_queue_type"));
        let tags = if vhost.tags.is_empty() {
            let listed = metadata("tags").and_then(Value::as_array);
            let listed = listed.into_iter().flatten().filter_map(Value::as_str);
            listed.map(str::to_owned).collect()
        } else {
            vhost.tags.clone()
        };
        let row = VhostRow {
            name: Arc::clone(&name),
            description: description.unwrap_or_default().into(),
            tags: texts(&tags),
            // RabbitMQ exports the absence of one as a word.
            default_queue_type: queue_type.filter(|kind| kind != "undefined").map(Into::into),
        };
        self.make(&what, AccessChange::SetVhost(row))?;
        self.limits(&what, &LimitOwner::Vhost(name), &vhost.limits)
    }

    fn user(&mut self, user: &User) -> Result<(), DefinitionsError> {
        let what = format!("user '{}'", user.name);
        if user.password.is_some() {
            let reason =
                "it has a password: put its hash in `password_hash`, which `leveret hash-password` prints";
            return Err(DefinitionsError::entry(what, reason));
        }
        let name: Arc<str> = user.name.as_str().into();
        let row = UserRow {
            name: Arc::clone(&name),
            password_hash: user.password_hash.as_str().into(),
            algorithm: user.hashing_algorithm.as_deref().unwrap_or_default().into(),
            tags: texts(&user.tags),
        };
        self.make(&what, AccessChange::SetUser(row))?;
        self.limits(&what, &LimitOwner::User(name), &user.limits)
    }

    fn permission(&mut self, permission: &Permission) -> Result<(), DefinitionsError> {
        let Permission {
            user,
            vhost,
            configure,
            write,
            read,
        } = permission;
        let vhost = vhost.as_deref().unwrap_or_default();
        let what = format!("permission of user '{user}' in vhost '{vhost}'");
        let row = PermissionRow {
            user: user.as_str().into(),
            vhost: vhost.into(),
            configure: configure.as_str().into(),
            write: write.as_str().into(),
            read: read.as_str().into(),
        };
        self.make(&what, AccessChange::SetPermission(row))
    }

    fn topic_permission(&mut self, permission: &TopicPermission) -> Result<(), DefinitionsError> {
        let TopicPermission {
            user,
            vhost,
            exchange,
            write,
            read,
        } = permission;
        let vhost = vhost.as_deref().unwrap_or_default();
        let what = format!("topic permission of user '{user}' on exchange '{exchange}' in vhost '{vhost}'");
        let row = TopicPermissionRow {
            user: user.as_str().into(),
            vhost: vhost.into(),
            exchange: exchange.as_str().into(),
            write: write.as_str().into(),
            read: read.as_str().into(),
        };
        self.make(&what, AccessChange::SetTopicPermission(row))
    }

    /// Those that are given; -1 is none.
    fn limits(
        &mut self,
        what: &str,
        owner: &LimitOwner,
        limits: &Map<String, Value>,
    ) -> Result<(), DefinitionsError> {
        for (name, value) in limits {
            let known = LIMITS.iter().find(|(known, _)| known == name);
            let Some((_, resource)) = known else {
                return Err(DefinitionsError::entry(
                    what,
                    format_args!("there is no limit '{name}'"),
                ));
            };
            let change = match value.as_i64() {
                Some(..0) => AccessChange::ClearLimit {
                    owner: owner.clone(),
                    resource: *resource,
                },
                Some(max) => AccessChange::SetLimit(LimitRow {
                    owner: owner.clone(),
                    resource: *resource,
                    max: u32::try_from(max).unwrap_or(u32::MAX),
                }),
                None => {
                    let reason = format_args!("the limit '{name}' is not a number, but {value}");
                    return Err(DefinitionsError::entry(what, reason));
                }
            };
            self.make(what, change)?;
        }
        Ok(())
    }

    fn make(&mut self, what: &str, change: AccessChange) -> Result<(), DefinitionsError> {
        self.accounts
            .apply(&change)
            .map_err(|refused| DefinitionsError::entry(what, refused))?;
        self.made.push(change);
        Ok(())
    }
}

fn texts(texts: &[String]) -> Vec<Arc<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// Writes down who there is and what they may do. RabbitMQ can not use all hashes that are used here: those go to
/// `notes`.
pub(super) fn export(broker: &Broker, document: &mut Document, notes: &mut Vec<String>) {
    let rows = broker.accounts().rows();
    let limits = |owner: &LimitOwner| -> Map<String, Value> {
        let mine = rows.limits.iter().filter(|limit| limit.owner == *owner);
        mine.map(|limit| {
            let named = LIMITS.iter().find(|(_, resource)| *resource == limit.resource);
            let (name, _) = named.expect("the table has all of them");
            ((*name).to_owned(), Value::from(limit.max))
        })
        .collect()
    };
    for user in &rows.users {
        if !user.algorithm.is_empty() && !user.algorithm.starts_with(RABBITMQS) {
            let (name, algorithm) = (&user.name, &user.algorithm);
            notes.push(format!(
                "user '{name}': the password's hash is made with {algorithm}, which RabbitMQ does not know"
            ));
        }
        document.users.push(User {
            name: user.name.to_string(),
            password: None,
            password_hash: user.password_hash.to_string(),
            hashing_algorithm: Some(user.algorithm.to_string()).filter(|name| !name.is_empty()),
            tags: user.tags.iter().map(ToString::to_string).collect(),
            limits: limits(&LimitOwner::User(Arc::clone(&user.name))),
        });
    }
    for vhost in &rows.vhosts {
        document.vhosts.push(exported_vhost(vhost));
        let limits = limits(&LimitOwner::Vhost(Arc::clone(&vhost.name)));
        if !limits.is_empty() {
            let (component, name) = VHOST_LIMITS;
            document.parameters.push(Parameter {
                component: component.to_owned(),
                vhost: Some(vhost.name.to_string()),
                name: name.to_owned(),
                value: Value::Object(limits),
            });
        }
    }
    document
        .permissions
        .extend(rows.permissions.iter().map(|row| Permission {
            user: row.user.to_string(),
            vhost: Some(row.vhost.to_string()),
            configure: row.configure.to_string(),
            write: row.write.to_string(),
            read: row.read.to_string(),
        }));
    let topics = rows.topic_permissions.iter();
    document
        .topic_permissions
        .extend(topics.map(|row| TopicPermission {
            user: row.user.to_string(),
            vhost: Some(row.vhost.to_string()),
            exchange: row.exchange.to_string(),
            write: row.write.to_string(),
            read: row.read.to_string(),
        }));
}

/// As RabbitMQ has it: everything stands there twice, for its older and newer versions.
fn exported_vhost(row: &VhostRow) -> Vhost {
    let tags: Vec<_> = row.tags.iter().map(ToString::to_string).collect();
    let mut metadata = Map::new();
    metadata.insert("description".to_owned(), Value::from(&*row.description));
    metadata.insert("tags".to_owned(), Value::from(tags.clone()));
    if let Some(queue_type) = row.default_queue_type.as_deref() {
        metadata.insert("default_queue_type".to_owned(), Value::from(queue_type));
    }
    Vhost {
        name: row.name.to_string(),
        metadata,
        description: Some(row.description.to_string()),
        tags,
        default_queue_type: row.default_queue_type.as_deref().map(str::to_owned),
        limits: Map::new(),
    }
}
