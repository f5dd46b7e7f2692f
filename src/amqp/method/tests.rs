//! Every method against amq-protocol's reading of the same bytes, and what is said of malformed ones.

use amq_protocol::protocol::basic;
use amq_protocol::types::ShortString;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::amqp::field_table;
use crate::amqp::reply_code::reply_text;

use super::signature::{check, signature};
use super::*;

fn payload(id: MethodId, arguments: &[u8]) -> Vec<u8> {
    [&id.class.to_be_bytes(), &id.method.to_be_bytes(), arguments].concat()
}

fn all_ids() -> Vec<MethodId> {
    (0..=130)
        .flat_map(|class| (0..=300).map(move |method| MethodId::new(class, method)))
        .filter(|id| signature(*id).is_some())
        .collect()
}

fn error(id: MethodId, arguments: &[u8]) -> (u16, String, String) {
    let error = decode(&payload(id, arguments)).expect_err("it is malformed");
    (error.code().number(), error.explanation(), error.id().to_string())
}

/// Arguments that fit a signature.
fn arguments(id: MethodId) -> BoxedStrategy<Vec<u8>> {
    let parts: Vec<BoxedStrategy<Vec<u8>>> = signature(id)
        .expect("a known method")
        .iter()
        .map(|letter| match letter {
            b'o' => vec(any::<u8>(), 1).boxed(),
            b'h' => vec(any::<u8>(), 2).boxed(),
            b'w' => vec(any::<u8>(), 4).boxed(),
            b'q' => vec(any::<u8>(), 8).boxed(),
            b's' => vec(any::<char>(), 0..10)
                .prop_map(|chars| {
                    let text = chars.into_iter().collect::<String>();
                    [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
                })
                .boxed(),
            b'S' => vec(any::<u8>(), 0..10).prop_map(|bytes| with_len(&bytes)).boxed(),
            _ => field_table::tests::tables()
                .prop_map(|table| {
                    let mut entries = Vec::new();
                    field_table::write(&mut entries, &table);
                    with_len(&entries)
                })
                .boxed(),
        })
        .collect();
    parts.prop_map(|parts| parts.concat()).boxed()
}

fn with_len(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("short");
    [&len.to_be_bytes(), bytes].concat()
}

/// What amq-protocol makes of a payload, when it reads all of it.
fn oracle(payload: &[u8]) -> Option<AMQPClass> {
    match protocol::parse_class(payload) {
        Ok(([], class)) => Some(class),
        _ => None,
    }
}

/// Our value as amq-protocol's.
fn class_of(method: Method<'_>) -> AMQPClass {
    let text = |bytes: &[u8]| ShortString::from(str::from_utf8(bytes).expect("made from text"));
    AMQPClass::Basic(match method {
        Method::Publish(publish) => basic::AMQPMethod::Publish(basic::Publish {
            exchange: text(publish.exchange),
            routing_key: text(publish.routing_key),
            mandatory: publish.mandatory,
            immediate: publish.immediate,
        }),
        Method::Ack {
            delivery_tag,
            multiple,
        } => basic::AMQPMethod::Ack(basic::Ack {
            delivery_tag,
            multiple,
        }),
        Method::Nack {
            delivery_tag,
            multiple,
            requeue,
        } => basic::AMQPMethod::Nack(basic::Nack {
            delivery_tag,
            multiple,
            requeue,
        }),
        Method::Reject {
            delivery_tag,
            requeue,
        } => basic::AMQPMethod::Reject(basic::Reject {
            delivery_tag,
            requeue,
        }),
        Method::Other(_, class) => return class,
    })
}

/// Zeros are valid arguments of every method; their number tells signatures of different widths apart.
#[test]
fn the_methods_are_those_of_amq_protocol() {
    let mut known = 0;
    for class in 0..=130u16 {
        for method in 0..=300u16 {
            let id = MethodId::new(class, method);
            let bytes = payload(id, &[0; 64]);
            let oracle = protocol::parse_class(&bytes[..])
                .ok()
                .map(|(rest, _)| 64 - rest.len());
            let ours = signature(id).map(|letters| {
                let width = |letter: &u8| match letter {
                    b'o' | b's' => 1,
                    b'h' => 2,
                    b'w' | b'S' | b'T' => 4,
                    _ => 8,
                };
                letters.iter().map(width).sum::<usize>()
            });
            assert_eq!(ours, oracle, "method {id}");
            known += usize::from(ours.is_some());
        }
    }
    assert_eq!(known, all_ids().len());
    assert!(known > 60, "only {known} methods");
}

/// The first four were seen on RabbitMQ 3.10, which drops the connection without a word for the last two.
#[test]
fn malformed_methods_are_explained() {
    let flow = MethodId::new(20, 20);
    let purge = MethodId::new(50, 30);
    let declare = MethodId::new(50, 10);
    let cases = [
        (
            flow,
            &b"\x01abcd"[..],
            501,
            "cannot decode <<1,97,98,99,100>>",
            "20.20",
        ),
        (
            declare,
            b"\0\0\x05ab",
            501,
            "cannot decode <<0,0,5,97,98>>",
            "50.10",
        ),
        (
            purge,
            b"\0\0\x01\xFF\0",
            501,
            "Malformed UTF-8 in shortstr",
            "0.0",
        ),
        (
            purge,
            b"\0\0\x01\xFF\0\0",
            501,
            "cannot decode <<0,0,1,255,0,0>>",
            "50.30",
        ),
        (
            MethodId::PUBLISH,
            b"\0\0\x01\xFF",
            501,
            "cannot decode <<0,0,1,255>>",
            "60.40",
        ),
        (
            declare,
            b"\0\0\0\0\0\0\0\x03\x01kZ",
            502,
            "malformed field table",
            "50.10",
        ),
        (MethodId::new(61, 1), b"", 503, "unimplemented method", "61.1"),
    ];
    for (id, arguments, code, text, named) in cases {
        assert_eq!(error(id, arguments), (code, text.to_owned(), named.to_owned()));
    }
}

#[test]
fn a_long_method_that_can_not_be_decoded_fills_the_reply_text() {
    let (_, explanation, _) = error(MethodId::new(20, 20), &[0; 5000]);
    assert!(explanation.len() < 1000);
    let text = reply_text(ReplyCode::FrameError, &explanation);
    assert_eq!(text.as_str().len(), 255);
    assert!(text.as_str().ends_with(",0,0,..."), "{text}");
}

#[test]
fn publish_takes_names_that_are_not_utf8() {
    let bytes = payload(MethodId::PUBLISH, b"\0\0\x02\xC3\x28\x01\xFF\x02");
    let expected = Publish {
        exchange: b"\xC3\x28",
        routing_key: b"\xFF",
        mandatory: false,
        immediate: true,
    };
    assert_eq!(decode(&bytes), Ok(Method::Publish(expected)));
}

#[test]
fn a_table_key_that_is_not_utf8_is_refused_in_arguments() {
    let arguments = b"\0\0\x01q\0\0\0\0\x03\x01\xFFV";
    assert_eq!(check(MethodId::new(50, 10), arguments), Ok(()));
    assert_eq!(error(MethodId::new(50, 10), arguments).0, 501);
}

#[test]
fn a_table_nested_without_end_is_refused() {
    let mut entries = Vec::new();
    for _ in 0..10_000 {
        entries = [&b"\x01kF"[..], &with_len(&entries)].concat();
    }
    let arguments = [&b"\0\0\x01q\0"[..], &with_len(&entries)].concat();
    assert_eq!(error(MethodId::new(50, 10), &arguments).0, 502);
}

proptest! {
    #[test]
    fn methods_are_read_as_by_amq_protocol(
        (id, arguments) in select(all_ids()).prop_flat_map(|id| (Just(id), arguments(id)))
    ) {
        let bytes = payload(id, &arguments);
        let method = decode(&bytes).map_err(|error| TestCaseError::fail(format!("{id}: {error}")))?;
        prop_assert_eq!(Some(class_of(method)), oracle(&bytes));
        for cut in 4..bytes.len() {
            prop_assert!(decode(&bytes[..cut]).is_err(), "{} cut at {}", id, cut);
        }
    }

    #[test]
    fn damaged_methods_are_judged_as_by_amq_protocol(
        (id, arguments) in select(all_ids()).prop_flat_map(|id| (Just(id), arguments(id))), at: usize, byte: u8
    ) {
        let mut bytes = payload(id, &arguments);
        let index = at % bytes.len();
        bytes[index] = byte;
        match (decode(&bytes), oracle(&bytes)) {
            (Ok(Method::Publish(publish)), None) => {
                let names = [publish.exchange, publish.routing_key];
                prop_assert!(names.iter().any(|name| str::from_utf8(name).is_err()));
            }
            // As text, because NaN is not equal to itself.
            (Ok(method), class) => prop_assert_eq!(format!("{:?}", Some(class_of(method))), format!("{class:?}")),
            (Err(error), class) => {
                prop_assert_eq!(class, None);
                prop_assert!(!error.explanation().is_empty());
            }
        }
    }

    #[test]
    fn any_bytes_get_an_answer(id in select(all_ids()), bytes in vec(any::<u8>(), 0..40)) {
        let _ = decode(&bytes);
        let _ = decode(&payload(id, &bytes));
    }
}
