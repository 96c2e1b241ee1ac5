//! `[metrics]`: the listener for Prometheus.

use std::net::SocketAddr;

use cratekube_common::intake::Field;

/// The `[metrics]` section.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// `listen`; none for no such listener. It speaks plain HTTP and asks for no token: a loopback address,
    /// or one of a network where only Prometheus is.
    pub listen: Option<SocketAddr>,
}

impl Metrics {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let Some(mut o) = at.object() else { return Self::default() };
        let listen = o.field("listen");
        let listen = listen.is_present().then(|| super::address(&listen, SocketAddr::from(([127, 0, 0, 1], 0))));
        o.finish();
        Self { listen }
    }
}
