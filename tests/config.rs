//! The configuration as an operator meets it: the sample file, the sources and their order, the errors.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use leveret::config::{Config, ConfigError, Override, SAMPLE, Sources, Written};
use tempfile::TempDir;
use toml::{Table, Value};

/// Every key with a value that is not its default.
const OTHERS: &[(&str, &str)] = &[
    ("definitions", r#""/etc/definitions.json""#),
    (
        "policies",
        r#"[{ name = "p", vhost = "/", pattern = "^a", apply_to = "queues", priority = 3, definition = { "max-length" = 5 } }]"#,
    ),
    (
        "operator_policies",
        r#"[{ name = "p", vhost = "/", pattern = "", apply_to = "all", priority = 0, definition = { expires = 5 } }]"#,
    ),
    ("listeners.amqp", r#"["127.0.0.1:1", "[::1]:2"]"#),
    ("listeners.amqps", r#"["[::]:5671"]"#),
    (
        "listeners.proxy_protocol_from",
        r#"["127.0.0.1", "10.0.0.0/8", "fd00::/8"]"#,
    ),
    ("tls.certificate", r#""/chain.pem""#),
    ("tls.key", r#""/key.pem""#),
    ("tls.client_ca", r#""/ca.pem""#),
    ("tls.verify", r#""required""#),
    ("amqp.frame_max", r#""64 KiB""#),
    ("amqp.initial_frame_max", r#""4 KiB""#),
    ("amqp.channel_max", "7"),
    ("amqp.heartbeat", r#""30s""#),
    ("amqp.handshake_timeout", r#""250ms""#),
    ("amqp.max_message_size", r#""512 MiB""#),
    ("storage.directory", r#""/elsewhere""#),
    ("storage.synchronous", r#""off""#),
    ("storage.memory_window_messages", "9"),
    ("storage.memory_window_bytes", r#""2 MiB""#),
    ("storage.group_bytes_max", r#""3 MiB""#),
    ("storage.commit_interval", r#""1ms""#),
    ("storage.pending_bytes_max", r#""5 MB""#),
    ("storage.checkpoint_bytes", r#""6 GB""#),
    ("limits.memory_high_watermark", r#""4 GiB""#),
    ("limits.disk_free_limit", r#""1 GiB""#),
    ("limits.connections_max", "1000"),
    ("limits.channels_max", "1001"),
    ("limits.queues_max", "1002"),
    ("limits.exchanges_max", "1003"),
    ("auth.mechanisms", r#"["AMQPLAIN"]"#),
    ("auth.external_name_from", r#""san:dns:1""#),
    ("auth.anonymous_user", r#""nobody""#),
    ("auth.loopback_users", "[]"),
    ("log.level", r#""info,leveret::net=debug""#),
    ("log.format", r#""json""#),
    ("identity.product", r#""Leveret""#),
    ("identity.version", r#""3.10.8""#),
    ("identity.cluster_name", r#""hare@form""#),
    ("identity.platform", r#""Linux""#),
    ("identity.information", r#""none""#),
    ("identity.copyright", r#""nobody""#),
    ("vhosts", r#"[{ name = "/" }, { name = "other" }]"#),
    (
        "users",
        r#"[{ name = "alice", password = "********", tags = ["management"], permissions = [] }]"#,
    ),
];

/// Keys that do not go alone, with what they need.
const COMPANIONS: &[(&str, &str)] = &[
    ("listeners.amqps", "tls.certificate = '/c'\ntls.key = '/k'"),
    ("tls.verify", "tls.client_ca = '/c'"),
    ("tls.client_ca", "tls.verify = 'required'"),
];

/// A file in a directory of its own, which lives as long as this.
struct File {
    _directory: TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("leveret.toml");
    fs::write(&path, text).unwrap();
    File {
        _directory: directory,
        path,
    }
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources {
        file: Some(file(text).path.clone()),
        ..Sources::default()
    })
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Config::load(&Sources {
        environment,
        ..Sources::default()
    })
}

/// The problems of what must be refused, one per line.
fn complaints(result: Result<Config, ConfigError>) -> String {
    let error = result.expect_err("this configuration must be refused");
    let lines: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn value_at<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    if section.is_empty() {
        table.get(name)
    } else {
        table.get(section)?.get(name)
    }
}

/// Every key of the effective configuration, as `section.key`; lists count as one.
fn keys(table: &Table) -> Vec<String> {
    let names = |(section, value): (&String, &Value)| match value {
        Value::Table(table) => table.keys().map(|key| format!("{section}.{key}")).collect(),
        _ => vec![section.clone()],
    };
    table.iter().flat_map(names).collect()
}

fn shown(config: &Config) -> Table {
    toml::from_str(&config.show().unwrap()).unwrap()
}

#[test]
fn the_sample_file_equals_the_defaults_and_has_every_key() {
    let mut sample = from_file(SAMPLE).unwrap();
    assert!(sample.written.users && sample.written.vhosts);
    sample.written = Written::default();
    assert_eq!(sample, Config::default());
    let sample: Table = toml::from_str(SAMPLE).unwrap();
    for key in keys(&shown(&Config::default())) {
        assert!(value_at(&sample, &key).is_some(), "the sample file lacks {key}");
    }
}

#[test]
fn every_key_of_the_sample_file_has_a_comment() {
    let lines: Vec<_> = SAMPLE.lines().collect();
    for pair in lines.windows(2) {
        let is_key = pair[1].contains(" = ") && !pair[1].starts_with('#');
        assert!(
            !is_key || pair[0].starts_with('#'),
            "no comment above {:?}",
            pair[1]
        );
    }
}

#[test]
fn every_key_can_be_set_by_file_by_environment_and_by_flag() {
    let defaults = shown(&Config::default());
    let mut listed: Vec<_> = OTHERS.iter().map(|(key, _)| (*key).to_owned()).collect();
    let mut existing = keys(&defaults);
    listed.sort();
    existing.sort();
    assert_eq!(listed, existing, "the table above and the configuration's keys");
    for (key, text) in OTHERS {
        let expected = toml::from_str::<Table>(&format!("value = {text}")).unwrap()["value"].clone();
        assert_ne!(
            value_at(&defaults, key),
            Some(&expected),
            "{key} must differ from its default"
        );
        let variable = format!("LEVERET_{}", key.replace('.', "__").to_uppercase());
        let companions = COMPANIONS.iter().find(|(other, _)| other == key);
        let companions = companions.map_or("", |(_, text)| text);
        let rest = file(companions);
        let without = Sources {
            file: Some(rest.path.clone()),
            ..Sources::default()
        };
        let from_environment = |value: &str| {
            Config::load(&Sources {
                environment: vec![(variable.clone().into(), value.into())],
                ..without.clone()
            })
        };
        let ways = [
            from_file(&format!("{key} = {text}\n{companions}")),
            from_environment(text),
            from_environment(text.trim_matches('"')),
            Config::load(&Sources {
                flags: vec![Override::parse("--set", key, text)],
                ..without.clone()
            }),
        ];
        for way in ways {
            let config = way.unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_eq!(value_at(&shown(&config), key), Some(&expected), "{key}");
        }
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let file = file("amqp.heartbeat = '10s'\namqp.channel_max = 10\namqp.frame_max = '10 KiB'");
    let environment = [
        ("LEVERET_AMQP__CHANNEL_MAX", "20"),
        ("LEVERET_AMQP__FRAME_MAX", "20 KiB"),
    ];
    let sources = Sources {
        file: Some(file.path.clone()),
        environment: environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        flags: vec![Override::parse("--set", "amqp.frame_max", "30 KiB")],
    };
    let amqp = Config::load(&sources).unwrap().amqp;
    assert_eq!(
        (amqp.heartbeat.as_secs(), amqp.channel_max, amqp.frame_max),
        (10, 20, 30 << 10)
    );
    assert_eq!(amqp.handshake_timeout, Config::default().amqp.handshake_timeout);
}

#[test]
fn a_variable_that_reads_as_a_number_may_stand_for_text() {
    let variables = [
        ("LEVERET_IDENTITY__VERSION", "4.2"),
        ("LEVERET_STORAGE__DIRECTORY", "2026"),
    ];
    let config = from_environment(&variables).unwrap();
    assert_eq!(config.identity.version, "4.2");
    assert_eq!(config.storage.directory, PathBuf::from("2026"));
}

#[test]
fn variables_of_others_are_left_alone() {
    let others = [
        ("LEVERET_PORT", "tcp://10.0.0.1:5672"),
        ("LEVERET_BIN", "x"),
        ("AMQP__HEARTBEAT", "x"),
    ];
    assert_eq!(from_environment(&others).unwrap(), Config::default());
}

#[test]
fn a_bad_variable_is_named() {
    let rows = [
        (
            "LEVERET_AMQP__HARTBEAT",
            "30s",
            "amqp.hartbeat: unknown key `hartbeat`, expected one of",
        ),
        ("LEVERET_AMPQ__HEARTBEAT", "30s", "names no section"),
        ("LEVERET_AMQP_HEARTBEAT", "30s", "write LEVERET_AMQP__HEARTBEAT"),
        (
            "LEVERET_AMQP__HEARTBEAT",
            "30",
            "expected a duration with its unit",
        ),
        ("LEVERET_AMQP__HEARTBEAT", "1500ms", "must be whole seconds"),
        (
            "LEVERET_USERS__0__NAME",
            "alice",
            "users: invalid type: table, expected a list",
        ),
        ("LEVERET_LOG", "debug", "log: invalid type: string \"debug\""),
    ];
    for (name, value, reason) in rows {
        let text = complaints(from_environment(&[(name, value)]));
        assert!(
            text.starts_with(&format!("{name}: ")) && text.contains(reason),
            "{name}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

/// What is in the file, the line and key of the problem, its reason.
const BAD_FILES: &[(&str, &str, &str)] = &[
    ("amqp = [", "1: ", "unclosed array"),
    ("[amqp]\nheartbeat 30", "2: ", "key with no value"),
    (
        "[amqp]\n\nhartbeat = '3s'",
        "3: amqp.hartbeat: ",
        "expected one of `frame_max`, ",
    ),
    (
        "[ampq]",
        "1: ampq: ",
        "expected one of `listeners`, `tls`, `amqp`",
    ),
    (
        "[amqp]\nframe_max = '12 bananas'",
        "2: amqp.frame_max: ",
        "expected a size such as",
    ),
    (
        "[amqp]\nframe_max = '8 GiB'",
        "2: amqp.frame_max: ",
        "8 GiB is too large",
    ),
    (
        "[amqp]\nframe_max = 4095",
        "2: amqp.frame_max: ",
        "must be at least 4 KiB, or 0",
    ),
    (
        "[amqp]\ninitial_frame_max = 0",
        "2: amqp.initial_frame_max: ",
        "at least 4 KiB",
    ),
    (
        "[amqp]\nchannel_max = 65536",
        "2: amqp.channel_max: ",
        "a number from 0 to 65535",
    ),
    (
        "[amqp]\nheartbeat = '65536s'",
        "2: amqp.heartbeat: ",
        "at most 65535s",
    ),
    (
        "[amqp]\nhandshake_timeout = '0s'",
        "2: amqp.handshake_timeout: ",
        "above zero",
    ),
    (
        "[amqp]\nhandshake_timeout = '18446744073709551615s'",
        "2: amqp.handshake_timeout: ",
        "at most 1h",
    ),
    (
        "[amqp]\nmax_message_size = '513 MiB'",
        "2: amqp.max_message_size: ",
        "512 MiB",
    ),
    (
        "[listeners]\namqp = ['localhost:1']",
        "2: listeners.amqp: ",
        "\"localhost:1\" is no address",
    ),
    ("[listeners]\namqp = []", "2: listeners.amqp: ", "at least one"),
    (
        "[listeners]\namqps = ['[::]:5671']\n[tls]\nkey = 'k'",
        "3: tls.certificate: ",
        "listeners.amqps needs",
    ),
    (
        "[listeners]\namqps = ['[::]:5671']\n[tls]\ncertificate = 'c'",
        "3: tls.key: ",
        "listeners.amqps needs",
    ),
    (
        "[listeners]\nproxy_protocol_from = ['10.0.0.0/33']",
        "2: listeners.proxy_protocol_from: ",
        "\"10.0.0.0/33\" is no address and no network",
    ),
    (
        "[listeners]\nproxy_protocol_from = ['lb.example']",
        "2: listeners.proxy_protocol_from: ",
        "\"lb.example\" is no address",
    ),
    (
        "[tls]\nverify = 'optional'",
        "1: tls.client_ca: ",
        "tls.verify needs the file of the authorities",
    ),
    (
        "[tls]\nclient_ca = 'ca.pem'",
        "2: tls.client_ca: ",
        "counts for nothing while tls.verify is \"none\"",
    ),
    (
        "[tls]\nverify = 'peer'",
        "2: tls.verify: ",
        "`none`, `optional`, `required`",
    ),
    (
        "[storage]\nsynchronous = 'fully'",
        "2: storage.synchronous: ",
        "`full`, `normal`, `off`",
    ),
    (
        "[storage]\nmemory_window_messages = 0",
        "2: storage.memory_window_messages: ",
        "above zero",
    ),
    (
        "[storage]\ngroup_bytes_max = 0",
        "2: storage.group_bytes_max: ",
        "above zero",
    ),
    (
        "[storage]\ncommit_interval = '2s'",
        "2: storage.commit_interval: ",
        "at most 1s",
    ),
    ("[storage]\ndirectory = ''", "2: storage.directory: ", "empty"),
    (
        "[limits]\nmemory_high_watermark = 1.5",
        "2: limits.memory_high_watermark: ",
        "a ratio above 0",
    ),
    (
        "[limits]\ndisk_free_limit = -1",
        "2: limits.disk_free_limit: ",
        "expected a size",
    ),
    (
        "[auth]\nmechanisms = ['SCRAM']",
        "2: auth.mechanisms[0]: ",
        "`PLAIN`, `AMQPLAIN`, `EXTERNAL`, `ANONYMOUS`",
    ),
    (
        "[auth]\nmechanisms = ['PLAIN', 'EXTERNAL']",
        "2: auth.mechanisms[1]: ",
        "\"EXTERNAL\" needs listeners.amqps, and tls.verify as \"optional\" or \"required\"",
    ),
    (
        "[auth]\nmechanisms = ['ANONYMOUS']",
        "2: auth.mechanisms[0]: ",
        "\"ANONYMOUS\" needs auth.anonymous_user",
    ),
    (
        "[auth]\nexternal_name_from = 'san:ipv4'",
        "2: auth.external_name_from: ",
        "\"san:ipv4\" is not understood: write \"dn\", \"cn\", or \"san:dns\"",
    ),
    (
        "[auth]\nmechanisms = ['PLAIN', 'PLAIN']",
        "2: auth.mechanisms[1]: ",
        "twice",
    ),
    ("[log]\nlevel = 'inof'", "2: log.level: ", "\"inof\" is no level"),
    (
        "[log]\nlevel = 'leveret=loud'",
        "2: log.level: ",
        "is no log filter",
    ),
    (
        "[identity]\nversion = 'four'",
        "2: identity.version: ",
        "numbers and dots",
    ),
    (
        "vhosts = []\nusers = []",
        "1: vhosts: ",
        "at least one virtual host",
    ),
    (
        "[[vhosts]]\nnam = '/'",
        "2: vhosts[0].nam: ",
        "unknown key `nam`, expected one of `name`, `description`",
    ),
    (
        "[[vhosts]]\nname = '/'\ndefault_queue_type = 'odd'",
        "3: vhosts[0].default_queue_type: ",
        "\"odd\" is none; there are classic, quorum",
    ),
    (
        "[[vhosts]]\nname = '/'\n[[vhosts]]\nname = '/'",
        "4: vhosts[1].name: ",
        "\"/\" stands there twice",
    ),
    (
        "[[vhosts]]\nname = '/'\n[[vhosts]]\nname = ''",
        "4: vhosts[1].name: ",
        "1 to 255 bytes",
    ),
    (
        "[[policies]]\nname = 'p'\npattern = ''\ndefinition = {}",
        "1: policies[0]: ",
        "policy \"p\": no policy provided",
    ),
    (
        "[[policies]]\nname = 'p'\npattern = '('\ndefinition = { expires = 1 }",
        "1: policies[0]: ",
        "pattern should be regular expression but is invalid: unclosed group",
    ),
    (
        "[[policies]]\nname = 'p'\npattern = ''\napply_to = 'x'\ndefinition = { expires = 1 }",
        "1: policies[0]: ",
        "apply-to 'x' unrecognised",
    ),
    (
        "[[operator_policies]]\nname = 'p'\npattern = ''\ndefinition = { alternate-exchange = 'x' }",
        "1: operator_policies[0]: ",
        "[{<<\"alternate-exchange\">>,<<\"x\">>}] are not recognised policy settings",
    ),
    (
        "[[policies]]\nname = 'p'\npattern = ''\ndefinition = { expires = 1 }\n\
         [[policies]]\nname = 'p'\npattern = ''\ndefinition = { expires = 1 }",
        "6: policies[1].name: ",
        "\"p\" stands there twice for vhost \"/\"",
    ),
];

#[test]
fn a_problem_in_the_file_names_line_and_key() {
    for (text, place, reason) in BAD_FILES {
        let complaint = complaints(from_file(text));
        assert!(
            complaint.contains(&format!("leveret.toml:{place}")),
            "{text:?}: {complaint}"
        );
        assert!(complaint.contains(reason), "{text:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{text:?}: {complaint}");
    }
}

/// What follows a user's name, the line and key of the problem, its reason.
const BAD_USERS: &[(&str, &str, &str)] = &[
    (
        "password = ''",
        "1: users[0]: ",
        "user \"a\" has an empty password",
    ),
    ("tags = []", "1: users[0]: ", "needs password or password_hash"),
    (
        "password_hash = 'c2FsdA=='",
        "1: users[0]: ",
        "neither what `leveret hash-password` prints nor base64 of 4 bytes of salt",
    ),
    (
        "password_hash = 'AAAAAAAAAAAAAAAAAAAAAAAAAAA='",
        "1: users[0]: ",
        "user \"a\" has a password_hash that is made with MD5",
    ),
    (
        "password_hash = '?'",
        "1: users[0]: ",
        "neither what `leveret hash-password` prints",
    ),
    (
        "password = 'b'\ntags = ['']",
        "4: users[0].tags[0]: ",
        "\"\" is no tag",
    ),
    (
        "password = 'b'\nchannels_max = -2",
        "4: users[0].channels_max: ",
        "-2 is no limit: write a number from 0 to 4294967295, or -1",
    ),
    (
        "password = 'b'\n[[users.topic_permissions]]\nvhost = 'no'\nexchange = 'x'\nwrite = ''\nread = ''",
        "5: users[0].topic_permissions[0].vhost: ",
        "there is no vhost \"no\"; there are \"/\"",
    ),
    (
        "password = 'b'\n[[users.topic_permissions]]\nvhost = '/'\nexchange = 'x'\nwrite = '['\nread = ''",
        "7: users[0].topic_permissions[0].write: ",
        "\"[\" is no regular expression: unclosed",
    ),
    ("password = 3", "3: users[0].password: ", "expected a string"),
    (
        "password = 'b'\n[[users]]\nname = 'a'\npassword = 'b'",
        "5: users[1].name: ",
        "twice",
    ),
    (
        "password = 'b'\n[[users.permissions]]\nvhost = 'no'\nconfigure = ''\nwrite = ''\nread = ''",
        "5: users[0].permissions[0].vhost: ",
        "there is no vhost \"no\"; there are \"/\"",
    ),
    (
        "password = 'b'\n[[users.permissions]]\nvhost = '/'\nconfigure = ''\nwrite = ''\nread = '('",
        "8: users[0].permissions[0].read: ",
        "\"(\" is no regular expression: unclosed group",
    ),
    (
        "password = 'b'\n[[users.permissions]]\nvhost = '/'\nconfigure = ''\nwrite = ''",
        "4: users[0].permissions[0]: ",
        "missing key `read`",
    ),
];

#[test]
fn a_problem_with_a_user_names_line_and_key() {
    let hash = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    for (text, place, reason) in BAD_USERS {
        let complaint = complaints(from_file(&format!("[[users]]\nname = 'a'\n{text}")));
        assert!(
            complaint.contains(&format!("leveret.toml:{place}")),
            "{text:?}: {complaint}"
        );
        assert!(complaint.contains(reason), "{text:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{text:?}: {complaint}");
    }
    let both = complaints(from_file(&format!(
        "[[users]]\nname = 'a'\npassword = 'b'\npassword_hash = '{hash}'"
    )));
    assert!(both.contains("give one of them"), "{both}");
    let twice = "permissions = [{ vhost = '/', configure = '', write = '', read = '' },
                                { vhost = '/', configure = '', write = '', read = '' }]";
    let twice = complaints(from_file(&format!(
        "[[users]]\nname = 'a'\npassword = 'b'\n{twice}"
    )));
    assert!(
        twice.contains("leveret.toml:5: users[0].permissions[1].vhost: the user has a second"),
        "{twice}"
    );
    let twice = "topic_permissions = [{ vhost = '/', exchange = 'x', write = '', read = '' },
                                      { vhost = '/', exchange = 'x', write = '', read = '' }]";
    let twice = complaints(from_file(&format!(
        "[[users]]\nname = 'a'\npassword = 'b'\n{twice}"
    )));
    assert!(
        twice.contains("users[0].topic_permissions[1].exchange: the user has a second"),
        "{twice}"
    );
    assert!(from_file(&format!("[[users]]\nname = 'a'\npassword_hash = '{hash}'")).is_ok());
}

#[test]
fn all_problems_are_told_at_once() {
    let file = file("[amqp]\nheartbeat = 30\nhartbeat = '30s'\n[storrage]\n[[users]]\nname = 1\n");
    let sources = Sources {
        file: Some(file.path.clone()),
        environment: vec![("LEVERET_LOG__FORMAT".into(), "xml".into())],
        flags: vec![Override::parse("--set", "amqp.nope", "1")],
    };
    let text = complaints(Config::load(&sources));
    let places = [
        ":2: amqp.heartbeat: ",
        ":3: amqp.hartbeat: ",
        ":4: storrage: ",
        ":6: users[0].name: ",
    ];
    for place in places
        .iter()
        .chain(&["LEVERET_LOG__FORMAT: log.format: ", "--set: amqp.nope: "])
    {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn a_missing_file_is_an_error_when_it_was_asked_for() {
    let text = complaints(Config::load(&Sources {
        file: Some(PathBuf::from("/no/such")),
        ..Sources::default()
    }));
    assert!(text.starts_with("/no/such: cannot read the file: "), "{text}");
}

#[test]
fn secrets_are_not_shown() {
    let config = from_file("[[users]]\nname = 'alice'\npassword = 'wonderland'").unwrap();
    assert_eq!(config.users[0].password.as_ref().unwrap().expose(), "wonderland");
    assert!(!config.show().unwrap().contains("wonderland") && !format!("{config:?}").contains("wonderland"));
}

/// The program, in an empty directory and environment.
fn leveret(directory: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn default_config_prints_the_sample_file() {
    let output = leveret(&tempfile::tempdir().unwrap(), &["default-config"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), SAMPLE);
}

#[test]
fn check_config_reads_the_default_file_and_exits_with_zero_or_one() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = leveret(&directory, &["check-config"]);
    assert!(
        nothing.status.success() && text(&nothing.stdout).contains("built-in defaults"),
        "{nothing:?}"
    );

    fs::create_dir(directory.path().join("config")).unwrap();
    fs::write(
        directory.path().join("config/leveret.toml"),
        "amqp.heartbeat = '5s'",
    )
    .unwrap();
    let good = leveret(
        &directory,
        &[
            "check-config",
            "--show",
            "--listen",
            "127.0.0.1:1",
            "--data-dir",
            "d",
        ],
    );
    assert!(good.status.success(), "{good:?}");
    for line in [
        "heartbeat = \"5s\"",
        "amqp = [\"127.0.0.1:1\"]",
        "directory = \"d\"",
        "password = \"***",
    ] {
        assert!(text(&good.stdout).contains(line), "{line}: {good:?}");
    }

    fs::write(
        directory.path().join("bad.toml"),
        "[amqp]\nheartbeat = 5\nchannel_max = -1",
    )
    .unwrap();
    let bad = leveret(&directory, &["check-config", "--config", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    assert!(
        text(&bad.stderr).contains("leveret: bad.toml:2: amqp.heartbeat: "),
        "{bad:?}"
    );
    assert!(
        text(&bad.stderr).contains("leveret: bad.toml:3: amqp.channel_max: "),
        "{bad:?}"
    );
}

#[test]
fn a_flag_that_counts_for_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["default-config", "hash-password", "bench"] {
        for [flag, value] in [
            ["--config", "c.toml"],
            ["--listen", "127.0.0.1:1"],
            ["--data-dir", "d"],
            ["--set", "amqp.heartbeat=5s"],
        ] {
            let output = leveret(&directory, &[command, flag, value]);
            assert_eq!(output.status.code(), Some(2), "{command} {flag}: {output:?}");
            let complaint = format!("{flag} counts for nothing in `leveret {command}`");
            assert!(text(&output.stderr).contains(&complaint), "{output:?}");
        }
    }
}

#[test]
fn log_lines_are_json_if_the_configuration_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--listen", "127.0.0.1:0", "--set", "log.format=json"])
        .current_dir(&directory)
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let read = BufReader::new(broker.stdout.take().unwrap()).read_line(&mut line);
    broker.kill().unwrap();
    broker.wait().unwrap();
    read.unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).expect(&line);
    assert_eq!(event["fields"]["message"], "Server startup complete");
    assert_eq!(event["level"], "INFO");
}

#[test]
fn serving_with_a_bad_configuration_exits_with_one_and_names_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let output = leveret(&directory, &["--set", "amqp.heartbeat=soon"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stderr).starts_with("leveret: --set: amqp.heartbeat: "),
        "{output:?}"
    );
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing was made");
}
