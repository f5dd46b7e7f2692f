//! Where keys go, and how few of them move.

use std::collections::HashMap;

use amq_protocol::types::{AMQPValue, FieldTable};
use proptest::prelude::*;

use crate::amqp::content;
use crate::amqp::field_table::write;

use super::super::arguments::hashed_part;
use super::*;

const KEYS: u32 = 8_000;

fn exchange(weights: &[u32]) -> ConsistentHash<u32> {
    let mut exchange = ConsistentHash::new(HashedPart::RoutingKey);
    for (destination, weight) in (0..).zip(weights) {
        exchange.add(weight.to_string().as_bytes(), destination);
    }
    exchange
}

fn place(exchange: &ConsistentHash<u32>, keys: &[&[u8]], properties: &[u8]) -> Option<u32> {
    let criteria = Criteria {
        routing_keys: keys,
        properties,
    };
    let mut found = Vec::new();
    exchange.route(&criteria, &mut |destination| found.push(*destination));
    assert!(found.len() <= 1, "one destination per message, not {found:?}");
    found.pop()
}

fn places(exchange: &ConsistentHash<u32>) -> Vec<Option<u32>> {
    let place = |key: u32| place(exchange, &[format!("customer-{key}").as_bytes()], &[0, 0]);
    (0..KEYS).map(place).collect()
}

/// How many keys go to each.
fn shares(exchange: &ConsistentHash<u32>) -> HashMap<u32, u32> {
    let mut shares = HashMap::new();
    for destination in places(exchange).into_iter().flatten() {
        *shares.entry(destination).or_default() += 1;
    }
    shares
}

/// Within five standard deviations.
fn is_about(found: u32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 5.0 * expected.sqrt() + 1.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn who_comes_or_goes_moves_its_own_share_and_nothing_else(
        weights in prop::collection::vec(1..6u32, 2..12),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut exchange = exchange(&weights);
        let gone = gone.index(weights.len());
        let (key, destination) = (weights[gone].to_string(), u32::try_from(gone).unwrap());
        let all = places(&exchange);
        exchange.remove(key.as_bytes(), &destination);
        let without = places(&exchange);
        let mut moved = 0;
        for (before, after) in all.iter().zip(&without) {
            prop_assert_ne!(*after, Some(destination));
            if before != after {
                prop_assert_eq!(*before, Some(destination));
                moved += 1;
            }
        }
        let share = f64::from(KEYS) * f64::from(weights[gone]) / f64::from(weights.iter().sum::<u32>());
        prop_assert!(is_about(moved, share), "{} of {} moved, not {}", moved, KEYS, share);
        exchange.add(key.as_bytes(), destination);
        prop_assert_eq!(places(&exchange), all);
    }

    #[test]
    fn shares_are_in_proportion_to_weights(weights in prop::collection::vec(1..40u32, 1..8)) {
        let shares = shares(&exchange(&weights));
        let total = f64::from(weights.iter().sum::<u32>());
        for (destination, weight) in (0..).zip(&weights) {
            let expected = f64::from(KEYS) * f64::from(*weight) / total;
            let found = shares.get(&destination).copied().unwrap_or(0);
            prop_assert!(is_about(found, expected), "{} has {}, not {}", destination, found, expected);
        }
    }
}

#[test]
fn the_first_weight_of_a_destination_counts() {
    let one = shares(&exchange(&[1, 1]));
    let mut other = exchange(&[1, 1]);
    other.add(b"99", 0);
    assert_eq!(shares(&other), one);
    other.remove(b"1", &0);
    assert!(shares(&other)[&0] > KEYS * 9 / 10, "then the second");
    other.remove(b"99", &0);
    assert_eq!(shares(&other).get(&0), None);
}

#[test]
fn a_huge_weight_costs_nothing_and_takes_nearly_everything() {
    let mut exchange = exchange(&[1]);
    exchange.add(b"99999999999999", 1);
    assert!(shares(&exchange)[&1] > KEYS * 99 / 100);
}

#[test]
fn copies_do_not_count() {
    let exchange = exchange(&[1; 8]);
    for key in 0..100_u8 {
        let alone = place(&exchange, &[&[key]], &[0, 0]);
        assert_eq!(place(&exchange, &[&[key], b"cc", b"bcc"], &[0, 0]), alone);
    }
}

fn by(argument: &str, value: &str) -> ConsistentHash<u32> {
    let mut arguments = FieldTable::default();
    arguments.insert(argument.into(), AMQPValue::LongString(value.into()));
    let mut exchange = ConsistentHash::new(hashed_part(&arguments).expect("it is one"));
    (0..8).for_each(|destination| exchange.add(b"1", destination));
    exchange
}

/// Checks that the properties decide, and the routing key does not.
fn spreads(exchange: &ConsistentHash<u32>, properties: impl Fn(u32) -> Vec<u8>) {
    let mut found = HashMap::<u32, u32>::new();
    for n in 0..800 {
        let place_by = |key: &[u8]| place(exchange, &[key], &properties(n)).expect("somewhere");
        assert_eq!(place_by(b"a"), place_by(b"b"));
        *found.entry(place_by(b"a")).or_default() += 1;
    }
    assert!(
        found.len() == 8 && found.values().all(|count| (50..160).contains(count)),
        "{found:?}"
    );
    let absent = |key: &[u8]| place(exchange, &[key], &[0, 0]);
    assert!(absent(b"a").is_some() && absent(b"a") == absent(b"b"));
}

#[test]
fn a_header_or_a_property_is_hashed_if_the_arguments_say_so() {
    let headers = |value: AMQPValue| {
        let mut table = FieldTable::default();
        table.insert("other".into(), AMQPValue::Boolean(true));
        table.insert("customer".into(), value);
        let mut entries = Vec::new();
        write(&mut entries, &table);
        content::with_headers(&[0, 0], Some(&entries))
    };
    let text = |n: u32| AMQPValue::LongString(n.to_string().into());
    spreads(&by("hash-header", "customer"), |n| headers(text(n)));
    spreads(&by("hash-header", "customer"), |n| {
        headers(AMQPValue::LongUInt(n))
    });
    let short = |bit: u16, n: u32| {
        let text = n.to_string();
        let mut bytes = (1_u16 << bit).to_be_bytes().to_vec();
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.bytes());
        bytes
    };
    spreads(&by("hash-property", "correlation_id"), |n| short(10, n));
    spreads(&by("hash-property", "message_id"), |n| short(7, n));
    spreads(&by("hash-property", "timestamp"), |n| {
        [&(1_u16 << 6).to_be_bytes()[..], &u64::from(n).to_be_bytes()].concat()
    });
}
