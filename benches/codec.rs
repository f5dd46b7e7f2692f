//! What the codec costs per operation, beside amq-protocol: `cargo bench --bench codec`. Takes under two seconds.
//!
//! One frame in a hot loop: read the figures as ratios, not as what a broker will do.

use std::hint::black_box;
use std::mem;
use std::time::{Duration, Instant};

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic};
use leveret::amqp::content::{ContentHeader, Properties};
use leveret::amqp::frame;
use leveret::amqp::framed_content::{self, FramedContent};
use leveret::amqp::method;

const FRAME_MAX: u32 = 131_072;

/// Each measurement is the best of this many.
const ROUNDS: u32 = 5;

const ROUND: Duration = Duration::from_millis(15);

/// Calls between two looks at the clock.
const CALLS_PER_LOOK: u32 = 1000;

fn main() {
    publish();
    ack();
    header();
    for len in [16, 1024, 65_536] {
        deliver(len);
    }
}

fn publish() {
    let bytes = frame_bytes(&AMQPFrame::Method(
        1,
        AMQPClass::Basic(basic::AMQPMethod::Publish(basic::Publish {
            exchange: "orders".into(),
            routing_key: "order.placed".into(),
            mandatory: false,
            immediate: false,
        })),
    ));
    report("parse basic.publish", || decode(&bytes), || oracle(&bytes));
}

fn ack() {
    let mut bytes = Vec::new();
    method::ack(&mut bytes, 1, 1000, true);
    report("parse basic.ack", || decode(&bytes), || oracle(&bytes));
}

fn header() {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_message_id("3d5e6c8a".into());
    let bytes = frame_bytes(&AMQPFrame::Header(
        1,
        AMQPContentHeader {
            class_id: 60,
            body_size: 16,
            properties,
        },
    ));
    let ours = || {
        let (frame, _) = frame::parse(black_box(&bytes), FRAME_MAX)
            .expect("well-formed")
            .expect("whole");
        let header = ContentHeader::parse(frame.payload).expect("long enough");
        black_box(Properties::parse(header.properties).expect("well-formed"));
    };
    report("parse content header, 3 properties", ours, || oracle(&bytes));
}

fn deliver(len: usize) {
    let body = vec![7; len];
    let size = (len as u64).to_be_bytes();
    let header = [&[0, 60, 0, 0][..], &size, &[0x10, 0, 2]].concat();
    let mut bytes = b"\x06orders\x0corder.placed".to_vec();
    framed_content::open_header(&mut bytes, header.len());
    let header_at = bytes.len();
    bytes.extend(header);
    framed_content::open_body(&mut bytes, len);
    let body_at = bytes.len();
    bytes.extend(&body);
    framed_content::close(&mut bytes);
    let content = FramedContent::new(&bytes, header_at, body_at);
    let mut out = Vec::new();
    let ours = || {
        out.clear();
        method::deliver(
            &mut out,
            1,
            b"consumer-1",
            1000,
            false,
            black_box(&content),
            FRAME_MAX,
        );
        black_box(&out);
    };
    let deliver = AMQPClass::Basic(basic::AMQPMethod::Deliver(basic::Deliver {
        consumer_tag: "consumer-1".into(),
        delivery_tag: 1000,
        redelivered: false,
        exchange: "orders".into(),
        routing_key: "order.placed".into(),
    }));
    let frames = [
        AMQPFrame::Method(1, deliver),
        AMQPFrame::Header(
            1,
            AMQPContentHeader {
                class_id: 60,
                body_size: len as u64,
                properties: BasicProperties::default().with_delivery_mode(2),
            },
        ),
        AMQPFrame::Body(1, body.clone()),
    ];
    let mut buffer = Vec::new();
    let theirs = || {
        buffer.clear();
        for frame in black_box(&frames) {
            let writer = WriteContext::from(mem::take(&mut buffer));
            buffer = gen_frame(frame)(writer).expect("it fits").into_inner().0;
        }
        black_box(&buffer);
    };
    report(
        &format!("encode basic.deliver with content, {len} bytes"),
        ours,
        theirs,
    );
}

fn decode(bytes: &[u8]) {
    let (frame, _) = frame::parse(black_box(bytes), FRAME_MAX)
        .expect("well-formed")
        .expect("whole");
    black_box(method::decode(frame.payload).expect("well-formed"));
}

fn oracle(bytes: &[u8]) {
    black_box(parse_frame(black_box(bytes)).expect("well-formed"));
}

fn frame_bytes(frame: &AMQPFrame) -> Vec<u8> {
    let context = WriteContext::from(Vec::new());
    gen_frame(frame)(context).expect("it fits").into_inner().0
}

fn report(name: &str, ours: impl FnMut(), theirs: impl FnMut()) {
    let (ours, theirs) = (best_ns(ours), best_ns(theirs));
    println!("{name:<45} {ours:>8.1} ns   amq-protocol {theirs:>8.1} ns");
}

/// Nanoseconds per call, of the best round: whatever else the machine does only makes it slower.
fn best_ns(mut call: impl FnMut()) -> f64 {
    let round = |_| {
        let begin = Instant::now();
        let mut calls = 0;
        while begin.elapsed() < ROUND {
            for _ in 0..CALLS_PER_LOOK {
                call();
            }
            calls += CALLS_PER_LOOK;
        }
        begin.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
