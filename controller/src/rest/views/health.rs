//! How a cluster is, as clients read it.

use cratekube_common::domain::cluster::health::{CertificateExpiry, Check};
use serde::Serialize;
use utoipa::ToSchema;

use super::shown;
use crate::service::health::Health;

/// How a cluster is, so far as is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(in super::super) struct HealthView {
    environment: String,
    name: String,
    /// The cluster's phase.
    phase: &'static str,
    /// `healthy` (every check passed), `unhealthy` (one did not) or `unknown` (it was never checked).
    status: &'static str,
    /// True when the last check is too long ago to go by: ask for another one (`verify`).
    stale: bool,
    /// When it was checked, by the agent's clock.
    checked_at: Option<String>,
    /// What its API says that it runs.
    kubernetes_version: Option<String>,
    /// The checks, in the order in which they were made.
    checks: Vec<CheckView>,
    /// Its certificates, the first to run out first.
    certificates: Vec<CertificateView>,
    links: Links,
}

/// One thing that was checked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthCheck)]
pub(super) struct CheckView {
    /// A stable word for programs.
    name: String,
    /// `ok`, `failed`, or `skipped`: it could not be found out, or does not apply here.
    outcome: &'static str,
    /// A sentence for people, with the evidence.
    detail: String,
}

/// When a certificate runs out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CertificateExpiry)]
pub(super) struct CertificateView {
    name: String,
    not_after: String,
}

/// Where to look next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthLinks)]
pub(super) struct Links {
    cluster: String,
    /// The operation that checked it.
    operation: Option<String>,
}

impl From<&Check> for CheckView {
    fn from(check: &Check) -> Self {
        Self { name: shown(&check.name), outcome: check.outcome.as_str(), detail: shown(&check.detail) }
    }
}

impl From<&CertificateExpiry> for CertificateView {
    fn from(certificate: &CertificateExpiry) -> Self {
        Self { name: shown(&certificate.name), not_after: certificate.not_after.to_string() }
    }
}

impl From<&Health> for HealthView {
    fn from(health: &Health) -> Self {
        let (cluster, last) = (&health.cluster, health.last.as_ref());
        let findings = last.map(|last| &last.findings);
        let mut certificates: Vec<&CertificateExpiry> = findings.iter().flat_map(|f| &f.certificates).collect();
        certificates.sort_by_key(|certificate| certificate.not_after);
        let status = match findings {
            None => "unknown",
            Some(findings) if findings.is_healthy() => "healthy",
            Some(_) => "unhealthy",
        };
        Self {
            environment: cluster.environment.to_string(),
            name: cluster.name.to_string(),
            phase: cluster.phase.as_str(),
            status,
            stale: health.stale,
            checked_at: findings.map(|findings| findings.checked_at.to_string()),
            kubernetes_version: findings.and_then(|f| f.kubernetes_version.as_deref()).map(shown),
            checks: findings.iter().flat_map(|f| &f.checks).map(CheckView::from).collect(),
            certificates: certificates.into_iter().map(CertificateView::from).collect(),
            links: Links {
                cluster: format!("/v1/environments/{}/clusters/{}", cluster.environment, cluster.name),
                operation: last.map(|last| format!("/v1/operations/{}", last.operation)),
            },
        }
    }
}
