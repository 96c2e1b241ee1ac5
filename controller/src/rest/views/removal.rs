//! What a removal would do, as clients read it.

use cratekube_common::domain::removal::Cents;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{shown, shown_document};
use crate::service::removal::Preview;

/// What a removal would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemovalPreview)]
pub(in super::super) struct PreviewView {
    /// The cluster.
    cluster: PreviewedCluster,
    /// What would become of volumes and snapshots.
    data_policy: &'static str,
    /// Whether the hosts are said to be about to be terminated.
    hosts_terminated: bool,
    /// The steps, in order.
    steps: Vec<&'static str>,
    /// Hosts that would be cleaned.
    hosts: Vec<String>,
    /// Why the removal would be refused now; empty when it would not be.
    refused_because: Vec<String>,
    /// Why the cloud, or some of it, could not be looked at; none when all of it was. What would go is not known
    /// then, or not all of it.
    unverified: Option<String>,
    /// What the agent sees in the cloud now: a `tally`, and `entries` that would go (`would_go`) or stay
    /// (`kept`), each with why and with its cost. None when the agent could not be asked.
    #[schema(value_type = Option<Object>)]
    cloud: Option<Value>,
    /// Objects that earlier removals recorded; they may be gone since.
    #[schema(value_type = Vec<Object>)]
    recorded: Vec<Value>,
    /// What would be saved in a month, in cents of a US dollar; none when nobody could look.
    monthly_cents_freed: Option<Cents>,
    /// What would be kept and goes on costing, in a month.
    monthly_cents_kept: Option<Cents>,
    /// Which price table the costs are from.
    prices: Option<String>,
}

/// The cluster that would be removed.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct PreviewedCluster {
    id: String,
    environment: String,
    name: String,
    phase: &'static str,
    revision: u64,
}

impl From<&Preview> for PreviewView {
    fn from(preview: &Preview) -> Self {
        let (cluster, options) = (&preview.cluster, &preview.options);
        let seen = preview.cloud.as_ref().ok();
        let recorded = options.record.objects.iter().map(|object| shown_document(json!(object)));
        let unverified = match &preview.cloud {
            Ok(seen) => seen.unverified.clone(),
            Err(why) => Some(why.clone()),
        };
        Self {
            cluster: PreviewedCluster {
                id: cluster.id.to_string(),
                environment: cluster.environment.to_string(),
                name: cluster.name.to_string(),
                phase: cluster.phase.as_str(),
                revision: cluster.revision,
            },
            data_policy: options.policy.as_str(),
            hosts_terminated: options.hosts_terminated,
            steps: preview.steps.iter().map(|step| step.as_str()).collect(),
            hosts: options.hosts.iter().cloned().collect(),
            refused_because: preview.refused_because.clone(),
            unverified: unverified.as_deref().map(shown),
            cloud: seen.map(|seen| shown_document(json!(seen))),
            recorded: recorded.collect(),
            monthly_cents_freed: seen.map(|seen| seen.tally.monthly_cents_freed),
            monthly_cents_kept: seen.map(|seen| seen.tally.monthly_cents_kept),
            prices: seen.map(|seen| shown(&seen.prices)),
        }
    }
}
