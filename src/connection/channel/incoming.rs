//! A message whose method, header and body frames arrive one by one.

use std::sync::Arc;

use crate::amqp::content::ContentHeader;
use crate::amqp::frame::{Frame, FrameKind};
use crate::amqp::method::{MethodId, Publish};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::arrivals::Place;
use crate::message::MessageBuilder;

use super::super::error::{Failure, bad_properties, connection};
use super::super::session::Session;

const ID: MethodId = MethodId::PUBLISH;

/// RabbitMQ's ceiling for a message body, whatever is configured.
const BODY_BYTES_CEILING: u64 = 512 << 20;

/// A body that is larger, bytes, arrives only when there is room for it.
const ARRIVES_AT_ONCE_MAX: u64 = 128 << 10;

/// A message of which something has come.
#[derive(Debug)]
pub(super) struct Incoming {
    pub mandatory: bool,
    /// Body bytes announced; `None` until the header has come.
    body_size: Option<u64>,
    pub received: u64,
    pub builder: MessageBuilder,
    /// The room of a large body.
    pub place: Option<Arc<Place>>,
}

impl Incoming {
    /// The method has come.
    pub fn begin(publish: &Publish<'_>) -> Self {
        let mut builder = MessageBuilder::default();
        builder.start(publish.exchange, publish.routing_key);
        Self {
            mandatory: publish.mandatory,
            body_size: None,
            received: 0,
            builder,
            place: None,
        }
    }

    /// Whether the next frame is one of the body.
    pub fn has_header(&self) -> bool {
        self.body_size.is_some()
    }

    /// Whether all of it has come.
    pub fn is_whole(&self) -> bool {
        self.body_size == Some(self.received)
    }

    /// Takes a header or body frame. After the header of a large body the connection may have to wait.
    ///
    /// # Errors
    /// When it is not what has to come next, or is not acceptable.
    pub fn frame(&mut self, session: &mut Session, frame: &Frame<'_>) -> Result<(), Failure> {
        let size_max = session.settings.message_size_max;
        match (frame.kind, self.body_size) {
            (FrameKind::Header, None) => self.header(frame.payload, session),
            (FrameKind::Body, Some(size)) => self.body(frame.payload, size, size_max),
            (_, size) => Err(out_of_turn(size.is_some())),
        }
    }

    fn header(&mut self, payload: &[u8], session: &mut Session) -> Result<(), Failure> {
        let header = check_header(payload)?;
        let size = header.body_size;
        self.body_size = Some(size);
        // A body that will be refused is counted, not kept.
        let is_kept = size <= session.settings.message_size_max;
        let is_large = size > ARRIVES_AT_ONCE_MAX;
        let reserve = if is_kept && !is_large { usize::MAX } else { 0 };
        self.builder.header(size, header.properties, reserve);
        if is_kept && is_large {
            self.place = Some(session.reserve(size)?);
        }
        Ok(())
    }

    fn body(&mut self, payload: &[u8], size: u64, size_max: u64) -> Result<(), Failure> {
        if self.place.is_some() && self.received == 0 {
            self.builder.expect_body(size);
        }
        self.received += payload.len() as u64;
        if self.received > size {
            let explanation = "content body frame exceeds remaining content size";
            return Err(connection(ReplyCode::FrameError, explanation, ID));
        }
        if size <= size_max {
            self.builder.body(payload);
        }
        Ok(())
    }
}

/// Reads the payload of a content header frame, and judges it before any of the body has come.
#[inline]
pub(super) fn check_header(payload: &[u8]) -> Result<ContentHeader<'_>, Failure> {
    let header = ContentHeader::parse(payload).ok_or_else(bad_properties)?;
    if header.class_id == 60 && header.weight == 0 && header.body_size <= BODY_BYTES_CEILING {
        return Ok(header);
    }
    Err(bad_header(&header))
}

#[cold]
fn bad_header(header: &ContentHeader<'_>) -> Failure {
    if header.class_id != 60 {
        let explanation = format!(
            "expected content header for class 60, got one for class {} instead",
            header.class_id
        );
        return unexpected(&explanation);
    }
    if header.weight != 0 {
        return unexpected("expected content header for class 60, got non content header frame instead");
    }
    let explanation = format!(
        "content body size {} exceeds maximum allowed size {BODY_BYTES_CEILING}",
        header.body_size
    );
    connection(ReplyCode::FrameError, explanation, ID)
}

/// Another frame came than the header, or than the body if the header was there.
pub(super) fn out_of_turn(has_header: bool) -> Failure {
    unexpected(if has_header {
        "expected content body, got non content body frame instead"
    } else {
        "expected content header for class 60, got non content header frame instead"
    })
}

fn unexpected(explanation: &str) -> Failure {
    connection(ReplyCode::UnexpectedFrame, explanation, ID)
}
