//! Objects in the cloud that were made for clusters that are not there any more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Cents, Entry};
use crate::domain::spelled;
use crate::domain::time::Timestamp;

/// What a scan for orphans is given by the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrphanInput {
    /// Names that stand for living clusters in tags, their ids among them: what they own is no orphan.
    pub living: BTreeSet<String>,
    /// Names of clusters that were removed: what carries them was ours.
    pub removed: BTreeSet<String>,
}

spelled! {
    /// Why a group of objects is listed.
    pub enum OrphanReason {
        /// They carry the name of a cluster that was removed.
        Removed = "removed",
        /// They carry the name of a cluster that is not known here.
        Unknown = "unknown",
        /// They were made by some cluster, and nothing says by which.
        Nameless = "nameless",
        /// Last snapshots that a removal took on request.
        LastSnapshots = "last_snapshots",
    }
}

/// The orphans of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanGroup {
    /// The name in their tags; none when nothing says which cluster made them.
    pub name: Option<String>,
    /// Why they are listed.
    pub reason: OrphanReason,
    /// How many there are, also those that are not listed.
    pub count: u64,
    /// What they cost in a month, as an estimate.
    pub monthly_cents: Cents,
    /// When the oldest was made, where the cloud says so.
    pub oldest: Option<Timestamp>,
    /// The objects; all are kept, since a scan deletes nothing.
    pub objects: Vec<Entry>,
}

/// What a scan for orphans found. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanFindings {
    /// The region that was looked at; none when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// Why the cloud, or some of it, could not be looked at; none when all of it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
    /// Which price table the costs are from.
    pub prices: String,
    /// What all of them cost in a month.
    pub monthly_cents: Cents,
    /// The orphans by cluster, the dearest first.
    pub groups: Vec<OrphanGroup>,
    /// How many objects are counted and not listed, because a report has a bound.
    #[serde(default)]
    pub not_listed: u64,
}
