//! Plans as clients read them. Secrets are masked.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::shown;
use crate::plan::change::{Change, ChangeClass, worst};
use crate::plan::diff;
use crate::rest::clusters::plan::Weighed;
use crate::rest::problem::Mistake;

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

/// What was found on the hosts before anything is changed there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preflight)]
pub(super) struct PreflightView {
    /// `not run`: the hosts were not looked at.
    state: &'static str,
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

impl From<&Weighed> for PlanView {
    fn from(weighed: &Weighed) -> Self {
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
            preflight: PreflightView { state: "not run" },
            rke: present.rke.as_ref().map(|rke| PlannedRkeView {
                version: shown(&rke.version),
                rehearsal: rke.rehearsal,
                kubernetes_versions: versions,
            }),
        }
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
