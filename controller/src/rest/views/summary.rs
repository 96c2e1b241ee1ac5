//! What needs somebody, and volumes, as admins read them.

use cratekube_common::domain::operation::OperationState;
use serde::Serialize;
use utoipa::ToSchema;

use super::agent::{ScrubView, scrub};
use super::shown;
use crate::plan::attention::{Finding, Subject};
use crate::service::summary::{Summary, VolumeNow};

/// What needs somebody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Summary)]
pub(in super::super) struct SummaryView {
    at: String,
    /// When this controller began.
    started_at: String,
    /// True for the first minute of a controller: agents that were connected may not be back yet.
    gathering: bool,
    /// False when there is more than was looked at.
    complete: bool,
    /// What there is.
    counts: Counts,
    /// Most urgent first, then what needs somebody longest.
    items: Vec<FindingView>,
}

/// What there is, in numbers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SummaryCounts)]
pub(super) struct Counts {
    /// That are not removed.
    clusters: u64,
    operations_waiting: u64,
    operations_running: u64,
    /// That may connect.
    agents: u64,
    agents_online: u64,
    alarms: u64,
}

/// Something that needs somebody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Finding)]
pub(super) struct FindingView {
    /// `critical`, `warning` or `info`.
    severity: &'static str,
    /// A stable word for programs, such as `agent-offline`, `volume-below-reserve`, `operation-waits`.
    kind: &'static str,
    /// Since when, as far as is known.
    since: Option<String>,
    subject: SubjectView,
    /// What is wrong.
    message: String,
    /// What to do.
    remedy: String,
}

/// What it is about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subject)]
pub(super) struct SubjectView {
    /// `agent`, `volume`, `cluster`, `operation`, `alarm` or `controller`.
    kind: &'static str,
    /// Its name, or its id where it has none.
    name: String,
    /// Where to look.
    link: Option<String>,
}

impl SummaryView {
    pub(in super::super) fn new(summary: &Summary, started_at: String, gathering: bool) -> Self {
        let figures = &summary.figures;
        let operations = |wanted: fn(OperationState) -> bool| {
            figures.operations.iter().filter(|of| wanted(of.state)).map(|of| of.count).sum()
        };
        Self {
            at: summary.at.to_string(),
            started_at,
            gathering,
            complete: summary.complete,
            counts: Counts {
                clusters: figures.clusters.iter().map(|(_, count)| count).sum(),
                operations_waiting: operations(|state| state == OperationState::Queued),
                operations_running: operations(|state| state != OperationState::Queued),
                agents: figures.agents.iter().filter(|(state, _)| state.may_connect()).map(|(_, count)| count).sum(),
                agents_online: summary.online as u64,
                alarms: figures.alarms.iter().map(|(_, count)| count).sum(),
            },
            items: summary.findings.iter().map(FindingView::from).collect(),
        }
    }
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        Self {
            severity: finding.severity.as_str(),
            kind: finding.kind,
            since: finding.since.map(|at| at.to_string()),
            subject: SubjectView::from(&finding.subject),
            message: shown(&finding.message),
            remedy: shown(&finding.remedy),
        }
    }
}

impl From<&Subject> for SubjectView {
    fn from(subject: &Subject) -> Self {
        let (kind, name, link) = match subject {
            Subject::Agent(id, name) => ("agent", shown(name), Some(format!("/v1/admin/agents/{id}"))),
            Subject::Volume(id) => ("volume", id.to_string(), Some(format!("/v1/admin/volumes/{id}"))),
            Subject::Cluster(environment, name) => {
                let link = format!("/v1/environments/{environment}/clusters/{name}");
                ("cluster", format!("{environment}/{name}"), Some(link))
            }
            Subject::Operation(id, environment, cluster) => {
                ("operation", format!("{environment}/{cluster}"), Some(format!("/v1/operations/{id}")))
            }
            Subject::Alarm(number) => ("alarm", number.to_string(), Some("/v1/admin/alarms?state=open".into())),
            Subject::Controller(name) => ("controller", name.clone(), None),
        };
        Self { kind, name, link }
    }
}

/// A state volume, wherever it is served.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StateVolume)]
pub(in super::super) struct StateVolumeView {
    id: String,
    /// The agent that connected with it last; absent when it was forgotten.
    agent: Option<ServingAgent>,
    /// When that agent took it.
    taken_at: String,
    /// Clusters on it that are not removed.
    clusters: u64,
    /// How it is, as its agent said last; absent when its agent does not tell of it.
    path: Option<String>,
    free_bytes: Option<u64>,
    total_bytes: Option<u64>,
    /// Bytes that must be free beyond three copies of the state, or no run begins.
    reserve_bytes: Option<u64>,
    /// True when it has less.
    below_reserve: bool,
    /// Why it is not served.
    fault: Option<String>,
    /// What the last scrub found.
    scrub: Option<ScrubView>,
    /// When its agent last told of it.
    told_at: Option<String>,
}

/// The agent that serves a volume.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServingAgent {
    id: String,
    name: String,
    state: &'static str,
    online: bool,
    link: String,
}

impl From<&VolumeNow> for StateVolumeView {
    fn from(VolumeNow { record, agent, status }: &VolumeNow) -> Self {
        let (now, known) = (agent.as_ref(), status.as_ref());
        let told = now.and_then(|now| now.seen.as_ref().map(|seen| seen.last_seen_at).max(now.agent.last_seen_at));
        Self {
            id: record.id.to_string(),
            agent: now.map(|now| ServingAgent {
                id: now.agent.id.to_string(),
                name: now.agent.name.to_string(),
                state: now.agent.state.as_str(),
                online: now.seen.is_some(),
                link: format!("/v1/admin/agents/{}", now.agent.id),
            }),
            taken_at: record.taken_at.to_string(),
            clusters: record.clusters,
            path: known.map(|status| shown(&status.path)),
            free_bytes: known.map(|status| status.free_bytes),
            total_bytes: known.map(|status| status.total_bytes),
            reserve_bytes: known.and_then(|status| status.reserve_bytes),
            below_reserve: known.is_some_and(cratekube_common::domain::agent::VolumeStatus::below_reserve),
            fault: known.and_then(|status| status.fault.as_deref()).map(shown),
            scrub: known.and_then(|status| status.scrub.as_ref()).map(scrub),
            told_at: told.filter(|_| known.is_some()).map(|at| at.to_string()),
        }
    }
}
