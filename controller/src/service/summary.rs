//! What needs somebody, and the volumes: what the store remembers, and what is true now.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cratekube_common::domain::agent::VolumeStatus;
use cratekube_common::domain::cluster::Cluster;
use cratekube_common::domain::id::{AgentId, VolumeId};
use cratekube_common::domain::time::Timestamp;

use super::agents::AgentNow;
use super::{Service, ServiceError};
use crate::plan::attention::{self, Finding, Here, Own, Scene};
use crate::store::{EXPIRY_NOTICE, Event, Figures, Page, PageRequest, VolumeRecord};

/// Of each kind so many are looked at; with more, the summary says that it is not all.
const LOOKED_AT: usize = 500;
/// Looks of one page with a filter that only this controller can answer.
const MOST_LOOKS: usize = 20;

/// What needs somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// When it was made.
    pub at: Timestamp,
    /// Most urgent first.
    pub findings: Vec<Finding>,
    /// False when there was more than was looked at.
    pub complete: bool,
    /// What there is, in numbers.
    pub figures: Figures,
    /// Agents that are connected.
    pub online: usize,
}

/// A volume, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeNow {
    /// What is kept of it.
    pub record: VolumeRecord,
    /// The agent that serves it; none when it is forgotten.
    pub agent: Option<AgentNow>,
    /// How it is, as its agent said last.
    pub status: Option<VolumeStatus>,
}

/// Which agents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// In this state.
    pub state: Option<cratekube_common::domain::agent::AgentState>,
    /// Connected, or not.
    pub online: Option<bool>,
    /// Serving this volume.
    pub volume: Option<VolumeId>,
}

impl AgentFilter {
    fn matches(&self, now: &AgentNow) -> bool {
        self.state.is_none_or(|state| now.agent.state == state)
            && self.online.is_none_or(|online| now.seen.is_some() == online)
            && self.volume.is_none_or(|volume| status_of(now, volume).is_some())
    }
}

impl Service {
    /// What needs somebody. `gathering` while agents may not be back yet since the controller began.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn summary(&self, own: &Own, gathering: bool) -> Result<Summary, ServiceError> {
        let kept = self.store.attention(LOOKED_AT).await?;
        let figures = self.store.figures().await?;
        let seen = |agent: AgentId| {
            let seen = self.presence.of(agent)?;
            Some(Here { clock_skew_ms: seen.clock_skew_ms, volumes: seen.volumes })
        };
        let full = |count: usize| count >= LOOKED_AT;
        let counts =
            [kept.operations.len(), kept.clusters.len(), kept.lost.len(), kept.volumes.len(), kept.alarms.len()];
        let all_agents = !full(kept.agents.len());
        // Those that end first are looked at first.
        let more = full(kept.certificates.len())
            && kept.certificates.last().is_some_and(|last| last.end_at.since(self.clock.now()) < EXPIRY_NOTICE);
        let complete = !more && all_agents && !counts.into_iter().any(full);
        let now = self.clock.now();
        let scene = Scene { kept: &kept, seen: &seen, own, now, all_agents, gathering };
        let findings = attention::findings(&scene);
        Ok(Summary { at: now, findings, complete, figures, online: self.presence.count() })
    }

    /// Agents that match, by name. What only this controller knows is looked for page by page, so a page
    /// may hold fewer than asked for although there are more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn agents_matching(
        &self,
        filter: AgentFilter,
        page: PageRequest,
    ) -> Result<Page<AgentNow>, ServiceError> {
        if filter == AgentFilter::default() {
            return self.agents(page).await;
        }
        let (mut items, mut after) = (Vec::new(), page.after);
        for _ in 0..MOST_LOOKS {
            let left = page.limit.saturating_sub(items.len()).max(1);
            let found = self.agents(PageRequest { after, limit: left }).await?;
            items.extend(found.items.into_iter().filter(|now| filter.matches(now)));
            after = found.next;
            if after.is_none() || items.len() >= page.limit {
                break;
            }
        }
        Ok(Page { items, next: after })
    }

    /// What happened to an agent and what it ran, newest first.
    ///
    /// # Errors
    /// When there is no such agent, or the store fails.
    pub async fn agent_history(&self, id: AgentId, page: PageRequest) -> Result<Page<Event>, ServiceError> {
        self.store.agent(id).await?.ok_or(ServiceError::NotFound)?;
        Ok(self.store.agent_events(id, page).await?)
    }

    /// Volumes, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn volumes(&self, page: PageRequest) -> Result<Page<VolumeNow>, ServiceError> {
        let Page { items, next } = self.store.volumes(page).await?;
        let (mut volumes, mut known) = (Vec::with_capacity(items.len()), BTreeMap::new());
        for record in items {
            if let Entry::Vacant(unknown) = known.entry(record.agent) {
                unknown.insert(self.agent_or_none(record.agent).await?);
            }
            let agent = known.get(&record.agent).cloned().flatten();
            volumes.push(put_together(record, agent));
        }
        Ok(Page { items: volumes, next })
    }

    /// A volume.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn volume(&self, id: VolumeId) -> Result<VolumeNow, ServiceError> {
        let record = self.store.volume(id).await?.ok_or(ServiceError::NotFound)?;
        let agent = self.agent_or_none(record.agent).await?;
        Ok(put_together(record, agent))
    }

    /// Clusters on a volume, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn clusters_on(&self, id: VolumeId, page: PageRequest) -> Result<Page<Cluster>, ServiceError> {
        Ok(self.store.clusters_on(id, page).await?)
    }

    async fn agent_or_none(&self, id: AgentId) -> Result<Option<AgentNow>, ServiceError> {
        match self.agent(id).await {
            Ok(now) => Ok(Some(now)),
            Err(ServiceError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn put_together(record: VolumeRecord, agent: Option<AgentNow>) -> VolumeNow {
    let status = agent.as_ref().and_then(|now| status_of(now, record.id));
    VolumeNow { record, agent, status }
}

fn status_of(now: &AgentNow, volume: VolumeId) -> Option<VolumeStatus> {
    let live = now.seen.as_ref().map(|seen| &seen.volumes);
    let known = live.or_else(|| now.agent.facts.as_ref().map(|facts| &facts.volumes));
    known?.iter().find(|status| status.id == volume).cloned()
}
