//! Which policy applies, what it does to arguments, and what is refused in which words.

use super::*;

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn number(number: i64) -> AMQPValue {
    AMQPValue::LongLongInt(number)
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn policy(name: &str, pattern: &str, priority: i64, definition: &[(&str, AMQPValue)]) -> Policy {
    Policy::new(
        PolicyKind::User,
        name,
        pattern,
        ApplyTo::All,
        priority,
        table(definition),
    )
    .unwrap()
}

fn error(kind: PolicyKind, definition: &[(&str, AMQPValue)]) -> Option<String> {
    Policy::new(kind, "p", "", ApplyTo::All, 0, table(definition))
        .err()
        .map(|error| error.to_string())
}

/// The name of the one user policy that applies.
fn applied(policies: &Policies, target: Target, name: &str) -> Option<String> {
    let applied = policies.applied(target, name);
    applied.user.map(|policy| policy.name.to_string())
}

/// Key, a value that it may not hold (a number, or else a word), and what the value is not.
const BAD_VALUES: &str = "
alternate-exchange | 1 | alternate exchange name
dead-letter-exchange | 1 | dead letter exchange name
dead-letter-routing-key | 1 | dead letter routing key
dead-letter-strategy | never | dead letter strategy
message-ttl | -1 | message TTL
message-ttl | x | message TTL
expires | 0 | queue expiry
max-length | a | maximum length
max-length | -1 | maximum length
max-length-bytes | -1 | maximum length in bytes
overflow | x | overflow value
overflow | 1 | overflow value
delivery-limit | x | delivery limit
consumer-timeout | -1 | consumer timeout
consumer-disconnected-timeout | -1 | consumer disconnected timeout
delayed-retry-type | some | delayed retry type
delayed-retry-min | -1 | delayed retry minimum
delayed-retry-max | -1 | delayed retry maximum
max-in-memory-length | -1 | maximum memory in bytes
max-in-memory-bytes | -1 | maximum memory in bytes
max-age | 7 | max age
max-age | 0D | max age
max-age | D | max age
max-age | 5w | max age
stream-max-segment-size-bytes | -1 | segment size
stream-filter-size-bytes | 15 | filter size
initial-cluster-size | -1 | cluster size
target-group-size | 0 | target group size
queue-version | 3 | queue version
queue-leader-locator | here | queue leader locator value
federation-upstream-set | 1 | federation upstream set
shards-per-node | x | number of shards";

#[test]
fn values_are_refused_in_rabbitmqs_words() {
    for row in BAD_VALUES.trim().lines() {
        let [key, value, noun] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three parts: {row}");
        };
        let (value, printed) = match value.parse() {
            Ok(value) => (number(value), value.to_string()),
            Err(_) => (text(value), format!("<<\"{value}\">>")),
        };
        assert_eq!(
            error(PolicyKind::User, &[(key, value)]),
            Some(format!("{printed} is not a valid {noun}")),
            "{row}"
        );
    }
    let double = error(PolicyKind::User, &[("message-ttl", AMQPValue::Double(1.5))]);
    assert_eq!(double.as_deref(), Some("1.5 is not a valid message TTL"));
    let empty = error(PolicyKind::User, &[("max-age", text(""))]);
    assert_eq!(empty.as_deref(), Some("<<>> is not a valid max age"));
}

