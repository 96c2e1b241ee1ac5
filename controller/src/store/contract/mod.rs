//! The values that go into and come out of the store's verbs. One file for each subject.

mod accepting;
mod agents;
mod alarms;
mod attention;
mod audit;
mod clusters;
mod enrolling;
mod events;
mod figures;
mod health;
mod keys;
mod leasing;
mod operations;
mod orphans;
mod output;
mod removals;
mod resources;
mod restoring;

pub use accepting::*;
pub use agents::*;
pub use alarms::*;
pub use attention::*;
pub use audit::*;
pub use clusters::*;
pub use enrolling::*;
pub use events::*;
pub use figures::*;
pub use health::*;
pub use keys::*;
pub use leasing::*;
pub use operations::*;
pub use orphans::*;
pub use output::*;
pub use removals::*;
pub use resources::*;
pub use restoring::*;

/// A fault of the store itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is busy or full; the same call may succeed later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It cannot be opened.
    #[error("cannot open the store: {0}")]
    Open(String),
    /// What it holds cannot be read, or a rule that must hold does not.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next part begins; none at the end.
    pub next: Option<String>,
}

/// Which part of a list: keyset paging, no offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next` of the part before.
    pub after: Option<String>,
    /// At most so many items.
    pub limit: usize,
}
