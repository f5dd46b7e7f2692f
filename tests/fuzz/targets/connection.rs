//! A whole connection: how far it has come, how its bytes are cut, then bytes that may be anything.
//!
//! Whatever is said, the broker answers in AMQP, ends what has to end, answers the same however the bytes are cut,
//! serves others, and starts again from what it stored.

use crate::memory::within;
use crate::node::Node;
use crate::wire::{Arg, NO_TABLE, TICKET, content, content_with, method};

use super::conversation::{Conversation, Heard, node};

/// How far a connection has come before the input, by its first byte.
pub const STAGES: u8 = 10;

/// Room for a broker with nothing to do.
const BROKER_BYTES: usize = 4 << 20;

pub fn run(input: &[u8]) {
    let [stage, cut, said @ ..] = input else { return };
    let lead = lead(stage % STAGES);
    let whole = [usize::MAX];
    let cut = match cut % 8 {
        0 => [1, 1, 1],
        7 => [8, 4096, 1],
        other => [usize::from(other), usize::from(cut / 8) + 2, 19],
    };
    // What is heard may be more than what is said: messages come again, and go to many queues.
    let said_bytes = lead.len() + said.len();
    let limit = BROKER_BYTES + 2048 * said_bytes;
    let at_once = within(limit, || converse(&lead, said, &whole));
    let in_pieces = within(limit, || converse(&lead, said, &cut));
    is_the_same(&at_once, &in_pieces);
}

fn converse(lead: &[u8], said: &[u8], pieces: &[usize]) -> Heard {
    let mut node = node();
    let mut conversation = Conversation::new(&node);
    conversation.say(lead, &[usize::MAX]);
    conversation.say(said, pieces);
    // Heartbeats are missed, farewells not answered.
    let mut timeouts = 0;
    while timeouts < 8 && conversation.time_out() {
        timeouts += 1;
    }
    let heard = conversation.end();
    node.advance(60_000);
    node.fire();
    others_are_served(&node);
    let wall_clock = node.millis();
    node.crash(wall_clock);
    others_are_served(&node);
    heard
}

/// Where bytes are cut decides what comes first, a delivery or a reply: with a consumer, two answers can not be
/// compared. Nor can confirms where a channel has ended before all of them were due.
fn is_the_same(at_once: &Heard, in_pieces: &Heard) {
    // One that nobody was told of shows by what it gets, or by losing its queue.
    let has_consumer = |heard: &Heard| heard.has(60, 21) || heard.has(60, 30) || heard.deliveries > 0;
    if has_consumer(at_once) || has_consumer(in_pieces) {
        return;
    }
    assert_eq!(at_once.replies, in_pieces.replies);
    if [(10, 50), (10, 51), (20, 40), (20, 41)]
        .iter()
        .all(|(class, method)| !at_once.has(*class, *method))
    {
        assert_eq!(at_once.confirmed, in_pieces.confirmed);
    }
}

/// Another client comes, and finds a broker that works.
fn others_are_served(node: &Node) {
    let mut other = Conversation::new(node);
    let said = [
        opened(),
        method(1, (85, 10), &[Arg::Bits(0)]),
        method(1, (50, 10), &[TICKET, Arg::Short(""), Arg::Bits(2), NO_TABLE]),
    ];
    other.say(&said.concat(), &[usize::MAX]);
    // The broker names the queue: any other name the input could have used.
    let declare_ok = other.heard().replies[&1].last().cloned();
    let declare_ok = declare_ok.expect("it was declared");
    let len = usize::from(declare_ok[4]);
    let name = str::from_utf8(&declare_ok[5..5 + len]).expect("the broker's own name");
    let get = [TICKET, Arg::Short(name), Arg::Bits(1)];
    let said = [
        publish(name, false),
        method(1, (60, 70), &get),
        method(1, (60, 70), &get),
        method(1, (50, 40), &[TICKET, Arg::Short(name), Arg::Bits(0)]),
        method(0, (10, 50), &[Arg::U16(200), Arg::Short(""), TICKET, TICKET]),
    ];
    other.say(&said.concat(), &[usize::MAX]);
    let heard = other.end();
    let ids = |number: u16| -> Vec<u8> {
        let replies = heard.replies.get(&number).into_iter().flatten();
        replies.flat_map(|reply| [reply[1], reply[3]]).collect()
    };
    assert_eq!(ids(0), [10, 10, 10, 30, 10, 41, 10, 51]);
    assert_eq!(
        ids(1),
        [20, 11, 85, 11, 50, 11, 60, 71, 60, 72, 50, 41],
        "{:?}",
        heard.replies
    );
    assert_eq!(heard.confirmed[&1].len(), 1);
}

