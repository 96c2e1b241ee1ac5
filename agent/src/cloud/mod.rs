//! What a cluster made in the cloud: finding it, proving whose it is, deleting it, proving that it is gone.
//!
//! Everything that decides is pure: whether an object belongs to the cluster ([`belonging`]), what goes and
//! what stays ([`plan`]), in which order ([`order`]), what it costs ([`price`]), what is an orphan
//! ([`orphans`]). [`preview`] tells what would go. [`sweep`] acts on it through [`CloudSweeper`], the seam behind which a cloud is, and
//! writes each deletion to a [`journal`] before and after, so that it may be killed at any moment and simply
//! be run again.
//!
//! Invariants: an object without proof is never deleted, and no name, nor the beginning of one, is a proof;
//! machines are never deleted; a dry run only looks; where the cloud could not be looked at, nothing is
//! called clean.

pub mod belonging;
pub mod journal;
pub mod order;
pub mod orphans;
pub mod plan;
pub mod preview;
pub mod price;
pub mod record;
pub mod steps;
pub mod sweep;

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use cratekube_common::domain::removal::{CloudKind, CloudObject};

/// Kinds that a cluster leaves behind, in the order in which they are looked for. Listeners are looked for
/// beneath their load balancers.
pub const LOOKED_FOR: [CloudKind; 10] = [
    CloudKind::Instance,
    CloudKind::ClassicLoadBalancer,
    CloudKind::LoadBalancer,
    CloudKind::TargetGroup,
    CloudKind::ElasticIp,
    CloudKind::NetworkInterface,
    CloudKind::SecurityGroupRule,
    CloudKind::SecurityGroup,
    CloudKind::Volume,
    CloudKind::Snapshot,
];

/// Tag of snapshots that a removal takes: the operation.
pub const TAG_REMOVAL: &str = "cratekube.io/removal";
/// Tag of snapshots that a removal takes: the id of the cluster.
pub const TAG_CLUSTER: &str = "cratekube.io/cluster";

/// A cloud, seen from the bastion. What passes by itself (throttling, broken connections) is tried again
/// behind this seam, with patience and a bound.
#[async_trait]
pub trait CloudSweeper: Send + Sync + fmt::Debug {
    /// The region that is looked at.
    fn region(&self) -> &str;

    /// Every object of a kind in the region with its tags, whoever made it. What is already being deleted
    /// is left out. Listeners are not listed here.
    ///
    /// # Errors
    /// A fault, when not all of them could be read.
    async fn list(&self, kind: CloudKind) -> Result<Vec<CloudObject>, CloudFault>;

    /// The listeners of a load balancer; nothing for other objects.
    ///
    /// # Errors
    /// A fault, when they could not be read.
    async fn parts(&self, whole: &CloudObject) -> Result<Vec<CloudObject>, CloudFault>;

    /// Deletes an object. That it is not there is no fault.
    ///
    /// # Errors
    /// Why it is still there.
    async fn delete(&self, object: &CloudObject) -> Result<Gone, CloudFault>;

    /// Takes a volume or network interface off its instance, or an address off what it is associated with.
    /// Nothing is done to what is not attached.
    ///
    /// # Errors
    /// Why it is still attached.
    async fn detach(&self, object: &CloudObject) -> Result<(), CloudFault>;

    /// Begins a snapshot of a volume with tags, and answers with what there is of it.
    ///
    /// # Errors
    /// Why there is none.
    async fn snapshot(&self, volume: &CloudObject, tags: &BTreeMap<String, String>) -> Result<CloudObject, CloudFault>;
}

/// An object that is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// This call deleted it.
    Now,
    /// It was not there.
    Before,
}

/// Why a call to the cloud failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudFault {
    /// The agent has nothing to prove itself with.
    #[error("the agent has no credentials for the cloud: {0}")]
    NoCredentials(String),
    /// The agent may not do this.
    #[error("the agent may not call {action}: {message}")]
    Denied {
        /// The call, as a policy names it: `ec2:DescribeVolumes`.
        action: String,
        /// What the cloud said.
        message: String,
    },
    /// Something else still needs the object.
    #[error("it is still in use: {0}")]
    InUse(String),
    /// The object is protected against deletion.
    #[error("it is protected against deletion: {0}")]
    Protected(String),
    /// The cloud did not answer, or asked to come back later, for as long as there was patience.
    #[error("the cloud did not answer: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl CloudFault {
    /// True when the same call can go well a little later, because something else changed.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::InUse(_) | Self::Unavailable(_))
    }
}
