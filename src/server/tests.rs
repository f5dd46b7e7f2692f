//! What is configured arrives where it is used.

use std::path::PathBuf;

use super::*;
use crate::broker::certificate::NameFrom;
use crate::config::{Amqp, Auth, Limits, Mechanism as Offered};
use crate::store::memory::MemoryStore;

#[test]
fn a_store_is_opened_as_it_is_configured() {
    for (configured, durability) in [
        (Synchronous::Full, Durability::Full),
        (Synchronous::Normal, Durability::Normal),
        (Synchronous::Off, Durability::Off),
    ] {
        let storage = Storage {
            directory: PathBuf::from("elsewhere"),
            synchronous: configured,
            group_bytes_max: 1,
            commit_interval: Duration::from_millis(2),
            checkpoint_bytes: 3,
            ..Storage::default()
        };
        let expected = StoreSettings {
            durability,
            group_bytes_max: 1,
            group_interval_min: Duration::from_millis(2),
            checkpoint_bytes: 3,
            ..StoreSettings::default()
        };
        assert_eq!(durable_settings(&storage), expected);
        let spill = StoreSettings {
            file_name: "spill.db".to_owned(),
            fresh: true,
            durability: Durability::Off,
            ..expected
        };
        assert_eq!(spill_settings(&storage), spill);
    }
}

#[test]
fn a_connection_is_given_what_is_configured() {
    let config = Config {
        amqp: Amqp {
            frame_max: 5000,
            initial_frame_max: 6000,
            channel_max: 7,
            heartbeat: Duration::from_secs(8),
            handshake_timeout: Duration::from_secs(9),
            max_message_size: 10,
        },
        storage: Storage {
            pending_bytes_max: 11,
            ..Storage::default()
        },
        auth: Auth {
            mechanisms: vec![Offered::External, Offered::Anonymous],
            external_name_from: NameFrom::CommonName,
            anonymous_user: String::from("anybody"),
            loopback_users: Vec::new(),
        },
        ..Config::default()
    };
    let settings = connection_settings(&config);
    assert_eq!((settings.frame_max, settings.initial_frame_max), (5000, 6000));
    assert_eq!((settings.channel_max, settings.heartbeat), (7, 8));
    assert_eq!(settings.handshake_timeout, Duration::from_secs(9));
    assert_eq!((settings.message_size_max, settings.pending_bytes_max), (10, 11));
    assert_eq!(settings.mechanisms, [Mechanism::External, Mechanism::Anonymous]);
    assert_eq!(settings.external_name_from, NameFrom::CommonName);
    assert_eq!(settings.anonymous_user.as_deref(), Some("anybody"));
    let nobody = connection_settings(&Config::default()).anonymous_user;
    assert_eq!(nobody, None, "an empty name is nobody's");
}

#[test]
fn clients_are_told_who_the_configuration_says_it_is() {
    let identity = Identity {
        product: String::from("a"),
        version: String::from("b"),
        cluster_name: String::from("c"),
        platform: String::from("d"),
        information: String::from("e"),
        copyright: String::from("f"),
    };
    let properties = server_properties(&identity);
    for (key, expected) in [
        ("product", "a"),
        ("version", "b"),
        ("cluster_name", "c"),
        ("platform", "d"),
        ("information", "e"),
        ("copyright", "f"),
        ("broker", "Leveret"),
    ] {
        let told = properties.inner().get(key);
        assert_eq!(told, Some(&AMQPValue::LongString(expected.into())), "{key}");
    }
}

#[test]
fn the_broker_has_the_limits_and_the_window_that_are_configured() {
    let config = Config {
        limits: Limits {
            connections_max: 1,
            channels_max: 2,
            queues_max: 3,
            exchanges_max: 4,
            ..Limits::default()
        },
        storage: Storage {
            memory_window_messages: 5,
            memory_window_bytes: 6,
            ..Storage::default()
        },
        auth: Auth {
            loopback_users: vec![String::from("anna")],
            ..Auth::default()
        },
        identity: Identity {
            cluster_name: String::from("rabbit@here"),
            ..Identity::default()
        },
        ..Config::default()
    };
    let stores = Stores {
        durable: Arc::new(MemoryStore::default()),
        spill: Arc::new(MemoryStore::default()),
    };
    let parts = parts(&config, stores, &Recovered::default()).unwrap();
    let limits = NodeLimits {
        node: String::from("rabbit@here"),
        connections: 1,
        channels: 2,
        queues: 3,
        exchanges: 4,
    };
    assert_eq!(parts.node_limits, limits);
    assert_eq!((parts.window.messages, parts.window.bytes), (5, 6));
    assert_eq!(parts.loopback_users, ["anna"]);
}
