//! `[metrics]`: the listener for Prometheus.

use std::net::SocketAddr;

use super::{Section, or};

/// The listener for Prometheus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSection {
    /// Where it listens; nowhere when not set. It speaks plain HTTP and asks for no token.
    pub listen: Option<SocketAddr>,
}

impl MetricsSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let listen = or(&section.field("listen"), None, |f| {
            let text = f.string()?;
            let read = text.parse().map(Some);
            f.check(read.map_err(|_| format!("{text:?} is not an address to listen on: write `127.0.0.1:9465`")))
        });
        Some(Self { listen: listen? })
    }
}
