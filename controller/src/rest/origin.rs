//! Where a request comes from: the connection's address, or what a proxy that is trusted says.
//!
//! `X-Forwarded-For` is read from its end, where the nearest proxy writes. Every address that is a
//! trusted proxy itself is passed over; the first that is not is the client, whatever stands before
//! it, because anyone may have written that. From anyone else the header is worth nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::edge::Peer;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request comes from; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin(pub(super) Option<IpAddr>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl Origin {
    /// The origin of a request.
    pub(super) fn of(peer: Option<&Peer>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let Some(peer) = peer.map(|peer| peer.address.ip().to_canonical()) else { return Self(None) };
        let is_proxy = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
        let mut client = peer;
        while is_proxy(client) {
            // What is no address was not written by a proxy that does its work: go no further back.
            let Some(address) = hops.next().and_then(address) else { break };
            client = address;
        }
        Self(Some(client))
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let read = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()));
    read.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn origin(peer: &str, headers: &[&str]) -> String {
        let peer = Peer {
            address: format!("{peer}:1").parse().unwrap(),
            certificates: Arc::new([]),
            retire: tokio_util::sync::CancellationToken::new(),
        };
        let mut map = HeaderMap::new();
        headers.iter().for_each(|value| _ = map.append(FORWARDED_FOR, value.parse().unwrap()));
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        Origin::of(Some(&peer), &map, &trusted).to_string()
    }

    #[test]
    fn hostile_row_25_a_forwarded_address_is_believed_from_trusted_proxies_only() {
        assert_eq!(origin("192.0.2.7", &["198.51.100.1"]), "192.0.2.7", "a stranger may write anything");
        assert_eq!(origin("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(origin("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(origin("10.0.0.1", &["203.0.113.9, 198.51.100.1"]), "198.51.100.1", "what stands before is hearsay");
        assert_eq!(origin("10.0.0.1", &["203.0.113.9", "198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(origin("[::ffff:10.0.0.1]", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(origin("[2001:db8::1]", &["[2001:470::5]:80"]), "2001:470::5");
        assert_eq!(origin("10.0.0.1", &["198.51.100.1, me"]), "10.0.0.1");
        assert_eq!(origin("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(Origin::of(None, &HeaderMap::new(), &[]).to_string(), "unknown");
    }
}
