//! Alarms as clients read them.

use cratekube_common::domain::alarm::{Acknowledgement, Alarm};
use serde::Serialize;
use utoipa::ToSchema;

use super::shown;

/// Something that an administrator has to look at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alarm)]
pub(in super::super) struct AlarmView {
    number: u64,
    /// `join-token-reused`, `key-in-two-places`, `foreign-run`, `cluster-ca-changed`, `state-contradicted`.
    kind: &'static str,
    /// What it is about: a join token's id, an agent's id, `prod/web`.
    object: String,
    environment: Option<String>,
    cluster: Option<String>,
    agent: Option<String>,
    /// What was seen.
    detail: String,
    /// What to do.
    remedy: &'static str,
    /// Whether nobody has seen to it yet.
    open: bool,
    first_at: String,
    last_at: String,
    /// How often it rang while it was open.
    count: u64,
    acknowledged: Option<AcknowledgementView>,
}

/// Who has seen to an alarm.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Acknowledgement)]
pub(in super::super) struct AcknowledgementView {
    by: String,
    at: String,
    reason: String,
}

impl From<&Acknowledgement> for AcknowledgementView {
    fn from(word: &Acknowledgement) -> Self {
        Self { by: shown(&word.by), at: word.at.to_string(), reason: shown(&word.reason) }
    }
}

impl From<&Alarm> for AlarmView {
    fn from(alarm: &Alarm) -> Self {
        let what = &alarm.what;
        Self {
            number: alarm.number,
            kind: what.kind.as_str(),
            object: shown(&what.object),
            environment: what.cluster.as_ref().map(|(environment, _)| environment.to_string()),
            cluster: what.cluster.as_ref().map(|(_, cluster)| cluster.to_string()),
            agent: what.agent.map(|id| id.to_string()),
            detail: shown(&what.detail),
            remedy: what.kind.remedy(),
            open: alarm.acknowledged.is_none(),
            first_at: alarm.first_at.to_string(),
            last_at: alarm.last_at.to_string(),
            count: alarm.count,
            acknowledged: alarm.acknowledged.as_ref().map(AcknowledgementView::from),
        }
    }
}
