//! Looking for objects in the cloud whose clusters are gone: asked of agents, on request and when it is due.
//!
//! A scan changes nothing: what it finds is deleted by nobody but people. One is at work at a time; one whose
//! controller went away has ended.

use std::time::Duration;

use cratekube_common::domain::id::{AgentId, OrphanScanId};
use cratekube_common::domain::query::{Query, QueryKind};
use cratekube_common::domain::removal::{OrphanFindings, OrphanInput};
use cratekube_common::domain::time::Timestamp;
use tokio::task::JoinSet;

use super::questions::unreadable;
use super::{Actor, Service, ServiceError};
use crate::store::{BeginOrphanScan, OrphanScan, OrphanScanBegun, OrphanScanResult, Page, PageRequest, StoreError};

/// What holds for scans.
#[derive(Debug, Clone, Copy)]
pub struct Scans {
    /// From one scan to the next; none when nobody looks without being asked.
    pub interval: Option<Duration>,
    /// Since when this controller is at work.
    pub since: Timestamp,
}

impl Service {
    /// Begins a scan: of one agent's cloud, or of all agents' that are connected.
    ///
    /// # Errors
    /// When there is no such agent, another scan is at work, or the store fails.
    pub async fn scan_orphans(&self, actor: &Actor, agent: Option<AgentId>) -> Result<OrphanScan, ServiceError> {
        let object = match agent {
            Some(agent) => self.store.agent(agent).await?.ok_or(ServiceError::NotFound)?.name.to_string(),
            None => "all agents".to_owned(),
        };
        let audit = actor.audit("orphans.scan", object, String::new());
        self.begin_scan(BeginOrphanScan {
            id: self.mint.id(),
            requested_by: Some(actor.subject.clone()),
            agent,
            dead_before: self.scans.since,
            audit: Some(audit),
            now: self.clock.now(),
        })
        .await
    }

    /// Begins a scan when one is due and somebody can look. Answers how many it began.
    ///
    /// # Errors
    /// From the store.
    pub async fn scan_when_due(&self) -> Result<u64, StoreError> {
        let newest = self.store.orphan_scans(PageRequest { after: None, limit: 1 }).await?.items.pop();
        let now = self.clock.now();
        if !is_due(newest.map(|scan| scan.begun_at), self.scans.interval, now)
            || self.lines.answering(QueryKind::OrphanScan).is_empty()
        {
            return Ok(0);
        }
        let request = BeginOrphanScan {
            id: self.mint.id(),
            requested_by: None,
            agent: None,
            dead_before: self.scans.since,
            audit: None,
            now,
        };
        match self.begin_scan(request).await {
            Ok(_) => Ok(1),
            Err(ServiceError::Store(error)) => Err(error),
            // Somebody was faster.
            Err(_) => Ok(0),
        }
    }

    async fn begin_scan(&self, request: BeginOrphanScan) -> Result<OrphanScan, ServiceError> {
        match self.store.begin_orphan_scan(request).await? {
            OrphanScanBegun::AtWork(other) => Err(ServiceError::Scanning(other)),
            OrphanScanBegun::Begun(scan) => {
                let (service, begun) = (self.clone(), scan.clone());
                tokio::spawn(async move { service.scan(&begun).await });
                Ok(scan)
            }
        }
    }

    async fn scan(&self, scan: &OrphanScan) {
        let results = match self.store.orphan_input().await {
            Ok(input) => self.look(scan.agent, &input).await,
            Err(error) => return tracing::error!(%error, scan = %scan.id, "a scan for orphans could not begin"),
        };
        let (agents, now) = (results.len(), self.clock.now());
        match self.store.end_orphan_scan(scan.id, results, now).await {
            Ok(_) => tracing::info!(scan = %scan.id, agents, "a scan for orphans has ended"),
            Err(error) => tracing::error!(%error, scan = %scan.id, "what a scan for orphans found cannot be kept"),
        }
    }

    async fn look(&self, agent: Option<AgentId>, input: &OrphanInput) -> Vec<OrphanScanResult> {
        let agents = agent.map_or_else(|| self.lines.connected(), |agent| vec![agent]);
        let mut looking = JoinSet::new();
        for agent in agents {
            let (service, input) = (self.clone(), input.clone());
            looking.spawn(async move { service.ask_for_orphans(agent, &input).await });
        }
        let mut results: Vec<OrphanScanResult> = looking.join_all().await.into_iter().flatten().collect();
        results.sort_by(|a, b| a.name.cmp(&b.name));
        results
    }

    /// What an agent finds; none when there is no such agent.
    async fn ask_for_orphans(&self, id: AgentId, input: &OrphanInput) -> Option<OrphanScanResult> {
        let agent = self.store.agent(id).await.ok().flatten()?;
        let kind = QueryKind::OrphanScan;
        let input = serde_json::to_value(input).unwrap_or_default();
        let query = Query { id: self.mint.id(), kind, about: None, input, patience: kind.most_patience() };
        let answer = self.put(&agent, query).await;
        let found = answer.and_then(|answer| {
            serde_json::from_str::<OrphanFindings>(answer.expose()).map_err(|fault| unreadable(&fault.to_string()))
        });
        let name = agent.name.to_string();
        Some(match found {
            Ok(findings) => OrphanScanResult { agent: id, name, findings: Some(findings), fault: None },
            Err(fault) => OrphanScanResult { agent: id, name, findings: None, fault: Some(fault.to_string()) },
        })
    }

    /// A scan.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn orphan_scan(&self, id: OrphanScanId) -> Result<OrphanScan, ServiceError> {
        self.store.orphan_scan(id).await?.ok_or(ServiceError::NotFound)
    }

    /// Scans, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn orphan_scans(&self, page: PageRequest) -> Result<Page<OrphanScan>, ServiceError> {
        Ok(self.store.orphan_scans(page).await?)
    }

    /// The last scan that came to its end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_orphan_scan(&self) -> Result<Option<OrphanScan>, ServiceError> {
        let newest = self.store.orphan_scans(PageRequest { after: None, limit: 5 }).await?;
        Ok(newest.items.into_iter().find(|scan| scan.ended_at.is_some()))
    }
}

/// Whether it is time for the next scan.
fn is_due(last: Option<Timestamp>, interval: Option<Duration>, now: Timestamp) -> bool {
    interval.is_some_and(|interval| last.is_none_or(|last| last.after(interval) <= now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_due_an_interval_after_the_last_one_began_and_never_without_an_interval() {
        let (day, at) = (Duration::from_secs(86_400), Timestamp::from_millis);
        assert!(is_due(None, Some(day), at(5)), "nobody ever looked");
        assert!(!is_due(Some(at(5)), Some(day), at(86_400_004)));
        assert!(is_due(Some(at(5)), Some(day), at(86_400_005)));
        assert!(!is_due(None, None, at(5)));
    }
}
