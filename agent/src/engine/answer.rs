//! Answers to the controller's questions about clusters whose state is on a volume of this agent.
//!
//! Nothing is started for an answer and nothing of it is kept. It is given beside a run on the same
//! cluster: only the administrator's kubeconfig is read, and its CA must be the one on record.

use std::path::PathBuf;
use std::sync::Arc;

use cratekube_common::domain::cluster::access::KubeconfigRequest;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::query::{Answer, Query};

use super::core::{Core, internal};
use crate::kube::issue::issue;
use crate::volume::VolumeError;

/// A kubeconfig for a person.
pub(super) async fn kubeconfig(core: &Arc<Core>, query: Query) -> Answer {
    let request = KubeconfigRequest::from_json(&query.input).map_err(|why| malformed(&why))?;
    let context = format!("{}-{}", query.environment, query.name);
    let cluster = core.blocking(move |core| find(core, &query)).await;
    let found =
        cluster.map_err(|error| internal(format!("the volume could not be read: {error}"), true, "Ask again."))??;
    let issued =
        issue(&found.working, &core.settings.kubernetes, &request, &context, found.ca_sha256.as_deref()).await?;
    Ok(issued.to_json())
}

struct Found {
    working: PathBuf,
    ca_sha256: Option<String>,
}

/// The cluster's files, where they are that cluster's.
fn find(core: &Core, query: &Query) -> Result<Found, Failure> {
    let volume = core.volume(query.volume).ok_or_else(|| absent("its volume is not served by this agent"))?;
    let cluster = volume.layout.cluster(&query.environment, &query.name);
    let unreadable = |error: VolumeError| {
        core.heed(cluster.path(), &error);
        internal(
            format!("the cluster's files could not be read: {error}"),
            true,
            "Look at the state volume, then ask again.",
        )
    };
    volume.layout.check_here().map_err(unreadable)?;
    if cluster.is_removed() {
        return Err(absent("it was removed"));
    }
    match cluster.read_record().map_err(unreadable)? {
        Some(record) if record.cluster == query.cluster => {
            Ok(Found { working: cluster.working(), ca_sha256: record.ca_sha256 })
        }
        Some(_) => Err(absent("another cluster has its place on the volume")),
        None => Err(absent("it was not built yet")),
    }
}

fn absent(why: &str) -> Failure {
    Failure {
        class: FailureClass::State,
        message: format!("the agent has no such cluster: {why}"),
        line: None,
        retryable: false,
        remedy: "Ask when the cluster is ready, and its volume is mounted on the bastion of its agent.".into(),
    }
}

fn malformed(why: &str) -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the question for a kubeconfig makes no sense: {why}"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent or the controller so that their versions match.".into(),
    }
}
