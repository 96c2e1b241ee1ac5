//! Limits of a listener, and the count of its connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// HTTP/2 streams at once on one connection.
    pub streams: u32,
    /// How long connections may finish what is open after a soft shutdown.
    pub drain: Duration,
}

impl Limits {
    /// For the REST listener: many short requests, some long watchers.
    #[must_use]
    pub fn rest() -> Self {
        Self { connections: 20_000, per_address: 1_000, ..Self::agents() }
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
            streams: 200,
            drain: Duration::from_secs(10),
        }
    }
}

/// Counts connections, in all and by address.
#[derive(Debug, Clone, Default)]
pub struct Count {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Count {
    /// A place for one more connection, while there is one.
    #[must_use]
    pub fn admit(&self, address: IpAddr, limits: &Limits) -> Option<Place> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = by_address.values().sum();
        let here = by_address.get(&address).copied().unwrap_or(0);
        if all >= limits.connections || here >= limits.per_address {
            return None;
        }
        by_address.insert(address, here + 1);
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
        let mut by_address = self.count.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&self.address);
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
}
