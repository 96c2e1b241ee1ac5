//! What a check of a cluster found: the findings of a *verify* task.

use serde::{Deserialize, Serialize};

use crate::domain::spelled;
use crate::domain::time::Timestamp;

spelled! {
    /// What a check says.
    pub enum CheckOutcome {
        /// It is as it should be.
        Ok = "ok",
        /// It is not.
        Failed = "failed",
        /// It could not be found out, or does not apply here; `detail` says which.
        Skipped = "skipped",
    }
}

/// One thing that a user would check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A stable word for programs: `api`, `nodes`, `etcd`, `access`, `cis-secrets-encryption`, …
    pub name: String,
    /// What was found.
    pub outcome: CheckOutcome,
    /// A sentence for people, with the evidence.
    pub detail: String,
}

/// When a certificate runs out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateExpiry {
    /// Which: `api` (as served), `kubeconfig`, or RKE's name (`kube-apiserver`, `kube-etcd-10-0-0-1`).
    pub name: String,
    /// The last moment at which it is valid.
    pub not_after: Timestamp,
}

/// Everything that a *verify* task found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFindings {
    /// When it was looked at, by the agent's clock.
    pub checked_at: Timestamp,
    /// Version that the API says it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// Certificates, the first to run out first.
    #[serde(default)]
    pub certificates: Vec<CertificateExpiry>,
}

impl VerifyFindings {
    /// True when no check failed.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed)
    }

    /// The first certificate to run out.
    #[must_use]
    pub fn first_expiry(&self) -> Option<&CertificateExpiry> {
        self.certificates.iter().min_by_key(|certificate| certificate.not_after)
    }
}
