//! What checks of clusters found.

use std::time::Duration;

use cratekube_common::domain::cluster::health::VerifyFindings;
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::time::Timestamp;

/// So long before a certificate of a cluster runs out an event tells of it: time to rotate in office hours.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the last check of a cluster found.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthRecord {
    /// The operation that checked it.
    pub operation: OperationId,
    /// When it was recorded, by our clock.
    pub recorded_at: Timestamp,
    /// What was found.
    pub findings: VerifyFindings,
}
