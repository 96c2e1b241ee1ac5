//! A gate in a run of `rke`: the run waits there until the test lets it go. No clock is looked at.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::rehearsal::control::Rehearsal;
use crate::rehearsal::fault::{After, Fault, Kind};

/// A gate that one run will come to.
#[derive(Debug)]
pub struct Gate {
    fifo: PathBuf,
}

impl Gate {
    /// Puts a gate into the next run, after a line: one that contains a text, or one with a number.
    ///
    /// # Errors
    /// When the FIFO or the settings cannot be written.
    pub fn in_next_run(rke: &mut Rehearsal, dir: &Path, after: impl Into<After>) -> anyhow::Result<Self> {
        let fifo = dir.join(format!("gate-{}", rke.runs()?.len()));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        let kind = Kind::Hold { after: after.into(), fifo: fifo.clone() };
        rke.fault(Fault::new(kind).times(1))?;
        Ok(Self { fifo })
    }

    /// Waits until a run has come to the gate; it goes on when the answer is dropped.
    ///
    /// # Errors
    /// When the gate is gone, or no run comes to it.
    pub async fn reached(&self) -> anyhow::Result<Passage> {
        let fifo = self.fifo.clone();
        // Opening to write blocks until the run has opened to read; the thread that waits for this would keep
        // the test from ever ending.
        let _waits_no_longer = Relief(&self.fifo);
        let open = tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(fifo));
        let open = tokio::time::timeout(super::process::PATIENCE, open).await;
        Ok(Passage { _open: open.context("no run of rke came to the gate")??? })
    }
}

/// Lets a thread go that still waits for a reader of the FIFO.
struct Relief<'a>(&'a Path);

impl Drop for Relief<'_> {
    fn drop(&mut self) {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let _let_go = OpenOptions::new().read(true).custom_flags(nonblocking).open(self.0);
    }
}

/// Holds a run at its gate for as long as it lives.
#[derive(Debug)]
pub struct Passage {
    _open: File,
}
