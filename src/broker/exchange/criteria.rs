//! What a message is matched by.

use crate::amqp::content;

/// Borrowed from the message; what an exchange's type does not look at is not read.
#[derive(Clone, Copy, Debug)]
pub struct Criteria<'a> {
    /// Its routing key, then those of CC and BCC. Never empty.
    pub routing_keys: &'a [&'a [u8]],
    /// The property flags and values.
    pub properties: &'a [u8],
}

impl<'a> Criteria<'a> {
    /// The entries of its header table; empty without headers, as far as they parse.
    pub(super) fn headers(&self) -> &'a [u8] {
        let range = content::headers_range(self.properties);
        range.map_or(&[], |range| &self.properties[range])
    }
}
