//! Plans as clients read them. Secrets are masked.

use cratekube_common::domain::cluster::preflight::{HostCheck, HostChecks};
use cratekube_common::domain::failure::FailureClass;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{FailureView, shown};
use crate::plan::change::{Change, ChangeClass, worst};
use crate::plan::diff;
use crate::rest::clusters::plan::Weighed;
use crate::rest::problem::Mistake;
use crate::service::preflight::Preflight;

/// What a changed spec would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub(in super::super) struct PlanView {
    cluster: PlannedView,
    /// Send it as `plan_digest` with the change: it is refused if anything would not be as shown here.
    digest: String,
    /// The most expensive class of the changes: `safe`, `disruptive`, `loses_data` or `impossible`;
    /// null when nothing changes.
    class: Option<&'static str>,
    /// Every difference.
    changes: Vec<ChangeView>,
    /// How RKE's `cluster.yml` changes, as a unified diff; empty when it does not.
    diff: String,
    /// Choices that are allowed but likely to be regretted.
    warnings: Vec<Mistake>,
    /// Why the environment's policy refuses it; empty when it does not.
    refused: Vec<String>,
    /// What was found on the hosts.
    preflight: PreflightView,
    /// What the agent that serves the cluster would run; null when that is not known.
    rke: Option<PlannedRkeView>,
}

/// The cluster that a plan was made for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedCluster)]
pub(super) struct PlannedView {
    id: String,
    phase: &'static str,
    revision: u64,
}

/// One difference.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
pub(super) struct ChangeView {
    /// JSON pointer into the body that was sent; for what is taken away, into the present spec.
    pointer: String,
    /// What is there now; null when nothing is.
    #[schema(value_type = Object)]
    from: Value,
    /// What is to be there; null when nothing is.
    #[schema(value_type = Object)]
    to: Value,
    /// `safe`, `disruptive`, `loses_data` or `impossible`.
    class: &'static str,
    /// Why, in a sentence.
    because: String,
}

/// What was found on the hosts of the changed spec. It is no part of the digest: the operation looks again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preflight)]
pub(super) struct PreflightView {
    /// `passed`: RKE would begin. `failed`: it would not; `failure` says why. `unavailable`: the hosts could
    /// not be looked at; `why` says so. `not run`: it was not asked for.
    state: &'static str,
    /// Why there are no findings; null where there are, or none were asked for.
    why: Option<String>,
    /// Why RKE would not be begun.
    failure: Option<FailureView>,
    /// The hosts, in the order of the spec.
    hosts: Vec<PlannedHostView>,
}

/// What was found on one host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreflightHost)]
pub(super) struct PlannedHostView {
    address: String,
    /// What was looked at; of a very large cluster only what failed.
    checks: Vec<HostCheckView>,
}

/// One thing that was looked at on one host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreflightCheck)]
pub(super) struct HostCheckView {
    /// A stable word for programs: `ssh`, `docker`, `disk_etcd`, …
    name: String,
    /// `ok`, `warning` (RKE would go on; it will be regretted) or `failed`.
    result: &'static str,
    /// What was found, in a sentence.
    detail: String,
    /// Class of the failure, when it failed.
    class: Option<&'static str>,
    /// What to do, unless it is as it should be.
    remedy: Option<String>,
}

/// What an agent would run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedRke)]
pub(super) struct PlannedRkeView {
    version: String,
    /// True when it is not the real one: nothing would be built.
    rehearsal: bool,
    /// Kubernetes versions that it offers.
    kubernetes_versions: Vec<String>,
}

impl PlanView {
    /// A plan with what is known of its hosts.
    pub(in super::super) fn of(weighed: &Weighed, preflight: &Preflight) -> Self {
        let present = &weighed.present;
        let cluster = &present.cluster;
        let versions = present.offered.iter().map(|version| shown(version)).collect();
        Self {
            cluster: PlannedView {
                id: cluster.id.to_string(),
                phase: cluster.phase.as_str(),
                revision: cluster.revision,
            },
            digest: weighed.digest.clone(),
            class: worst(&weighed.changes).map(ChangeClass::as_str),
            changes: weighed.changes.iter().map(ChangeView::from).collect(),
            diff: diff::rendered(&cluster.name, &present.spec, &weighed.spec),
            warnings: weighed.warnings.clone(),
            refused: weighed.refused.clone(),
            preflight: PreflightView::from(preflight),
            rke: present.rke.as_ref().map(|rke| PlannedRkeView {
                version: shown(&rke.version),
                rehearsal: rke.rehearsal,
                kubernetes_versions: versions,
            }),
        }
    }
}

impl From<&Preflight> for PreflightView {
    fn from(preflight: &Preflight) -> Self {
        let without = |state, why| Self { state, why, failure: None, hosts: Vec::new() };
        match preflight {
            Preflight::NotRun => without("not run", None),
            Preflight::Unavailable(why) => without("unavailable", Some(shown(why))),
            Preflight::Found(found) => Self {
                state: if found.failure.is_some() { "failed" } else { "passed" },
                why: None,
                failure: found.failure.as_ref().map(FailureView::from),
                hosts: found.hosts.iter().map(PlannedHostView::from).collect(),
            },
        }
    }
}

impl From<&HostChecks> for PlannedHostView {
    fn from(host: &HostChecks) -> Self {
        let view = |check: &HostCheck| HostCheckView {
            name: shown(&check.name),
            result: check.result.as_str(),
            detail: shown(&check.detail),
            class: check.class.map(FailureClass::as_str),
            remedy: check.remedy.as_deref().map(shown),
        };
        Self { address: shown(&host.address), checks: host.checks.iter().map(view).collect() }
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        Self {
            pointer: format!("/spec{}", change.pointer),
            from: change.from.clone(),
            to: change.to.clone(),
            class: change.class.as_str(),
            because: change.because.clone(),
        }
    }
}