/// What is said before the input.
fn lead(stage: u8) -> Vec<u8> {
    let header = b"AMQP\0\0\x09\x01".to_vec();
    let with = |parts: &[Vec<u8>]| [opened(), parts.concat()].concat();
    match stage {
        0 => Vec::new(),
        1 => header,
        2 => [header, start_ok()].concat(),
        3 => [header, start_ok(), tune_ok()].concat(),
        4 => [header, start_ok(), tune_ok(), open()].concat(),
        5 => with(&[]),
        // Between the frames of a message.
        6 => with(&[queue(), publish_to("q")]),
        7 => with(&[queue(), publish_to("q"), content_start(17)]),
        // Confirms, with something in a queue, and a consumer.
        8 => with(&[
            method(1, (85, 10), &[Arg::Bits(0)]),
            queue(),
            publish("q", true),
            method(
                1,
                (60, 20),
                &[TICKET, Arg::Short("q"), Arg::Short("c"), Arg::Bits(0), NO_TABLE],
            ),
        ]),
        _ => with(&[
            method(1, (90, 10), &[]),
            queue(),
            publish("q", true),
            publish("q", false),
        ]),
    }
}

fn start_ok() -> Vec<u8> {
    // Told of everything that a client may be told.
    let capabilities =
        b"\x16consumer_cancel_notifyt\x01\x12connection.blockedt\x01\x1cauthentication_failure_closet\x01";
    let mut properties = b"\x0ccapabilitiesF".to_vec();
    properties.extend(u32::try_from(capabilities.len()).expect("small").to_be_bytes());
    properties.extend(capabilities);
    let login = [
        Arg::Long(&properties),
        Arg::Short("PLAIN"),
        Arg::Long(b"\0guest\0guest"),
        Arg::Short("en_US"),
    ];
    method(0, (10, 11), &login)
}

fn tune_ok() -> Vec<u8> {
    method(0, (10, 31), &[Arg::U16(2047), Arg::U32(131_072), Arg::U16(60)])
}

fn open() -> Vec<u8> {
    method(0, (10, 40), &[Arg::Short("/"), Arg::Short(""), Arg::Bits(0)])
}

/// All that leads to channel 1.
fn opened() -> Vec<u8> {
    let channel = method(1, (20, 10), &[Arg::Short("")]);
    [
        b"AMQP\0\0\x09\x01".to_vec(),
        start_ok(),
        tune_ok(),
        open(),
        channel,
    ]
    .concat()
}

fn queue() -> Vec<u8> {
    method(1, (50, 10), &[TICKET, Arg::Short("q"), Arg::Bits(2), NO_TABLE])
}

fn publish(queue: &str, has_headers: bool) -> Vec<u8> {
    let headers = has_headers.then_some("v");
    [publish_to(queue), content(1, true, headers, b"body")].concat()
}

fn publish_to(queue: &str) -> Vec<u8> {
    method(
        1,
        (60, 40),
        &[TICKET, Arg::Short(""), Arg::Short(queue), Arg::Bits(0)],
    )
}

/// A content header; the body is missing.
fn content_start(len: usize) -> Vec<u8> {
    let mut content = content_with(1, &[0, 0], &vec![0; len]);
    content.truncate(content.len() - len - 8);
    content
}
