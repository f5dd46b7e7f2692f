//! Content headers against amq-protocol's, and what is left of malformed ones.

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::BasicProperties;
use amq_protocol::protocol::basic::{gen_properties, parse_properties};
use amq_protocol::types::{FieldTable, ShortString};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::amqp::field_table;

use super::*;

fn short() -> impl Strategy<Value = Option<ShortString>> {
    option::of(vec(any::<char>(), 0..10).prop_map(|chars| chars.into_iter().collect::<String>().into()))
}

prop_compose! {
    fn properties()(
        strings in proptest::array::uniform10(short()),
        headers in option::of(field_table::tests::tables()),
        delivery_mode in option::of(any::<u8>()),
        priority in option::of(any::<u8>()),
        timestamp in option::of(any::<u64>()),
    ) -> BasicProperties {
        let [content_type, encoding, correlation, reply_to, expiration, message_id, kind, user_id, app_id, cluster] =
            strings;
        let mut all = BasicProperties::default();
        macro_rules! set {
            ($($method:ident $value:expr),*) => { $(if let Some(value) = $value { all = all.$method(value); })* };
        }
        set!(
            with_content_type content_type, with_content_encoding encoding, with_headers headers,
            with_delivery_mode delivery_mode, with_priority priority, with_correlation_id correlation,
            with_reply_to reply_to, with_expiration expiration, with_message_id message_id,
            with_timestamp timestamp, with_type kind, with_user_id user_id, with_app_id app_id,
            with_cluster_id cluster
        );
        all
    }
}

fn encode(properties: &BasicProperties) -> Vec<u8> {
    let (bytes, _) = gen_properties(properties)(WriteContext::from(Vec::new()))
        .expect("it fits")
        .into_inner();
    bytes
}

fn decode(bytes: &[u8]) -> BasicProperties {
    let (rest, properties) = parse_properties(bytes).expect("it parses");
    assert!(rest.is_empty());
    properties
}

fn entries(table: &FieldTable) -> Vec<u8> {
    let mut entries = Vec::new();
    field_table::write(&mut entries, table);
    entries
}

fn text(value: Option<&ShortString>) -> Option<&[u8]> {
    value.map(|value| value.as_str().as_bytes())
}

#[test]
fn header_is_split() {
    let payload = [0, 60, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0x10, 0, 2];
    let header = ContentHeader::parse(&payload).expect("long enough");
    assert_eq!((header.class_id, header.weight, header.body_size), (60, 1, 258));
    assert_eq!(header.properties, &payload[12..]);
    assert_eq!(ContentHeader::parse(&payload[..11]), None);
}

#[test]
fn a_second_word_of_flags_is_neither_read_nor_announced_to_consumers() {
    for bytes in [&[0, 1, 0, 0][..], &[0, 1], &[0, 3], &[0x10, 1, 2]] {
        assert_eq!(Properties::parse(bytes), Err(PropertiesError), "{bytes:?}");
    }
    assert!(Properties::parse(&[0, 2]).is_ok(), "bit 1 alone means nothing");
}

#[test]
fn values_need_not_be_utf8() {
    let bytes = [0x02, 0, 1, 0xFF];
    let properties = Properties::parse(&bytes).expect("it parses");
    assert_eq!(properties.reply_to, Some(&[0xFF][..]));
    assert_eq!(with_reply_to(&bytes, b"q"), [0x02, 0, 1, b'q']);
}

#[test]
fn properties_that_do_not_parse_come_back_as_they_are() {
    for bytes in [&[][..], &[0x20], &[0x20, 0, 0, 0, 0, 9]] {
        assert_eq!(with_headers(bytes, Some(b"\x01kV")), bytes);
        assert_eq!(headers_range(bytes), None);
    }
}

proptest! {
    #[test]
    fn properties_are_read_as_by_amq_protocol(oracle in properties()) {
        let bytes = encode(&oracle);
        let ours = Properties::parse(&bytes).expect("it parses");
        let headers = oracle.headers().as_ref().map(entries);
        prop_assert_eq!(ours, Properties {
            headers: headers.as_deref(),
            delivery_mode: *oracle.delivery_mode(),
            priority: *oracle.priority(),
            correlation_id: text(oracle.correlation_id().as_ref()),
            reply_to: text(oracle.reply_to().as_ref()),
            expiration: text(oracle.expiration().as_ref()),
            message_id: text(oracle.message_id().as_ref()),
            timestamp: *oracle.timestamp(),
            user_id: text(oracle.user_id().as_ref()),
        });
        prop_assert_eq!(headers_range(&bytes).map(|range| &bytes[range]), ours.headers);
        for cut in 0..bytes.len() {
            prop_assert_eq!(Properties::parse(&bytes[..cut]), Err(PropertiesError));
        }
    }

    #[test]
    fn one_property_is_replaced_and_the_others_stay(oracle in properties(), table in field_table::tests::tables()) {
        let bytes = encode(&oracle);
        let changed = with_headers(&bytes, Some(&entries(&table)));
        prop_assert_eq!(decode(&changed), oracle.clone().with_headers(table));
        let stripped = decode(&with_headers(&bytes, None));
        prop_assert_eq!(stripped.headers(), &None);
        prop_assert_eq!(stripped.cluster_id(), oracle.cluster_id());
        prop_assert_eq!(with_headers(&bytes, Properties::parse(&bytes).expect("it parses").headers), bytes.clone());
        let changed = with_reply_to(&bytes, b"reply");
        prop_assert_eq!(decode(&changed), oracle.clone().with_reply_to("reply".into()));
        let stripped = decode(&without_expiration(&bytes));
        prop_assert_eq!(stripped.expiration(), &None);
        if let Some(expiration) = oracle.expiration() {
            prop_assert_eq!(stripped.with_expiration(expiration.clone()), oracle);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..64)) {
        if Properties::parse(&bytes).is_ok() {
            let changed = with_headers(&bytes, Some(b"\x01kV"));
            let properties = Properties::parse(&changed).expect("still well-formed");
            prop_assert_eq!(properties.headers, Some(&b"\x01kV"[..]));
        }
        let _ = with_reply_to(&bytes, b"q");
        let _ = without_expiration(&bytes);
        let _ = headers_range(&bytes);
        let _ = ContentHeader::parse(&bytes);
    }
}
