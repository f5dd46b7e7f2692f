//! Field tables: the entries of one, without its length.

use leveret::amqp::field_table::{
    DEPTH_MAX, Entries, Value, Values, has_long_tags, lookup, rewrite_long_tags, to_owned, validate,
    without_keys, write,
};

use crate::memory::within;

pub fn run(input: &[u8]) {
    // A value of two bytes becomes one of some forty, in a map or a vector that has room for twice as many.
    within(4096 + 400 * input.len(), || examine(input));
}

/// The entries of a table, faultless or not.
pub fn examine(entries: &[u8]) {
    let verdict = validate(entries);
    let count = Entries::new(entries).count();
    let mut kept = Vec::new();
    write(&mut kept, &to_owned(entries));
    let mut respelt = entries.to_vec();
    rewrite_long_tags(&mut respelt);
    assert!(!has_long_tags(&respelt));
    assert_eq!(has_long_tags(entries), respelt != entries);
    assert_eq!(validate(&respelt), verdict, "a spelling decides nothing");
    if verdict.is_err() {
        return;
    }
    assert_eq!(validate(&kept), Ok(()), "what is kept is a table");
    let mut again = Vec::new();
    write(&mut again, &to_owned(&kept));
    assert_eq!(again, kept, "what is kept stays as it is");
    assert!(depth(entries) <= DEPTH_MAX);
    assert_eq!(without_keys(entries, &[]), entries);
    let keys: Vec<_> = Entries::new(entries).map(|(key, _)| key).collect();
    assert!(without_keys(entries, &keys).is_empty());
    for key in keys.iter().take(8) {
        let first = Entries::new(entries).find(|(name, _)| name == key);
        let found = lookup(entries, key).expect("the key is there");
        // Not equal to itself is only what is not a number.
        assert_eq!(
            format!("{:?}", Some(found)),
            format!("{:?}", first.map(|first| first.1))
        );
        assert!(lookup(&without_keys(entries, &[key]), key).is_none());
    }
    if let Some(end) = entries.len().checked_sub(1) {
        let shorter = Entries::new(&entries[..end]).count();
        assert!(shorter < count, "the last byte belongs to the last value");
    }
}

/// Levels of a table, the outermost counted.
fn depth(entries: &[u8]) -> usize {
    1 + deepest(Entries::new(entries).map(|(_, value)| value))
}

fn deepest<'a>(values: impl Iterator<Item = Value<'a>>) -> usize {
    let depths = values.map(|value| match value {
        Value::Table(entries) => depth(entries),
        Value::Array(values) => 1 + deepest(Values::new(values)),
        _ => 0,
    });
    depths.max().unwrap_or(0)
}
