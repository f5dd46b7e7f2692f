//! Tables that the broker keeps or makes itself, to bytes; and the names of their types.

use amq_protocol::types::{AMQPValue, FieldTable};

/// Appends a table's entries, without their length.
pub fn write(out: &mut Vec<u8>, table: &FieldTable) {
    for (key, value) in table {
        write_entry(out, key.as_str().as_bytes(), value);
    }
}

/// Appends one entry; the key is at most 255 bytes.
pub fn write_entry(out: &mut Vec<u8>, key: &[u8], value: &AMQPValue) {
    out.push(u8::try_from(key.len()).expect("keys are short strings"));
    out.extend_from_slice(key);
    write_value(out, value);
}

/// RabbitMQ's name of a value's type, as its texts print it.
pub fn type_name(value: &AMQPValue) -> &'static str {
    match value {
        AMQPValue::Boolean(_) => "bool",
        AMQPValue::ShortShortInt(_) => "byte",
        AMQPValue::ShortShortUInt(_) => "unsignedbyte",
        AMQPValue::ShortInt(_) => "short",
        AMQPValue::ShortUInt(_) => "unsignedshort",
        AMQPValue::LongInt(_) => "signedint",
        AMQPValue::LongUInt(_) => "unsignedint",
        AMQPValue::LongLongInt(_) => "long",
        AMQPValue::Float(_) => "float",
        AMQPValue::Double(_) => "double",
        AMQPValue::DecimalValue(_) => "decimal",
        AMQPValue::ShortString(_) | AMQPValue::LongString(_) => "longstr",
        AMQPValue::FieldArray(_) => "array",
        AMQPValue::Timestamp(_) => "timestamp",
        AMQPValue::FieldTable(_) => "table",
        AMQPValue::ByteArray(_) => "binary",
        AMQPValue::Void => "void",
    }
}

fn write_value(out: &mut Vec<u8>, value: &AMQPValue) {
    match value {
        AMQPValue::Boolean(value) => write_fixed(out, b't', [u8::from(*value)]),
        AMQPValue::ShortShortInt(value) => write_fixed(out, b'b', value.to_be_bytes()),
        AMQPValue::ShortShortUInt(value) => write_fixed(out, b'B', [*value]),
        AMQPValue::ShortInt(value) => write_fixed(out, b's', value.to_be_bytes()),
        AMQPValue::ShortUInt(value) => write_fixed(out, b'u', value.to_be_bytes()),
        AMQPValue::LongInt(value) => write_fixed(out, b'I', value.to_be_bytes()),
        AMQPValue::LongUInt(value) => write_fixed(out, b'i', value.to_be_bytes()),
        AMQPValue::LongLongInt(value) => write_fixed(out, b'l', value.to_be_bytes()),
        AMQPValue::Float(value) => write_fixed(out, b'f', value.to_be_bytes()),
        AMQPValue::Double(value) => write_fixed(out, b'd', value.to_be_bytes()),
        AMQPValue::Timestamp(value) => write_fixed(out, b'T', value.to_be_bytes()),
        AMQPValue::Void => out.push(b'V'),
        AMQPValue::DecimalValue(decimal) => {
            write_fixed(out, b'D', [decimal.scale]);
            out.extend_from_slice(&decimal.value.to_be_bytes());
        }
        // A short string has no tag of its own: `s` is an integer.
        AMQPValue::ShortString(text) => {
            write_sized(out, b'S', |out| out.extend_from_slice(text.as_str().as_bytes()));
        }
        AMQPValue::LongString(text) => write_sized(out, b'S', |out| out.extend_from_slice(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => write_sized(out, b'x', |out| out.extend_from_slice(bytes.as_slice())),
        AMQPValue::FieldTable(table) => write_sized(out, b'F', |out| write(out, table)),
        AMQPValue::FieldArray(array) => write_sized(out, b'A', |out| {
            for value in array.as_slice() {
                write_value(out, value);
            }
        }),
    }
}

fn write_fixed<const N: usize>(out: &mut Vec<u8>, tag: u8, bytes: [u8; N]) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}

fn write_sized(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    write_fixed(out, tag, [0; 4]);
    let begin = out.len();
    write(out);
    let len = u32::try_from(out.len() - begin).expect("tables that the broker keeps fit a frame");
    out[begin - 4..begin].copy_from_slice(&len.to_be_bytes());
}
