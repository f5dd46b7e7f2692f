//! Header values in a form that is equal, byte for byte, when the headers exchange takes the values for equal.
//!
//! Integers compare by number whatever their width, floats and doubles likewise, strings and binaries by their
//! bytes; an integer never equals a float, a string or a boolean. Tables compare without regard to order.

use smallvec::SmallVec;

use crate::amqp::field_table::{DEPTH_MAX, Entries, Value, Values};

/// Ends an array or a table; no value begins with it.
const END: u8 = 0;

/// Appends `value`. The form tells its own end, so several values in a row stay apart.
pub(in crate::broker) fn write(out: &mut Vec<u8>, value: Value<'_>) {
    write_level(out, value, 1);
}

/// Recursion ends at the depth beyond which no table is accepted.
fn write_level(out: &mut Vec<u8>, value: Value<'_>, depth: usize) {
    match value {
        Value::Bool(value) => write_fixed(out, b't', [u8::from(value)]),
        Value::Int(value) => write_fixed(out, b'i', value.to_be_bytes()),
        Value::Float(value) => write_float(out, value.into()),
        Value::Double(value) => write_float(out, value),
        Value::Timestamp(value) => write_fixed(out, b'T', value.to_be_bytes()),
        Value::LongString(bytes) | Value::Bytes(bytes) => {
            write_fixed(out, b'S', bytes.len().to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Value::Decimal { scale, value } => {
            write_fixed(out, b'D', [scale]);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Void => out.push(b'V'),
        Value::Array(values) => {
            out.push(b'A');
            if depth < DEPTH_MAX {
                Values::new(values).for_each(|value| write_level(out, value, depth + 1));
            }
            out.push(END);
        }
        Value::Table(entries) => {
            out.push(b'F');
            if depth < DEPTH_MAX {
                for (name, value) in sorted(entries) {
                    write_fixed(
                        out,
                        b'k',
                        [u8::try_from(name.len()).expect("names are short strings")],
                    );
                    out.extend_from_slice(name);
                    write_level(out, value, depth + 1);
                }
            }
            out.push(END);
        }
    }
}

/// Entries by name; of a repeated name the first stays.
pub(super) fn sorted(entries: &[u8]) -> SmallVec<[(&[u8], Value<'_>); 8]> {
    let mut entries = Entries::new(entries).collect::<SmallVec<[_; 8]>>();
    entries.sort_by_key(|(name, _)| *name);
    entries.dedup_by_key(|(name, _)| *name);
    entries
}

/// Adding zero makes one zero of the two.
fn write_float(out: &mut Vec<u8>, value: f64) {
    write_fixed(out, b'd', (value + 0.0).to_be_bytes());
}

fn write_fixed<const N: usize>(out: &mut Vec<u8>, tag: u8, bytes: [u8; N]) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}
