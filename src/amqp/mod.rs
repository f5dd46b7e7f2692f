//! AMQP 0-9-1 on the wire: bytes to values and back. Pure; it holds no state and judges no permission.

pub mod content;
pub mod field_table;
pub mod frame;
pub mod framed_content;
pub mod method;
pub mod publish_head;
pub mod reply_code;
pub mod whole_ack;
pub mod whole_publish;
