//! Every field of a dead letter's history, and where it may go on.

use super::*;

const NOW: u64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000 + 999)
}

fn target(routing_key: Option<&str>) -> DeadLetterTarget {
    DeadLetterTarget {
        exchange: "dlx".into(),
        routing_key: routing_key.map(Into::into),
        at_least_once: false,
    }
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    table
}

fn array(values: &[AMQPValue]) -> AMQPValue {
    let mut array = FieldArray::default();
    for value in values {
        array.push(value.clone());
    }
    AMQPValue::FieldArray(array)
}

/// A message with these headers and this expiration, persistent, of priority 7.
fn message(headers: &FieldTable, expiration: Option<&str>) -> Message {
    let mut properties = vec![0x18, 0x00, 2, 7];
    if let Some(expiration) = expiration {
        properties[0] |= 1;
        properties.push(u8::try_from(expiration.len()).unwrap());
        properties.extend_from_slice(expiration.as_bytes());
    }
    let mut entries = Vec::new();
    field_table::write(&mut entries, headers);
    let properties = content::with_headers(&properties, Some(&entries));
    Message::new(b"orders", b"placed", &properties, b"body")
}

fn headers(message: &Message) -> FieldTable {
    let range = content::headers_range(message.properties()).expect("it has headers");
    field_table::to_owned(&message.properties()[range])
}

fn header(message: &Message, key: &str) -> AMQPValue {
    let headers = headers(message);
    let found = headers.inner().get(key);
    found.unwrap_or_else(|| panic!("{key} is missing")).clone()
}

/// The entries of x-death.
fn deaths(message: &Message) -> Vec<FieldTable> {
    let AMQPValue::FieldArray(deaths) = header(message, "x-death") else {
        panic!("x-death is an array");
    };
    let deaths = deaths.as_slice().iter().map(|death| match death {
        AMQPValue::FieldTable(death) => death.clone(),
        other => panic!("{other:?} is no death"),
    });
    deaths.collect()
}

fn die(message: &Message, reason: DeathReason, queue: &str) -> Burial {
    Burial::new(message, reason, queue, &target(None), now())
}

#[test]
fn a_dead_letter_tells_where_it_died_and_what_a_client_says_is_not_believed() {
    let mut sent = FieldTable::default();
    let claimed = table(&[("queue", text("q")), ("exchange", text("x"))]);
    sent.insert("x-death".into(), array(&[AMQPValue::FieldTable(claimed)]));
    let message = message(&sent, None);
    assert!(!has_died_in(&message, "q") && !was_published_to(&message, "x"));
    let once = die(&message, DeathReason::Rejected, "a").message;
    let twice = die(&once, DeathReason::Expired, "b").message;
    for (queue, is_one) in [("a", true), ("b", true), ("q", false), ("", false)] {
        assert_eq!(has_died_in(&twice, queue), is_one, "{queue}");
    }
    for (exchange, is_one) in [("orders", true), ("dlx", true), ("x", false)] {
        assert_eq!(was_published_to(&twice, exchange), is_one, "{exchange}");
    }
}

/// `exchange`, `queue` and `reason` of the first or last death.
fn told(message: &Message, which: &str) -> [AMQPValue; 3] {
    ["exchange", "queue", "reason"].map(|part| header(message, &format!("x-{which}-death-{part}")))
}

#[test]
fn the_first_death_is_told_in_full() {
    let burial = die(&message(&table(&[]), Some("250")), DeathReason::Expired, "q");
    let expected = table(&[
        ("count", AMQPValue::LongLongInt(1)),
        ("reason", text("expired")),
        ("queue", text("q")),
        ("time", AMQPValue::Timestamp(NOW)),
        ("exchange", text("orders")),
        ("routing-keys", array(&[text("placed")])),
        ("original-expiration", text("250")),
    ]);
    assert_eq!(deaths(&burial.message), [expected]);
    for which in ["first", "last"] {
        let expected = [text("orders"), text("q"), text("expired")];
        assert_eq!(told(&burial.message, which), expected, "{which} death");
    }
}

