//! Limits of a listener, and the count of its connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bucket::network;
use super::http2::Http2;

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest TLS handshake.
    pub handshake: Duration,
    /// Longest time for the headers of an HTTP/1 request.
    pub headers: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub per_address: usize,
    /// Longest time that a peer may take nothing of what is sent to it.
    pub send: Duration,
    /// Whether HTTP/1 is spoken too.
    pub http1: bool,
    /// The knobs of HTTP/2.
    pub http2: Http2,
    /// Longest life of a connection. Each ends a little earlier, by chance, so that those who came
    /// together do not come again together.
    pub age: Duration,
    /// How long a connection may finish what is open when its life is over.
    pub age_grace: Duration,
    /// How long connections may finish what is open after a soft shutdown.
    pub drain: Duration,
}

impl Limits {
    /// For the REST listener: many short requests, some long watchers.
    #[must_use]
    pub fn rest() -> Self {
        Self {
            per_address: 1_000,
            http1: true,
            http2: Http2::users(),
            // A download or a watcher of that length goes on where it was on a new connection.
            age_grace: Duration::from_secs(300),
            ..Self::agents()
        }
    }

    /// For the listener of metrics: a scraper or two, each with one request at a time.
    #[must_use]
    pub fn metrics() -> Self {
        Self { connections: 16, per_address: 8, age_grace: Duration::from_secs(10), ..Self::rest() }
    }

    /// For the agents' listener: few long streams on each of many connections.
    #[must_use]
    pub fn agents() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            connections: 20_000,
            // Ten thousand agents may sit behind one NAT address in a test, a handful in life.
            per_address: 12_000,
            send: Duration::from_secs(30),
            http1: false,
            http2: Http2::agents(),
            age: Duration::from_secs(3_600),
            age_grace: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

/// Counts connections, in all and by address.
#[derive(Debug, Clone, Default)]
pub struct Count {
    by_address: Arc<Mutex<Admitted>>,
}

#[derive(Debug, Default)]
struct Admitted {
    all: usize,
    here: HashMap<IpAddr, usize>,
}

impl Count {
    /// A place for one more connection, while there is one.
    #[must_use]
    pub fn admit(&self, address: IpAddr, limits: &Limits) -> Option<Place> {
        let address = network(address);
        let mut admitted = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let here = admitted.here.get(&address).copied().unwrap_or(0);
        if admitted.all >= limits.connections || here >= limits.per_address {
            return None;
        }
        admitted.here.insert(address, here + 1);
        admitted.all += 1;
        Some(Place { count: self.clone(), address })
    }
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub struct Place {
    count: Count,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut admitted = self.count.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        admitted.all = admitted.all.saturating_sub(1);
        if let Some(here) = admitted.here.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                admitted.here.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_row_42_one_address_cannot_take_the_places_of_others() {
        let limits = Limits { connections: 3, per_address: 2, ..Limits::rest() };
        let count = Count::default();
        let (a, b, c) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), [10, 0, 0, 3].into());
        let first = count.admit(a, &limits).unwrap();
        let _second = count.admit(a, &limits).unwrap();
        assert!(count.admit(a, &limits).is_none(), "its own cap");
        let _third = count.admit(b, &limits).unwrap();
        assert!(count.admit(c, &limits).is_none(), "the cap of all");
        drop(first);
        assert!(count.admit(c, &limits).is_some());
    }

    #[test]
    fn hostile_row_42_the_addresses_of_one_ipv6_network_share_their_places() {
        let limits = Limits { connections: 9, per_address: 1, ..Limits::rest() };
        let count = Count::default();
        let admit = |text: &str| count.admit(text.parse().unwrap(), &limits);
        let _first = admit("2001:db8::1").unwrap();
        assert!(admit("2001:db8::ffff:1").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }
}
