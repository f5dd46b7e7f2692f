//! Inputs that nearly make sense: methods with arguments of the right kinds, tables, messages. What they name is
//! often there, and the numbers in them are those at which something changes.

use rand::RngExt;
use rand::rngs::StdRng;

/// Methods and their arguments: `o` an octet, `h` two, `w` four, `q` eight, `s` short string, `S` long string, `T` table,
/// and of the names `x` an exchange, `u` a queue, `k` a kind of exchange, `t` a consumer tag.
const METHODS: &[(u16, u16, &str)] = &[
    (10, 11, "TsSs"),
    (10, 31, "hwh"),
    (10, 40, "sso"),
    (10, 50, "hshh"),
    (10, 51, ""),
    (10, 70, "Ss"),
    (20, 10, "s"),
    (20, 20, "o"),
    (20, 40, "hshh"),
    (20, 41, ""),
    (30, 10, "so"),
    (40, 10, "hxkoT"),
    (40, 20, "hxo"),
    (40, 30, "hxxsoT"),
    (40, 40, "hxxsoT"),
    (50, 10, "huoT"),
    (50, 20, "huxsoT"),
    (50, 30, "huo"),
    (50, 40, "huo"),
    (50, 50, "huxsT"),
    (60, 10, "who"),
    (60, 20, "hutoT"),
    (60, 30, "to"),
    (60, 40, "hxuo"),
    (60, 70, "huo"),
    (60, 80, "qo"),
    (60, 90, "qo"),
    (60, 100, "o"),
    (60, 110, "o"),
    (60, 120, "qo"),
    (85, 10, "o"),
    (90, 10, ""),
    (90, 20, ""),
    (90, 30, ""),
];

const QUEUES: &[&str] = &["q", "", "r", "amq.rabbitmq.reply-to", "others", "q\n\u{1b}[2J"];
const EXCHANGES: &[&str] = &[
    "",
    "x",
    "y",
    "amq.direct",
    "amq.topic",
    "amq.fanout",
    "amq.match",
    "none",
];
const KINDS: &[&str] = &[
    "direct",
    "fanout",
    "topic",
    "headers",
    "x-consistent-hash",
    "x-modulus-hash",
    "x-random",
    "x-recent-history",
    "x-delayed-message",
    "x-message-deduplication",
    "x-jms-topic",
];
const TEXTS: &[&str] = &[
    "q", "r", "x", "guest", "1", "0", "-1", "60000", "#", "a.*.#", "PLAIN", "all", "any", "",
];

/// Keys that the broker looks for, in arguments and in headers.
const KEYS: &[&str] = &[
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-priority",
    "x-queue-type",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-consumer-timeout",
    "x-delayed-type",
    "x-message-deduplication",
    "x-cache-size",
    "x-cache-ttl",
    "x-deduplication-header",
    "hash-header",
    "hash-property",
    "alternate-exchange",
    "x-recent-history-length",
    "x-match",
    "x-priority",
    "CC",
    "BCC",
    "x-delay",
    "x-deliver-at",
    "x-death",
    "count",
    "queue",
    "k",
    "",
];
const WORDS: &[&str] = &[
    "q",
    "r",
    "x",
    "amq.fanout",
    "drop-head",
    "reject-publish",
    "reject-publish-dlx",
    "classic",
    "quorum",
    "stream",
    "at-least-once",
    "all",
    "any",
    "direct",
    "topic",
    "message_id",
    "1",
    "",
];

fn one<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

/// A number at which something changes.
pub fn number(random: &mut StdRng) -> u64 {
    let near = one(
        random,
        &[
            0, 1, 2, 3, 7, 8, 10, 32, 127, 128, 255, 256, 4096, 32_767, 32_768, 65_535, 65_536, 131_072,
            16_777_216,
        ],
    );
    let far = one(
        random,
        &[
            1 << 31,
            1 << 32,
            1 << 63,
            u64::MAX,
            i64::MAX as u64,
            1_000_000_000_000,
        ],
    );
    let base = if random.random_ratio(3, 4) { near } else { far };
    if random.random_ratio(1, 4) {
        base.wrapping_sub(1)
    } else {
        base
    }
}

/// A short string with its length.
fn short(random: &mut StdRng, of: &[&str]) -> Vec<u8> {
    let text = match random.random_range(0..40) {
        0 => vec![b'n'; 255],
        1 => vec![0xFF, 0xFE],
        2 => b"new\nline\x1b[31m".to_vec(),
        _ => one(random, of).as_bytes().to_vec(),
    };
    [&[u8::try_from(text.len()).expect("short")], &text[..]].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("small").to_be_bytes();
    [&len, bytes].concat()
}