#[test]
fn every_key_takes_what_it_should() {
    let rows: &[(&str, &[AMQPValue])] = &[
        ("alternate-exchange", &[text(""), text("x")]),
        ("dead-letter-exchange", &[text(""), text("x")]),
        ("dead-letter-routing-key", &[text("x")]),
        (
            "dead-letter-strategy",
            &[text("at-most-once"), text("at-least-once")],
        ),
        (
            "message-ttl",
            &[number(0), AMQPValue::LongInt(5), number(i64::MAX)],
        ),
        ("expires", &[number(1)]),
        ("max-length", &[number(0)]),
        ("max-length-bytes", &[number(0)]),
        (
            "overflow",
            &[
                text("drop-head"),
                text("reject-publish"),
                text("reject-publish-dlx"),
            ],
        ),
        ("delivery-limit", &[number(-1), number(0), number(20)]),
        ("consumer-timeout", &[number(0)]),
        ("consumer-disconnected-timeout", &[number(0)]),
        (
            "delayed-retry-type",
            &[text("disabled"), text("all"), text("failed"), text("returned")],
        ),
        ("delayed-retry-min", &[number(0)]),
        ("delayed-retry-max", &[number(0)]),
        ("max-in-memory-length", &[number(0)]),
        ("max-in-memory-bytes", &[number(0)]),
        ("target-group-size", &[number(1)]),
        ("max-age", &[text("7D"), text("10s")]),
        ("initial-cluster-size", &[number(0)]),
        ("stream-max-segment-size-bytes", &[number(0)]),
        ("stream-filter-size-bytes", &[number(16), number(255)]),
        ("queue-mode", &[text("lazy"), text("default"), text("other")]),
        ("queue-version", &[number(1), number(2)]),
        ("queue-leader-locator", &[text("balanced"), text("client-local")]),
        ("queue-master-locator", &[text("min-masters")]),
        ("ha-mode", &[text("all")]),
        ("ha-params", &[number(2), text("rabbit@a")]),
        ("federation-upstream-set", &[text("all")]),
    ];
    for (key, values) in rows {
        for value in *values {
            assert_eq!(
                error(PolicyKind::User, &[(key, value.clone())]),
                None,
                "{key} {value:?}"
            );
        }
    }
}

/// Every key, a value that it may hold, and whether operators may set it too.
const KEYS: &str = "
alternate-exchange | x | users
dead-letter-exchange | x | users
dead-letter-routing-key | x | users
dead-letter-strategy | at-least-once | users
message-ttl | 1 | operators
expires | 1 | operators
max-length | 1 | operators
max-length-bytes | 1 | operators
overflow | drop-head | operators
delivery-limit | 1 | operators
consumer-timeout | 1 | users
delayed-retry-type | all | operators
delayed-retry-min | 1 | operators
delayed-retry-max | 1 | operators
max-age | 7D | users
stream-max-segment-size-bytes | 1 | users
stream-filter-size-bytes | 16 | users
consumer-disconnected-timeout | 1 | users
max-in-memory-length | 1 | operators
max-in-memory-bytes | 1 | operators
target-group-size | 1 | operators
initial-cluster-size | 1 | users
queue-mode | lazy | users
queue-version | 1 | operators
queue-leader-locator | balanced | users
queue-master-locator | min-masters | users
ha-mode | all | users
ha-params | 1 | users
ha-sync-mode | automatic | users
ha-sync-batch-size | 1 | users
ha-promote-on-shutdown | always | users
ha-promote-on-failure | always | users
federation-upstream | x | users
federation-upstream-set | x | users
federation-upstream-pattern | x | users
shards-per-node | 1 | users
routing-key | x | users
";

#[test]
fn every_key_is_known_and_some_are_for_operators_too() {
    for row in KEYS.trim().lines() {
        let [key, value, whose] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let value = value.parse().map_or_else(|_| text(value), number);
        assert_eq!(error(PolicyKind::User, &[(key, value.clone())]), None, "{key}");
        let is_for_operators = error(PolicyKind::Operator, &[(key, value)]).is_none();
        assert_eq!(is_for_operators, whose == "operators", "{key}");
    }
}

#[test]
fn only_some_keys_are_for_operators() {
    let operators = [
        "expires",
        "message-ttl",
        "max-length",
        "max-length-bytes",
        "max-in-memory-length",
        "max-in-memory-bytes",
        "delivery-limit",
        "queue-version",
        "target-group-size",
        "delayed-retry-min",
        "delayed-retry-max",
    ];
    for key in operators {
        assert_eq!(error(PolicyKind::Operator, &[(key, number(1))]), None, "{key}");
    }
    for (key, value) in [("overflow", "drop-head"), ("delayed-retry-type", "all")] {
        assert_eq!(error(PolicyKind::Operator, &[(key, text(value))]), None, "{key}");
    }
    for key in [
        "alternate-exchange",
        "dead-letter-exchange",
        "dead-letter-routing-key",
        "ha-mode",
    ] {
        let found = error(PolicyKind::Operator, &[(key, text("x"))]);
        let expected = format!("[{{<<\"{key}\">>,<<\"x\">>}}] are not recognised policy settings");
        assert_eq!(found, Some(expected));
    }
}

