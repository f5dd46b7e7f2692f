//! A file that RabbitMQ exported is taken as it is, and what clients need is there.

use std::fs;

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::directory::{Directory, RABBITMQ, RABBITMQ_VHOST, names, queue, stderr};
use crate::support::TestServer;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The entries of a list without what older versions do not write.
fn entries(definitions: &Value, list: &str) -> Vec<Value> {
    let mut entries = definitions[list].as_array().unwrap().clone();
    for entry in &mut entries {
        if list == "queues" {
            entry.as_object_mut().unwrap().remove("type");
        }
    }
    entries.sort_by_key(Value::to_string);
    entries
}

#[test]
fn what_rabbitmq_exported_is_imported_and_exported_again() {
    let directory = Directory::with_config("");
    let output = directory.import(&json(RABBITMQ));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stderr(&output),
        "leveret: global parameters were left out, since nothing here has any: gp1\n"
    );
    let export = directory.export();
    let mut expected = json(RABBITMQ);
    // What does not survive a restart is not kept for one.
    let is_durable = |entry: &Value| entry["durable"] == json!(true);
    for list in ["queues", "exchanges"] {
        expected[list].as_array_mut().unwrap().retain(is_durable);
    }
    let bindings = expected["bindings"].as_array_mut().unwrap();
    bindings.retain(|binding| binding["source"] != "shop.headers");
    for list in [
        "users",
        "permissions",
        "topic_permissions",
        "parameters",
        "policies",
        "queues",
        "exchanges",
        "bindings",
    ] {
        assert_eq!(entries(&export, list), entries(&expected, list), "{list}");
    }
    assert_eq!(names(&export, "vhosts"), ["/", "shop"]);
    assert!(directory.import(&export).status.success());
    assert_eq!(directory.export(), export);
    let other = Directory::with_config("");
    assert!(other.import(&export).status.success());
    assert_eq!(other.export(), export);
}

#[tokio::test]
async fn its_users_log_in_and_find_their_queues() {
    let files = Directory::new();
    let file = files.file("rabbit.json", RABBITMQ);
    let mut server = TestServer::with_config(&format!("definitions = '{}'", file.display()));
    for _ in 0..2 {
        let uri = format!("amqp://ada:test12@{}/shop", server.address());
        let connection = Connection::connect(&uri, ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(lapin::options::ConfirmSelectOptions::default())
            .await
            .unwrap();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let published = channel.basic_publish(
            "shop.topic".into(),
            "orders.new".into(),
            BasicPublishOptions::default(),
            b"order",
            properties,
        );
        published.await.unwrap().await.unwrap();
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = channel.queue_declare("shop.orders".into(), passive, FieldTable::default());
        assert!(found.await.unwrap().message_count() > 0);
        let wrong = format!("amqp://ada:wrong@{}/shop", server.address());
        assert!(
            Connection::connect(&wrong, ConnectionProperties::default())
                .await
                .is_err()
        );
        let elsewhere = format!("amqp://ada:test12@{}/%2f", server.address());
        assert!(
            Connection::connect(&elsewhere, ConnectionProperties::default())
                .await
                .is_err()
        );
        server.stop_and_restart();
    }
}

#[test]
fn the_export_of_one_virtual_host_goes_to_the_one_that_is_named() {
    let directory = Directory::with_config("[[vhosts]]\nname = '/'\n[[vhosts]]\nname = 'copy'");
    let file = directory.file("vhost.json", RABBITMQ_VHOST);
    let file = file.to_str().unwrap();
    let output = directory.definitions(&["import", file]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("queues[0] 'shop.qq': it does not say which vhost it is in"));
    let output = directory.definitions(&["import", file, "--vhost", "copy"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let export = directory.export();
    for list in ["queues", "exchanges", "bindings", "policies", "parameters"] {
        let entries = export[list].as_array().unwrap();
        assert!(!entries.is_empty(), "{list}");
        assert!(
            entries.iter().all(|entry| entry["vhost"] == "copy"),
            "{list}: {entries:?}"
        );
    }
    let mut two = json!({ "queues": [queue("a"), queue("b")] });
    two["queues"][1]["vhost"] = json!("other");
    let file = directory.file("two.json", two.to_string());
    let output = directory.definitions(&["import", file.to_str().unwrap(), "--vhost", "copy"]);
    let said = stderr(&output);
    assert!(
        said.contains("queues[1] 'b': the file is of more than one vhost ('/' and 'other'), and can not all go to 'copy'"),
        "{said}"
    );
}

#[test]
fn a_newer_export_of_one_virtual_host_says_itself_which() {
    let directory = Directory::new();
    let output = directory.import(&json!({
        "rabbitmq_definition_format": "single_virtual_host", "original_vhost_name": "/",
        "queues": [{ "name": "q" }],
    }));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(directory.export()["queues"][0]["vhost"], "/");
}

#[test]
fn a_stream_is_named_and_nothing_is_imported() {
    let directory = Directory::new();
    assert!(
        directory
            .import(&json!({ "queues": [queue("q")] }))
            .status
            .success()
    );
    let before = directory.export();
    let mut definitions = json(RABBITMQ);
    let mut stream = queue("events");
    stream["arguments"] = json!({ "x-queue-type": "stream" });
    definitions["queues"].as_array_mut().unwrap().push(stream);
    let refusal = directory.refusal(&definitions);
    assert!(
        refusal.starts_with("queue 'events' in vhost '/': invalid arg 'x-queue-type'"),
        "{refusal}"
    );
    assert_eq!(directory.export(), before);
}

/// What stands in a file, and why it is refused.
const REFUSED: &[(&str, &str)] = &[
    (
        r#"{"users":[{"name":"u","password_hash":"x"}]}"#,
        "user 'u': the password hash of user 'u' is neither",
    ),
    (
        r#"{"users":[{"name":"u","password_hash":"kI3GChNpte2FApYFXScl+0dIluk=",
            "hashing_algorithm":"rabbit_password_hashing_md5"}]}"#,
        "user 'u': the password hash of user 'u' is made with MD5",
    ),
    (
        r#"{"users":[{"name":"u","password":"secret"}]}"#,
        "user 'u': it has a password: put its hash in `password_hash`",
    ),
    (
        r#"{"users":[{"name":"u","tags":5}]}"#,
        "users[0] 'u': tags: words were expected",
    ),
    (
        r#"{"users":[{"name":"","tags":""}]}"#,
        "user '': the name of a user must have 1 to 255 bytes",
    ),
    (
        r#"{"users":[{"name":"u","limits":{"max-queues":1}}]}"#,
        "user 'u': user 'u' can not have a limit of queues",
    ),
    (
        r#"{"users":[{"name":"u","limits":{"max-cars":1}}]}"#,
        "user 'u': there is no limit 'max-cars'",
    ),
    (
        r#"{"users":[{"name":"u","password_hash":"kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
            "hashing_algorithm":"rabbit_password_hashing_sha512"}]}"#,
        "user 'u': the password hash of user 'u' is not of the algorithm \"rabbit_password_hashing_sha512\"",
    ),
    (
        r#"{"permissions":[{"user":"u","vhost":"/","configure":"","write":"","read":""}]}"#,
        "permission of user 'u' in vhost '/': there is no user 'u'",
    ),
    (
        r#"{"users":[{"name":"u"}],"permissions":[{"user":"u","vhost":"/","configure":"","write":"(","read":""}]}"#,
        "permission of user 'u' in vhost '/': user 'u' in vhost '/': the write pattern \"(\"",
    ),
    (
        r#"{"users":[{"name":"u"}],
            "topic_permissions":[{"user":"u","vhost":"no","exchange":"e","write":"","read":""}]}"#,
        "topic permission of user 'u' on exchange 'e' in vhost 'no': there is no vhost 'no'",
    ),
    (
        r#"{"parameters":[{"component":"vhost-limits","name":"limits","vhost":"/","value":{"max-queues":"x"}}]}"#,
        "limits of vhost '/': the limit 'max-queues' is not a number, but \"x\"",
    ),
    (
        r#"{"vhosts":[{"name":"v","default_queue_type":"odd"}]}"#,
        "vhost 'v': \"odd\" is no type of queues",
    ),
    (
        r#"{"vhosts":[{"name":"v","metadata":{"default_queue_type":"stream"}}]}"#,
        "vhost 'v': \"stream\" is no type of queues",
    ),
];

