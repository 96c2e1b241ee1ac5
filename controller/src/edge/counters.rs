//! What happened at a listener, counted. A flood shows here, not in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Counts of one listener.
        #[derive(Debug, Clone, Default)]
        pub struct Counters(Arc<Cells>);

        #[derive(Debug, Default)]
        struct Cells { $($name: AtomicU64),+ }

        /// Counts at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[doc = $doc])+ pub $name: u64),+ }

        impl Counters {
            /// All of them.
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: self.0.$name.load(Ordering::Relaxed)),+ }
            }

            $(pub(super) fn $name(&self) { self.0.$name.fetch_add(1, Ordering::Relaxed); })+
        }
    };
}

counters! {
    /// Connections that were let in.
    accepted,
    /// Connections that were turned away: too many.
    turned_away,
    /// Handshakes that failed: wrong version, no or a wrong certificate, not TLS.
    handshakes_failed,
    /// Handshakes that took too long.
    handshakes_late,
    /// Connections that ended with a fault: a broken protocol, a flood, a peer that does not read.
    faults,
    /// Connections that ended because of their age or because their agent is locked out.
    retired,
}
