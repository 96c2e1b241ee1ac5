//! Bytes of a connection, with an end to patience: for the first bytes of HTTP/2, and for a peer that
//! takes nothing.
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

/// A stream with deadlines.
pub(super) struct Patient<T> {
    io: T,
    /// Runs while the opening is not complete.
    opening: Option<(usize, Pin<Box<Sleep>>)>,
    /// Runs while the peer takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
    send: Duration,
}

impl<T> Patient<T> {
    /// Gives up when the opening takes longer than `opening`, or a write longer than `send`.
    pub(super) fn new(io: T, opening: Option<Duration>, send: Duration) -> Self {
        let opening = opening.map(|time| (0, Box::pin(tokio::time::sleep(time))));
        Self { io, opening, blocked: None, send }
    }

    /// Bounds how long a write may be pending.
    fn bound<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.blocked = None;
            return polled;
        }
        let until = Instant::now() + self.send;
        let timer = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some((seen, timer)) = &mut this.opening else { return polled };
        *seen += buf.filled().len() - before;
        if *seen >= OPENING {
            this.opening = None;
        } else if polled.is_pending() && timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "HTTP/2 was not begun in time")));
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
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
