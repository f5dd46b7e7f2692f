//! What matches what, and the index against a matcher that walks every binding.

use std::collections::{BTreeMap, BTreeSet};

use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use proptest::prelude::*;

use super::*;

fn entries(pairs: &[(&str, AMQPValue)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (name, value) in pairs {
        field_table::write_entry(&mut entries, name.as_bytes(), value);
    }
    entries
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn array(values: &[AMQPValue]) -> AMQPValue {
    let mut array = FieldArray::default();
    for value in values {
        array.push(value.clone());
    }
    AMQPValue::FieldArray(array)
}

fn table(pairs: &[(&str, AMQPValue)]) -> AMQPValue {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    AMQPValue::FieldTable(table)
}

fn route(headers: &Headers<usize>, message: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    headers.route(message, &mut |destination| {
        found.insert(*destination);
    });
    found
}

/// Binds, asks, and sees to it that unbinding leaves nothing.
fn matches(arguments: &[(&str, AMQPValue)], message: &[(&str, AMQPValue)]) -> bool {
    let mut headers = Headers::default();
    let arguments = entries(arguments);
    headers.add(&arguments, 1);
    let matched = !route(&headers, &entries(message)).is_empty();
    headers.remove(&arguments, &1);
    assert!(headers.unconditional.is_empty() && headers.all.is_empty() && headers.any.is_empty());
    matched
}

#[test]
fn values_are_equal_within_their_class_only() {
    let classes: Vec<Vec<AMQPValue>> = vec![
        vec![
            AMQPValue::ShortShortInt(1),
            AMQPValue::ShortShortUInt(1),
            AMQPValue::ShortInt(1),
            AMQPValue::ShortUInt(1),
            AMQPValue::LongInt(1),
            AMQPValue::LongUInt(1),
            AMQPValue::LongLongInt(1),
        ],
        vec![AMQPValue::LongInt(-1), AMQPValue::ShortShortInt(-1)],
        vec![AMQPValue::ShortShortUInt(255), AMQPValue::LongLongInt(255)],
        vec![AMQPValue::Float(1.0), AMQPValue::Double(1.0)],
        vec![
            AMQPValue::Double(0.0),
            AMQPValue::Double(-0.0),
            AMQPValue::Float(-0.0),
        ],
        vec![text("1"), AMQPValue::ByteArray(b"1".as_slice().into())],
        vec![text("")],
        vec![AMQPValue::Boolean(true)],
        vec![AMQPValue::Boolean(false)],
        vec![AMQPValue::Timestamp(1)],
        vec![AMQPValue::DecimalValue(amq_protocol::types::DecimalValue {
            scale: 0,
            value: 1,
        })],
        vec![array(&[AMQPValue::LongInt(1)]), array(&[AMQPValue::ShortInt(1)])],
        vec![array(&[AMQPValue::LongInt(1), AMQPValue::LongInt(1)])],
        vec![array(&[array(&[]), array(&[])])],
        vec![array(&[array(&[array(&[])])])],
        vec![table(&[("a", text("x")), ("b", text("y"))])],
        vec![table(&[("a", text("x"))])],
    ];
    for (left, class) in classes.iter().enumerate() {
        for argument in class {
            for (right, others) in classes.iter().enumerate() {
                for value in others {
                    for way in ["all", "any"] {
                        let arguments = [("x-match", text(way)), ("h", argument.clone())];
                        let matched = matches(&arguments, &[("h", value.clone())]);
                        assert_eq!(matched, left == right, "{way}: {argument:?} and {value:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn modes_and_voids_match_as_rabbitmq_matches_them() {
    let one = || AMQPValue::LongInt(1);
    let way = |way: &str| ("x-match", text(way));
    let message = [("a", one()), ("b", text("x")), ("x-foo", one())];
    // arguments, matches the message, matches one without headers
    let rows = [
        (vec![], true, true),
        (vec![way("all")], true, true),
        (vec![way("any")], false, false),
        (vec![("a", one())], true, false),
        (vec![("a", one()), ("b", text("y"))], false, false),
        (vec![way("all"), ("a", one()), ("b", text("x"))], true, false),
        (vec![way("all"), ("a", one()), ("c", one())], false, false),
        (vec![way("any"), ("a", one()), ("c", one())], true, false),
        (vec![way("any"), ("a", text("1")), ("c", one())], false, false),
        (vec![("b", AMQPValue::Void)], true, false),
        (vec![("c", AMQPValue::Void)], false, false),
        (vec![("a", one()), ("b", AMQPValue::Void)], true, false),
        (vec![("a", text("no")), ("b", AMQPValue::Void)], false, false),
        (
            vec![way("any"), ("c", AMQPValue::Void), ("b", AMQPValue::Void)],
            true,
            false,
        ),
        (vec![("x-foo", text("no"))], true, true),
        (vec![way("any"), ("x-foo", one())], false, false),
        (vec![way("any"), ("x-foo", text("no")), ("a", one())], true, false),
        (vec![way("all-with-x")], true, true),
        (vec![way("all-with-x"), ("x-foo", one())], true, false),
        (vec![way("all-with-x"), ("x-foo", text("no"))], false, false),
        (vec![way("any-with-x")], false, false),
        (
            vec![way("any-with-x"), ("x-foo", one()), ("a", text("no"))],
            true,
            false,
        ),
        (vec![way("any-with-x"), ("x-foo", text("no"))], false, false),
    ];
    for (arguments, with_headers, without) in rows {
        assert_eq!(matches(&arguments, &message), with_headers, "{arguments:?}");
        assert_eq!(matches(&arguments, &[]), without, "{arguments:?} without headers");
    }
}

#[test]
fn of_a_repeated_header_the_first_counts() {
    let message = [("a", text("1")), ("a", text("2"))];
    assert!(matches(&[("a", text("1"))], &message));
    assert!(!matches(&[("a", text("2"))], &message));
    assert!(!matches(&[("x-match", text("any")), ("a", text("2"))], &message));
}

#[test]
fn headers_that_are_cut_count_as_far_as_they_parse() {
    let mut headers = Headers::default();
    headers.add(&entries(&[("a", AMQPValue::Void)]), 1);
    let mut message = entries(&[("a", text("1"))]);
    message.extend_from_slice(&[200, 1, 2]);
    assert_eq!(route(&headers, &message), BTreeSet::from([1]));
}

/// Walks all arguments, as the documentation of the headers exchange words the rule.
fn matches_naively(arguments: &BTreeMap<String, AMQPValue>, message: &BTreeMap<String, AMQPValue>) -> bool {
    let way = match arguments.get("x-match") {
        Some(AMQPValue::LongString(way)) => String::from_utf8_lossy(way.as_bytes()).into_owned(),
        _ => "all".to_owned(),
    };
    let counts = |name: &str| name != "x-match" && (way.ends_with("-with-x") || !name.starts_with("x-"));
    let equal = |left: &AMQPValue, right: &AMQPValue| match (left, right) {
        (AMQPValue::LongInt(left), AMQPValue::ShortInt(right)) => *left == i32::from(*right),
        (AMQPValue::ShortInt(left), AMQPValue::LongInt(right)) => i32::from(*left) == *right,
        (left, right) => left == right,
    };
    let mut asked = arguments.iter().filter(|(name, _)| counts(name));
    let met = |(name, wanted): (&String, &AMQPValue)| {
        let value = message.get(name);
        value.is_some_and(|value| *wanted == AMQPValue::Void || equal(wanted, value))
    };
    if way.starts_with("any") {
        asked.any(met)
    } else {
        asked.all(met)
    }
}

fn value() -> impl Strategy<Value = AMQPValue> {
    prop::sample::select(vec![
        AMQPValue::Void,
        AMQPValue::LongInt(1),
        AMQPValue::ShortInt(1),
        AMQPValue::LongInt(2),
        AMQPValue::Double(1.0),
        text("1"),
    ])
}

fn pairs() -> impl Strategy<Value = BTreeMap<String, AMQPValue>> {
    let name = prop::sample::select(vec!["a", "b", "c", "x-d"]).prop_map(str::to_owned);
    prop::collection::btree_map(name, value(), 0..4)
}

fn arguments() -> impl Strategy<Value = BTreeMap<String, AMQPValue>> {
    let way = prop::option::of(prop::sample::select(vec![
        "all",
        "any",
        "all-with-x",
        "any-with-x",
    ]));
    (pairs(), way).prop_map(|(mut pairs, way)| {
        pairs.extend(way.map(|way| ("x-match".to_owned(), text(way))));
        pairs
    })
}

fn raw(pairs: &BTreeMap<String, AMQPValue>) -> Vec<u8> {
    let mut raw = Vec::new();
    for (name, value) in pairs.iter().rev() {
        field_table::write_entry(&mut raw, name.as_bytes(), value);
    }
    raw
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_walk_over_all_bindings(
        bindings in prop::collection::vec(arguments(), 1..30),
        messages in prop::collection::vec(pairs(), 1..10),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut headers = Headers::default();
        for (number, arguments) in bindings.iter().enumerate() {
            headers.add(&raw(arguments), number);
        }
        let mut left = (0..bindings.len()).collect::<BTreeSet<_>>();
        for number in removed.iter().map(|index| index.index(bindings.len())) {
            if left.remove(&number) {
                headers.remove(&raw(&bindings[number]), &number);
            }
        }
        for message in &messages {
            let expected = left.iter().copied().filter(|number| matches_naively(&bindings[*number], message));
            prop_assert_eq!(route(&headers, &raw(message)), expected.collect::<BTreeSet<_>>(), "{:?}", message);
        }
        for number in left {
            headers.remove(&raw(&bindings[number]), &number);
        }
        prop_assert!(headers.unconditional.is_empty() && headers.all.is_empty() && headers.any.is_empty());
    }
}
