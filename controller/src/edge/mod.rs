//! Where connections come in: accept loops, TLS, limits. Both listeners use it.
//!
//! Invariants: every timeout and cap is set here, none is left to a library's default; a connection
//! that never finishes its handshake or its headers costs one slot for a bounded time; the caps of
//! one address do not touch the others. Not here: what is said on a connection (`rest`, `grpc`).

pub mod accept;
pub mod bucket;
pub mod changeover;
pub mod counters;
pub mod http2;
pub mod limits;
mod patience;
pub mod renewal;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

/// Who is at the other end of a connection; an extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Their address.
    pub address: SocketAddr,
    /// The client certificate chain they showed and proved, leaf first; empty without one.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Ends the connection when it is cancelled: what is open may finish, nothing new is taken.
    pub retire: CancellationToken,
}

#[cfg(test)]
mod tests;
