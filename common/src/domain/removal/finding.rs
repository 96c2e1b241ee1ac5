//! What became of one object, and why.

use serde::{Deserialize, Serialize};

use super::{Cents, CloudKind, CloudObject, ObjectKey};
use crate::domain::spelled;
use crate::domain::time::Timestamp;

/// Why an object is held to belong to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Proof {
    /// A tag says that this cluster, and no other, owns it.
    Tag {
        /// The tag's key.
        key: String,
    },
    /// The cluster itself named it while it lived.
    Recorded,
    /// It is a part of an object that is proven to belong.
    PartOf {
        /// That object's id.
        id: String,
    },
}

spelled! {
    /// What became of an object.
    pub enum Fate {
        /// Nothing yet: a sweep that is no dry run would delete it.
        WouldGo = "would_go",
        /// Deleted by the sweep.
        Deleted = "deleted",
        /// It was seen before, and was gone when its turn came.
        AlreadyGone = "already_gone",
        /// It stays, and that is as it should be; the cause says why.
        Kept = "kept",
        /// It belongs to the cluster, should be gone, and is not.
        Left = "left",
    }
}

spelled! {
    /// Why an object stays although it was looked at.
    pub enum KeptCause {
        /// Nothing says which cluster it belongs to.
        NoProof = "no_proof",
        /// A tag says that the cluster shares it and does not own it.
        Shared = "shared",
        /// Tags name this cluster and another one.
        TwoClusters = "two_clusters",
        /// The cluster named it, and a tag says that it is another cluster's.
        OtherCluster = "other_cluster",
        /// Volumes and snapshots are kept, as the removal's data policy says.
        Policy = "policy",
        /// Machines are never deleted here.
        Instance = "instance",
        /// It goes together with the instance that it is attached to.
        GoesWithInstance = "goes_with_instance",
    }
}

/// One object in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: CloudKind,
    /// Its id.
    pub id: String,
    /// The region it is in.
    pub region: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Why it is held to belong to the cluster; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// What became of it.
    pub fate: Fate,
    /// Why it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<KeptCause>,
    /// A sentence for people: why it was kept, or what keeps it from going.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it costs in a month, as an estimate.
    pub monthly_cents: Cents,
    /// When its fate was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Entry {
    /// An object whose fate is open.
    #[must_use]
    pub fn of(object: &CloudObject, proof: Option<Proof>, monthly_cents: Cents) -> Self {
        Self {
            kind: object.kind,
            id: object.id.clone(),
            region: object.region.clone(),
            name: object.name.clone(),
            created_at: object.created_at,
            proof,
            fate: Fate::WouldGo,
            cause: None,
            why: None,
            monthly_cents,
            at: None,
        }
    }

    /// What tells the object from every other.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, id: self.id.clone() }
    }
}
