//! The supervisor: a small process that owns `rke` and needs neither agent nor network.
//!
//! It runs in a session of its own, holds the cluster's lock (its standard input is the lock, and so is
//! `rke`'s: an empty file), copies `rke`'s output, without secrets, to `output.log` and writes `exit.json`. It keeps the
//! time limit, so that the limit holds while no agent runs. Ending a run on request is the agent's
//! business; it signals `rke`'s process group, not this process.
//!
//! Latency counts here: nothing is made durable before `rke` starts, and there is no runtime.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use cratekube_common::domain::run::ExitStatus;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::redact::KnownSecrets;
use cratekube_common::rke::logins;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::fault::{self, Step};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, setrlimit, setsid, umask,
};

use super::journal::{Command, ExitRecord, Journal, RunRecord, SupervisorRecord};
use super::log::OutputLog;
use super::process;
use crate::volume::generations::CLUSTER_YML;
use crate::volume::{VolumeError, reserve};

/// One read of the pipe; as much as the pipe holds.
const BUFFER: usize = 256 * 1024;
/// How long output is waited for that someone else may still write after `rke` has ended.
const LINGER: Duration = Duration::from_secs(2);

/// How a supervisor ends that could not write to the volume: nothing else tells it to who comes after it.
pub(crate) const VOLUME_FAILED: u8 = 74;

/// Why there was nothing to supervise.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error(transparent)]
    Journal(#[from] VolumeError),
    #[error("{} has no run.json", .0.display())]
    NoRun(PathBuf),
    #[error("{} has an exit.json: the run is over", .0.display())]
    Over(PathBuf),
    #[error("the cluster's lock is held by another run")]
    Locked,
    #[error("cannot open output.log: {0}")]
    Output(io::Error),
    #[error("cannot {0}: {1}")]
    Io(&'static str, io::Error),
}

impl SuperviseError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Journal(_) | Self::Output(_) => ExitCode::from(VOLUME_FAILED),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Does what `supervise <run-dir>` on the command line says.
#[must_use]
pub fn main_from_args() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [command, run_dir] if command == "supervise" => supervise(Path::new(run_dir)),
        _ => ExitCode::FAILURE,
    }
}

/// Supervises the run in a directory to its end.
#[must_use]
pub fn supervise(run_dir: &Path) -> ExitCode {
    match Supervision::begin(run_dir).and_then(Supervision::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There may be no one to read it; the journal says what matters.
            let _nobody_reads = io::Write::write_fmt(&mut io::stderr(), format_args!("supervise: {error}\n"));
            error.code()
        }
    }
}

struct Supervision {
    journal: Journal,
    command: Command,
    boot_id: String,
    lock: File,
    clock: Clock,
}

impl Supervision {
    fn begin(run_dir: &Path) -> Result<Self, SuperviseError> {
        // Fails only where the caller has made this the leader of a session already.
        let _already_leader = setsid();
        umask(Mode::from_raw_mode(0o077));
        let no_cores = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        no_cores.map_err(|e| SuperviseError::Io("forbid core dumps", e.into()))?;
        let journal = Journal::at(run_dir.to_owned());
        let record: RunRecord = journal.run()?.ok_or_else(|| SuperviseError::NoRun(run_dir.to_owned()))?;
        if journal.exit()?.is_some() {
            return Err(SuperviseError::Over(run_dir.to_owned()));
        }
        let lock = hold(&record.command.lock)?;
        Ok(Self { journal, command: record.command, boot_id: record.boot_id, lock, clock: clock::system() })
    }

    fn run(self) -> Result<(), SuperviseError> {
        let mut record = SupervisorRecord {
            supervisor: process::identify(process::own_pid()).map_err(|e| SuperviseError::Io("read /proc", e))?,
            boot_id: self.boot_id.clone(),
            rke: None,
            started_at: None,
        };
        self.with_reserve(|journal| journal.write_supervisor(&record))?;
        let output = open_output(&self.journal.output()).map_err(SuperviseError::Output)?;
        let mut log = OutputLog::new(output, self.journal.output(), self.command.output_cap);
        let started_at = self.clock.now();
        let (child, pipe) = match self.start() {
            Ok(started) => started,
            Err(error) => return self.write_exit(&not_started(&error, self.clock.now())),
        };
        known_secrets(&self.command).iter().for_each(|secrets| log.know(secrets));
        record.rke = process::identify(child.id().cast_signed()).ok();
        record.started_at = Some(started_at);
        // Without it the agent could not end the run: better to have no journal than no supervision.
        let _best_effort = self.journal.write_supervisor(&record);
        let exit = Watch::new(&self, child, pipe, log)?.until_end(started_at)?;
        self.write_exit(&exit)
    }

    fn start(&self) -> io::Result<(Child, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let _smaller_is_fine = rustix::pipe::fcntl_setpipe_size(&reader, 1 << 20);
        let (program, arguments) = self.command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let child = std::process::Command::new(program)
            .args(arguments)
            .current_dir(&self.command.cwd)
            .env_clear()
            .envs(&self.command.env)
            .stdin(Stdio::from(self.lock.try_clone()?))
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer))
            .process_group(0)
            .spawn()?;
        Ok((child, reader))
    }

    fn write_exit(&self, exit: &ExitRecord) -> Result<(), SuperviseError> {
        self.with_reserve(|journal| journal.write_exit(exit))
    }

    /// Writes what everything depends on: when there is no space for it, there is a reserve.
    fn with_reserve(&self, write: impl Fn(&Journal) -> Result<(), VolumeError>) -> Result<(), SuperviseError> {
        match write(&self.journal) {
            Err(error) if error.is_full() && reserve::give_up(&self.command.reserve) => Ok(write(&self.journal)?),
            written => Ok(written?),
        }
    }
}

