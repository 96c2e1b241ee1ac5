//! A session for nothing but looking through an agent's volumes, after this controller was restored from a
//! backup. Nothing is decided about the runs that the agent holds before that: those that began since the
//! backup are not on record yet. At its end the agent connects again, and is met as ever.

use std::collections::BTreeMap;
use std::time::Duration;

use cratekube_common::domain::id::{SessionId, VolumeId};
use cratekube_common::domain::inventory::ClusterOnVolume;
use cratekube_common::redact;
use cratekube_proto::convert::{inventory, parse};
use cratekube_proto::status::Refusal;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use tokio_stream::StreamExt as _;
use tonic::{Status, Streaming};

use super::peer::{self, Caller};
use super::session::{Outbound, millis, tell};
use super::{GrpcState, sizes, store_status};
use crate::service::conversation::Greeting;

/// Longest wait for the next cluster: an agent reads thousands of files before it tells of the first.
const PATIENCE: Duration = Duration::from_secs(300);
/// More clusters than a volume has room for.
const MAX_CLUSTERS: usize = 100_000;

/// Looks through volumes and takes what they know better.
pub(super) async fn converse(
    state: &GrpcState,
    caller: &Caller,
    mut inbound: Streaming<v1::AgentMessage>,
    outbound: &Outbound,
    (greeting, volumes): (&Greeting, Vec<VolumeId>),
) -> Result<(), Status> {
    let welcome = v1::Welcome {
        session: state.mint.id::<SessionId>().to_string(),
        lease_ttl_ms: millis(state.dispatch.lease_ttl()),
        heartbeat_interval_ms: millis(state.heartbeat_interval),
        now_ms: state.clock.now().as_millis(),
        verdicts: Vec::new(),
        look_through: volumes.iter().map(ToString::to_string).collect(),
    };
    tell(outbound, Down::Welcome(welcome)).await?;
    let mut told: BTreeMap<VolumeId, Vec<ClusterOnVolume>> = volumes.into_iter().map(|id| (id, Vec::new())).collect();
    let ousted = peer::ousted(state, caller);
    tokio::pin!(ousted);
    while !told.is_empty() {
        let message = tokio::select! {
            biased;
            status = &mut ousted => return Err(status),
            message = tokio::time::timeout(PATIENCE, inbound.next()) => message,
        };
        let message =
            message.map_err(|_| Refusal::Unavailable.status("the agent does not tell what its volumes have"))?;
        let Some(message) = message.transpose().map_err(sizes::of_stream)? else { return Ok(()) };
        match message.message {
            Some(Up::Inventory(part)) => hear(state, caller, outbound, greeting, &mut told, part).await?,
            Some(Up::Ready(_)) => {
                let why = "this controller was restored from a backup, and an agent of this release cannot tell what its volumes know; upgrade the agent";
                return Err(Refusal::Unavailable.status(why));
            }
            _ => {}
        }
    }
    tell(outbound, Down::Shutdown(v1::Shutdown {})).await
}

async fn hear(
    state: &GrpcState,
    caller: &Caller,
    outbound: &Outbound,
    greeting: &Greeting,
    told: &mut BTreeMap<VolumeId, Vec<ClusterOnVolume>>,
    part: v1::Inventory,
) -> Result<(), Status> {
    let volume: VolumeId = parse("inventory.volume", &part.volume)?;
    let Some(clusters) = told.get_mut(&volume) else {
        return Err(Refusal::Malformed.status("a volume that was not asked for"));
    };
    if part.cluster.is_some() {
        if clusters.len() >= MAX_CLUSTERS {
            return Err(Refusal::Malformed.status("more clusters than a volume can have"));
        }
        let mut cluster = inventory::cluster(part.cluster)?;
        for run in &mut cluster.runs {
            run.report = run.report.take().map(redact::report);
        }
        clusters.push(cluster);
    }
    if !part.complete {
        return Ok(());
    }
    let clusters = told.remove(&volume).unwrap_or_default();
    if !part.fault.is_empty() {
        tracing::error!(agent = %caller.agent.id, %volume, fault = part.fault, "a volume cannot be looked through; nothing is done on it");
        return Err(Refusal::Unavailable.status("a volume cannot be looked through; connect again when it can"));
    }
    let held = greeting.runs.iter().map(|run| run.attempt).collect();
    let again = state.dispatch.take_inventory(&caller.agent, &caller.address, (volume, clusters), held).await;
    let again = again.map_err(|e| store_status(&e))?;
    if again.is_empty() {
        return Ok(());
    }
    let attempts = again.iter().map(ToString::to_string).collect();
    tell(outbound, Down::ReportAgain(v1::ReportAgain { attempts })).await
}
