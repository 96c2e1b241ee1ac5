//! Work to agents and reports back: the conversation with connected agents, above the wire.
//!
//! Invariants: an agent is never sent more than it asked for; nothing is sent to it before its held
//! runs are reconciled; only its newest session speaks for it; a task is leased durably before it is
//! sent. Not here: what a message looks like (`grpc`), who is late ([`super::leases`]), what follows
//! from a report (`plan`, applied by the store).

mod offer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::agent::{Agent, AgentFacts, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::{AgentId, AttemptId, QueryId, SessionId, VolumeId};
use cratekube_common::domain::inventory::ClusterOnVolume;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::query::Answer;
use cratekube_common::domain::run::{RunReport, RunVerdict};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock::Clock, mint::Mint};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::conversation::{Connected, Declined, Greeting, Heartbeat, Order, Unheard};
use super::credit::Credit;
use super::leases::Leases;
use super::lines::{Line, Lines};
use super::manifests;
use super::presence::{Presence, Seen};
use super::retries::Retries;
use super::spec_secrets::SpecVault;
use super::watch::Watch;
use crate::plan::policy::Policy;
use crate::plan::scopes::Scopes;
use crate::plan::settle::RetryPolicy;
use crate::store::{Applied, ConnectAgent, HeartbeatFacts, Settled, Store, StoreError, TakeInventory};

/// Orders waiting for one agent at most; more means that nobody reads them.
const ORDERS: usize = 256;
/// After an agent declined an assignment it is offered nothing for this long: what made it decline
/// (a run that is still ending, a lock) takes longer than a round trip to pass.
const PAUSE_AFTER_DECLINE: Duration = Duration::from_secs(5);
/// And no longer than this, however often it declined.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What a conversation is made of.
#[derive(Debug)]
pub struct DispatchParts {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Who is told.
    pub watch: Watch,
    /// Who is here.
    pub presence: Presence,
    /// Lines to agents.
    pub lines: Lines,
    /// Who is late.
    pub leases: Leases,
    /// When what failed is tried again.
    pub retry_policy: RetryPolicy,
    /// Encrypts secrets of specs.
    pub vault: Arc<dyn SpecVault>,
    /// Where managed resources may put objects.
    pub scopes: Arc<Scopes>,
    /// What is refused where.
    pub policy: Arc<Policy>,
    /// The time.
    pub clock: Clock,
    /// New identifiers.
    pub mint: Mint,
}

/// The conversation with agents.
#[derive(Debug)]
pub struct Dispatch {
    store: Arc<dyn Store>,
    watch: Watch,
    presence: Presence,
    lines: Lines,
    leases: Leases,
    retry_policy: RetryPolicy,
    retries: Retries,
    vault: Arc<dyn SpecVault>,
    scopes: Arc<Scopes>,
    policy: Arc<Policy>,
    clock: Clock,
    mint: Mint,
}

impl Dispatch {
    /// A conversation with nobody yet.
    #[must_use]
    pub fn new(parts: DispatchParts) -> Self {
        let DispatchParts { store, watch, presence, lines, leases, retry_policy, vault, scopes, policy, clock, mint } =
            parts;
        let retries = Retries::new(Arc::clone(&store), watch.clone());
        Self { store, watch, presence, lines, leases, retry_policy, retries, vault, scopes, policy, clock, mint }
    }

