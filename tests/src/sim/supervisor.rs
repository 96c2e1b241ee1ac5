//! A simulated supervisor: what `cratekube-agent supervise` does, with simulated time and processes.
//!
//! It writes the journal with the product's own code, and keeps its limits of silence and of the whole run. It may be killed between any two steps; then its
//! `rke` finds the pipe closed at its next line, and dies of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cratekube_agent::run::journal::{ExitRecord, Journal, ProcessId, RunRecord, SupervisorRecord};
use cratekube_common::domain::run::{ExitStatus, ReachedLimit, TimeLimit};
use cratekube_common::domain::time::Timestamp;
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot, watch};

use super::Sabotage;
use super::machine::{Life, Machine, What};
use super::rke;

/// Longest time from the start of a supervisor to its first word.
const SLOW_START: Duration = Duration::from_millis(300);

/// It was killed.
struct Killed;

/// Supervises the run in a directory to its end.
pub async fn supervise(
    machine: Arc<Machine>,
    me: ProcessId,
    life: watch::Receiver<Life>,
    run_dir: PathBuf,
    lock: File,
) {
    let journal = Journal::at(run_dir);
    if let Ok(Some(record)) = journal.run() {
        let attempt = record.attempt;
        let supervision = Supervision { machine: Arc::clone(&machine), journal, record, life, lock };
        if supervision.run(me).await.is_err() {
            machine.model.note(format!("{}: the supervisor of {attempt} is killed", machine.name));
        }
    }
    machine.gone(me);
}

struct Supervision {
    machine: Arc<Machine>,
    journal: Journal,
    record: RunRecord,
    life: watch::Receiver<Life>,
    lock: File,
}

impl Supervision {
    async fn run(mut self, me: ProcessId) -> Result<(), Killed> {
        self.pause(self.machine.chance(|chance| chance.between(Duration::ZERO, SLOW_START))).await?;
        let mut record = SupervisorRecord {
            supervisor: me,
            boot_id: self.record.boot_id.clone(),
            rke: None,
            started_at: None,
            cgroup: None,
        };
        let _whole_or_not = self.journal.write_supervisor(&record);
        let (rke, life) = self.machine.fork(What::Rke);
        let started_at = self.machine.clock.now();
        (record.rke, record.started_at) = (Some(rke), Some(started_at));
        let _whole_or_not = self.journal.write_supervisor(&record);
        let (pipe, lines) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let Ok(lock) = self.lock.try_clone() else { return Ok(()) };
        self.machine.run(rke::run(Arc::clone(&self.machine), self.record.clone(), rke, life, (pipe, lock), end));
        self.watch(rke, lines, ended, started_at).await
    }

    async fn watch(
        &mut self,
        rke: ProcessId,
        mut lines: mpsc::UnboundedReceiver<Vec<u8>>,
        mut ended: oneshot::Receiver<ExitStatus>,
        started_at: Timestamp,
    ) -> Result<(), Killed> {
        let mut output = OpenOptions::new().append(true).create(true).mode(0o600).open(self.journal.output()).ok();
        let mut written = 0;
        let limits = self.record.command.limits();
        let began = tokio::time::Instant::now();
        let (mut said_at, mut reached) = (began, None);
        let exit = loop {
            let (silent, over) = (said_at + limits.silence, began + limits.run);
            let line = tokio::select! {
                biased;
                _ = self.life.wait_for(|life| *life != Life::Runs) => return Err(Killed),
                Some(line) = lines.recv() => line,
                exit = &mut ended => break exit.unwrap_or(ExitStatus::Signal(9)),
                () = tokio::time::sleep_until(silent.min(over)), if reached.is_none() => {
                    let (limit, after) =
                        if over <= silent { (TimeLimit::Run, limits.run) } else { (TimeLimit::Silence, limits.silence) };
                    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    reached = Some(ReachedLimit { limit, after_ms, phase: None });
                    self.machine.model.note(format!("{}: rke of {} is ended: {limit:?}", self.machine.name, self.record.attempt));
                    self.machine.signal(rke, Signal::TERM.as_raw());
                    continue;
                }
            };
            said_at = tokio::time::Instant::now();
            written += self.append(output.as_mut(), &line);
        };
        self.pause(self.machine.chance(|chance| chance.between(Duration::ZERO, SLOW_START))).await?;
        let believes = self.machine.sabotage == Some(Sabotage::BelievesInSuccess);
        let told = if believes { ExitStatus::Code(0) } else { exit };
        let exit_record = ExitRecord {
            exit: Some(told),
            start_error: None,
            started_at: Some(started_at),
            ended_at: self.machine.clock.now(),
            output_bytes: written,
            dropped_bytes: 0,
            output_failed: false,
            timed_out: reached.is_some(),
            reached,
        };
        if self.journal.write_exit(&exit_record).is_ok() {
            self.machine.model.exited(self.record.attempt, exit);
        }
        Ok(())
    }

    /// Puts a line into the output; answers how long it is.
    fn append(&self, output: Option<&mut File>, line: &[u8]) -> u64 {
        self.machine.model.output(self.record.attempt, line);
        let lost = self.machine.sabotage == Some(Sabotage::LosesOutput) && self.machine.chance(|c| c.one_in(50));
        let kept = output.filter(|_| !lost).is_some_and(|output| output.write_all(line).is_ok());
        if kept { line.len() as u64 } else { 0 }
    }

    async fn pause(&mut self, time: Duration) -> Result<(), Killed> {
        tokio::select! {
            biased;
            _ = self.life.wait_for(|life| *life != Life::Runs) => Err(Killed),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}
