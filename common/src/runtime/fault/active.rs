//! The seam with the feature on: plans of the environment and of tests, the recorder, the trace.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

use super::plan::{self, Act, Plan};
use super::{PLAN, Step, TRACE};

/// Plans of the environment.
static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let text = std::env::var(PLAN).unwrap_or_default();
    plan::parse(&text).unwrap_or_else(|fault| {
        let _nobody_reads = writeln!(io::stderr(), "{PLAN}: {fault}");
        std::process::abort()
    })
});
static TRACED: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(TRACE).map(PathBuf::from));
/// What tests of this process have installed.
static INSTALLED: Mutex<Vec<Arc<Plan>>> = Mutex::new(Vec::new());
static RECORDERS: Mutex<Vec<Arc<Tape>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the plans, tells the recorders; writes the half that a torn write leaves.
pub(super) fn step(step: Step<'_>, path: &Path, file: &mut impl Write) -> io::Result<()> {
    // Each plan counts, also when another has struck.
    let act = PLANS.iter().fold(None, |act, plan| plan.strikes(step, path).or(act));
    let act = lock(&INSTALLED).iter().fold(act, |act, plan| plan.strikes(step, path).or(act));
    trace(step, path, act);
    let Some(act) = act else {
        lock(&RECORDERS).iter().for_each(|tape| tape.keep(step, path));
        return Ok(());
    };
    if let Step::Write(bytes) = step
        && act.tears()
    {
        let half = &bytes[..bytes.len() / 2];
        lock(&RECORDERS).iter().for_each(|tape| tape.keep(Step::Write(half), path));
        file.write_all(half)?;
    }
    match act {
        Act::Stop => signal(Signal::STOP),
        Act::Kill | Act::Torn => {
            signal(Signal::KILL);
            std::process::abort()
        }
        Act::Fail(_) => {}
    }
    act.error().map_or(Ok(()), Err)
}

fn signal(signal: Signal) {
    let _to_ourselves = kill_process(getpid(), signal);
}

fn trace(step: Step<'_>, path: &Path, act: Option<Act>) {
    let Some(file) = TRACED.as_deref() else { return };
    let struck = act.map(|act| format!(" FAULT {}", act.name())).unwrap_or_default();
    let line = format!("{} {} {}{struck}\n", std::process::id(), step.name(), path.display());
    let told = OpenOptions::new().append(true).create(true).open(file).and_then(|mut f| f.write_all(line.as_bytes()));
    if let Err(error) = told {
        let _nobody_reads = writeln!(io::stderr(), "{TRACE}: {error}");
    }
}

/// A plan of a test; it ends with this value.
#[derive(Debug)]
pub struct Installed(Arc<Plan>);

/// Installs a plan in this process. It must name a path that no other test has.
#[must_use]
pub fn install(plan: Plan) -> Installed {
    let plan = Arc::new(plan);
    lock(&INSTALLED).push(Arc::clone(&plan));
    Installed(plan)
}

impl std::ops::Deref for Installed {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        lock(&INSTALLED).retain(|plan| !Arc::ptr_eq(plan, &self.0));
    }
}

static HANDED_ON: Mutex<Option<(String, PathBuf)>> = Mutex::new(None);

/// Plans for the processes that this one starts; they end with this value.
#[derive(Debug)]
pub struct HandedOn {
    trace: PathBuf,
}

/// Gives plans to the supervisors that this process starts from now on; what they do is told to `trace`.
#[must_use]
pub fn hand_on(plans: &str, trace: &Path) -> HandedOn {
    *lock(&HANDED_ON) = Some((plans.to_owned(), trace.to_owned()));
    HandedOn { trace: trace.to_owned() }
}

/// What was given to [`hand_on`].
pub(super) fn handed_on() -> Option<Vec<(String, String)>> {
    let (plans, trace) = lock(&HANDED_ON).clone()?;
    Some(vec![(PLAN.to_owned(), plans), (TRACE.to_owned(), trace.display().to_string())])
}

impl HandedOn {
    /// How often a plan has struck in any of the processes.
    #[must_use]
    pub fn struck(&self) -> usize {
        let told = std::fs::read_to_string(&self.trace).unwrap_or_default();
        told.lines().filter(|line| line.contains(" FAULT ")).count()
    }
}

impl Drop for HandedOn {
    fn drop(&mut self) {
        *lock(&HANDED_ON) = None;
    }
}

/// A step that was taken, with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// A file was made, or made empty.
    Create(PathBuf),
    /// Bytes were put behind what was there.
    Write(PathBuf, Vec<u8>),
    /// A file was made durable.
    Sync(PathBuf),
    /// A directory's entries were made durable.
    SyncDir(PathBuf),
    /// A name was changed.
    Rename(PathBuf, PathBuf),
    /// A file got a second name.
    Link(PathBuf, PathBuf),
    /// A file was removed.
    Remove(PathBuf),
    /// A directory was removed with all that was in it.
    RemoveTree(PathBuf),
    /// A directory was made.
    MakeDir(PathBuf),
}

#[derive(Debug)]
struct Tape {
    under: PathBuf,
    steps: Mutex<Vec<Recorded>>,
}

impl Tape {
    fn keep(&self, step: Step<'_>, path: &Path) {
        if !path.starts_with(&self.under) {
            return;
        }
        let at = path.to_owned();
        let recorded = match step {
            Step::Create => Recorded::Create(at),
            Step::Write(bytes) => Recorded::Write(at, bytes.to_owned()),
            Step::Sync => Recorded::Sync(at),
            Step::SyncDir => Recorded::SyncDir(at),
            Step::Rename(to) => Recorded::Rename(at, to.to_owned()),
            Step::Link(to) => Recorded::Link(at, to.to_owned()),
            Step::Remove => Recorded::Remove(at),
            Step::RemoveTree => Recorded::RemoveTree(at),
            Step::MakeDir => Recorded::MakeDir(at),
            Step::Allocate | Step::Point => return,
        };
        lock(&self.steps).push(recorded);
    }
}

/// Keeps every step under a directory, in order; it ends with this value.
#[derive(Debug)]
pub struct Recorder(Arc<Tape>);

/// Begins to record.
#[must_use]
pub fn record(under: &Path) -> Recorder {
    let tape = Arc::new(Tape { under: under.to_owned(), steps: Mutex::default() });
    lock(&RECORDERS).push(Arc::clone(&tape));
    Recorder(tape)
}

impl Recorder {
    /// What was recorded so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Recorded> {
        lock(&self.0.steps).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        lock(&RECORDERS).retain(|tape| !Arc::ptr_eq(tape, &self.0));
    }
}
