//! Waiting until a cluster's API answers and all its nodes are as described.

use std::time::Duration;

use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::runtime::backoff::Backoff;

use super::api::Api;
use super::fault::ApiFault;
use super::nodes;
use crate::step::Console;

const FIRST_LOOK: Duration = Duration::from_millis(500);
const MOST_LOOK: Duration = Duration::from_secs(10);
/// Nodes that are named in one line.
const NAMED: usize = 5;

/// What a look found missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    words: String,
    failure: Failure,
}

/// Waits, and says what for.
///
/// # Errors
/// When it is not so within `patience`: what is missing then.
pub(super) async fn ready(
    api: &Api,
    spec: &ClusterSpec,
    console: &dyn Console,
    patience: Duration,
) -> Result<(), Failure> {
    let mut backoff = Backoff::new(FIRST_LOOK, MOST_LOOK);
    let mut last: Option<Missing> = None;
    let waited = tokio::time::timeout(patience, async {
        while let Err(missing) = look(&api.once(), spec).await {
            if !missing.failure.retryable {
                return Err(missing.failure);
            }
            if last.as_ref() != Some(&missing) {
                console.line(&format!("waiting: {}", missing.words));
                console.waits_for(&missing.words);
                last = Some(missing);
            }
            tokio::time::sleep(backoff.next(1.0)).await;
        }
        Ok(())
    });
    match waited.await {
        Ok(ended) => ended,
        Err(_) => Err(overdue(last, patience)),
    }
}

async fn look(api: &Api, spec: &ClusterSpec) -> Result<(), Missing> {
    let silent = |fault: ApiFault| Missing {
        words: format!("the API does not answer: {}", fault.message()),
        failure: fault.failure("reach the cluster's API"),
    };
    api.text("/readyz").await.map_err(silent)?;
    let nodes = api.list("/api/v1/nodes").await.map_err(silent)?;
    let faults = nodes::judge(spec, &nodes);
    if faults.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = faults.iter().take(NAMED).map(ToString::to_string).collect();
    let more = faults.len().saturating_sub(NAMED);
    let words = if more > 0 { format!("{}; and {more} more", shown.join("; ")) } else { shown.join("; ") };
    Err(Missing { failure: unready(&words), words })
}

/// The failure that nodes which are not as described are.
pub(super) fn unready(words: &str) -> Failure {
    Failure {
        class: FailureClass::Worker,
        message: format!("nodes are not as described: {words}"),
        line: None,
        retryable: true,
        remedy: "Look at the kubelet's logs on the hosts that are named (`docker logs kubelet`), then retry.".into(),
    }
}

fn overdue(last: Option<Missing>, patience: Duration) -> Failure {
    let minutes = patience.as_secs().div_ceil(60);
    let failure =
        last.map_or_else(|| ApiFault::Silent("no answer".into()).failure("reach the cluster's API"), |m| m.failure);
    Failure { message: format!("after {minutes} min, {}", failure.message), ..failure }
}
