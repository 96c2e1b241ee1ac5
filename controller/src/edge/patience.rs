//! Bytes of a connection, with an end to patience: for the first bytes of HTTP/2, and for a peer that
//! takes nothing; and a share for each, for a peer that never pauses.
//!
//! HTTP/1 has a timeout for headers of its own, and HTTP/2 asks a silent peer whether it lives; neither
//! covers a peer that never begins, or one that asks and does not read the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The preface of HTTP/2 and the header of the frame that must follow.
const OPENING: usize = 24 + 9;

/// So much is read of one connection before others have their turn: what costs little to send (a `PING` has 17
/// bytes) costs a multiple to answer.
const SHARE: usize = 8 * 1024;

/// A stream that gives up a peer that takes nothing, and is read in turn with others. Beneath TLS, whose own
/// buffer hides it for a while.
pub(super) struct Unread<T> {
    io: T,
    /// Bytes that were read in this turn.
    turn: usize,
    /// Runs while the peer takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<T> Unread<T> {
    /// Gives up when a write is pending for longer than `patience`.
    pub(super) fn new(io: T, patience: Duration) -> Self {
        Self { io, turn: 0, blocked: None, patience }
    }

    /// Bounds how long a write may be pending.
    fn bound<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.blocked = None;
            return polled;
        }
        let until = Instant::now() + self.patience;
        let timer = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(late("the peer takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Unread<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn >= SHARE {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        // Who has nothing to say now begins anew.
        self.turn = if polled.is_pending() { 0 } else { self.turn + buf.filled().len() - before };
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Unread<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.bound(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.bound(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.bound(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.bound(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// A stream that gives up a peer that does not begin HTTP/2. Above TLS.
pub(super) struct Opening<T> {
    io: T,
    /// Bytes that came, and the time that is left, while the opening is not complete.
    opening: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<T> Opening<T> {
    /// Gives up when the opening takes longer than this; never without.
    pub(super) fn new(io: T, patience: Option<Duration>) -> Self {
        Self { io, opening: patience.map(|time| (0, Box::pin(tokio::time::sleep(time)))) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opening<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some((seen, timer)) = &mut this.opening else { return polled };
        *seen += buf.filled().len() - before;
        if *seen >= OPENING {
            this.opening = None;
        } else if polled.is_pending() && timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(late("HTTP/2 was not begun in time")));
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opening<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn hostile_row_73_a_peer_that_never_pauses_is_read_in_turn_with_others() {
        let mut io = Unread::new(tokio::io::repeat(7), Duration::from_secs(1));
        let mut cx = Context::from_waker(Waker::noop());
        let mut turn = || {
            let mut read = 0;
            loop {
                let mut space = [0; 4096];
                let mut buffer = ReadBuf::new(&mut space);
                match Pin::new(&mut io).poll_read(&mut cx, &mut buffer) {
                    Poll::Ready(_) => read += buffer.filled().len(),
                    Poll::Pending => return read,
                }
                assert!(read <= SHARE, "it never pauses");
            }
        };
        assert_eq!((turn(), turn()), (SHARE, SHARE), "and goes on when its turn has come");
    }
}
