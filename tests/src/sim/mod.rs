//! The simulation: real controller and real agents in one process, on simulated time, network and
//! machines, with everything going wrong that a seed says; a model checks the three invariants of the
//! product all the while and at the end.
//!
//! - [`house`]: what outlives a crash, and the software of each host, which is the product's own.
//! - [`machine`], [`supervisor`], [`rke`], [`state`]: processes. What they write to the volume is real.
//! - [`users`], [`call`]: what is asked for, through the real REST listener.
//! - [`faults`]: what goes wrong and when.
//! - [`model`]: what must be true while it happens; [`verify`]: what must be true at the end.
//! - [`world`]: plays a seed. [`chance`], [`time`], [`net`]: the one source of each.
//!
//! Real are: REST, mTLS gRPC, dispatch, leases, the SQLite store, link, engine, journals, fence, gate,
//! generations. Not here: real processes, power loss between two writes of one step, full disks.

pub mod call;
pub mod chance;
pub mod faults;
pub mod house;
pub mod machine;
pub mod model;
pub mod net;
pub mod rke;
pub mod state;
pub mod supervisor;
pub mod time;
pub mod users;
pub mod verify;
pub mod world;

pub use world::{Broken, Played, play};

/// Something that is made wrong on purpose, to see that the model notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Each run is started twice.
    StartsTwice,
    /// A line of output gets lost now and then.
    LosesOutput,
    /// A lease that runs out counts as a failure: the task is handed out again.
    LateIsFailed,
    /// A controller that crashes comes back with an older copy of its database.
    ForgetsAccepted,
    /// Whatever became of `rke`, its supervisor notes that it ended well.
    BelievesInSuccess,
}