#[test]
fn what_is_no_policy_is_refused_in_rabbitmqs_words() {
    assert_eq!(
        error(PolicyKind::User, &[]).as_deref(),
        Some("no policy provided")
    );
    let unknown = [("bar", text("x")), ("foo", number(1)), ("max-length", number(1))];
    assert_eq!(
        error(PolicyKind::User, &unknown).as_deref(),
        Some("[{<<\"bar\">>,<<\"x\">>},{<<\"foo\">>,1}] are not recognised policy settings")
    );
    let both = [("foo", number(1)), ("max-length", number(-1))];
    assert_eq!(
        error(PolicyKind::User, &both).as_deref(),
        Some("-1 is not a valid maximum length")
    );
    let definition = table(&[("max-length", number(1))]);
    let pattern = |pattern: &str| {
        let policy = Policy::new(
            PolicyKind::User,
            "p",
            pattern,
            ApplyTo::All,
            0,
            definition.clone(),
        );
        policy.unwrap_err().to_string()
    };
    assert_eq!(
        pattern("(open"),
        "pattern should be regular expression but is invalid: unclosed group"
    );
    assert!(pattern("((a{1000}){1000}){1000}").contains("size limit"));
    assert_eq!(
        ApplyTo::from_name("foo").unwrap_err().to_string(),
        "apply-to 'foo' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
         'exchanges', or 'all'"
    );
}

#[test]
fn apply_to_says_which_queues_and_exchanges() {
    let targets = [
        Target::Exchange,
        Target::ClassicQueue,
        Target::QuorumQueue,
        Target::Stream,
    ];
    let rows = [
        ("all", [true, true, true, true]),
        ("queues", [false, true, true, true]),
        ("classic_queues", [false, true, false, false]),
        ("quorum_queues", [false, false, true, false]),
        ("streams", [false, false, false, true]),
        ("exchanges", [true, false, false, false]),
    ];
    for (name, expected) in rows {
        let apply_to = ApplyTo::from_name(name).unwrap();
        assert_eq!(apply_to.name(), name);
        let definition = table(&[("max-length-bytes", number(1))]);
        let mut policies = Policies::default();
        let policy = Policy::new(PolicyKind::User, "p", ".*", apply_to, 0, definition).unwrap();
        policies.set(PolicyKind::User, policy);
        let found = targets.map(|target| applied(&policies, target, "x").is_some());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn patterns_are_searched_for_without_anchors() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("", &["", "a"], &[]),
        (".*", &["", "a"], &[]),
        ("b", &["abc", "b"], &["ac"]),
        ("^a\\.", &["a.b"], &["xa.b", "ab"]),
        ("^(?i)ORDERS$", &["orders"], &["order"]),
    ];
    for (pattern, yes, no) in rows {
        let mut policies = Policies::default();
        policies.set(
            PolicyKind::User,
            policy("p", pattern, 0, &[("max-length", number(1))]),
        );
        for name in *yes {
            assert!(
                applied(&policies, Target::ClassicQueue, name).is_some(),
                "{pattern} {name}"
            );
        }
        for name in *no {
            assert!(
                applied(&policies, Target::ClassicQueue, name).is_none(),
                "{pattern} {name}"
            );
        }
    }
}

#[test]
fn the_highest_priority_applies_alone_and_then_the_first_name() {
    let mut policies = Policies::default();
    let length = |n| [("max-length", number(n))];
    for (name, pattern, priority) in [
        ("low", "", -1),
        ("b", "^q", 5),
        ("c", "^q", 5),
        ("high", "^qq", 7),
    ] {
        policies.set(PolicyKind::User, policy(name, pattern, priority, &length(1)));
    }
    let find = |policies: &Policies, name: &str| applied(policies, Target::ClassicQueue, name);
    assert_eq!(find(&policies, "x").as_deref(), Some("low"));
    assert_eq!(find(&policies, "q").as_deref(), Some("b"));
    assert_eq!(find(&policies, "qq").as_deref(), Some("high"));
    policies.set(PolicyKind::User, policy("a", "^q", 5, &length(1)));
    assert_eq!(find(&policies, "q").as_deref(), Some("a"));
    policies.set(PolicyKind::User, policy("a", "^q", 4, &length(1)));
    assert_eq!(find(&policies, "q").as_deref(), Some("b"));
    assert_eq!(
        policies.of(PolicyKind::User).len(),
        5,
        "one is set in the place of another"
    );
    assert!(policies.clear(PolicyKind::User, "b"));
    assert!(!policies.clear(PolicyKind::User, "b"));
    assert!(!policies.clear(PolicyKind::Operator, "c"), "the kinds are apart");
    assert_eq!(find(&policies, "q").as_deref(), Some("c"));
}