    /// How long a lease lasts without renewal.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        self.leases.ttl()
    }

    /// How many agents have a session.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.presence.count()
    }

    /// How many leases are held.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.leases.count()
    }

    /// Gives every attempt on record a full lease, and every task that waits its whole wait: called once,
    /// before agents can connect.
    ///
    /// # Errors
    /// From the store.
    pub async fn start(&self) -> Result<(), StoreError> {
        for (attempt, agent) in self.store.held_attempts().await? {
            self.leases.hold(agent, attempt);
        }
        self.retries.start().await
    }

    /// An agent connects: reconciles what it holds and opens a session, ending an older one.
    ///
    /// # Errors
    /// From the store; nothing is changed then.
    pub async fn connect(&self, agent: &Agent, greeting: Greeting) -> Result<Connected, StoreError> {
        let now = self.clock.now();
        let of_others = self.presence.volumes_of_others(agent.id);
        if greeting.runs.iter().any(|run| of_others.contains(&run.volume)) {
            // The other session may be a dead one that was not noticed yet: nothing is decided now.
            let why = "a run of this agent is on a volume that another session serves";
            return Err(StoreError::Unavailable(why.into()));
        }
        let contested: Vec<_> = served(&greeting.facts.volumes).into_iter().filter(|v| of_others.contains(v)).collect();
        let request = ConnectAgent {
            agent: agent.id,
            facts: greeting.facts.clone(),
            runs: greeting.runs,
            contested: of_others,
            now,
        };
        let verdicts = self.store.connect_agent(request).await?;
        for (attempt, verdict) in &verdicts {
            if *verdict != RunVerdict::Forget {
                self.leases.hold(agent.id, *attempt);
            }
        }
        let session: SessionId = self.mint.id();
        let (sender, orders) = mpsc::channel(ORDERS);
        let end = CancellationToken::new();
        self.presence.arrive(agent.id, seen(session, now, &greeting.facts, greeting.agent_now, greeting.address));
        let line = Line {
            session,
            credit: Credit::default(),
            volumes: served(&greeting.facts.volumes),
            environments: agent.environments.clone(),
            not_before: Duration::ZERO,
            unsupported: 0,
            contested,
            answers: greeting.answers,
            rke: greeting.facts.rke,
            asked: BTreeMap::new(),
            orders: sender,
            end: end.clone(),
        };
        self.lines.open(agent.id, line);
        // Runs that never started may have gone back to the queue.
        self.watch.announce_work();
        Ok(Connected { session, verdicts, orders, end })
    }

    /// The volumes of a greeting that are to be looked through before anything is decided: this controller was
    /// restored from a backup since they were.
    ///
    /// # Errors
    /// From the store; and when a run is on such a volume that is not served, or by another session.
    pub async fn to_look_through(&self, agent: AgentId, greeting: &Greeting) -> Result<Vec<VolumeId>, StoreError> {
        let of_others = self.presence.volumes_of_others(agent);
        let mut served = served(&greeting.facts.volumes);
        served.retain(|volume| !of_others.contains(volume));
        let mut volumes: Vec<VolumeId> = greeting.runs.iter().map(|run| run.volume).collect();
        volumes.extend(&served);
        volumes.sort_unstable();
        volumes.dedup();
        let found = self.store.volumes_to_look_through(volumes).await?;
        if found.iter().any(|volume| !served.contains(volume)) {
            let why = "a run of this agent is on a volume that is to be looked through and cannot be now";
            return Err(StoreError::Unavailable(why.into()));
        }
        Ok(found)
    }

    /// Takes what a volume knows better than a controller that was restored from a backup. Answers the runs that
    /// the agent is to report again.
    ///
    /// # Errors
    /// From the store; nothing is changed then.
    pub async fn take_inventory(
        &self,
        agent: &Agent,
        address: &str,
        (volume, clusters): (VolumeId, Vec<ClusterOnVolume>),
        held: Vec<AttemptId>,
    ) -> Result<Vec<AttemptId>, StoreError> {
        let audit = AuditEntry {
            actor: agent.id.to_string(),
            origin: address.to_owned(),
            action: "volume.look-through".into(),
            object: volume.to_string(),
            outcome: AuditOutcome::Allowed,
            detail: String::new(),
            request_id: self.mint.id::<SessionId>().to_string(),
        };
        let (retries, now) = (self.retry_policy, self.clock.now());
        let request = TakeInventory { agent: agent.id, volume, clusters, held, retries, audit, now };
        let taken = self.store.take_inventory(request).await?;
        tracing::info!(
            agent = %agent.id, %volume, settled = taken.settled, again = taken.report_again.len(), released = taken.released,
            generations = taken.generations, orphans = taken.orphans, "a volume was looked through after a restore"
        );
        for (task, wait) in taken.retries {
            self.retries.wait(task, wait);
        }
        taken.operations.into_iter().for_each(|operation| self.watch.announce(operation));
        self.watch.announce_work();
        Ok(taken.report_again)
    }

    /// A session is over.
    pub async fn disconnect(&self, agent: AgentId, session: SessionId) {
        let was_current = self.presence.leave(agent, session);
        self.lines.close(agent, session);
        if was_current && let Err(error) = self.store.note_disconnect(agent).await {
            tracing::warn!(%agent, %error, "cannot note that an agent left");
        }
    }

    /// The agent can take so many assignments now.
    pub async fn ready(&self, agent: AgentId, session: SessionId, slots: u32) {
        self.lines.with(agent, session, |line| line.credit.ready(slots));
        self.presence.update(agent, session, |seen| seen.free_slots = slots);
        self.offer(agent).await;
    }

    /// A heartbeat: renews leases, answers what is not the agent's any more.
    ///
    /// # Errors
    /// From the store.
    pub async fn heartbeat(&self, agent: AgentId, session: SessionId, beat: Heartbeat) -> Result<(), StoreError> {
        let now = self.clock.now();
        let skew = beat.agent_now.as_millis() - now.as_millis();
        self.lines.with(agent, session, |line| line.volumes = served(&beat.volumes));
        self.presence.update(agent, session, |seen| {
            seen.last_seen_at = now;
            seen.clock_skew_ms = skew;
            seen.volumes.clone_from(&beat.volumes);
            seen.load = beat.load;
        });
        let facts = HeartbeatFacts { seen_at: now, clock_skew_ms: skew, volumes: beat.volumes };
        self.store.note_heartbeat(agent, facts).await?;
        if beat.attempts.is_empty() {
            return Ok(());
        }
        let without_lease = self.leases.renew(agent, &beat.attempts);
        let mut verdicts = self.store.lease_verdicts(agent, beat.attempts).await?;
        let late = |(attempt, verdict): &(AttemptId, RunVerdict)| {
            *verdict != RunVerdict::Forget && without_lease.contains(attempt)
        };
        if verdicts.iter().any(late) {
            // The agent says anew what it holds, and is told.
            self.lines.with(agent, session, |line| line.end.cancel());
            return Ok(());
        }
        // One without a lease was settled while the heartbeat was on its way: the agent is told already.
        verdicts.retain(|(attempt, verdict)| *verdict != RunVerdict::Continue && !without_lease.contains(attempt));
        if !verdicts.is_empty() {
            self.lines.order(agent, Order::Verdicts(verdicts));
        }
        Ok(())
    }

    /// A run is recorded on the volume and starts.
    ///
    /// # Errors
    /// From the store.
    pub async fn started(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        at: Timestamp,
    ) -> Result<(), Unheard> {
        let applied = self.store.start_attempt(agent, attempt, fence, at).await?;
        self.applied(agent, attempt, applied)
    }

    /// How far a run is.
    ///
    /// # Errors
    /// From the store.
    pub async fn progress(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        progress: Progress,
    ) -> Result<(), Unheard> {
        let applied = self.store.record_progress(agent, attempt, fence, progress).await?;
        self.applied(agent, attempt, applied)
    }

    /// An assignment was never started.
    ///
    /// # Errors
    /// From the store.
    pub async fn declined(&self, agent: AgentId, declined: Declined) -> Result<(), Unheard> {
        let Declined { attempt, fence, reason, unsupported } = declined;
        tracing::warn!(%agent, %attempt, reason, "assignment declined");
        let applied = self.store.release_attempt(agent, attempt, fence, reason, self.clock.now()).await?;
        self.applied(agent, attempt, applied)?;
        if applied != Applied::Stale {
            self.leases.release(attempt);
        }
        let now = self.clock.monotonic();
        self.lines.with_current(agent, |line| {
            line.unsupported = if unsupported { line.unsupported.saturating_add(1) } else { 0 };
            line.not_before = now + pause_after_decline(line.unsupported);
        });
        // Another agent may take it, if it is bound to none.
        self.watch.announce_work();
        Ok(())
    }

    /// An agent answers a question. One that was not asked on this session, or that nobody waits for any
    /// more, is dropped.
    pub fn answered(&self, agent: AgentId, session: SessionId, id: QueryId, answer: Answer) {
        if !self.lines.answered(agent, session, id, answer) {
            tracing::warn!(%agent, %session, question = %id, "an answer that nobody waits for was dropped");
        }
    }

    /// A run is over.
    ///
    /// # Errors
    /// From the store, the agent sends the report again then; or because it is not the agent's to make.
    pub async fn report(&self, agent: AgentId, report: RunReport) -> Result<(), Unheard> {
        let (attempt, fence) = (report.attempt, report.fence);
        match self.store.settle_attempt(agent, report, self.retry_policy, self.clock.now()).await? {
            Settled::Now { operation, more_work, retry } => {
                tracing::info!(%agent, %attempt, %operation, "run settled");
                self.leases.release(attempt);
                if let Some((task, wait)) = retry {
                    tracing::info!(%task, %operation, wait_ms = wait.as_millis(), "the task is to be tried again");
                    self.retries.wait(task, wait);
                }
                self.watch.announce(operation);
                if more_work {
                    self.watch.announce_work();
                }
                self.lines.order(agent, Order::Recorded(attempt));
            }
            Settled::Already(_) => {
                self.lines.order(agent, Order::Recorded(attempt));
            }
            Settled::OutputMissing { stored } => {
                tracing::warn!(%agent, %attempt, stored, "report came before its output; waiting for the output");
            }
            Settled::Stale => {
                tracing::warn!(%agent, %attempt, %fence, "stale report kept as evidence, not applied");
                self.lines.order(agent, Order::Verdicts(vec![(attempt, RunVerdict::Forget)]));
            }
            Settled::Foreign => return Err(Unheard::Foreign(attempt)),
        }
        Ok(())
    }

    /// Takes note of leases that ran out: their attempts' fate is unknown, their clusters stay locked.
    ///
    /// # Errors
    /// From the store.
    pub async fn lose_late(&self) -> Result<(), StoreError> {
        // Also looks for work that agents could not be offered when it was announced.
        self.watch.announce_work();
        let expired = self.leases.take_expired();
        if expired.is_empty() {
            return Ok(());
        }
        let attempts = expired.iter().map(|(attempt, _)| *attempt).collect();
        let lost = match self.store.lose_attempts(attempts, self.clock.now()).await {
            Ok(lost) => lost,
            Err(error) => {
                expired.iter().for_each(|(attempt, agent)| self.leases.hold(*agent, *attempt));
                return Err(error);
            }
        };
        let mut late = Vec::new();
        for (attempt, agent) in expired.into_iter().filter(|(attempt, _)| lost.contains(attempt)) {
            tracing::warn!(%attempt, %agent, "lease ran out; the run's fate is unknown and its cluster stays locked");
            late.push(agent);
        }
        late.into_iter().for_each(|agent| self.lines.end(agent));
        Ok(())
    }

    /// Offers work to every agent with room, each time some is announced, until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let offering = async {
            while stop.run_until_cancelled(self.watch.work()).await.is_some() {
                for agent in self.lines.with_room() {
                    self.offer(agent).await;
                }
            }
        };
        tokio::join!(offering, self.retries.run(stop.clone()));
    }

    fn applied(&self, agent: AgentId, attempt: AttemptId, applied: Applied) -> Result<(), Unheard> {
        match applied {
            Applied::Done(operation) => self.watch.announce(operation),
            Applied::Stale => {
                self.lines.order(agent, Order::Verdicts(vec![(attempt, RunVerdict::Forget)]));
            }
            Applied::Foreign => return Err(Unheard::Foreign(attempt)),
        }
        Ok(())
    }
}

/// How long an agent is offered nothing after it declined: longer each time for what it does not know,
/// which only an upgrade changes, and with that it connects anew.
fn pause_after_decline(unsupported: u32) -> Duration {
    let factor = 2u32.saturating_pow(unsupported.saturating_sub(1));
    PAUSE_AFTER_DECLINE.saturating_mul(factor).min(LONGEST_PAUSE)
}

fn served(volumes: &[VolumeStatus]) -> Vec<VolumeId> {
    volumes.iter().filter(|volume| volume.fault.is_none()).map(|volume| volume.id).collect()
}

fn seen(session: SessionId, now: Timestamp, facts: &AgentFacts, agent_now: Timestamp, address: String) -> Seen {
    Seen {
        session,
        connected_at: now,
        last_seen_at: now,
        clock_skew_ms: agent_now.as_millis() - now.as_millis(),
        volumes: facts.volumes.clone(),
        free_slots: 0,
        load: 0.0,
        address,
    }
}

#[cfg(test)]
mod tests;
