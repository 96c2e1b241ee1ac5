//! Connections of agents that are locked out end at once, whoever locked them out: this controller,
//! another one on the same store, or a command beside it.
//!
//! The store keeps the orders; [`Cuts::pass`] reads on from where it was, once a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cratekube_common::domain::id::AgentId;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

/// Who is told to go.
#[derive(Debug, Clone, Default)]
pub struct Cuts {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    agents: HashMap<AgentId, CancellationToken>,
    read: u64,
}

impl Cuts {
    /// Cancelled when the agent is locked out from now on.
    #[must_use]
    pub fn watch(&self, agent: AgentId) -> CancellationToken {
        self.lock().agents.entry(agent).or_default().clone()
    }

    /// Carries out the orders that came since the last pass. Answers how many connections they hit.
    ///
    /// # Errors
    /// From the store; the orders are read again then.
    pub async fn pass(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let after = self.lock().read;
        let orders = store.cuts(after).await?;
        let mut inner = self.lock();
        let mut hit = 0;
        for order in orders {
            inner.read = inner.read.max(order.number);
            if let Some(token) = inner.agents.remove(&order.agent) {
                token.cancel();
                hit += 1;
            }
        }
        Ok(hit)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
