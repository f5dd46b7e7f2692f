//! Tables of every type, nested, cut and damaged, against amq-protocol's reading of the same bytes.

use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Every tag once, as `key` of one letter.
const ALL_TAGS: &[u8] = b"\x01at\x01\x01bb\xFF\x01cB\xFF\x01ds\xFF\xFE\x01eU\xFF\xFE\x01fu\xFF\xFE\
    \x01gI\xFF\xFF\xFF\xFE\x01hi\xFF\xFF\xFF\xFE\x01il\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE\
    \x01jL\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE\x01kf\x3F\x80\0\0\x01ld\x3F\xF0\0\0\0\0\0\0\
    \x01mD\x02\0\0\0\x07\x01nS\0\0\0\x02\xC3\x28\x01ox\0\0\0\x01\x09\
    \x01pA\0\0\0\x03t\x00V\x01qF\0\0\0\x03\x01xV\x01rT\0\0\0\0\0\0\0\x05\x01sV";

fn values() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<i32>().prop_map(|int| AMQPValue::Double(int.into())),
        any::<i16>().prop_map(|int| AMQPValue::Float(int.into())),
        any::<(u8, u32)>().prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(values.into())),
            vec((keys(), inner), 0..4).prop_map(|entries| AMQPValue::FieldTable(table(entries))),
        ]
    })
}

fn keys() -> impl Strategy<Value = ShortString> {
    vec(any::<char>(), 0..6).prop_map(|chars| chars.into_iter().collect::<String>().into())
}

pub(in crate::amqp) fn tables() -> impl Strategy<Value = FieldTable> {
    vec((keys(), values()), 0..6).prop_map(table)
}

fn table(entries: Vec<(ShortString, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key, value);
    }
    table
}

/// Tables inside each other, the innermost empty.
fn nested(levels: usize) -> Vec<u8> {
    let mut entries = Vec::new();
    for _ in 1..levels {
        let mut outer = b"\x01kF".to_vec();
        outer.extend(u32::try_from(entries.len()).expect("short").to_be_bytes());
        outer.extend(entries);
        entries = outer;
    }
    entries
}

fn keys_are_utf8(value: Value<'_>) -> bool {
    match value {
        Value::Table(entries) => {
            Entries::new(entries).all(|(key, value)| str::from_utf8(key).is_ok() && keys_are_utf8(value))
        }
        Value::Array(values) => Values::new(values).all(keys_are_utf8),
        _ => true,
    }
}

fn with_len(entries: &[u8]) -> Vec<u8> {
    let len = u32::try_from(entries.len()).expect("short");
    [&len.to_be_bytes(), entries].concat()
}

#[test]
fn every_tag_is_read() {
    assert_eq!(validate(ALL_TAGS), Ok(()));
    let read: Vec<_> = Entries::new(ALL_TAGS).map(|(_, value)| value).collect();
    let expected = [
        Value::Bool(true),
        Value::Int(-1),
        Value::Int(255),
        Value::Int(-2),
        Value::Int(-2),
        Value::Int(65534),
        Value::Int(-2),
        Value::Int(4_294_967_294),
        Value::Int(-2),
        Value::Int(-2),
        Value::Float(1.0),
        Value::Double(1.0),
        Value::Decimal { scale: 2, value: 7 },
        Value::LongString(b"\xC3\x28"),
        Value::Bytes(&[9]),
        Value::Array(b"t\0V"),
        Value::Table(b"\x01xV"),
        Value::Timestamp(5),
        Value::Void,
    ];
    assert_eq!(read, expected);
    assert_eq!(
        Values::new(b"t\0V").collect::<Vec<_>>(),
        [Value::Bool(false), Value::Void]
    );
    let (rest, oracle) = parse_field_table(&with_len(ALL_TAGS)[..])
        .map(|(rest, table)| (rest.len(), table))
        .expect("it parses");
    assert_eq!((rest, oracle), (0, to_owned(ALL_TAGS)));
}

#[test]
fn every_cut_is_refused() {
    let mut whole = vec![0];
    let mut rest = ALL_TAGS;
    while let Ok((_, _, tail)) = split_entry(rest) {
        rest = tail;
        whole.push(ALL_TAGS.len() - rest.len());
    }
    for cut in 0..=ALL_TAGS.len() {
        let expected = if whole.contains(&cut) {
            Ok(())
        } else {
            Err(TableError::Cut)
        };
        assert_eq!(validate(&ALL_TAGS[..cut]), expected, "cut at {cut}");
    }
}

#[test]
fn unknown_tags_and_values_that_overrun_their_table_are_refused() {
    assert_eq!(validate(b"\x01kZ"), Err(TableError::UnknownTag(b'Z')));
    assert_eq!(validate(b"\x01kA\0\0\0\x01Z"), Err(TableError::UnknownTag(b'Z')));
    assert_eq!(validate(b"\x01kF\0\0\0\x03\x01kI\0\0\0\0"), Err(TableError::Cut));
    assert_eq!(validate(b"\x01kS\xFF\xFF\xFF\xFF"), Err(TableError::Cut));
}

