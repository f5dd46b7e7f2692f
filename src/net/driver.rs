//! One connection's task: reads what is there, hands it to the state machine, and writes what that has to say.
//!
//! Reading goes through a buffer that all connections of a worker thread share, and writing through another, so that
//! an idle connection holds none. Reading and writing never wait for each other: a peer that writes without reading blocks only itself.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::Connection;

use super::turns::Turn;

/// One read takes at most this much, bytes: a turn's worth, after which others have theirs.
const READ_MAX: usize = 128 << 10;

/// A write buffer that has grown beyond this is not kept, bytes.
const WRITE_KEPT_MAX: usize = 1 << 20;

/// Rounds of reading and writing before the other connections of the worker have their turn. They have it soon: those
/// that the messages are for are among them, and work best while these are in the caches.
const ROUNDS_MAX: usize = 2;

/// How long a finished connection may take to write what it still has to say.
const LAST_WORDS: Duration = Duration::from_secs(5);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_MAX]);
    static WRITE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Drives a connection until it is over.
pub async fn drive<S: AsyncRead + AsyncWrite + Unpin>(stream: S, connection: Connection, turn: Turn) {
    let timer = Box::pin(sleep_until(Instant::now()));
    let mut driver = Driver {
        stream,
        connection,
        timer,
        finished: None,
        has_ended: false,
        turn,
    };
    poll_fn(|context| driver.poll(context)).await;
}

/// What a turn came to.
enum Turned {
    /// The connection is over.
    Over,
    /// There was no more to do: it goes on when something happens.
    Rests,
    HasMore,
}

struct Driver<S> {
    stream: S,
    connection: Connection,
    timer: Pin<Box<Sleep>>,
    /// When a finished connection gives up writing.
    finished: Option<Instant>,
    /// The peer will send nothing more.
    has_ended: bool,
    turn: Turn,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.turn.poll_begin(context));
        WRITE_BUFFER.with_borrow_mut(|spare| self.connection.lend_output(spare));
        let turned = self.poll_rounds(context);
        WRITE_BUFFER.with_borrow_mut(|spare| {
            self.connection.return_output(spare);
            if spare.capacity() > WRITE_KEPT_MAX {
                *spare = Vec::new();
            }
        });
        match turned {
            Turned::Over => return Poll::Ready(()),
            Turned::Rests => self.turn.rest(),
            Turned::HasMore => self.turn.go_on(context),
        }
        Poll::Pending
    }

    fn poll_rounds(&mut self, context: &mut Context<'_>) -> Turned {
        for _ in 0..ROUNDS_MAX {
            let now = Instant::now();
            self.connection.advance(now.into_std());
            if self.write(context).is_err() {
                return self.end();
            }
            if self.connection.is_finished() || self.has_ended {
                return self.poll_finish(context, now);
            }
            let mut goes_on = self.connection.poll_mail(context.waker());
            let wants_read = self.connection.wants_read();
            if wants_read && let Poll::Ready(read) = self.read(context, now) {
                goes_on = true;
                match read {
                    Ok(0) => self.has_ended = true,
                    Ok(_) => {}
                    Err(_) => return self.end(),
                }
            }
            // After reading: a heartbeat that waits in the socket is not a missed one, however late we are.
            goes_on |= self.poll_timer(context, now).is_ready();
            if !goes_on {
                self.connection.rest();
                return Turned::Rests;
            }
        }
        Turned::HasMore
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream.
    fn read(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<io::Result<usize>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let filled = buffer.filled();
            if !filled.is_empty() {
                self.connection.receive(filled, now.into_std());
            }
            Poll::Ready(Ok(filled.len()))
        })
    }

    /// Writes as much as the socket takes now.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.connection.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.connection.output()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => {
                    self.connection.wrote(len);
                    if self.connection.output().is_empty() {
                        self.connection.advance(Instant::now().into_std());
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        // TLS takes bytes that the socket did not; nothing else would write those.
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Waits for the connection's next timeout; ready when something was due.
    fn poll_timer(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<()> {
        let Some(timeout) = self.connection.next_timeout() else {
            return Poll::Pending;
        };
        let timeout = Instant::from_std(timeout);
        if timeout <= now {
            self.connection.handle_timeout(now.into_std());
            return Poll::Ready(());
        }
        if self.timer.deadline() != timeout {
            self.timer.as_mut().reset(timeout);
        }
        self.timer.as_mut().poll(context)
    }

    /// Everything is said: waits, not for ever, until the socket has taken it, then closes.
    fn poll_finish(&mut self, context: &mut Context<'_>, now: Instant) -> Turned {
        if self.has_ended {
            self.connection.terminate();
        }
        let end = *self.finished.get_or_insert(now + LAST_WORDS);
        // Shutting down lets the peer read our last frames before it learns that the socket is gone.
        let is_done = self.connection.output().is_empty()
            && Pin::new(&mut self.stream).poll_shutdown(context).is_ready();
        if !is_done && now < end {
            if self.timer.deadline() != end {
                self.timer.as_mut().reset(end);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Turned::Rests;
            }
        }
        self.end()
    }

    fn end(&mut self) -> Turned {
        self.connection.terminate();
        Turned::Over
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use crate::connection::tests::{broker, new};
    use crate::net::turns::Turns;

    use super::*;

    /// How long anything may take, so that a failure ends.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// Takes whatever is written, and passes it on when it is flushed, as TLS may.
    struct HoldsBack {
        inner: DuplexStream,
        held: Vec<u8>,
    }

    impl AsyncRead for HoldsBack {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for HoldsBack {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            let Self { inner, held } = &mut *self;
            while !held.is_empty() {
                let written = ready!(Pin::new(&mut *inner).poll_write(context, held))?;
                held.drain(..written);
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.as_mut().poll_flush(context))?;
            Pin::new(&mut self.inner).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn what_a_stream_holds_back_is_flushed() {
        // A narrow pipe, so that a flush has to be gone on with.
        let (mut client, inner) = duplex(16);
        let stream = HoldsBack {
            inner,
            held: Vec::new(),
        };
        // Its handshake's time ends long after the deadline: giving up would flush too.
        let connection = new(&broker(), Instant::now().into_std() + 100 * DEADLINE);
        let driven = tokio::spawn(drive(stream, connection, Turns::new().place()));
        client.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        let mut head = [0; 7];
        let read = client.read_exact(&mut head);
        timeout(DEADLINE, read).await.expect("connection.start").unwrap();
        let len = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; len as usize + 1];
        let read = client.read_exact(&mut payload);
        timeout(DEADLINE, read).await.expect("all of it").unwrap();
        assert_eq!(
            (&payload[..4], payload.last()),
            (&[0, 10, 0, 10][..], Some(&0xCE))
        );
        drop(client);
        timeout(DEADLINE, driven).await.expect("the end").unwrap();
    }
}
