//! What the command says, changes and leaves alone.

use std::fs;

use serde_json::{Value, json};

use crate::directory::{Directory, exchange, names, on, queue, stderr};
use crate::support::TestServer;

#[test]
fn an_import_twice_is_the_same_as_once() {
    let directory = Directory::new();
    let definitions = json!({
        "exchanges": [exchange("e")], "queues": [queue("q")],
        "bindings": [{
            "source": "e", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "k",
            "arguments": {},
        }],
        "policies": [{ "vhost": "/", "name": "p", "pattern": "^q", "definition": { "max-length": 5 } }],
    });
    let output = directory.import(&definitions);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.ends_with("definitions.json: policies: 1, exchanges: 1, queues: 1, bindings: 1\n"),
        "{said}"
    );
    assert_eq!(stderr(&output), "");
    let once = directory.export();
    assert!(directory.import(&definitions).status.success());
    assert_eq!(directory.export(), once);
    assert_eq!(names(&once, "queues"), ["q"]);
    assert_eq!(once["bindings"][0]["routing_key"], "k");
    assert_eq!(once["policies"][0]["apply-to"], "all");
}

#[test]
fn an_import_with_a_mistake_changes_nothing() {
    let directory = Directory::new();
    assert!(
        directory
            .import(&json!({ "queues": [queue("there")] }))
            .status
            .success()
    );
    let before = directory.export();
    let mut other = queue("there");
    other["durable"] = json!(false);
    let refusal = directory.refusal(&json!({
        "exchanges": [exchange("new")], "queues": [queue("new"), other],
        "policies": [{ "vhost": "/", "name": "new", "pattern": "", "definition": { "max-length": 5 } }],
    }));
    assert_eq!(
        refusal,
        "queue 'there' in vhost '/': inequivalent arg 'durable' for queue 'there' in vhost '/': received 'false' but \
         current is 'true'"
    );
    assert_eq!(directory.export(), before);
}

#[test]
fn every_field_is_kept() {
    let sha512 =
        "kI3GChuNuIYf8lRbCCxZjgjKwsY19ns6+uFO0zcXRBGA/XGJPYD8OWMy7EB8TaOmAzjP2azv84GbINYwX2cDWb4DHnc=";
    let given = json!({
        "users": [{
            "name": "anna", "password_hash": sha512, "hashing_algorithm": "rabbit_password_hashing_sha512",
            "tags": ["monitoring"], "limits": { "max-channels": 4, "max-connections": 3 },
        }],
        "vhosts": [{
            "name": "v", "description": "for tests", "tags": ["a", "b"], "default_queue_type": "quorum",
            "metadata": { "description": "for tests", "tags": ["a", "b"], "default_queue_type": "quorum" },
        }],
        "permissions": [{ "user": "anna", "vhost": "v", "configure": "^c", "write": "^w", "read": "^r" }],
        "topic_permissions": [{
            "user": "anna", "vhost": "v", "exchange": "t", "write": "^tw", "read": "^tr",
        }],
        "parameters": [
            { "component": "vhost-limits", "vhost": "v", "name": "limits", "value": { "max-queues": 5 } },
            {
                "component": "operator_policy", "vhost": "v", "name": "o",
                "value": {
                    "pattern": "^o", "apply-to": "queues", "definition": { "max-length": 6 }, "priority": 7,
                },
            },
        ],
        "policies": [{
            "vhost": "v", "name": "p", "pattern": "^p", "apply-to": "exchanges",
            "definition": { "alternate-exchange": "a" }, "priority": 8,
        }],
        "exchanges": [{
            "name": "d", "vhost": "v", "type": "headers", "durable": true, "auto_delete": true, "internal": true,
            "arguments": { "alternate-exchange": "a" },
        }],
        "queues": [{
            "name": "q", "vhost": "v", "type": "classic", "durable": true, "auto_delete": true,
            "arguments": { "x-max-length": 9, "x-queue-type": "classic" },
        }],
        "bindings": [{
            "source": "d", "vhost": "v", "destination": "q", "destination_type": "queue", "routing_key": "k",
            "arguments": { "x-match": "any", "n": 1 },
        }],
    });
    let directory = Directory::new();
    let output = directory.import(&given);
    assert!(output.status.success(), "{}", stderr(&output));
    let kept = directory.export();
    for (list, entries) in given.as_object().unwrap() {
        for entry in entries.as_array().unwrap() {
            let list = kept[list].as_array().unwrap();
            assert!(list.contains(entry), "{entry} is not in {list:?}");
        }
    }
}