#[test]
fn a_refusal_names_the_user_or_virtual_host_and_what_is_wrong() {
    let directory = Directory::new();
    for (text, expected) in REFUSED {
        let refusal = directory.refusal(&json(text));
        assert!(refusal.starts_with(expected), "{text}: {refusal}");
    }
}

#[test]
fn a_file_without_users_leaves_those_that_are_there() {
    let directory = Directory::with_config("");
    assert!(
        directory
            .import(&json!({ "vhosts": [{ "name": "v" }] }))
            .status
            .success()
    );
    let export = directory.export();
    assert_eq!(names(&export, "users"), ["guest"]);
    assert_eq!(names(&export, "vhosts"), ["v"]);
    let users = json!({ "users": [{ "name": "ada", "tags": "administrator, monitoring" }] });
    let fresh = Directory::with_config("");
    assert!(fresh.import(&users).status.success());
    let export = fresh.export();
    assert_eq!(
        names(&export, "users"),
        ["ada"],
        "no guest beside users of one's own"
    );
    assert_eq!(export["users"][0]["tags"], json!(["administrator", "monitoring"]));
    let used = Directory::with_config("");
    assert!(used.import(&json!({ "queues": [queue("q")] })).status.success());
    assert!(used.import(&users).status.success());
    assert_eq!(
        names(&used.export(), "users"),
        ["ada", "guest"],
        "guest was there before"
    );
}

#[test]
fn metadata_and_limits_of_virtual_hosts_are_kept() {
    let directory = Directory::new();
    let file = directory.file(
        "definitions.json",
        json!({
            "vhosts": [
                { "name": "/" },
                {
                    "name": "old", "limits": [{ "name": "max-queues", "value": 7 }],
                    "metadata": { "description": "d", "tags": ["t"], "default_queue_type": "quorum" },
                },
                { "name": "free", "limits": { "max-connections": -1 }, "default_queue_type": "undefined" },
            ],
            "queues": [{ "name": "q", "vhost": "old" }],
        })
        .to_string(),
    );
    assert!(
        directory
            .definitions(&["import", file.to_str().unwrap()])
            .status
            .success()
    );
    let export = directory.export();
    let old = &export["vhosts"][2];
    assert_eq!(
        (
            &old["name"],
            &old["description"],
            &old["tags"],
            &old["default_queue_type"]
        ),
        (&json!("old"), &json!("d"), &json!(["t"]), &json!("quorum"))
    );
    assert_eq!(
        export["parameters"],
        json!([{ "component": "vhost-limits", "name": "limits", "vhost": "old", "value": { "max-queues": 7 } }])
    );
    assert_eq!(
        export["queues"][0]["arguments"],
        json!({ "x-queue-type": "quorum" })
    );
    let out = directory.file("out.json", "");
    assert!(
        directory
            .definitions(&["export", out.to_str().unwrap()])
            .status
            .success()
    );
    assert_eq!(json(&fs::read_to_string(out).unwrap()), export);
}
