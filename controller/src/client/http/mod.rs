//! HTTP/1.1 over TLS, one connection a request: a client that lives for one command needs no more.
//!
//! [`dial`] opens a connection to a controller that is trusted; [`exchange`] sends one request over
//! it; [`events`] takes server-sent events apart; [`patience`] decides whether and when to try again.

pub(super) mod dial;
pub(super) mod events;
pub(super) mod exchange;
pub(super) mod patience;
pub(super) mod query;
