//! Whatever a file holds, it is refused or imported; and what was exported comes back as it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::*;
use crate::broker::changes::Declared;
use crate::broker::limits::NodeLimits;
use crate::broker::login::CheckAtOnce;
use crate::broker::queue::level::Window;
use crate::broker::vhost::Stores;
use crate::broker::{Broker, Parts};
use crate::clock::{Clock, Timestamp};
use crate::store::Recovered;
use crate::store::access::{AccessRows, VhostRow};
use crate::store::memory::MemoryStore;

const ORIGIN: Origin<'_> = Origin {
    product: "RabbitMQ",
    version: "4.1.0",
    cluster_name: "rabbit@test",
};

fn vhost(name: &str) -> VhostRow {
    VhostRow {
        name: name.into(),
        ..VhostRow::default()
    }
}

/// A broker with two virtual hosts on what a store held.
fn broker(store: Arc<MemoryStore>, recovered: &Recovered) -> Broker {
    let parts = Parts {
        stores: Stores {
            durable: store,
            spill: Arc::new(MemoryStore::default()),
        },
        declared: Declared {
            rows: AccessRows {
                vhosts: ["/", "v"].map(vhost).into(),
                ..AccessRows::default()
            },
            ..Declared::default()
        },
        loopback_users: Vec::new(),
        checks: Arc::new(CheckAtOnce),
        node_limits: NodeLimits::default(),
        policies: Vec::new(),
        window: Window {
            messages: 100,
            bytes: 1 << 20,
        },
        clock: Arc::new(Clock::new(Instant::now(), Timestamp::from_millis(1))),
        seed: [3; 32],
    };
    Broker::new(parts, recovered).unwrap()
}

fn empty() -> Broker {
    broker(Arc::default(), &Recovered::default())
}

fn read_and_import(definitions: &Value, broker: &Broker) -> Result<Vec<String>, DefinitionsError> {
    import(
        &Definitions::read(definitions.to_string().as_bytes(), None)?,
        broker,
        Conflict::IsRefused,
    )
}

/// The lists of a file.
const LISTS: &str = "users vhosts permissions topic_permissions parameters global_parameters policies queues exchanges \
    bindings";

/// What entries have.
const KEYS: &str = "name vhost type durable auto_delete internal arguments source destination destination_type \
    routing_key pattern apply-to definition priority component value user configure write read exchange \
    tags password_hash hashing_algorithm limits max-length message-ttl x-message-ttl x-queue-type x-max- \
    length alternate-exchange x-match max-connections metadata default_queue_type";

/// Values that mean something; the first one is empty.
const WORDS: &str = " / v q e amq.direct amq.gen-1 direct topic queue exchange stream quorum operator_policy vhost-limits \
    limits ( ^q all queues é\u{0}";

/// Any JSON, with many of the words that files have.
fn any_json() -> impl Strategy<Value = Value> {
    let words = select(WORDS.split(' ').collect::<Vec<_>>());
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        6 => words.prop_map(Value::from),
        1 => "\\PC{0,300}".prop_map(Value::from),
    ];
    let keys = select(KEYS.split(' ').collect::<Vec<_>>());
    leaf.prop_recursive(4, 64, 12, move |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => btree_map(keys.clone().prop_map(str::to_owned), inner, 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A file whose lists hold anything.
fn any_file() -> impl Strategy<Value = Value> {
    let lists = select(
        LISTS
            .split(' ')
            .chain(["unknown", "original_vhost_name"])
            .collect::<Vec<_>>(),
    );
    let list = prop_oneof![4 => vec(any_json(), 1..3).prop_map(Value::from), 1 => any_json()];
    btree_map(lists.prop_map(str::to_owned), list, 1..4)
        .prop_map(|lists| Value::Object(lists.into_iter().collect()))
}

/// Arguments that nobody looks at.
fn any_arguments() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[aé\u{0}]{0,2}".prop_map(Value::from),
    ];
    let object = |value: BoxedStrategy<Value>| btree_map("[a-z]{1,3}", value, 0..3);
    let value = leaf.prop_recursive(2, 6, 2, move |inner| {
        let object =
            object(inner.clone().boxed()).prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![vec(inner, 0..2).prop_map(Value::from), object]
    });
    object(value.boxed()).prop_map(|members| members.into_iter().collect())
}

/// Names with their vhosts, each once.
fn names(prefix: &'static str) -> impl Strategy<Value = BTreeSet<(String, String)>> {
    let vhost = select(vec!["/".to_owned(), "v".to_owned()]);
    let name = (0..4_u8).prop_map(move |number| format!("{prefix}{number}"));
    btree_set((vhost, name), 0..6)
}

fn any_exchange() -> impl Strategy<Value = Value> {
    let kinds = select(vec!["direct", "fanout", "topic", "headers", "x-delayed-message"]);
    (kinds, any::<[bool; 2]>(), option::of(0..4_u8), any_arguments()).prop_map(
        |(kind, [auto_delete, internal], alternate, mut arguments)| {
            if kind == "x-delayed-message" {
                arguments.insert("x-delayed-type".to_owned(), json!("topic"));
            }
            if let Some(number) = alternate {
                arguments.insert("alternate-exchange".to_owned(), json!(format!("e{number}")));
            }
            json!({
                "type": kind, "durable": true, "auto_delete": auto_delete, "internal": internal,
                "arguments": arguments,
            })
        },
    )
}