#[test]
fn a_key_that_the_queues_type_does_not_have_keeps_the_policy_away() {
    // Key, value, and whether it leaves the policy to classic queues, quorum queues and streams.
    let rows = [
        ("alternate-exchange", text("x"), [true, true, true]),
        ("dead-letter-exchange", text("x"), [true, true, false]),
        ("dead-letter-strategy", text("at-most-once"), [false, true, false]),
        ("message-ttl", number(1), [true, true, false]),
        ("expires", number(1), [true, true, false]),
        ("max-length", number(1), [true, true, false]),
        ("max-length-bytes", number(1), [true, true, true]),
        ("overflow", text("drop-head"), [true, true, false]),
        ("delivery-limit", number(1), [true, true, false]),
        ("delayed-retry-min", number(1), [true, true, false]),
        ("consumer-timeout", number(1), [true, true, true]),
        ("max-in-memory-length", number(1), [false, true, false]),
        ("target-group-size", number(1), [false, true, false]),
        ("max-age", text("1D"), [false, false, true]),
        ("stream-max-segment-size-bytes", number(1), [false, false, true]),
        ("queue-mode", text("lazy"), [true, false, false]),
        ("ha-mode", text("all"), [true, false, false]),
        ("queue-leader-locator", text("random"), [true, true, true]),
    ];
    for (key, value, expected) in rows {
        let mut policies = Policies::default();
        let definition = [(key, value), ("max-length-bytes", number(1))];
        policies.set(PolicyKind::User, policy("p", "", 1, &definition));
        policies.set(
            PolicyKind::User,
            policy("next", "", 0, &[("max-length-bytes", number(2))]),
        );
        let targets = [Target::ClassicQueue, Target::QuorumQueue, Target::Stream];
        let found = targets.map(|target| applied(&policies, target, "q").as_deref() == Some("p"));
        assert_eq!(found, expected, "{key}");
        assert_eq!(
            applied(&policies, Target::Exchange, "e").as_deref(),
            Some("p"),
            "an exchange takes what concerns it"
        );
    }
}

/// What is in force for an argument, a policy and an operator policy with these values; nothing where there is none.
fn in_force(key: &str, values: [Option<AMQPValue>; 3]) -> Option<AMQPValue> {
    let [argument, user, operator] = values;
    let name = if key == "alternate-exchange" {
        key.to_owned()
    } else {
        format!("x-{key}")
    };
    let arguments = argument.map_or_else(FieldTable::default, |value| table(&[(&name, value)]));
    let of = |kind, value: Option<AMQPValue>| {
        value.map(|value| {
            let policy = Policy::new(kind, "p", "", ApplyTo::All, 0, table(&[(key, value)]));
            Arc::new(policy.unwrap())
        })
    };
    let applied = Applied {
        user: of(PolicyKind::User, user),
        operator: of(PolicyKind::Operator, operator),
    };
    applied.arguments(&arguments).inner().get(&*name).cloned()
}

#[test]
fn an_argument_a_policy_and_an_operators_policy_are_merged_by_the_keys_rule() {
    let n = |value| Some(number(value));
    for key in ["message-ttl", "expires", "max-length", "max-length-bytes"] {
        let rows = [
            ([n(5), None, None], n(5)),
            ([None, n(6), None], n(6)),
            ([None, None, n(7)], n(7)),
            ([n(5), n(6), None], n(5)),
            ([n(6), n(5), None], n(5)),
            ([n(7), None, n(5)], n(5)),
            ([None, n(7), n(5)], n(5)),
            ([None, n(5), n(7)], n(5)),
            ([n(5), n(6), n(7)], n(5)),
            ([n(7), n(6), n(5)], n(5)),
            ([n(7), n(5), n(6)], n(5)),
            ([None, None, None], None),
        ];
        for (values, expected) in rows {
            assert_eq!(in_force(key, values.clone()), expected, "{key} {values:?}");
        }
    }
    for key in [
        "dead-letter-exchange",
        "dead-letter-routing-key",
        "dead-letter-strategy",
        "alternate-exchange",
    ] {
        let (a, b) = (Some(text("at-most-once")), Some(text("at-least-once")));
        assert_eq!(in_force(key, [a.clone(), b.clone(), None]), a, "{key}");
        assert_eq!(in_force(key, [b.clone(), a.clone(), None]), b, "{key}");
        assert_eq!(in_force(key, [None, b.clone(), None]), b, "{key}");
    }
}

