//! Scrubs a volume again and again, slowly: at most [`PER_SECOND`] is read, between two generations the
//! disk and the processor belong to others.
//!
//! The first scrub begins at an offset that follows from the volume's id, so that the agents of a fleet
//! that is started at once do not read at once.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::volume::identity::Volume;
use crate::volume::scrub::Scrub;

/// Bytes read in a second, at most: nothing beside what a disk can do.
const PER_SECOND: u64 = 4 << 20;
/// Longest offset of the first scrub, as a part of the interval.
const OFFSET: u32 = 10;

/// Scrubs for as long as the engine is open.
pub(crate) async fn keep(core: Arc<Core>, volume: Arc<Volume>) {
    let every = core.settings.scrub_interval;
    tokio::time::sleep(offset(&volume, every)).await;
    loop {
        pass(&core, &volume).await;
        tokio::time::sleep(every).await;
    }
}

fn offset(volume: &Volume, every: Duration) -> Duration {
    let lot = u32::try_from(volume.id.0.as_u128() % 1_000).unwrap_or_default();
    every / OFFSET * lot / 1_000
}

async fn pass(core: &Arc<Core>, volume: &Arc<Volume>) {
    let began = volume.clone();
    let Ok(mut scrub) = core.blocking(move |_| Scrub::begin(&began.layout)).await else { return };
    loop {
        let stepped = core.blocking(move |_| {
            let read = scrub.step();
            (scrub, read)
        });
        let Ok((next, read)) = stepped.await else { return };
        scrub = next;
        let Some(bytes) = read else { break };
        tokio::time::sleep(Duration::from_millis(bytes.saturating_mul(1_000) / PER_SECOND)).await;
    }
    let found = scrub.end(core.clock.now());
    tracing::info!(volume = %volume.id, checked = found.checked, faults = found.faults.len(), "a state volume was scrubbed");
    volume.keep_scrub(found);
}