#[test]
fn an_export_has_what_the_configuration_declares() {
    let directory = Directory::with_config(
        "identity.cluster_name = 'rabbit@here'\n\
         [[vhosts]]\nname = '/'\ndescription = 'the root'\ntags = ['t']\ndefault_queue_type = 'quorum'",
    );
    assert!(directory.import(&json!({})).status.success());
    let export = directory.export();
    assert_eq!(export["original_cluster_name"], "rabbit@here");
    let root = &export["vhosts"][0];
    assert_eq!(
        (&root["description"], &root["tags"], &root["default_queue_type"]),
        (&json!("the root"), &json!(["t"]), &json!("quorum"))
    );
}

/// A file of definitions, and why it is refused.
const REFUSED: &[(&str, &str)] = &[
    ("[]", "it is not a file of definitions: "),
    ("{\"queues\":", "it is not a file of definitions: EOF"),
    (r#"{"queues":{}}"#, "queues: it is not a list"),
    (r#"{"queues":[5]}"#, "queues[0]: invalid type: integer `5`"),
    (
        r#"{"queues":[{"vhost":"/","name":"q"},{"vhost":"/","name":7}]}"#,
        "queues[1]: name: invalid type: integer `7`, expected a string",
    ),
    (
        r#"{"queues":[{"vhost":"/","name":"q","durable":"yes"}]}"#,
        "queues[0] 'q': durable: invalid type",
    ),
    (
        r#"{"queues":[{"vhost":"/","name":"q","arguments":[1]}]}"#,
        "queues[0] 'q': arguments: an object was expected, not [1]",
    ),
    (
        r#"{"queues":[{"name":"q"}]}"#,
        "queues[0] 'q': it does not say which vhost it is in",
    ),
    (
        r#"{"queues":[{"vhost":"no","name":"q"}]}"#,
        "queue 'q': there is no vhost 'no'",
    ),
    (
        r#"{"queues":[{"vhost":"/","name":"q","arguments":{"x-message-ttl":-1}}]}"#,
        "queue 'q' in vhost '/': invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}",
    ),
    (
        r#"{"queues":[{"vhost":"/","name":"q","type":"stream"}]}"#,
        "queue 'q' in vhost '/': invalid arg 'x-queue-type'",
    ),
    (
        r#"{"queues":[{"vhost":"/","name":"q","arguments":{"x":18446744073709551615}}]}"#,
        "queue 'q' in vhost '/': the number 18446744073709551615 does not fit 64 bits",
    ),
    (
        r#"{"exchanges":[{"vhost":"/","name":"e","type":"x-odd"}]}"#,
        "exchange 'e' in vhost '/': unknown exchange type 'x-odd'",
    ),
    (
        r#"{"exchanges":[{"vhost":"/","name":"e"}]}"#,
        "exchanges[0] 'e': missing field `type`",
    ),
    (
        r#"{"bindings":[{"vhost":"/","source":"amq.fanout","destination":"q","destination_type":"queue"}]}"#,
        "binding from 'amq.fanout' to queue 'q' with routing key '' in vhost '/': no queue 'q' in vhost '/'",
    ),
    (
        r#"{"bindings":[{"vhost":"/","source":"a","destination":"b","destination_type":"exchange","routing_key":"k"}]}"#,
        "binding from 'a' to exchange 'b' with routing key 'k' in vhost '/': no exchange 'a' in vhost '/'",
    ),
    (
        r#"{"bindings":[{"vhost":"/","source":"a","destination":"b","destination_type":"both"}]}"#,
        "bindings[0]: destination_type: unknown variant `both`",
    ),
    (
        r#"{"policies":[{"vhost":"/","name":"p","pattern":"(","definition":{"expires":1}}]}"#,
        "policy 'p' in vhost '/': pattern should be regular expression but is invalid: unclosed group",
    ),
    (
        r#"{"policies":[{"vhost":"/","name":"p","pattern":"","definition":{"odd":1}}]}"#,
        "policy 'p' in vhost '/': [{<<\"odd\">>,1}] are not recognised policy settings",
    ),
    (
        r#"{"policies":[{"vhost":"/","name":"p","pattern":"","apply-to":"x","definition":{"expires":1}}]}"#,
        "policy 'p' in vhost '/': apply-to 'x' unrecognised",
    ),
    (
        r#"{"parameters":[{"component":"operator_policy","vhost":"/","name":"o","value":{"pattern":"x"}}]}"#,
        "operator policy 'o': missing field `definition`",
    ),
    (
        r#"{"parameters":[{"component":"operator_policy","vhost":"/","name":"o",
            "value":{"pattern":"x","definition":{"alternate-exchange":"a"}}}]}"#,
        "operator policy 'o' in vhost '/': [{<<\"alternate-exchange\">>,<<\"a\">>}] are not recognised",
    ),
];