fn any_queue() -> impl Strategy<Value = Value> {
    let expires = option::of(1..i64::from(u32::MAX));
    let numbers = (option::of(0..=255_i64), option::of(0..i64::MAX), expires);
    (any::<bool>(), any::<bool>(), numbers, any_arguments()).prop_map(
        |(auto_delete, is_quorum, (priority, length, expires), mut arguments)| {
            let mut insert = |name: &str, value: Option<i64>| {
                arguments.extend(value.map(|value| (name.to_owned(), json!(value))));
            };
            insert("x-max-priority", priority.filter(|_| !is_quorum));
            insert("x-max-length", length);
            insert("x-expires", expires);
            if is_quorum {
                arguments.insert("x-queue-type".to_owned(), json!("quorum"));
            }
            json!({ "durable": true, "auto_delete": auto_delete && !is_quorum, "arguments": arguments })
        },
    )
}

fn any_policy() -> impl Strategy<Value = Value> {
    let definition = select(vec![
        json!({ "max-length": 5 }),
        json!({ "message-ttl": 7, "expires": 9 }),
        json!({ "overflow": "reject-publish", "delivery-limit": -1 }),
    ]);
    let apply_to = select(vec!["all", "queues", "exchanges", "quorum_queues"]);
    ("[a-z^.]{0,4}", apply_to, any::<i64>(), definition).prop_map(|(pattern, apply_to, priority, definition)| {
        json!({ "pattern": pattern, "apply-to": apply_to, "priority": priority, "definition": definition })
    })
}

/// Gives each name one of the entries.
fn entries(names: &BTreeSet<(String, String)>, entries: &[Value]) -> Vec<Value> {
    let names = names.iter().zip(entries);
    names
        .map(|((vhost, name), entry)| {
            let mut entry = entry.clone();
            entry["vhost"] = json!(vhost);
            entry["name"] = json!(name);
            entry
        })
        .collect()
}

/// Users, what they may do in `/` and `v`, vhosts, and limits of all of them.
fn any_accounts() -> impl Strategy<Value = Value> {
    let limit = |name: &'static str| option::of(0..5_u32).prop_map(move |max| max.map(|max| (name, max)));
    let limits = |names: [&'static str; 2]| {
        names.map(limit).prop_map(|limits| -> Map<String, Value> {
            let limits = limits.into_iter().flatten();
            limits.map(|(name, max)| (name.to_owned(), json!(max))).collect()
        })
    };
    let tags = || vec(select(vec!["administrator", "monitoring", "own"]), 0..3);
    let hash = select(vec![
        ("", ""),
        (
            "rabbit_password_hashing_sha256",
            "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
        ),
        (
            "rabbit_password_hashing_sha512",
            "kI3GChuNuIYf8lRbCCxZjgjKwsY19ns6+uFO0zcXRBGA/XGJPYD8OWMy7EB8TaOmAzjP2azv84GbINYwX2cDWb4DHnc=",
        ),
    ]);
    let user = (hash, tags(), limits(["max-connections", "max-channels"]));
    let user = user.prop_map(|((algorithm, hash), tags, limits)| {
        let mut user = json!({ "password_hash": hash, "tags": tags, "limits": limits });
        if !algorithm.is_empty() {
            user["hashing_algorithm"] = json!(algorithm);
        }
        user
    });
    let queue_type = option::of(select(vec!["classic", "quorum"]));
    let vhost = (
        "[a-zé ]{0,4}",
        tags(),
        queue_type,
        limits(["max-connections", "max-queues"]),
    );
    let vhost = vhost.prop_map(|(description, tags, queue_type, limits)| {
        json!({
            "description": description, "metadata": { "description": description, "tags": tags }, "tags": tags,
            "default_queue_type": queue_type, "limits": limits,
        })
    });
    let patterns = vec("[a-z^.]{1,2}[a-z]", 3);
    let permission = (0..4_u8, select(vec!["/", "v"]), option::of(0..2_u8), patterns);
    let named = |prefix: &'static str, entries: Vec<Value>| -> Vec<Value> {
        let entries = entries.into_iter().enumerate();
        entries
            .map(|(number, mut entry)| {
                entry["name"] = json!(format!("{prefix}{number}"));
                entry
            })
            .collect()
    };
    (vec(user, 4), vec(vhost, 0..3), vec(permission, 0..6)).prop_map(move |(users, vhosts, permissions)| {
        let mut file = json!({
            "users": named("u", users), "vhosts": named("w", vhosts), "permissions": [], "topic_permissions": [],
        });
        for (user, vhost, exchange, patterns) in permissions {
            let mut entry = json!({
                "user": format!("u{user}"), "vhost": vhost, "write": patterns[1], "read": patterns[2],
            });
            let (list, key, value) = match exchange {
                Some(number) => ("topic_permissions", "exchange", format!("e{number}")),
                None => ("permissions", "configure", patterns[0].clone()),
            };
            entry[key] = json!(value);
            file[list].as_array_mut().unwrap().push(entry);
        }
        file
    })
}

