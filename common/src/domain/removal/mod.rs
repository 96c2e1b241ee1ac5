//! What the removal of a cluster looks for in the cloud, and what it says of it afterwards.
//!
//! These are the values that steps of a removal hand to each other and to the controller, which keeps
//! them with the operation, shows them and signs them. An object is deleted only when it is *proven* to
//! belong to the cluster; what else stood near it is listed as kept, with the reason. A report is
//! [`Verdict::Clean`] only when the cloud was looked at and nothing of the cluster was there; where it
//! could not be looked at, the report is [`Verdict::Unverified`].

mod cloud;
mod finding;
mod options;
mod orphan;
mod report;
mod steps;

pub use cloud::{CloudKind, CloudObject, ObjectKey};
pub use finding::{Entry, Fate, KeptCause, Proof};
pub use options::{RemovalOptions, RemovalWish};
pub use orphan::{OrphanFindings, OrphanGroup, OrphanInput, OrphanReason};
pub use report::{MOST_BYTES, SweepFindings, Tally, Verdict};
pub use steps::{CloudRecord, DataPolicy, KnownToCluster, SweepInput};

/// Cents of a US dollar. Estimates are made per object and added up, so that a sum is what its parts say.
pub type Cents = u64;
