//! What arguments come to.

use super::*;

fn of(queue_type: QueueType, entries: &[(&str, AMQPValue)]) -> QueueSettings {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    QueueSettings::new(&table, queue_type)
}

fn from(entries: &[(&str, AMQPValue)]) -> QueueSettings {
    of(QueueType::Classic, entries)
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[test]
fn no_arguments_ask_for_nothing() {
    assert_eq!(from(&[]), QueueSettings::default());
    assert_eq!(from(&[("x-foo", text("bar"))]), QueueSettings::default());
}

#[test]
fn each_argument_sets_what_it_names() {
    let settings = from(&[
        ("x-message-ttl", AMQPValue::LongInt(60_000)),
        ("x-expires", AMQPValue::LongLongInt(1_800_000)),
        ("x-max-length", AMQPValue::ShortShortUInt(200)),
        ("x-max-length-bytes", AMQPValue::LongUInt(4_000_000_000)),
        ("x-overflow", text("reject-publish-dlx")),
        ("x-dead-letter-exchange", text("dlx")),
        ("x-dead-letter-routing-key", text("dead")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-delivery-limit", AMQPValue::ShortInt(5)),
        ("x-consumer-timeout", AMQPValue::LongInt(30_000)),
        ("x-delayed-retry-type", text("returned")),
        ("x-delayed-retry-min", AMQPValue::LongInt(100)),
        ("x-delayed-retry-max", AMQPValue::LongInt(500)),
    ]);
    let expected = QueueSettings {
        message_ttl: Some(60_000),
        expires: Some(1_800_000),
        max_length: Some(200),
        max_length_bytes: Some(4_000_000_000),
        overflow: Overflow::RejectPublishDlx,
        dead_letter: Some(DeadLetterTarget {
            exchange: "dlx".into(),
            routing_key: Some("dead".into()),
            at_least_once: true,
        }),
        delivery_limit: Some(5),
        consumer_timeout: Some(30_000),
        delayed_retry: Some(DelayedRetry {
            kind: RetryKind::Returned,
            min: 100,
            max: 500,
        }),
    };
    assert_eq!(settings, expected);
}

#[test]
fn zero_is_a_limit_and_not_its_absence() {
    let zero = AMQPValue::LongInt(0);
    assert_eq!(from(&[("x-message-ttl", zero.clone())]).message_ttl, Some(0));
    assert_eq!(from(&[("x-max-length", zero.clone())]).max_length, Some(0));
    assert_eq!(
        from(&[("x-max-length-bytes", zero.clone())]).max_length_bytes,
        Some(0)
    );
    assert_eq!(from(&[("x-delivery-limit", zero)]).delivery_limit, Some(0));
}

#[test]
fn a_delivery_limit_that_is_negative_or_huge_is_out_of_reach() {
    let limit = |value| from(&[("x-delivery-limit", value)]).delivery_limit;
    assert_eq!(limit(AMQPValue::LongInt(-1)), Some(u32::MAX));
    assert_eq!(limit(AMQPValue::LongLongInt(i64::MIN)), Some(u32::MAX));
    assert_eq!(limit(AMQPValue::LongLongInt(i64::MAX)), Some(u32::MAX));
}

#[test]
fn a_quorum_queue_has_a_timeout_and_where_dead_letters_go_a_limit() {
    let quorum = |entries: &[(&str, AMQPValue)]| of(QueueType::Quorum, entries);
    let bare = quorum(&[]);
    assert_eq!(
        (bare.consumer_timeout, bare.delivery_limit),
        (Some(1_800_000), None)
    );
    let dead_letters = ("x-dead-letter-exchange", text("dlx"));
    assert_eq!(
        quorum(std::slice::from_ref(&dead_letters)).delivery_limit,
        Some(20)
    );
    let minus = ("x-delivery-limit", AMQPValue::LongInt(-1));
    assert_eq!(
        quorum(&[dead_letters.clone(), minus]).delivery_limit,
        Some(u32::MAX)
    );
    let own = quorum(&[
        dead_letters,
        ("x-delivery-limit", AMQPValue::LongInt(0)),
        ("x-consumer-timeout", AMQPValue::LongInt(0)),
    ]);
    assert_eq!((own.consumer_timeout, own.delivery_limit), (Some(0), Some(0)));
}

#[test]
fn values_of_the_wrong_kind_count_as_absent() {
    let wrong = from(&[
        ("x-message-ttl", text("60000")),
        ("x-expires", AMQPValue::Double(1.0)),
        ("x-max-length", AMQPValue::LongInt(-1)),
        ("x-max-length-bytes", AMQPValue::Boolean(true)),
        ("x-overflow", AMQPValue::LongInt(1)),
        ("x-dead-letter-exchange", AMQPValue::LongInt(1)),
        ("x-dead-letter-routing-key", text("dead")),
        ("x-delivery-limit", AMQPValue::Void),
        ("x-consumer-timeout", AMQPValue::Timestamp(1)),
        ("x-delayed-retry-type", text("sometimes")),
    ]);
    assert_eq!(wrong, QueueSettings::default());
}

#[test]
fn overflow_rules_and_kinds_of_retry_have_names() {
    let overflow = |name| from(&[("x-overflow", text(name))]).overflow;
    assert_eq!(overflow("drop-head"), Overflow::DropHead);
    assert_eq!(overflow("reject-publish"), Overflow::RejectPublish);
    assert_eq!(overflow("reject-publish-dlx"), Overflow::RejectPublishDlx);
    let retry = |name| from(&[("x-delayed-retry-type", text(name))]).delayed_retry;
    let kind = |name| retry(name).map(|retry| retry.kind);
    assert_eq!(kind("all"), Some(RetryKind::All));
    assert_eq!(kind("failed"), Some(RetryKind::Failed));
    assert_eq!(kind("returned"), Some(RetryKind::Returned));
    assert_eq!(kind("disabled"), None);
}

#[test]
fn a_rest_grows_with_the_returns_up_to_its_maximum() {
    let rests = |min, max| {
        let retry = DelayedRetry::new(RetryKind::All, min, max);
        [0, 1, 2, 3, u32::MAX].map(|returns| retry.rest(returns))
    };
    assert_eq!(rests(Some(100), Some(250)), [100, 100, 200, 250, 250]);
    assert_eq!(rests(Some(0), Some(250)), [0; 5]);
    assert_eq!(rests(None, None), [1_000, 1_000, 2_000, 3_000, 60_000]);
    assert_eq!(
        rests(Some(100_000), None),
        [100_000; 5],
        "a minute is less than the minimum"
    );
    assert_eq!(rests(Some(100), Some(10)), [10; 5], "the maximum wins");
    let long = rests(Some(u64::MAX / 2), Some(u64::MAX));
    assert_eq!(long[4], u64::MAX, "it does not wrap around");
}