/// Clients look at the tags: Java, Go and .NET refuse `L`.
#[test]
fn fields_have_the_tags_that_clients_read() {
    let burial = die(&message(&table(&[]), Some("1")), DeathReason::Rejected, "q");
    let bytes = burial.message.properties();
    for field in [
        &b"\x07x-deathA"[..],
        b"\x05countl",
        b"\x06reasonS",
        b"\x05queueS",
        b"\x04timeT",
        b"\x08exchangeS",
        b"\x0crouting-keysA",
        b"\x13original-expirationS",
        b"\x16x-first-death-exchangeS",
        b"\x13x-first-death-queueS",
        b"\x14x-first-death-reasonS",
        b"\x15x-last-death-exchangeS",
        b"\x12x-last-death-queueS",
        b"\x13x-last-death-reasonS",
    ] {
        let is_there = bytes.windows(field.len()).any(|window| window == field);
        assert!(is_there, "{}", String::from_utf8_lossy(field));
    }
}

#[test]
fn every_reason_has_its_name() {
    for (reason, name) in [
        (DeathReason::Rejected, "rejected"),
        (DeathReason::Expired, "expired"),
        (DeathReason::MaxLength, "maxlen"),
        (DeathReason::DeliveryLimit, "delivery_limit"),
    ] {
        let burial = die(&message(&table(&[]), None), reason, "q");
        assert_eq!(deaths(&burial.message)[0].inner()["reason"], text(name));
    }
}

#[test]
fn a_death_again_is_counted_and_comes_to_the_front() {
    let target = target(None);
    let later = |seconds| Timestamp::from_millis((NOW + seconds) * 1000);
    let first = Burial::new(
        &message(&table(&[]), Some("250")),
        DeathReason::Expired,
        "q",
        &target,
        now(),
    );
    let second = Burial::new(&first.message, DeathReason::Expired, "r", &target, later(5));
    let third = Burial::new(&second.message, DeathReason::Expired, "q", &target, later(9));
    let [of_q, of_r] = &deaths(&third.message)[..] else {
        panic!("one entry per queue and reason");
    };
    let expected = table(&[
        ("count", AMQPValue::LongLongInt(2)),
        ("reason", text("expired")),
        ("queue", text("q")),
        ("time", AMQPValue::Timestamp(NOW)),
        ("exchange", text("orders")),
        ("routing-keys", array(&[text("placed")])),
        ("original-expiration", text("250")),
    ]);
    assert_eq!(*of_q, expected, "only the count has changed");
    let expected = table(&[
        ("count", AMQPValue::LongLongInt(1)),
        ("reason", text("expired")),
        ("queue", text("r")),
        ("time", AMQPValue::Timestamp(NOW + 5)),
        ("exchange", text("dlx")),
        ("routing-keys", array(&[text("placed")])),
    ]);
    assert_eq!(*of_r, expected);
    let first_death = [text("orders"), text("q"), text("expired")];
    assert_eq!(told(&third.message, "first"), first_death);
    let last_death = [text("dlx"), text("q"), text("expired")];
    assert_eq!(told(&third.message, "last"), last_death);
}

#[test]
fn another_reason_is_another_death() {
    let first = die(&message(&table(&[]), None), DeathReason::Rejected, "q");
    let second = die(&first.message, DeathReason::MaxLength, "q");
    let reasons: Vec<_> = deaths(&second.message)
        .iter()
        .map(|death| (death.inner()["reason"].clone(), death.inner()["count"].clone()))
        .collect();
    let one = AMQPValue::LongLongInt(1);
    assert_eq!(reasons, [(text("maxlen"), one.clone()), (text("rejected"), one)]);
}

