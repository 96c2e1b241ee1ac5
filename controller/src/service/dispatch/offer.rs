//! Offering: what an agent can take is leased and sent to it, or settled as refused.

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::{AgentId, AttemptId, SessionId};
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::runtime::fault;
use serde_json::json;

use super::{Dispatch, manifests};
use crate::plan::policy;
use crate::service::conversation::Order;
use crate::service::credit::Taken;
use crate::service::lines::Line;
use crate::service::spec_secrets::{VaultError, open_secrets};
use crate::store::{LeaseTasks, LeasedTask};

/// Tasks leased in one transaction at most.
const BATCH: u32 = 32;

impl Dispatch {
    /// Leases what an agent can take and sends it.
    pub(super) async fn offer(&self, agent: AgentId) {
        while let Some((request, session, taken)) = self.wish(agent) {
            let leased = self.store.lease_tasks(request).await.unwrap_or_else(|error| {
                tracing::error!(%agent, %error, "cannot lease tasks");
                Vec::new()
            });
            let count = u32::try_from(leased.len()).unwrap_or(u32::MAX);
            let again = self.lines.with(agent, session, |line| line.credit.settle(taken, count)).unwrap_or(false);
            for task in leased {
                self.send(agent, session, task).await;
            }
            if !again {
                break;
            }
        }
    }

    /// Takes an agent's credit for one lease; nothing when it has none, or is to wait. Whether its state
    /// allows work is known to the store alone: a session that remembered it could miss a change.
    fn wish(&self, agent: AgentId) -> Option<(LeaseTasks, SessionId, Taken)> {
        let now = self.clock.monotonic();
        let take = |line: &mut Line| {
            if now < line.not_before || line.volumes.is_empty() {
                return None;
            }
            let taken = line.credit.take(BATCH)?;
            let request = LeaseTasks {
                agent,
                attempts: (0..taken.slots).map(|_| self.mint.id()).collect(),
                volumes: line.volumes.clone(),
                environments: line.environments.clone(),
                now: self.clock.now(),
            };
            Some((request, line.session, taken))
        };
        self.lines.with_current(agent, take).flatten()
    }

    /// Sends a leased task on the session that asked for it; gives it back when that is over.
    async fn send(&self, agent: AgentId, session: SessionId, task: LeasedTask) {
        fault::point("lease.granted");
        let LeasedTask { mut assignment, sealed_secrets, resources, asked } = task;
        let (attempt, fence, operation) = (assignment.attempt, assignment.fence, assignment.operation);
        if let Some(sealed) = sealed_secrets {
            match open_secrets(&*self.vault, assignment.cluster, &sealed) {
                Ok(secrets) => assignment.spec.put_secrets(secrets),
                Err(error) => return self.unreadable(agent, attempt, fence, error).await,
            }
        }
        if let Some(failure) = self.forbidden(agent, session, &assignment) {
            tracing::warn!(%agent, %attempt, %operation, reason = failure.message, "a task is refused by policy");
            return self.refuse(agent, attempt, fence, failure).await;
        }
        if assignment.kind == TaskKind::Configure {
            let scope = self.scopes.of(&assignment.environment);
            match manifests::input(&*self.vault, scope, &resources) {
                Ok(input) => {
                    assignment.input.merge(&input);
                    // Who asked for a resource wants to know that it is not there; a cluster is not unfit for it.
                    assignment.input.merge(&json!({"must_apply": asked == OperationKind::Configure}));
                }
                Err(error) => return self.unreadable(agent, attempt, fence, error).await,
            }
        }
        let request_id = assignment.request_id.as_str();
        tracing::info!(%agent, %attempt, %operation, request_id, kind = %assignment.kind, "task assigned");
        if self.assign(agent, session, assignment) {
            return self.watch.announce(operation);
        }
        let reason = "its session ended before it was sent".to_owned();
        let released = self.store.release_attempt(agent, attempt, fence, reason, self.clock.now()).await;
        if let Err(error) = released {
            // The agent does not hold it: its next hello releases it.
            tracing::error!(%attempt, %error, "cannot give back a task that was not sent");
        }
        self.watch.announce(operation);
        self.watch.announce_work();
    }

    /// Puts an assignment on a session; says whether it went out.
    fn assign(&self, agent: AgentId, session: SessionId, assignment: Assignment) -> bool {
        let attempt = assignment.attempt;
        let put = |line: &mut Line| {
            self.leases.hold(agent, attempt);
            let sent = line.orders.try_send(Order::Assign(Box::new(assignment))).is_ok();
            if !sent {
                self.leases.release(attempt);
                line.end.cancel();
            }
            sent
        };
        self.lines.with(agent, session, put).unwrap_or(false)
    }

    /// A task whose secrets do not open cannot be done: it is settled as refused, with the remedy.
    async fn unreadable(&self, agent: AgentId, attempt: AttemptId, fence: Fence, error: VaultError) {
        let failure = Failure {
            class: FailureClass::Internal,
            message: format!("the cluster's secrets cannot be opened: {error}"),
            line: None,
            retryable: false,
            remedy: "Start the controller with the master key that sealed them.".into(),
        };
        self.refuse(agent, attempt, fence, failure).await;
    }

    /// Why the environment's policy does not let this agent do a task; nothing when it does. It was asked when
    /// the operation was accepted; which agent would take it was not known then.
    fn forbidden(&self, agent: AgentId, session: SessionId, assignment: &Assignment) -> Option<Failure> {
        let (kind, rule) = (assignment.kind, self.policy.rule(&assignment.environment));
        // Preflight is the first task of what builds: nothing is to be begun that is refused later.
        let builds = kind.builds() || kind == TaskKind::Preflight;
        if !builds && kind != TaskKind::RotateCertificates {
            return None;
        }
        let rke = self.lines.with(agent, session, |line| line.rke.clone()).flatten();
        let spec = Some(&assignment.spec).filter(|_| builds);
        let verdict = policy::judge(rule, rke.as_slice(), spec, self.clock.now());
        (!verdict.refused.is_empty()).then(|| Failure {
            class: FailureClass::Config,
            message: format!("the environment's policy refuses it: {}", verdict.refused.join("; ")),
            line: None,
            retryable: false,
            remedy: "Give the agent an `rke` that the policy allows, or choose another version, and retry.".into(),
        })
    }

    /// Settles a task that was leased and is not sent.
    async fn refuse(&self, agent: AgentId, attempt: AttemptId, fence: Fence, failure: Failure) {
        let report = RunReport {
            attempt,
            fence,
            outcome: RunOutcome::Refused(failure),
            exit: None,
            started_at: None,
            ended_at: self.clock.now(),
            generation: None,
            rke: None,
            warnings: Vec::new(),
            output_bytes: 0,
            findings: None,
        };
        if let Err(error) = self.report(agent, report).await {
            tracing::error!(%attempt, %error, "cannot settle a task that is refused");
        }
    }
}
