//! Waiting before a task is tried again.
//!
//! Waits are measured with the runtime's monotonic clock, so that no jump of the wall clock makes a task
//! early or late; a restarted controller waits anew. That a task waits at all is on record: nothing is
//! lost with the memory of when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cratekube_common::domain::id::TaskId;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::watch::Watch;
use crate::store::{Store, StoreError};

/// How soon is tried again what the store did not take.
const PAUSE: Duration = Duration::from_secs(5);

/// The tasks that wait.
#[derive(Debug)]
pub struct Retries {
    store: Arc<dyn Store>,
    watch: Watch,
    due: Mutex<BTreeMap<TaskId, Instant>>,
    changed: Notify,
}

impl Retries {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, watch: Watch) -> Self {
        Self { store, watch, due: Mutex::default(), changed: Notify::new() }
    }

    /// Takes up what an earlier controller left waiting.
    ///
    /// # Errors
    /// From the store.
    pub async fn start(&self) -> Result<(), StoreError> {
        for (task, wait) in self.store.delayed_tasks().await? {
            self.wait(task, wait);
        }
        Ok(())
    }

    /// A task waits for so long.
    pub fn wait(&self, task: TaskId, wait: Duration) {
        self.lock().insert(task, Instant::now() + wait);
        self.changed.notify_one();
    }

    /// Lets tasks go when their waits are over, until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.next_due()).await.is_some() {
            for task in self.take_due() {
                self.release(task).await;
            }
        }
    }

    /// Returns when a wait is over.
    async fn next_due(&self) {
        loop {
            let next = self.lock().values().min().copied();
            let over = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = over => return,
                () = self.changed.notified() => {}
            }
        }
    }

    fn take_due(&self) -> Vec<TaskId> {
        let (now, mut over) = (Instant::now(), Vec::new());
        self.lock().retain(|task, at| {
            let waits = *at > now;
            if !waits {
                over.push(*task);
            }
            waits
        });
        over
    }

    async fn release(&self, task: TaskId) {
        match self.store.release_task(task).await {
            Ok(Some(operation)) => {
                tracing::info!(%task, %operation, "a task is tried again");
                self.watch.announce(operation);
                self.watch.announce_work();
            }
            // Cancelled meanwhile.
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%task, %error, "cannot let a task be tried again; it waits a little longer");
                self.wait(task, PAUSE);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