#[test]
fn what_a_client_says_of_deaths_is_replaced() {
    let lie = table(&[
        ("count", AMQPValue::LongLongInt(5)),
        ("reason", text("expired")),
        ("queue", text("q")),
    ]);
    let lies = table(&[
        ("x-death", array(&[AMQPValue::FieldTable(lie)])),
        ("x-first-death-exchange", text("lie")),
        ("x-first-death-queue", text("lie")),
        ("x-first-death-reason", text("lie")),
        ("x-last-death-exchange", text("lie")),
        ("x-last-death-queue", text("lie")),
        ("x-last-death-reason", text("lie")),
        ("x-other", text("kept")),
    ]);
    let burial = die(&message(&lies, None), DeathReason::Expired, "r");
    assert!(burial.may_enter("q"), "a client's word closes nothing");
    let deaths = deaths(&burial.message);
    assert_eq!(deaths.len(), 1);
    assert_eq!(deaths[0].inner()["queue"], text("r"));
    assert_eq!(deaths[0].inner()["count"], AMQPValue::LongLongInt(1));
    for which in ["first", "last"] {
        assert_eq!(
            told(&burial.message, which),
            [text("orders"), text("r"), text("expired")]
        );
    }
    let headers = headers(&burial.message);
    assert_eq!(headers.inner().len(), 8, "each once: {headers:?}");
    assert_eq!(headers.inner()["x-other"], text("kept"));
}

/// A consumer that publishes a dead letter again sends its history as any client would.
#[test]
fn a_history_is_believed_only_while_the_broker_carries_it() {
    let first = die(&message(&table(&[]), None), DeathReason::Expired, "q");
    let again = Message::new(b"orders", b"placed", first.message.properties(), b"body");
    let second = die(&again, DeathReason::Expired, "q");
    assert_eq!(
        deaths(&second.message)[0].inner()["count"],
        AMQPValue::LongLongInt(1)
    );
    let stored = Message::decode(&first.message.encoded(), first.message.is_dead_letter()).unwrap();
    let second = die(&stored, DeathReason::Expired, "q");
    assert_eq!(
        deaths(&second.message)[0].inner()["count"],
        AMQPValue::LongLongInt(2)
    );
}

#[test]
fn everything_else_stays_as_it_was() {
    let mine = table(&[("a", AMQPValue::Boolean(true)), ("CC", array(&[text("copy")]))]);
    let before = message(&mine, Some("250"));
    let after = die(&before, DeathReason::Expired, "q").message;
    assert_eq!(after.body(), before.body());
    assert_eq!(
        (after.exchange(), after.routing_key()),
        (&b"dlx"[..], &b"placed"[..])
    );
    assert_eq!((after.is_persistent(), after.priority()), (true, 7));
    assert_eq!(after.expiration(), None, "it would expire again");
    let headers = headers(&after);
    for (key, value) in mine.inner() {
        assert_eq!(headers.inner().get(key.as_str()), Some(value));
    }
    let bare = content::with_headers(after.properties(), None);
    assert_eq!(bare, [0x18, 0x00, 2, 7]);
}

#[test]
fn a_message_without_headers_gets_some() {
    let message = Message::new(b"", b"q", &[0, 0], b"");
    let burial = die(&message, DeathReason::Rejected, "q");
    assert_eq!(headers(&burial.message).inner().len(), 7);
    assert_eq!(deaths(&burial.message)[0].inner()["exchange"], text(""));
}

#[test]
fn copies_go_along_unless_the_queue_names_a_key() {
    let copied = message(&table(&[("CC", array(&[text("one"), text("two")]))]), None);
    let keys = |target: &DeadLetterTarget| {
        let burial = Burial::new(&copied, DeathReason::Rejected, "q", target, now());
        let told = deaths(&burial.message)[0].inner()["routing-keys"].clone();
        assert_eq!(told, array(&[text("placed"), text("one"), text("two")]));
        assert_eq!(header(&burial.message, "CC"), array(&[text("one"), text("two")]));
        assert_eq!(burial.message.routing_key(), burial.routing_keys[0]);
        burial.routing_keys
    };
    assert_eq!(keys(&target(None)), [&b"placed"[..], b"one", b"two"]);
    assert_eq!(keys(&target(Some("dead"))), [b"dead"]);
    assert_eq!(keys(&target(Some(""))), [b""]);
}