#[test]
fn tables_are_32_deep_at_most() {
    assert_eq!(validate(&nested(32)), Ok(()));
    assert_eq!(validate(&nested(33)), Err(TableError::TooDeep));
    assert_eq!(validate(&nested(20_000)), Err(TableError::TooDeep));
    for levels in [32, 40] {
        let shown = nested(levels.min(33));
        let (_, oracle) = parse_field_table(&with_len(&shown)[..]).expect("it parses");
        assert_eq!(to_owned(&nested(levels)), oracle, "the 33rd level is empty");
    }
    let mut deep = nested(20_000);
    assert!(!has_long_tags(&deep));
    rewrite_long_tags(&mut deep);
    assert_eq!(deep, nested(20_000));
}

#[test]
fn the_first_of_repeated_keys_wins() {
    let entries = b"\x01kt\x01\x01kt\x00\x02ktV";
    assert_eq!(lookup(entries, b"k"), Some(Value::Bool(true)));
    assert_eq!(lookup(entries, b"kt"), Some(Value::Void));
    assert_eq!(lookup(entries, b""), None);
    assert_eq!(
        to_owned(entries).inner().get("k"),
        Some(&AMQPValue::Boolean(true))
    );
}

#[test]
fn a_key_that_is_not_utf8_is_read_and_kept_with_replacements() {
    let entries = b"\x01\xFFt\x01\x01kV";
    assert_eq!(validate(entries), Ok(()));
    assert_eq!(lookup(entries, b"\xFF"), Some(Value::Bool(true)));
    assert!(to_owned(entries).contains_key("\u{FFFD}"));
    let mut long = vec![200];
    long.extend([0xFF; 200]);
    long.extend(b"V\x01kV");
    assert_eq!(to_owned(&long).inner().len(), 1);
}

#[test]
fn long_tags_are_rewritten_in_place_at_every_level() {
    let mut entries = b"\x01LL\0\0\0\0\0\0LL\x01UU\0U\x01aA\0\0\0\x0CL\0\0\0\0\0\0\0\x01U\0\x01\
        \x01fF\0\0\0\x0B\x01LL\0\0\0\0\0\0\0\x02\x01SS\0\0\0\x02LU"
        .to_vec();
    assert_eq!(validate(&entries), Ok(()));
    assert!(has_long_tags(&entries));
    let before = to_owned(&entries);
    rewrite_long_tags(&mut entries);
    let expected = b"\x01Ll\0\0\0\0\0\0LL\x01Us\0U\x01aA\0\0\0\x0Cl\0\0\0\0\0\0\0\x01s\0\x01\
        \x01fF\0\0\0\x0B\x01Ll\0\0\0\0\0\0\0\x02\x01SS\0\0\0\x02LU";
    assert_eq!(entries, expected);
    assert!(!has_long_tags(&entries));
    assert_eq!(to_owned(&entries), before);
}

#[test]
fn entries_are_taken_out_by_key() {
    let entries = b"\x03BCCA\0\0\0\0\x01zLaaaaaaaa\x02CCV\x03BCCV\x01aV";
    assert_eq!(without_keys(entries, &[b"BCC"]), b"\x01zLaaaaaaaa\x02CCV\x01aV");
    assert_eq!(without_keys(entries, &[b"BCC", b"CC", b"z", b"a"]), b"");
    assert_eq!(without_keys(entries, &[]), entries);
}

#[test]
fn types_have_rabbitmqs_names() {
    let names: Vec<_> = ALL_TAGS_TABLE_ORDER
        .iter()
        .map(|key| type_name(&to_owned(ALL_TAGS).inner()[*key]))
        .collect();
    let expected = [
        "bool",
        "byte",
        "unsignedbyte",
        "short",
        "short",
        "unsignedshort",
        "signedint",
        "unsignedint",
        "long",
        "long",
        "float",
        "double",
        "decimal",
        "longstr",
        "binary",
        "array",
        "table",
        "timestamp",
        "void",
    ];
    assert_eq!(names, expected);
}

const ALL_TAGS_TABLE_ORDER: [&str; 19] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
];

proptest! {
    #[test]
    fn tables_are_written_and_read_as_by_amq_protocol(table in tables()) {
        let mut entries = Vec::new();
        write(&mut entries, &table);
        let context = amq_protocol::frame::WriteContext::from(Vec::new());
        let (oracle, _) = gen_field_table(&table)(context).expect("it fits").into_inner();
        prop_assert_eq!(with_len(&entries), oracle);
        prop_assert_eq!(validate(&entries), Ok(()));
        prop_assert_eq!(Entries::new(&entries).count(), table.inner().len());
        prop_assert_eq!(to_owned(&entries), table);
    }

    #[test]
    fn damaged_tables_are_judged_as_by_amq_protocol(table in tables(), at: usize, byte: u8) {
        let mut entries = Vec::new();
        write(&mut entries, &table);
        if let Some(index) = at.checked_rem(entries.len()) {
            entries[index] = byte;
        }
        let bytes = with_len(&entries);
        // amq-protocol wants keys to be UTF-8.
        let accepted = validate(&entries).is_ok() && keys_are_utf8(Value::Table(&entries));
        prop_assert_eq!(parse_field_table(&bytes[..]).is_ok(), accepted);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..64)) {
        let _ = validate(&bytes);
        let _ = to_owned(&bytes);
        let _ = lookup(&bytes, b"k");
        prop_assert!(without_keys(&bytes, &[b"k"]).len() <= bytes.len());
        let mut rewritten = bytes.clone();
        rewrite_long_tags(&mut rewritten);
        prop_assert!(!has_long_tags(&rewritten));
        prop_assert_eq!(rewritten == bytes, !has_long_tags(&bytes));
    }
}
