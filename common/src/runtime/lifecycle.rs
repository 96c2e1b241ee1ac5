//! Soft and hard shutdown: the first signal asks, the second insists.

use tokio_util::sync::CancellationToken;

/// Two steps of ending, each a token that can be waited for and passed on.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what is open.
    pub soft: CancellationToken,
    /// Stop now.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// A shutdown that nobody asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the next step: soft first, then hard.
    pub fn escalate(&self) {
        if self.soft.is_cancelled() {
            self.hard.cancel();
        }
        self.soft.cancel();
    }

    /// Stops at once.
    pub fn insist(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Escalates on every SIGTERM or SIGINT, until the hard step.
    ///
    /// # Errors
    /// When signal handlers cannot be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            while !shutdown.hard.is_cancelled() {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!(second = shutdown.soft.is_cancelled(), "asked to stop by a signal");
                shutdown.escalate();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_is_soft_the_second_hard() {
        let shutdown = Shutdown::new();
        shutdown.escalate();
        assert!(shutdown.soft.is_cancelled() && !shutdown.hard.is_cancelled());
        shutdown.escalate();
        assert!(shutdown.hard.is_cancelled());
    }
}
