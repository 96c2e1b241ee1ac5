//! Watches `rke` from its first byte of output to the end of everything that it started.
//!
//! The output is copied as it comes, and looked at on the way: a word puts the limit on silence off, a
//! new phase the one on phases. Looking allocates nothing per line and is bounded on floods. Who keeps
//! the pipe open after `rke` has ended holds nothing up.

use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus as Status};
use std::time::Duration;

use cratekube_common::domain::run::ExitStatus;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::rke::lines::LineReader;
use cratekube_common::rke::phases::PhaseTracker;
use cratekube_common::runtime::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::journal::{Command, ExitRecord};
use super::limits::{Due, Timekeeper};
use super::log::OutputLog;
use super::strays;
use crate::volume::reserve;

/// One read of the pipe; as much as the pipe holds.
const BUFFER: usize = 256 * 1024;
/// How long output and processes are waited for that are still there after `rke` has ended.
const LINGER: Duration = Duration::from_secs(2);

/// Watches one `rke` and its output.
pub(super) struct Watch<'a> {
    clock: &'a Clock,
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    pipe: Option<PipeReader>,
    log: OutputLog,
    buffer: Vec<u8>,
    lines: LineReader,
    phases: PhaseTracker,
    time: Timekeeper,
    /// Space to give up when the end of the output cannot be written.
    reserve: PathBuf,
}

impl<'a> Watch<'a> {
    /// Begins to watch what was just started.
    ///
    /// # Errors
    /// From the kernel.
    pub(super) fn new(
        (clock, command, phases): (&'a Clock, &Command, PhaseTracker),
        child: Child,
        pipe: PipeReader,
        log: OutputLog,
    ) -> io::Result<Self> {
        let group = Pid::from_child(&child);
        Ok(Self {
            pidfd: pidfd_open(group, PidfdFlags::empty())?,
            time: Timekeeper::begin(command.limits(), command.stop_grace(), clock.monotonic()),
            clock,
            child,
            group,
            pipe: Some(pipe),
            log,
            buffer: vec![0; BUFFER],
            lines: LineReader::new(),
            phases,
            reserve: command.reserve.clone(),
        })
    }

    /// Watches until `rke` and everything that it started has ended.
    ///
    /// # Errors
    /// From the kernel.
    pub(super) fn until_end(mut self, started_at: Timestamp) -> io::Result<ExitRecord> {
        while !self.wait()? {
            self.keep_time();
        }
        // `rke` is dead but not reaped: its number, and so its group's, cannot belong to anyone else.
        let _nobody_left = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait()?;
        let ended_at = self.clock.now();
        strays::end_children(self.clock, LINGER);
        self.drain()?;
        if self.log.is_stopped() {
            // The verdict depends on what was said last.
            reserve::give_up(&self.reserve);
        }
        let kept = self.log.finish();
        let synced = self.log.sync();
        let reached = self.time.reached();
        Ok(ExitRecord {
            exit: Some(ended_with(status)),
            start_error: None,
            started_at: Some(started_at),
            ended_at,
            output_bytes: kept.bytes,
            dropped_bytes: kept.dropped,
            output_failed: kept.failed || synced.is_err(),
            timed_out: reached.is_some(),
            reached,
        })
    }

    /// Waits for output, for the end of `rke` (true) or for what is next on the clock.
    fn wait(&mut self) -> io::Result<bool> {
        let now = self.clock.monotonic();
        let timeout = self.time.next().and_then(|at| Timespec::try_from(at.saturating_sub(now)).ok());
        let mut fds = Vec::with_capacity(2);
        fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (ended, readable) = (!fds[0].revents().is_empty(), fds.get(1).is_some_and(|fd| !fd.revents().is_empty()));
        if readable {
            self.read();
        }
        Ok(ended)
    }

    fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut self.buffer) {
            Ok(0) => self.pipe = None,
            Ok(read) => {
                self.log.append(&self.buffer[..read]);
                self.hear(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.pipe = None,
        }
    }

    /// Looks at what was read: it was a word, and may have begun a phase.
    fn hear(&mut self, read: usize) {
        let now = self.clock.monotonic();
        let Self { lines, phases, time, buffer, .. } = self;
        time.heard(now);
        lines.feed(&buffer[..read], |line| {
            if let Some(progress) = phases.observe(line) {
                time.entered(progress.phase, now);
            }
        });
    }

    fn keep_time(&mut self) {
        let signal = match self.time.due(self.clock.monotonic()) {
            Some(Due::Terminate) => Signal::TERM,
            Some(Due::Kill) => Signal::KILL,
            None => return,
        };
        let _gone = kill_process_group(self.group, signal);
    }

    /// Reads what is left in the pipe. Who could not be ended may keep the pipe open for ever.
    fn drain(&mut self) -> io::Result<()> {
        let until = self.clock.monotonic().saturating_add(LINGER);
        while let Some(pipe) = &self.pipe {
            let left = until.saturating_sub(self.clock.monotonic());
            let Ok(timeout) = Timespec::try_from(left) else { return Ok(()) };
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) if left.is_zero() => return Ok(()),
                Ok(_) => self.read(),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

fn ended_with(status: Status) -> ExitStatus {
    status.code().map_or_else(|| ExitStatus::Signal(status.signal().unwrap_or(0)), ExitStatus::Code)
}
