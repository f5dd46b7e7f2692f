//! Frames from their parts, by hand.

/// Bit of the property flags for the headers.
pub const HEADERS: u16 = 1 << 13;
/// Bit of the property flags for the delivery mode.
pub const DELIVERY_MODE: u16 = 1 << 12;
/// Bit of the property flags for the expiration.
pub const EXPIRATION: u16 = 1 << 8;
/// Bit of the property flags for the user id.
pub const USER_ID: u16 = 1 << 4;

/// A frame in the making; its fields are appended one by one.
#[derive(Clone, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn short(mut self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.0.push(u8::try_from(value.len()).unwrap());
        self.raw(value)
    }

    pub fn long(self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.u32(u32::try_from(value.len()).unwrap()).raw(value)
    }

    pub fn raw(mut self, value: impl AsRef<[u8]>) -> Self {
        self.0.extend(value.as_ref());
        self
    }

    /// The bytes so far.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// As the payload of a method frame.
    pub fn on(self, channel: u16) -> Vec<u8> {
        frame(1, channel, &self.0)
    }
}

/// A frame of any kind.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let head = Fields::default().u8(kind).u16(channel).long(payload);
    head.u8(0xCE).bytes()
}

/// A method; arguments follow.
pub fn method(class: u16, method: u16) -> Fields {
    Fields::default().u16(class).u16(method)
}

/// One entry of a field table.
pub fn entry(key: &str, tag: u8, value: &[u8]) -> Vec<u8> {
    Fields::default().short(key).u8(tag).raw(value).bytes()
}

/// An entry with a long string.
pub fn text(key: &str, value: &str) -> Vec<u8> {
    entry(key, b'S', &Fields::default().long(value).bytes())
}

/// An entry with a signed 32-bit integer.
pub fn int(key: &str, value: i32) -> Vec<u8> {
    entry(key, b'I', &value.to_be_bytes())
}

/// channel.open
pub fn channel_open(channel: u16) -> Vec<u8> {
    method(20, 10).short("").on(channel)
}

/// exchange.declare on channel 1. Bits: 1 passive, 2 durable, 4 auto-delete, 8 internal, 16 nowait.
pub fn exchange_declare(name: &str, kind: &str, bits: u8, arguments: &[u8]) -> Vec<u8> {
    method(40, 10)
        .u16(0)
        .short(name)
        .short(kind)
        .u8(bits)
        .long(arguments)
        .on(1)
}

/// exchange.delete on channel 1. Bits: 1 if-unused, 2 nowait.
pub fn exchange_delete(name: &str, bits: u8) -> Vec<u8> {
    method(40, 20).u16(0).short(name).u8(bits).on(1)
}

/// exchange.bind (30) or unbind (40) on channel 1.
pub fn exchange_bind(which: u16, destination: &str, source: &str, key: &str) -> Vec<u8> {
    let names = method(40, which).u16(0).short(destination).short(source);
    names.short(key).u8(0).long("").on(1)
}

/// queue.declare on channel 1. Bits: 1 passive, 2 durable, 4 exclusive, 8 auto-delete, 16 nowait.
pub fn queue_declare(name: &str, bits: u8, arguments: &[u8]) -> Vec<u8> {
    method(50, 10).u16(0).short(name).u8(bits).long(arguments).on(1)
}

/// queue.bind on channel 1.
pub fn queue_bind(queue: &str, exchange: &str, key: &str, arguments: &[u8]) -> Vec<u8> {
    let names = method(50, 20).u16(0).short(queue).short(exchange);
    names.short(key).u8(0).long(arguments).on(1)
}

/// queue.unbind on channel 1.
pub fn queue_unbind(queue: &str, exchange: &str, key: &str, arguments: &[u8]) -> Vec<u8> {
    let names = method(50, 50).u16(0).short(queue).short(exchange);
    names.short(key).long(arguments).on(1)
}

/// queue.purge on channel 1.
pub fn queue_purge(name: &str) -> Vec<u8> {
    method(50, 30).u16(0).short(name).u8(0).on(1)
}

/// queue.delete on channel 1. Bits: 1 if-unused, 2 if-empty, 4 nowait.
pub fn queue_delete(name: &str, bits: u8) -> Vec<u8> {
    method(50, 40).u16(0).short(name).u8(bits).on(1)
}

/// basic.qos on channel 1.
pub fn qos(count: u16, global: bool) -> Vec<u8> {
    method(60, 10).u32(0).u16(count).u8(global.into()).on(1)
}

/// basic.consume on channel 1. Bits: 1 no-local, 2 no-ack, 4 exclusive, 8 nowait.
pub fn consume(queue: &str, tag: &str, bits: u8, arguments: &[u8]) -> Vec<u8> {
    method(60, 20)
        .u16(0)
        .short(queue)
        .short(tag)
        .u8(bits)
        .long(arguments)
        .on(1)
}

/// basic.cancel on channel 1.
pub fn cancel(tag: &str) -> Vec<u8> {
    method(60, 30).short(tag).u8(0).on(1)
}

/// basic.get on channel 1.
pub fn get(queue: &str, no_ack: bool) -> Vec<u8> {
    method(60, 70).u16(0).short(queue).u8(no_ack.into()).on(1)
}

/// basic.ack on channel 1.
pub fn ack(tag: u64, multiple: bool) -> Vec<u8> {
    method(60, 80).u64(tag).u8(multiple.into()).on(1)
}

/// basic.reject on channel 1.
pub fn reject(tag: u64, requeue: bool) -> Vec<u8> {
    method(60, 90).u64(tag).u8(requeue.into()).on(1)
}

/// basic.nack on channel 1. Bits: 1 multiple, 2 requeue.
pub fn nack(tag: u64, bits: u8) -> Vec<u8> {
    method(60, 120).u64(tag).u8(bits).on(1)
}

/// basic.publish alone on channel 1. Bits: 1 mandatory, 2 immediate.
pub fn publish_method(exchange: impl AsRef<[u8]>, key: impl AsRef<[u8]>, bits: u8) -> Vec<u8> {
    method(60, 40).u16(0).short(exchange).short(key).u8(bits).on(1)
}

/// A content header on channel 1; `values` are the properties in the order of their flags.
pub fn content_header(body_size: u64, flags: u16, values: &[u8]) -> Vec<u8> {
    let fields = Fields::default()
        .u16(60)
        .u16(0)
        .u64(body_size)
        .u16(flags)
        .raw(values);
    frame(2, 1, &fields.bytes())
}

/// A whole message with properties on channel 1.
pub fn publish_with(exchange: &str, key: &str, bits: u8, flags: u16, values: &[u8], body: &[u8]) -> Vec<u8> {
    let mut frames = publish_method(exchange, key, bits);
    frames.extend(content_header(body.len() as u64, flags, values));
    if !body.is_empty() {
        frames.extend(frame(3, 1, body));
    }
    frames
}

/// A whole message on channel 1.
pub fn publish(exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
    publish_with(exchange, key, 0, 0, &[], body)
}

/// Reads fields from a payload.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        head
    }

    pub fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    pub fn short(&mut self) -> &'a [u8] {
        let len = self.u8();
        self.take(len.into())
    }

    pub fn text(&mut self) -> String {
        String::from_utf8(self.short().to_vec()).unwrap()
    }

    pub fn long(&mut self) -> &'a [u8] {
        let len = self.u32();
        self.take(len as usize)
    }
}
