//! Remembers why a connection ended.
//!
//! In TLS 1.3 a server refuses a client's certificate after the client considers the handshake done,
//! so the refusal arrives as an error of a later read. HTTP/2 reduces it to "broken pipe"; here it is
//! heard before that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was heard last from the other side's TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Alert(Arc<OnceLock<AlertDescription>>);

impl Alert {
    /// The alert that ended the connection, when one did.
    #[must_use]
    fn heard(&self) -> Option<AlertDescription> {
        self.0.get().copied()
    }

    /// True when the other side does not accept who we are.
    #[must_use]
    pub(super) fn is_refusal(&self) -> bool {
        use AlertDescription as A;
        matches!(
            self.heard(),
            Some(
                A::BadCertificate
                    | A::UnsupportedCertificate
                    | A::CertificateRevoked
                    | A::CertificateExpired
                    | A::CertificateUnknown
                    | A::UnknownCA
                    | A::AccessDenied
                    | A::CertificateRequired
                    | A::DecryptError
            )
        )
    }

    /// Takes note of an error of the connection.
    pub(super) fn note(&self, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::AlertReceived(alert)) = inner {
            let _first_one_counts = self.0.set(*alert);
        }
    }
}

/// A connection that is listened to.
#[derive(Debug)]
pub(super) struct Overheard<T> {
    inner: T,
    alert: Alert,
}

impl<T> Overheard<T> {
    pub(super) fn new(inner: T, alert: Alert) -> Self {
        Self { inner, alert }
    }

    fn hear<V>(&self, poll: Poll<io::Result<V>>) -> Poll<io::Result<V>> {
        if let Poll::Ready(Err(error)) = &poll {
            self.alert.note(error);
        }
        poll
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Overheard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.hear(poll)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Overheard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.hear(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.hear(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.hear(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.hear(poll)
    }
}
