//! What the broker checks in a message's properties before it takes the message.

use crate::amqp::field_table::{self, Value, Values};
use crate::amqp::method::MethodId;
use crate::broker::user::IMPERSONATOR;

use super::super::error::{Failure, precondition};
use super::super::session::Session;

const ID: MethodId = MethodId::PUBLISH;

/// Ten years, RabbitMQ's bound for times in milliseconds.
const EXPIRATION_MAX: u64 = 315_360_000_000;

/// Routing keys that CC and BCC add.
#[derive(Debug, Default)]
pub(super) struct Copies(pub(super) Vec<Vec<u8>>);

impl Copies {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Validates the header table and reads CC and BCC; returns other entries to send if these may not go out: with BCC,
/// or with the tag `L`, which some clients can not read.
pub(super) fn read_headers(headers: &[u8]) -> Result<(Copies, Option<Vec<u8>>), Failure> {
    field_table::validate(headers)?;
    let mut copies = Copies::default();
    let mut has_bcc = false;
    for key in [&b"CC"[..], b"BCC"] {
        match field_table::lookup(headers, key) {
            None => continue,
            Some(Value::Array(values)) => {
                let keys = Values::new(values).filter_map(|value| match value {
                    Value::LongString(key) if key.len() <= 255 => Some(key.to_vec()),
                    _ => None,
                });
                copies.0.extend(keys);
            }
            Some(_) => {
                let name = String::from_utf8_lossy(key);
                let table = field_table::to_owned(headers);
                let kind = table
                    .inner()
                    .get(&*name)
                    .map_or("undefined", field_table::type_name);
                let explanation =
                    format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}");
                return Err(precondition(explanation, ID));
            }
        }
        has_bcc |= key == b"BCC";
    }
    if !has_bcc && !field_table::has_long_tags(headers) {
        return Ok((copies, None));
    }
    let mut entries = if has_bcc {
        field_table::without_keys(headers, &[b"BCC"])
    } else {
        headers.to_vec()
    };
    field_table::rewrite_long_tags(&mut entries);
    Ok((copies, Some(entries)))
}

/// A user id has to be the user's own, unless the user may impersonate others.
pub(super) fn check_user_id(session: &Session, user_id: &[u8]) -> Result<(), Failure> {
    let user = &session.user;
    if user_id == user.name.as_bytes() || user.has_tag(IMPERSONATOR) {
        return Ok(());
    }
    let explanation = format!(
        "user_id property set to '{}' but authenticated user was '{}'",
        String::from_utf8_lossy(user_id),
        user.name
    );
    Err(precondition(explanation, ID))
}

/// A decimal number of milliseconds, as Erlang's `string:to_integer` reads it.
pub(super) fn check_expiration(raw: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(raw);
    let refuse = |reason: String| Err(precondition(format!("invalid expiration '{text}': {reason}"), ID));
    let (is_negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let end = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    if end == 0 {
        return refuse("no_integer".to_owned());
    }
    if end < digits.len() {
        return refuse(format!(
            "{{leftover_string,\"{}\"}}",
            String::from_utf8_lossy(&digits[end..])
        ));
    }
    let number = String::from_utf8_lossy(digits);
    let number = number.trim_start_matches('0');
    let number = if number.is_empty() { "0" } else { number };
    if is_negative && number != "0" {
        return refuse(format!("{{value_negative,-{number}}}"));
    }
    match number.parse::<u64>() {
        Ok(value) if value <= EXPIRATION_MAX => Ok(()),
        _ => refuse(format!("{{value_too_large,{number}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expirations_are_judged_as_rabbitmq_does() {
        let refused = |raw: &str| match check_expiration(raw.as_bytes()) {
            Ok(()) => None,
            Err(Failure::Channel(error)) => Some(error.explanation),
            Err(other) => panic!("{other:?}"),
        };
        for fine in ["0", "+10", "60000", "315360000000", "007", "-0"] {
            assert_eq!(refused(fine), None, "{fine}");
        }
        let reasons = [
            ("", "no_integer"),
            ("abc", "no_integer"),
            (" 1", "no_integer"),
            ("1.5", "{leftover_string,\".5\"}"),
            ("1 ", "{leftover_string,\" \"}"),
            ("-1", "{value_negative,-1}"),
            ("315360000001", "{value_too_large,315360000001}"),
            (
                "99999999999999999999999",
                "{value_too_large,99999999999999999999999}",
            ),
        ];
        for (raw, reason) in reasons {
            assert_eq!(
                refused(raw),
                Some(format!("invalid expiration '{raw}': {reason}"))
            );
        }
    }
}
