//! Generations: immutable, numbered snapshots of a cluster's state files.

use serde::{Deserialize, Serialize};

use super::attempt::Fence;
use super::id::{AttemptId, ClusterId, OperationId};
use super::time::Timestamp;

/// One sealed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFile {
    /// Name within the generation, without a path.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, lower-case hex.
    pub sha256: String,
}

/// What `manifest.json` of a generation says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Number within the cluster, from 1, without gaps in time order.
    pub number: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// The operation whose run left these files.
    pub operation: OperationId,
    /// The attempt whose run left these files.
    pub attempt: AttemptId,
    /// The fence it ran under.
    pub fence: Fence,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// SHA-256 of the cluster CA certificate (DER), lower-case hex; none while the state has no CA.
    pub ca_sha256: Option<String>,
    /// True when the state file parses, is complete and carries a CA: safe to run `rke` on.
    pub good: bool,
    /// Why it is not good, when it is not.
    pub fault: Option<String>,
    /// The files, by name.
    pub files: Vec<SealedFile>,
}

/// What the controller knows of a cluster's newest good generation; travels with an assignment, so
/// that the agent can tell when the volume is older than the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownState {
    /// Newest generation that was reported.
    pub generation: u64,
    /// SHA-256 of its state file.
    pub state_sha256: Option<String>,
    /// Fingerprint of the cluster CA on record.
    pub ca_sha256: Option<String>,
}