fn open_output(path: &Path) -> io::Result<File> {
    fault::step(Step::Create, path)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// What `rke` was given that is secret. It is read where `rke` reads it, so that nobody has to hand it over.
fn known_secrets(command: &Command) -> Option<KnownSecrets> {
    let description = fs::read_to_string(command.cwd.join(CLUSTER_YML)).ok()?;
    KnownSecrets::of(&logins::in_cluster_yml(&description))
}

/// Takes over the lock that came as standard input; takes it anew when it did not.
fn hold(path: &Path) -> Result<File, SuperviseError> {
    let io = |doing| move |e| SuperviseError::Io(doing, e);
    let wanted = File::open(path).map_err(io("open the cluster's lock"))?;
    let inherited = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let same = |a: &File, b: &File| -> io::Result<bool> {
        let (a, b) = (a.metadata()?, b.metadata()?);
        Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
    };
    let lock = match inherited {
        Ok(inherited) if same(&inherited, &wanted).unwrap_or(false) => inherited,
        _ => wanted,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SuperviseError::Locked),
        Err(errno) => Err(SuperviseError::Io("lock", errno.into())),
    }
}

fn not_started(error: &io::Error, ended_at: Timestamp) -> ExitRecord {
    ExitRecord {
        exit: None,
        start_error: Some(error.to_string()),
        started_at: None,
        ended_at,
        output_bytes: 0,
        dropped_bytes: 0,
        timed_out: false,
    }
}

/// What is next on the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// TERM to the group.
    Terminate,
    /// KILL to the group.
    Kill,
    /// Nothing more: it was killed.
    Nothing,
}

/// Watches `rke` and its output.
struct Watch<'a> {
    supervision: &'a Supervision,
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    pipe: Option<PipeReader>,
    log: OutputLog,
    buffer: Vec<u8>,
    due: (Due, Duration),
}

impl<'a> Watch<'a> {
    fn new(
        supervision: &'a Supervision,
        child: Child,
        pipe: PipeReader,
        log: OutputLog,
    ) -> Result<Self, SuperviseError> {
        let group = Pid::from_child(&child);
        let pidfd = pidfd_open(group, PidfdFlags::empty()).map_err(|e| SuperviseError::Io("watch rke", e.into()))?;
        let deadline = supervision.clock.monotonic().saturating_add(supervision.command.time_limit());
        let due = (Due::Terminate, deadline);
        Ok(Self { supervision, child, group, pidfd, pipe: Some(pipe), log, buffer: vec![0; BUFFER], due })
    }

    fn until_end(mut self, started_at: Timestamp) -> Result<ExitRecord, SuperviseError> {
        while !self.wait(None)? {
            self.keep_time();
        }
        // `rke` is dead but not reaped: its number, and so its group's, cannot belong to anyone else.
        let _nobody_left = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait().map_err(|e| SuperviseError::Io("wait for rke", e))?;
        let ended_at = self.supervision.clock.now();
        self.drain()?;
        let kept = self.log.finish();
        let _as_far_as_possible = self.log.sync();
        Ok(ExitRecord {
            exit: Some(
                status.code().map_or_else(|| ExitStatus::Signal(status.signal().unwrap_or(0)), ExitStatus::Code),
            ),
            start_error: None,
            started_at: Some(started_at),
            ended_at,
            output_bytes: kept.bytes,
            dropped_bytes: kept.dropped,
            timed_out: self.due.0 != Due::Terminate,
        })
    }

    /// Waits for output, for the end of `rke` (true) or for what is next on the clock.
    fn wait(&mut self, limit: Option<Duration>) -> Result<bool, SuperviseError> {
        let now = self.supervision.clock.monotonic();
        let timeout = limit.or_else(|| (self.due.0 != Due::Nothing).then(|| self.due.1.saturating_sub(now)));
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = Vec::with_capacity(2);
        fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(SuperviseError::Io("poll", errno.into())),
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
            Ok(read) => self.log.append(&self.buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.pipe = None,
        }
    }

    fn keep_time(&mut self) {
        let now = self.supervision.clock.monotonic();
        if now < self.due.1 {
            return;
        }
        match self.due.0 {
            Due::Terminate => {
                let _gone = kill_process_group(self.group, Signal::TERM);
                self.due = (Due::Kill, now.saturating_add(self.supervision.command.stop_grace()));
            }
            Due::Kill => {
                let _gone = kill_process_group(self.group, Signal::KILL);
                self.due = (Due::Nothing, Duration::MAX);
            }
            Due::Nothing => {}
        }
    }

    /// Reads what is left in the pipe. Who left the group may keep the pipe open for ever.
    fn drain(&mut self) -> Result<(), SuperviseError> {
        let until = self.supervision.clock.monotonic().saturating_add(LINGER);
        while let Some(pipe) = &self.pipe {
            let left = until.saturating_sub(self.supervision.clock.monotonic());
            let Ok(timeout) = Timespec::try_from(left) else { return Ok(()) };
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) if left.is_zero() => return Ok(()),
                Ok(_) => self.read(),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(SuperviseError::Io("poll", errno.into())),
            }
        }
        Ok(())
    }
}
