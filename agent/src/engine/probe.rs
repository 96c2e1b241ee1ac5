//! Measures volumes without waiting for those that hang.
//!
//! A filesystem that has lost its server answers nothing, not even a question for its size, and who
//! asks cannot be interrupted. So each volume is asked on a thread of its own, not for longer than
//! [`ANSWER_WITHIN`] and never twice at a time: one volume that hangs costs one thread, and keeps the
//! agent from telling of nothing else.

use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::agent::VolumeStatus;
use cratekube_common::runtime::blocking::Blocking;
use tokio::sync::Mutex;

use crate::volume::identity::Volume;

/// Longest wait for a volume to say how it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A volume that is asked how it is.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    volume: Arc<Volume>,
    blocking: Blocking,
    /// Held by whoever asks, for as long as there is no answer.
    asking: Arc<Mutex<()>>,
}

impl Probe {
    pub(crate) fn of(volume: &Arc<Volume>, blocking: Blocking) -> Self {
        Self { volume: volume.clone(), blocking, asking: Arc::default() }
    }

    /// The volume as it is now, or that it does not answer.
    async fn status(self) -> VolumeStatus {
        let volume = self.volume.clone();
        let answer = ask(self.asking, self.blocking, ANSWER_WITHIN, move || volume.status()).await;
        answer.unwrap_or_else(|| VolumeStatus {
            id: self.volume.id,
            path: self.volume.root.display().to_string(),
            free_bytes: 0,
            total_bytes: 0,
            fault: Some(format!("the volume does not answer within {} s", ANSWER_WITHIN.as_secs())),
            reserve_bytes: None,
            scrub: self.volume.scrubbed(),
        })
    }
}

/// All volumes as they are now; they are asked at the same time.
pub(crate) async fn all(probes: &[Probe]) -> Vec<VolumeStatus> {
    let asked: Vec<_> = probes.iter().map(|probe| tokio::spawn(probe.clone().status())).collect();
    let mut found = Vec::with_capacity(asked.len());
    for status in asked {
        match status.await {
            Ok(status) => found.push(status),
            Err(error) => tracing::error!(%error, "cannot measure a volume"),
        }
    }
    found
}

/// Asks, once nobody else does; none when there is no answer in time.
async fn ask<T: Send + 'static>(
    asking: Arc<Mutex<()>>,
    blocking: Blocking,
    within: Duration,
    question: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let answer = async {
        let turn = asking.lock_owned().await;
        let asked = blocking.run(move || {
            let _until_answered = turn;
            question()
        });
        asked.await.ok()
    };
    tokio::time::timeout(within, answer).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);
    const THREADS: Blocking = Blocking::Threads;

    #[tokio::test]
    async fn what_hangs_is_given_up_and_not_asked_twice() {
        let asking = Arc::new(Mutex::new(()));
        let (answer, waiting) = mpsc::channel::<()>();
        let hung = ask(asking.clone(), THREADS, Duration::ZERO, move || waiting.recv().ok()).await;
        assert!(hung.is_none());
        let again = ask(asking.clone(), THREADS, Duration::ZERO, || panic!("asked a second time")).await;
        assert!(again.is_none());
        drop(answer);
        assert_eq!(ask(asking, THREADS, LONG, || 1).await, Some(1), "asked again once it answers");
    }
}