/// The entries of a table, without its length.
pub fn entries(random: &mut StdRng, depth: usize) -> Vec<u8> {
    let count = random.random_range(0..4);
    let entry = |_| [short(random, KEYS), value(random, depth)].concat();
    (0..count).flat_map(entry).collect()
}

/// A value with its tag.
fn value(random: &mut StdRng, depth: usize) -> Vec<u8> {
    let tag = one(random, b"tbBsuUIilLfdDSSSSxxTTVAAFFIlIl");
    let bytes = number(random).to_be_bytes();
    let value = match tag {
        b'V' => Vec::new(),
        b't' | b'b' | b'B' => bytes[7..].to_vec(),
        b's' | b'u' | b'U' => bytes[6..].to_vec(),
        b'I' | b'i' | b'f' => bytes[4..].to_vec(),
        b'D' => bytes[3..].to_vec(),
        b'l' | b'L' | b'd' | b'T' => bytes.to_vec(),
        b'A' if depth > 0 => {
            let count = random.random_range(0..4);
            let values: Vec<u8> = (0..count).flat_map(|_| value(random, depth - 1)).collect();
            long(&values)
        }
        b'F' if depth > 0 => long(&entries(random, depth - 1)),
        _ => long(one(random, WORDS).as_bytes()),
    };
    let tag = if matches!(tag, b'A' | b'F') && depth == 0 {
        b'S'
    } else {
        tag
    };
    [&[tag], &value[..]].concat()
}

/// The payload of a method frame.
pub fn method(random: &mut StdRng) -> Vec<u8> {
    let (class, id, arguments) = one(random, METHODS);
    let mut payload = [class.to_be_bytes(), id.to_be_bytes()].concat();
    for argument in arguments.bytes() {
        let number = number(random).to_be_bytes();
        payload.extend(match argument {
            b'o' => number[7..].to_vec(),
            b'h' => number[6..].to_vec(),
            b'w' => number[4..].to_vec(),
            // Tags are small.
            b'q' => u64::from(number[7] & 7).to_be_bytes().to_vec(),
            b'x' => short(random, EXCHANGES),
            b'u' => short(random, QUEUES),
            b'k' => short(random, KINDS),
            b't' => short(random, &["c", "", "d"]),
            b'S' => long(one(random, &["\0guest\0guest", "", "x"]).as_bytes()),
            b'T' => long(&entries(random, 3)),
            _ => short(random, TEXTS),
        });
    }
    payload
}

/// A content header's payload for a body of that length.
pub fn header(random: &mut StdRng, len: u64) -> Vec<u8> {
    let len = if random.random_ratio(1, 30) {
        number(random)
    } else {
        len
    };
    let mut payload = [&[0, 60, 0, 0], &len.to_be_bytes()[..]].concat();
    let flags: u16 = if random.random_ratio(1, 2) {
        0x3000
    } else {
        random.random()
    };
    let flags = if random.random_ratio(1, 30) {
        flags | 1
    } else {
        flags & !3
    };
    payload.extend(flags.to_be_bytes());
    for bit in (2..16).rev().filter(|bit| flags & 1 << bit != 0) {
        payload.extend(match bit {
            13 => long(&entries(random, 2)),
            12 => vec![one(random, &[1, 2, 2, 2, 0, 255])],
            11 => vec![one(random, &[0, 1, 9, 10, 255])],
            6 => number(random).to_be_bytes().to_vec(),
            _ => short(random, TEXTS),
        });
    }
    payload
}

/// A frame.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    [&[kind], &channel.to_be_bytes()[..], &long(payload), &[0xCE]].concat()
}

/// A method, or a whole message.
pub fn frames(random: &mut StdRng) -> Vec<Vec<u8>> {
    let channel = one(random, &[1, 1, 1, 1, 1, 1, 1, 2, 0]);
    let payload = method(random);
    let channel = if payload[1] == 10 { 0 } else { channel };
    let is_publish = payload[..4] == [0, 60, 0, 40];
    let mut frames = vec![frame(1, channel, &payload)];
    if is_publish {
        let body = vec![b'b'; one(random, &[0, 1, 10, 100, 300])];
        let header = header(random, body.len() as u64);
        frames.push(frame(2, channel, &header));
        let chunk = one(random, &[1000, 1000, 7]).min(body.len().max(1));
        frames.extend(body.chunks(chunk).map(|part| frame(3, channel, part)));
    }
    frames
}
