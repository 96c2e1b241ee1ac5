//! Telling those who watch: a version number per operation that grows with every change.
//!
//! Nothing is carried but "look again"; watchers read the store. So a watcher that is slow or
//! reconnects misses nothing, and memory is bounded by the number of watched operations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cratekube_common::domain::id::OperationId;
use tokio::sync::{Notify, watch};

/// Where changes are announced and waited for.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    operations: Arc<Mutex<HashMap<OperationId, watch::Sender<u64>>>>,
    work: Arc<Notify>,
}

impl Watch {
    /// Waits on an operation: `changed()` resolves after each announcement.
    #[must_use]
    pub fn operation(&self, id: OperationId) -> watch::Receiver<u64> {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.entry(id).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Announces that an operation, its attempts or its output changed.
    pub fn announce(&self, id: OperationId) {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = operations.get(&id) {
            sender.send_modify(|version| *version += 1);
            if sender.receiver_count() == 0 {
                operations.remove(&id);
            }
        }
    }

    /// Forgets an operation that nobody watches any more. One that ended is announced no more, so
    /// whoever watched it to its end calls this after dropping its receiver.
    pub fn release(&self, id: OperationId) {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        if operations.get(&id).is_some_and(|sender| sender.receiver_count() == 0) {
            operations.remove(&id);
        }
    }

    /// How many operations are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Announces that a task may be leased now.
    pub fn announce_work(&self) {
        self.work.notify_one();
    }

    /// Waits until a task may be leased.
    pub async fn work(&self) {
        self.work.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test]
    async fn watchers_hear_changes_and_leave_nothing_behind() {
        let watch = Watch::default();
        let id = OperationId(Uuid::from_u128(1));
        let mut receiver = watch.operation(id);
        watch.announce(id);
        receiver.changed().await.unwrap();
        drop(receiver);
        watch.announce(id);
        assert!(watch.operations.lock().unwrap().is_empty());
    }
}