#[test]
fn copies_count_no_more_once_a_queue_has_named_a_key() {
    let copied = message(&table(&[("CC", array(&[text("one")]))]), None);
    for (key, expected) in [(Some("dead"), &[&b"dead"[..]][..]), (None, &[b"placed", b"one"])] {
        let once = Burial::new(&copied, DeathReason::Rejected, "q", &target(key), now());
        let twice = die(&once.message, DeathReason::Rejected, "dead");
        assert_eq!(twice.routing_keys, expected);
        let told: Vec<_> = expected.iter().map(|key| bytes(key)).collect();
        assert_eq!(deaths(&twice.message)[0].inner()["routing-keys"], array(&told));
        assert_eq!(header(&twice.message, "CC"), array(&[text("one")]));
    }
}

#[test]
fn copies_that_are_no_keys_are_passed_over() {
    let long = "k".repeat(256);
    let odd = table(&[("CC", array(&[AMQPValue::Boolean(true), text(&long), text("one")]))]);
    let burial = die(&message(&odd, None), DeathReason::Rejected, "q");
    assert_eq!(burial.routing_keys, [&b"placed"[..], b"one"]);
    let odd = table(&[("CC", text("one"))]);
    let burial = die(&message(&odd, None), DeathReason::Rejected, "q");
    assert_eq!(burial.routing_keys, [b"placed"]);
}

/// Deaths in their order, and which queues the last one closes and leaves open.
#[test]
fn cycles_that_no_consumer_has_a_hand_in_are_closed() {
    use DeathReason::{DeliveryLimit, Expired, MaxLength, Rejected};
    type Row<'a> = (&'a [(&'a str, DeathReason)], &'a [&'a str], &'a [&'a str]);
    let rows: [Row<'_>; 13] = [
        (&[("q", Expired)], &["q"], &["r"]),
        (&[("q", MaxLength)], &["q"], &["r"]),
        (&[("q", DeliveryLimit)], &["q"], &["r"]),
        (&[("q", Rejected)], &[], &["q"]),
        (&[("q", Expired), ("r", Expired)], &["q", "r"], &["s"]),
        (&[("q", Expired), ("r", MaxLength)], &["q", "r"], &["s"]),
        // A consumer refuses, a queue delays, and it comes back: for ever.
        (&[("q", Rejected), ("r", Expired)], &["r"], &["q"]),
        (
            &[("q", Rejected), ("r", Expired), ("q", Rejected), ("r", Expired)],
            &["r"],
            &["q"],
        ),
        // A refusal since then opens what was closed.
        (
            &[("q", Expired), ("r", Rejected), ("s", Expired)],
            &["s"],
            &["q", "r"],
        ),
        (&[("q", Expired), ("q", Rejected), ("r", Expired)], &["r"], &["q"]),
        // A death after the refusal closes.
        (&[("q", Rejected), ("q", Expired)], &["q"], &[]),
        // Nothing is looked at when it is refused now.
        (
            &[("q", Expired), ("r", Expired), ("s", Rejected)],
            &[],
            &["q", "r", "s"],
        ),
        (&[("q", Expired), ("r", Rejected), ("q", Expired)], &["q"], &["r"]),
    ];
    for (history, closed, open) in rows {
        let mut letter = message(&table(&[]), None);
        let mut last = None;
        for (queue, reason) in history {
            let burial = die(&letter, *reason, queue);
            letter = burial.message.clone();
            last = Some(burial);
        }
        let burial = last.expect("each row has a death");
        for queue in closed {
            assert!(!burial.may_enter(queue), "{queue} after {history:?}");
        }
        for queue in open {
            assert!(burial.may_enter(queue), "{queue} after {history:?}");
        }
    }
}

/// Such names are refused where they are given; they must not end the broker wherever they come from.
#[test]
fn names_that_no_delivery_can_carry_are_cut() {
    let long: String = "x".repeat(256);
    let target = DeadLetterTarget {
        exchange: long.as_str().into(),
        routing_key: Some(long.as_str().into()),
        at_least_once: false,
    };
    let burial = Burial::new(
        &message(&table(&[]), None),
        DeathReason::Expired,
        "q",
        &target,
        now(),
    );
    assert_eq!(burial.message.exchange(), &long.as_bytes()[1..]);
    assert_eq!(burial.message.routing_key(), &long.as_bytes()[1..]);
}