/// A file that is acceptable, with durable things only.
fn acceptable_file() -> impl Strategy<Value = Value> {
    let exchanges = (names("e"), vec(any_exchange(), 6));
    let queues = (names("q"), vec(any_queue(), 6));
    let policies = (names("p"), vec(any_policy(), 6));
    let operators = (names("o"), vec(any_policy(), 6));
    let bindings = vec(
        (
            any::<[usize; 2]>(),
            any::<bool>(),
            "[a-z.#*é]{0,5}",
            any_arguments(),
        ),
        0..8,
    );
    (exchanges, queues, policies, operators, bindings, any_accounts()).prop_map(
        |(exchanges, queues, policies, operators, bindings, mut file)| {
            let [exchanges, queues, policies, operators] =
                [exchanges, queues, policies, operators].map(|(names, made)| entries(&names, &made));
            let bindings = bindings
                .into_iter()
                .filter_map(|(choice, to_queue, key, arguments)| {
                    bind(&exchanges, &queues, choice, to_queue, &key, &arguments)
                })
                .collect::<Vec<_>>();
            let operators = operators.into_iter().map(|mut rule| {
                let members = rule.as_object_mut().unwrap();
                let (vhost, name) = (members.remove("vhost"), members.remove("name"));
                json!({ "component": "operator_policy", "vhost": vhost, "name": name, "value": rule })
            });
            file["parameters"] = operators.collect();
            file["exchanges"] = json!(exchanges);
            file["queues"] = json!(queues);
            file["policies"] = json!(policies);
            file["bindings"] = json!(bindings);
            file
        },
    )
}

/// A binding between two entries of one vhost, if there are two.
fn bind(
    exchanges: &[Value],
    queues: &[Value],
    [source, destination]: [usize; 2],
    to_queue: bool,
    key: &str,
    arguments: &Map<String, Value>,
) -> Option<Value> {
    let source = &exchanges[source.checked_rem(exchanges.len())?];
    let destinations = if to_queue { queues } else { exchanges };
    let inside: Vec<_> = destinations
        .iter()
        .filter(|destination| destination["vhost"] == source["vhost"])
        .collect();
    let destination = inside[destination.checked_rem(inside.len())?];
    Some(json!({
        "source": source["name"], "vhost": source["vhost"], "destination": destination["name"],
        "destination_type": if to_queue { "queue" } else { "exchange" }, "routing_key": key,
        "arguments": arguments,
    }))
}

proptest! {
    // Each case is a few brokers, and a policy's pattern takes long to compile without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_json_makes_it_panic(file in any_file(), other in any_json()) {
        drop(read_and_import(&file, &empty()));
        drop(read_and_import(&other, &empty()));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        drop(Definitions::read(&bytes, Some("v")));
    }

    #[test]
    fn what_was_exported_comes_back_as_it_was(file in acceptable_file()) {
        let store = Arc::<MemoryStore>::default();
        let first = broker(Arc::clone(&store), &Recovered::default());
        let imported = read_and_import(&file, &first);
        prop_assert!(imported.is_ok(), "{imported:?}");
        let exported = export(&first, ORIGIN);
        prop_assert_eq!(exported.notes, Vec::<String>::new());
        let second = empty();
        let definitions = Definitions::read(exported.json.as_bytes(), None).unwrap();
        import(&definitions, &second, Conflict::IsRefused).unwrap();
        prop_assert_eq!(&export(&second, ORIGIN).json, &exported.json);
        import(&definitions, &first, Conflict::IsRefused).unwrap();
        prop_assert_eq!(&export(&first, ORIGIN).json, &exported.json, "importing again changes nothing");
        store.commit_all();
        let (store, recovered) = store.crash();
        let restarted = broker(Arc::new(store), &recovered);
        prop_assert_eq!(&export(&restarted, ORIGIN).json, &exported.json, "all of it was stored");
    }

    #[test]
    fn an_import_is_one_group_of_the_store(file in acceptable_file()) {
        let store = Arc::<MemoryStore>::default();
        let broker = broker(Arc::clone(&store), &Recovered::default());
        drop(read_and_import(&file, &broker));
        prop_assert!(store.pending_groups() <= 1);
    }
}

#[test]
fn an_export_of_nothing_has_every_list() {
    let exported: Value = serde_json::from_str(&export(&empty(), ORIGIN).json).unwrap();
    for list in LISTS.split(' ').filter(|list| *list != "vhosts") {
        assert_eq!(exported[list], json!([]), "{list}");
    }
    assert_eq!(exported["vhosts"][1]["name"], "v");
    assert_eq!(exported["rabbitmq_version"], "4.1.0");
    assert_eq!(exported["original_cluster_name"], "rabbit@test");
}