#[test]
fn overflow_and_retries_go_by_argument_and_then_by_operator() {
    let word = |word: &str| Some(text(word));
    let rows = [
        (
            "overflow",
            [
                word("drop-head"),
                word("reject-publish"),
                word("reject-publish-dlx"),
            ],
        ),
        (
            "delayed-retry-type",
            [word("all"), word("failed"), word("returned")],
        ),
        (
            "delayed-retry-min",
            [Some(number(3)), Some(number(2)), Some(number(1))],
        ),
        (
            "delayed-retry-max",
            [Some(number(1)), Some(number(2)), Some(number(3))],
        ),
    ];
    for (key, [argument, user, operator]) in rows {
        let merged = |argument, user, operator| in_force(key, [argument, user, operator]);
        assert_eq!(merged(argument.clone(), user.clone(), None), argument, "{key}");
        assert_eq!(
            merged(argument.clone(), user.clone(), operator.clone()),
            argument,
            "{key}"
        );
        assert_eq!(merged(None, user.clone(), operator.clone()), operator, "{key}");
        assert_eq!(merged(None, user.clone(), None), user, "{key}");
    }
}

#[test]
fn a_negative_delivery_limit_is_none_and_any_other_is_less() {
    let n = |value| Some(number(value));
    let rows = [
        ([n(3), n(5), None], n(3)),
        ([n(5), n(3), None], n(3)),
        ([n(-1), n(5), None], n(5)),
        ([n(5), n(-1), None], n(5)),
        ([n(-1), n(-2), None], n(-1)),
        ([None, n(5), n(-1)], n(5)),
        ([None, n(-1), n(4)], n(4)),
        ([n(9), n(7), n(8)], n(7)),
    ];
    for (values, expected) in rows {
        assert_eq!(in_force("delivery-limit", values.clone()), expected, "{values:?}");
    }
    let consumer_timeout = |argument, user| in_force("consumer-timeout", [n(argument), n(user), None]);
    assert_eq!((consumer_timeout(5, 3), consumer_timeout(3, 5)), (n(3), n(3)));
}

#[test]
fn operators_definitions_are_merged_key_by_key() {
    let of = |kind, definition: &[(&str, AMQPValue)]| {
        let policy = Policy::new(kind, "p", "", ApplyTo::All, 0, table(definition));
        Some(Arc::new(policy.unwrap()))
    };
    let both = Applied {
        user: of(
            PolicyKind::User,
            &[
                ("max-length", number(10)),
                ("target-group-size", number(3)),
                ("dead-letter-exchange", text("x")),
                ("queue-version", number(1)),
                ("ha-mode", text("all")),
            ],
        ),
        operator: of(
            PolicyKind::Operator,
            &[
                ("max-length", number(4)),
                ("target-group-size", number(1)),
                ("queue-version", number(2)),
                ("expires", number(9)),
            ],
        ),
    };
    let merged = table(&[
        ("max-length", number(4)),
        ("target-group-size", number(3)),
        ("dead-letter-exchange", text("x")),
        ("queue-version", number(2)),
        ("ha-mode", text("all")),
        ("expires", number(9)),
    ]);
    assert_eq!(both.definition(), merged);
    let arguments = table(&[("x-max-priority", number(3)), ("x-max-length", number(6))]);
    let in_force = table(&[
        ("x-max-priority", number(3)),
        ("x-max-length", number(4)),
        ("x-dead-letter-exchange", text("x")),
        ("x-expires", number(9)),
    ]);
    assert_eq!(
        both.arguments(&arguments).into_owned(),
        in_force,
        "what has no effect is left out"
    );
    assert!(matches!(
        Applied::default().arguments(&arguments),
        Cow::Borrowed(same) if *same == arguments
    ));
}

#[test]
fn keys_of_clusters_and_plugins_are_taken_and_told() {
    let definition = [
        ("ha-mode", text("all")),
        ("max-length", number(1)),
        ("queue-mode", text("lazy")),
        ("federation-upstream-set", text("all")),
    ];
    let policy = policy("p", "", 0, &definition);
    let told: Vec<_> = policy.without_effect().collect();
    assert_eq!(told, ["federation-upstream-set", "ha-mode", "queue-mode"]);
}
