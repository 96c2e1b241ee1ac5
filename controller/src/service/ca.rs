//! The steps of the rotation of the CA. What a step means is decided in
//! [`plan::ca_rotation`](crate::plan::ca_rotation). Here: nobody is locked out by mistake, and nothing is done that the
//! audit log does not tell of.

use super::agents::AgentNow;
use super::{Actor, Service, ServiceError};
use crate::edge::changeover::Changeover;
use crate::pki::PkiError;
use crate::pki::authority::AuthorityNow;
use crate::plan::ca_rotation::{self, Step};
use crate::store::{Bar, StoreError};

/// Agents that are named at most; there may be more.
pub const MOST_NAMED: usize = 100;

/// A step that is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedCaStep {
    /// Which.
    pub step: Step,
    /// Why.
    pub reason: String,
    /// Whether it is taken although agents have not taken the root over that stays.
    pub leave_behind: bool,
}

/// Why a step was not taken, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaStepError {
    /// It is not its turn, or it could not be taken to its end.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// These agents would be locked out.
    #[error("the certificate of {} is not from the CA that stays", names(.0, 5))]
    Behind(Vec<AgentNow>),
    /// Something else.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl From<StoreError> for CaStepError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl Service {
    /// Agents that may connect and whose certificate is not from the root that stays, by name; the first
    /// [`MOST_NAMED`]. Not among them are those whose certificate ended so long ago that they must be enrolled again
    /// anyway.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn agents_behind(&self, ca: &AuthorityNow) -> Result<Vec<AgentNow>, ServiceError> {
        let (root, now) = (ca.stays.fingerprint.clone(), self.clock.now());
        let agents = self.store.agents_not_certified_by(root, now, MOST_NAMED).await?;
        Ok(agents.into_iter().map(|agent| self.now(agent)).collect())
    }

    /// Takes a step of the rotation of the CA; answers how the CA is then.
    ///
    /// # Errors
    /// [`CaStepError`]; nothing was done then, unless it says that the step was not taken to its end.
    pub async fn take_ca_step(
        &self,
        changeover: &Changeover,
        actor: &Actor,
        wanted: WantedCaStep,
    ) -> Result<AuthorityNow, CaStepError> {
        let WantedCaStep { step, reason, leave_behind } = wanted;
        // What it is judged by holds until it is taken.
        let turn = changeover.turn().await;
        let before = turn.now();
        ca_rotation::change(before.progress, step, self.clock.now()).map_err(PkiError::from)?;
        let behind = if step.may_leave_behind() { self.agents_behind(&before).await? } else { Vec::new() };
        if !behind.is_empty() && !leave_behind {
            return Err(CaStepError::Behind(behind));
        }
        let left = format!(" (left behind: {})", names(&behind, MOST_NAMED));
        let detail = if behind.is_empty() { reason } else { reason + &left };
        let object = before.stays.fingerprint.clone();
        // Before it is done: a step of which nobody can say who took it must not be.
        self.note_ca_step(actor, step, object.clone(), detail).await?;
        if step == Step::Finish {
            self.leave_behind_for_good(actor, &before, leave_behind).await?;
        }
        match turn.take(step).await {
            Ok(now) => {
                let (stays, shown) = (&now.stays.fingerprint, &now.shown);
                let by = &actor.subject;
                tracing::warn!(step = step.as_str(), stays, shown, by, "a step of the CA's rotation is taken");
                Ok(now)
            }
            Err(error) => {
                self.note_ca_step(actor, step, object, format!("it could not be taken to its end: {error}")).await?;
                Err(error.into())
            }
        }
    }

    async fn note_ca_step(&self, actor: &Actor, step: Step, object: String, detail: String) -> Result<(), StoreError> {
        let audit = actor.audit(&format!("ca.{}", step.as_str()), object, detail);
        self.store.audit(audit, self.clock.now()).await
    }

    /// Agents that are left behind for good are revoked first: they could not connect, and their names and volumes
    /// are to be free for those that are enrolled in their places. It is looked again, for what was on its way to
    /// the store before is there by now.
    async fn leave_behind_for_good(
        &self,
        actor: &Actor,
        before: &AuthorityNow,
        leave_behind: bool,
    ) -> Result<(), CaStepError> {
        loop {
            let left = self.agents_behind(before).await?;
            if left.is_empty() {
                return Ok(());
            }
            if !leave_behind {
                return Err(CaStepError::Behind(left));
            }
            for now in left {
                let reason = "left behind by the rotation of the CA".to_owned();
                self.bar_agent(actor, now.agent.id, Bar::Revoke, reason).await?;
            }
        }
    }
}

fn names(agents: &[AgentNow], most: usize) -> String {
    let named: Vec<&str> = agents.iter().take(most).map(|now| now.agent.name.as_str()).collect();
    let more = agents.len().saturating_sub(named.len());
    let named = named.join(", ");
    if more == 0 { named } else { format!("{named} and at least {more} more") }
}
