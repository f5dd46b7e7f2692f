//! A whole file of definitions: read from JSON with a place for every complaint, and written as JSON.

use serde::Serialize;
use serde_json::{Map, Value};

use super::DefinitionsError;
use super::entries::{
    Binding, Entry, Exchange, GlobalParameter, Parameter, Permission, Policy, Queue, TopicPermission, User,
    Vhost,
};

/// Keys at the top that say where a file comes from.
const HEADER: [&str; 8] = [
    "rabbit_version",
    "rabbitmq_version",
    "product_name",
    "product_version",
    "rabbitmq_definition_format",
    "original_cluster_name",
    "original_vhost_name",
    "explanation",
];

/// The lists of a file, in the order in which they are applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Document {
    pub users: Vec<User>,
    pub vhosts: Vec<Vhost>,
    pub permissions: Vec<Permission>,
    pub topic_permissions: Vec<TopicPermission>,
    pub parameters: Vec<Parameter>,
    pub global_parameters: Vec<GlobalParameter>,
    pub policies: Vec<Policy>,
    pub queues: Vec<Queue>,
    pub exchanges: Vec<Exchange>,
    pub bindings: Vec<Binding>,
}

/// Reads one list after the other.
struct Reader<'a> {
    file: Map<String, Value>,
    /// Where all entries go, whatever they say.
    vhost: Option<&'a str>,
    /// The virtual host of entries that do not say theirs.
    original: Option<String>,
    /// The virtual host that an entry named.
    named: Option<String>,
}

impl Document {
    /// Reads a file. With `vhost` it is the export of a single virtual host, which need not have had that name. What
    /// is at the top and not known goes to `notes`.
    pub(super) fn read(
        text: &[u8],
        vhost: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Self, DefinitionsError> {
        // Some editors put a mark there.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let file: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| DefinitionsError::Json(error.to_string()))?;
        let original = file.get("original_vhost_name").and_then(Value::as_str);
        let mut reader = Reader {
            original: original.map(str::to_owned),
            file,
            vhost,
            named: None,
        };
        let document = Self {
            users: reader.list()?,
            vhosts: reader.list()?,
            permissions: reader.list()?,
            topic_permissions: reader.list()?,
            parameters: reader.list()?,
            global_parameters: reader.list()?,
            policies: reader.list()?,
            queues: reader.list()?,
            exchanges: reader.list()?,
            bindings: reader.list()?,
        };
        let unknown = reader.file.keys().filter(|key| !HEADER.contains(&key.as_str()));
        notes.extend(unknown.map(|key| format!("{key:?} is not known and was left out")));
        Ok(document)
    }
}

impl Document {
    /// How many of what it has.
    pub(super) fn summary(&self) -> String {
        let counts = [
            (self.users.len(), "users"),
            (self.vhosts.len(), "vhosts"),
            (self.permissions.len(), "permissions"),
            (self.topic_permissions.len(), "topic permissions"),
            (self.policies.len(), "policies"),
            (self.parameters.len(), "parameters"),
            (self.exchanges.len(), "exchanges"),
            (self.queues.len(), "queues"),
            (self.bindings.len(), "bindings"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(count, what)| format!("{what}: {count}")).collect();
        if counts.is_empty() {
            return String::from("nothing");
        }
        counts.join(", ")
    }
}

impl Reader<'_> {
    fn list<E: Entry>(&mut self) -> Result<Vec<E>, DefinitionsError> {
        match self.file.remove(E::LIST) {
            None => Ok(Vec::new()),
            Some(Value::Array(entries)) => {
                let entries = entries.into_iter().enumerate();
                entries.map(|(index, entry)| self.entry(index, &entry)).collect()
            }
            Some(_) => Err(DefinitionsError::entry(E::LIST, "it is not a list")),
        }
    }

    fn entry<E: Entry>(&mut self, index: usize, json: &Value) -> Result<E, DefinitionsError> {
        let place = || match json.get("name").and_then(Value::as_str) {
            Some(name) => format!("{}[{index}] '{name}'", E::LIST),
            None => format!("{}[{index}]", E::LIST),
        };
        let mut entry: E = serde_path_to_error::deserialize(json).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.into_inner();
            match path.as_str() {
                "." => DefinitionsError::entry(place(), reason),
                path => DefinitionsError::entry(place(), format_args!("{path}: {reason}")),
            }
        })?;
        if let Some(vhost) = entry.vhost() {
            let found = self.place(vhost.take());
            *vhost = Some(found.map_err(|reason| DefinitionsError::entry(place(), reason))?);
        }
        Ok(entry)
    }

    /// The virtual host of an entry that names this one, or none.
    fn place(&mut self, named: Option<String>) -> Result<String, String> {
        let Some(vhost) = self.vhost else {
            let found = named.or_else(|| self.original.clone());
            return found.ok_or_else(|| {
                String::from(
                    "it does not say which vhost it is in: if the file is the export of a single one, import it with \
                     `leveret definitions import --vhost NAME`",
                )
            });
        };
        if let Some(named) = named {
            let first = self.named.get_or_insert_with(|| named.clone());
            if *first != named {
                return Err(format!(
                    "the file is of more than one vhost ('{first}' and '{named}'), and can not all go to '{vhost}'"
                ));
            }
        }
        Ok(vhost.to_owned())
    }
}
