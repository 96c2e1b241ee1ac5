//! What the steps of a removal that look at the cloud are given, and what recording hands on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::CloudObject;
use crate::domain::spelled;

spelled! {
    /// What becomes of the data of a cluster that is removed: its volumes and their snapshots.
    pub enum DataPolicy {
        /// Volumes and snapshots are deleted.
        Delete = "delete",
        /// Volumes and snapshots stay.
        Retain = "retain",
        /// A last snapshot of each volume is taken, then the volume is deleted. Snapshots stay.
        Snapshot = "snapshot",
    }
}

/// What a cluster says of itself while it lives: ids without proof of what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownToCluster {
    /// Host names that Services and Ingresses got from their load balancers.
    pub load_balancers: BTreeSet<String>,
    /// Volumes behind persistent volumes: `vol-…` or a path that ends in it (`aws://zone/vol-…`).
    pub volumes: BTreeSet<String>,
    /// Nodes' provider ids: `i-…` or a path that ends in it (`aws:///zone/i-…`).
    pub instances: BTreeSet<String>,
}

impl KnownToCluster {
    /// True when the cluster named nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load_balancers.is_empty() && self.volumes.is_empty() && self.instances.is_empty()
    }
}

/// What was recorded of a cluster's objects in the cloud before anything was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudRecord {
    /// Names that stand for the cluster in tags: what follows `kubernetes.io/cluster/` on its own
    /// instances. Empty when they say nothing, or not all the same.
    pub tag_names: BTreeSet<String>,
    /// The objects that the cluster named, as the cloud describes them.
    pub objects: Vec<CloudObject>,
    /// What the cluster named and the cloud does not know (any more).
    pub missing: BTreeSet<String>,
    /// Why the cloud could not be asked; none when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
}

/// What a sweep, and the look afterwards, is given by the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepInput {
    /// True when nothing may be changed: only what would go is listed.
    #[serde(default)]
    pub dry_run: bool,
    /// What becomes of volumes and snapshots.
    pub policy: DataPolicy,
    /// What was recorded; also of earlier operations, where they recorded something.
    #[serde(default)]
    pub record: CloudRecord,
    /// Further names that stand for the cluster in tags, which an admin vouches for. The cluster's id is
    /// always one.
    #[serde(default)]
    pub tag_names: BTreeSet<String>,
}
