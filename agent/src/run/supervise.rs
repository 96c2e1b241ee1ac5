//! The supervisor: a small process that owns `rke` and needs neither agent nor network.
//!
//! It runs in a session of its own, holds the cluster's lock (its standard input is the lock, and so is
//! `rke`'s: an empty file), copies `rke`'s output, without secrets, to `output.log` and writes
//! `exit.json`. It keeps the time limits, so that they hold while no agent runs, and ends whatever `rke`
//! leaves behind ([`super::watch`]).
//! Ending a run on request is the agent's business; it signals `rke`'s process group, not this process.
//!
//! Latency counts here: nothing is made durable before `rke` starts, and there is no runtime.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};

use cratekube_common::domain::time::Timestamp;
use cratekube_common::redact::KnownSecrets;
use cratekube_common::rke::logins;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::fault::{self, Step};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit, setsid, umask};

use super::journal::{Command, ExitRecord, Journal, RunRecord, SupervisorRecord};
use super::log::OutputLog;
use super::program::Program;
use super::watch::Watch;
use super::{process, scope, strays};
use crate::provisioner;
use crate::volume::generations::CLUSTER_YML;
use crate::volume::{VolumeError, reserve};

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
            let _nobody_reads = writeln!(io::stderr(), "supervise: {error}");
            error.code()
        }
    }
}

struct Supervision {
    journal: Journal,
    run: RunRecord,
    lock: File,
    clock: Clock,
}

/// `rke`, its output, and its file: the interpreter of a script opens that by our descriptor.
struct Started {
    child: Child,
    pipe: PipeReader,
    program: Program,
}

impl Supervision {
    fn begin(run_dir: &Path) -> Result<Self, SuperviseError> {
        // Fails only where the caller has made this the leader of a session already.
        let _already_leader = setsid();
        umask(Mode::from_raw_mode(0o077));
        let no_cores = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        no_cores.map_err(|e| SuperviseError::Io("forbid core dumps", e.into()))?;
        strays::adopt_orphans().map_err(|e| SuperviseError::Io("adopt orphans", e))?;
        let journal = Journal::at(run_dir.to_owned());
        let run: RunRecord = journal.run()?.ok_or_else(|| SuperviseError::NoRun(run_dir.to_owned()))?;
        if journal.exit()?.is_some() {
            return Err(SuperviseError::Over(run_dir.to_owned()));
        }
        let lock = hold(&run.command.lock)?;
        Ok(Self { journal, run, lock, clock: clock::system() })
    }

    fn run(self) -> Result<(), SuperviseError> {
        let mut record = SupervisorRecord {
            supervisor: process::identify(process::own_pid()).map_err(|e| SuperviseError::Io("read /proc", e))?,
            boot_id: self.run.boot_id.clone(),
            rke: None,
            started_at: None,
            cgroup: scope::own_cgroup(self.run.attempt),
        };
        self.with_reserve(|journal| journal.write_supervisor(&record))?;
        // Whoever asked for a scope waits for this word; nobody else reads it.
        let _nobody_waits = io::stdout().write_all(scope::READY);
        let output = open_output(&self.journal.output()).map_err(SuperviseError::Output)?;
        let mut log = OutputLog::new(output, self.journal.output(), self.command().output_cap);
        let started_at = self.clock.now();
        let Started { child, pipe, program } = match self.start() {
            Ok(started) => started,
            Err(error) => return self.write_exit(&not_started(&error, self.clock.now())),
        };
        fault::point("supervise.started");
        known_secrets(self.command()).iter().for_each(|secrets| log.know(secrets));
        record.rke = process::identify(child.id().cast_signed()).ok();
        record.started_at = Some(started_at);
        // Without it the agent could not end the run: better to have no journal than no supervision.
        let _best_effort = self.journal.write_supervisor(&record);
        let phases = provisioner::phases(&self.run.provisioner, self.run.kind);
        let told = (&self.clock, self.command(), phases);
        let exit = Watch::new(told, child, pipe, log).and_then(|watch| watch.until_end(started_at));
        drop(program);
        self.write_exit(&exit.map_err(|e| SuperviseError::Io("watch rke", e))?)
    }

    fn command(&self) -> &Command {
        &self.run.command
    }

    /// Starts the very file that was looked at, whatever is at its path by now.
    fn start(&self) -> io::Result<Started> {
        let command = self.command();
        let (path, arguments) = command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let program = Program::open(Path::new(path))?;
        self.must_be_pinned(&program)?;
        let (reader, writer) = io::pipe()?;
        let _smaller_is_fine = rustix::pipe::fcntl_setpipe_size(&reader, 1 << 20);
        let mut child = std::process::Command::new(program.executable())
            .arg0(path)
            .args(arguments)
            .current_dir(&command.cwd)
            .env_clear()
            .envs(&command.env)
            .stdin(Stdio::from(self.lock.try_clone()?))
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer))
            .process_group(0)
            .spawn()?;
        // What executes cannot be written to any more; what was written before shows now.
        if let Err(error) = self.must_be_pinned(&program) {
            let _gone = kill_process_group(Pid::from_child(&child), Signal::KILL);
            child.wait()?;
            return Err(error);
        }
        Ok(Started { child, pipe: reader, program })
    }

    fn must_be_pinned(&self, program: &Program) -> io::Result<()> {
        let pinned = self.command().program.as_ref();
        pinned.map_or(Ok(()), |mark| program.must_be(mark, &self.run.rke.sha256))
    }

    fn write_exit(&self, exit: &ExitRecord) -> Result<(), SuperviseError> {
        self.with_reserve(|journal| journal.write_exit(exit))
    }

    /// Writes what everything depends on: when there is no space for it, there is a reserve.
    fn with_reserve(&self, write: impl Fn(&Journal) -> Result<(), VolumeError>) -> Result<(), SuperviseError> {
        match write(&self.journal) {
            Err(error) if error.is_full() && reserve::give_up(&self.command().reserve) => Ok(write(&self.journal)?),
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
        output_failed: false,
        timed_out: false,
        reached: None,
    }
}