#[test]
fn a_refusal_names_the_entry_and_what_is_wrong_with_it() {
    let directory = Directory::new();
    for (text, expected) in REFUSED {
        let file = directory.file("definitions.json", text);
        let output = directory.definitions(&["import", file.to_str().unwrap()]);
        assert!(!output.status.success(), "{text} is imported");
        let said = stderr(&output);
        let (_, reason) = said.split_once("definitions.json: ").expect(&said);
        assert!(reason.starts_with(expected), "{text}: {reason}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_is_left_out_is_told() {
    let directory = Directory::with_config(
        "[[policies]]\nname = 'fixed'\npattern = '^f'\ndefinition = { \"max-length\" = 1 }",
    );
    let mut own = exchange("amq.topic");
    own["type"] = json!("topic");
    let output = directory.import(&json!({
        "rabbitmq_version": "4.1.0", "surprise": [1],
        "queues": [queue("amq.gen-x"), queue("q")], "exchanges": [own],
        "bindings": [
            { "source": "", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "q" },
            { "source": "amq.topic", "vhost": "/", "destination": "amq.gen-x", "destination_type": "queue" },
        ],
        "policies": [
            { "vhost": "/", "name": "ha", "pattern": "", "definition": { "ha-mode": "all", "queue-mode": "lazy" } },
            { "vhost": "/", "name": "fixed", "pattern": "", "definition": { "max-length": 9 } },
        ],
        "parameters": [{ "component": "shovel", "vhost": "/", "name": "s", "value": {} }],
        "global_parameters": [
            { "name": "mine", "value": 1 }, { "name": "internal_cluster_id", "value": "x" },
        ],
    }));
    assert!(output.status.success(), "{}", stderr(&output));
    let expected = [
        "\"surprise\" is not known and was left out",
        "policy 'ha' in vhost '/': no effect here has ha-mode, queue-mode",
        "policy 'fixed' in vhost '/' was left out: policy 'fixed' is set by the configuration file; change it there",
        "parameter 's' of component 'shovel' was left out: there is no such component here",
        "global parameters were left out, since nothing here has any: mine",
        "exchange 'amq.topic' in vhost '/' was left out: it is the broker's own",
        "queue 'amq.gen-x' in vhost '/' was left out: the broker names such queues itself",
        "binding from '' to queue 'q' with routing key 'q' in vhost '/' was left out: it is the broker's own",
        "binding from 'amq.topic' to queue 'amq.gen-x' with routing key '' in vhost '/' was left out: it is the \
         broker's own",
    ];
    let said = stderr(&output);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines, expected.map(|line| format!("leveret: {line}")));
    let export = directory.export();
    assert_eq!(names(&export, "policies"), ["fixed", "ha"]);
    assert_eq!(export["policies"][0]["definition"], json!({ "max-length": 1 }));
}

#[test]
fn older_shapes_and_a_byte_order_mark_are_read() {
    let directory = Directory::new();
    let text = "\u{feff}{\"queues\":[{\"vhost\":\"/\",\"name\":\"q\",\"arguments\":[],\"extra\":1}]}";
    let file = directory.file("definitions.json", text);
    let output = directory.definitions(&["import", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let export = directory.export();
    assert_eq!(
        export["queues"],
        json!([{
            "name": "q", "vhost": "/", "type": "classic", "durable": true, "auto_delete": false, "arguments": {},
        }])
    );
}

#[test]
fn a_running_broker_keeps_others_out() {
    let server = TestServer::start();
    let directory = Directory::new();
    let file = directory.file("definitions.json", "{}");
    for arguments in [&["import", file.to_str().unwrap()][..], &["export"]] {
        let config = directory.file("empty.toml", "");
        let output = on(server.directory(), &config, arguments);
        assert!(!output.status.success());
        let said = stderr(&output);
        assert!(
            said.contains("another process uses this data directory; stop it"),
            "{said}"
        );
    }
}

#[test]
fn an_export_needs_something_to_export() {
    let directory = Directory::new();
    let output = directory.definitions(&["export"]);
    assert!(!output.status.success());
    assert!(
        stderr(&output).starts_with("leveret: there is no data in "),
        "{}",
        stderr(&output)
    );
    assert!(!directory.data().exists(), "looking makes nothing");
}

#[test]
fn an_export_goes_to_a_file_when_one_is_named() {
    let directory = Directory::new();
    assert!(
        directory
            .import(&json!({ "queues": [queue("q")] }))
            .status
            .success()
    );
    let file = directory.file("out.json", "");
    let output = directory.definitions(&["export", file.to_str().unwrap()]);
    assert!(output.status.success());
    assert!(output.stdout.is_empty());
    let written: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(written, directory.export());
}
