//! `[agents]`: the listener for agents, and how long they may be silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cratekube_common::intake::Field;

const DEFAULT_PORT: u16 = 7443;
/// Long enough for a restart of the controller or a short cut of the network, short enough that an
/// operator is told within a minute.
const DEFAULT_LEASE_TTL: Duration = Duration::from_secs(60);
/// Four heartbeats fit into a lease.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);

/// The `[agents]` section.
#[derive(Debug, Clone)]
pub struct Agents {
    /// `listen`.
    pub listen: SocketAddr,
    /// `names`: what the listener's certificate is made for; agents dial one of them.
    pub names: Vec<String>,
    /// `lease_ttl`: after so long without a heartbeat a run's fate is unknown.
    pub lease_ttl: Duration,
    /// `heartbeat_interval`.
    pub heartbeat_interval: Duration,
}

impl Agents {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT));
        let Some(mut o) = at.object() else {
            let names = super::default_names();
            let (lease_ttl, heartbeat_interval) = (DEFAULT_LEASE_TTL, DEFAULT_HEARTBEAT);
            return Self { listen: default, names, lease_ttl, heartbeat_interval };
        };
        let listen = super::address(&o.field("listen"), default);
        let names = super::names(&o.field("names"));
        let (least, most) = (Duration::from_secs(5), Duration::from_secs(3600));
        let ttl = o.field("lease_ttl");
        let lease_ttl = super::duration(&ttl, DEFAULT_LEASE_TTL, least, most);
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(300));
        let heartbeat = o.field("heartbeat_interval");
        let heartbeat_interval = super::duration(&heartbeat, DEFAULT_HEARTBEAT.min(lease_ttl / 4), least, most);
        if heartbeat_interval * 2 > lease_ttl {
            heartbeat.error("must be at most half of lease_ttl, or one lost heartbeat ends the lease");
        }
        o.finish();
        Self { listen, names, lease_ttl, heartbeat_interval }
    }
}
