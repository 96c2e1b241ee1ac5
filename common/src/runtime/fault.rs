//! A seam for faults: every durable step of agent and controller passes here before it is done.
//!
//! Only with the cargo feature `faults`, which no release has: without it every call is an inlined
//! nothing, and a process that finds [`PLAN`] in its environment takes it for a setting that it does
//! not know. With it, tests say at which step what is to happen:
//!
//! ```text
//! CRATEKUBE_FAULT = plan [";" plan …]
//! plan            = act "@" n ["+"] [":" step [":" part]]
//!
//! act   kill     the process kills itself (SIGKILL) instead of doing the step
//!       torn     half of what is written is written, then the same; for other steps like `kill`
//!       stop     the process stops itself (SIGSTOP) before the step, and goes on when it is continued
//!       enospc   the step fails with "no space left"; half of what is written is written
//!       eio      the step fails with an input/output error; half of what is written is written
//!       erofs    the step fails with "read-only file system"
//! n     at the n-th step that matches, counted from 1 in each process; with "+" at each from there on
//! step  create, write, sync, sync-dir, rename, link, remove, remove-tree, make-dir, allocate or
//!       point; "*" or nothing: any of them
//! part  a part of the step's path (of either path of a rename or link), or of the point's name
//!
//! CRATEKUBE_FAULT=kill@1:rename:/generations/       dies before the first seal gets its number
//! CRATEKUBE_FAULT=enospc@3+:*:/runs/                the volume is full from the third step in runs/
//! CRATEKUBE_FAULT=kill@2:point:store.commit.before  dies before the second commit
//! ```
//!
//! [`TRACE`] names a file to which each process appends a line for each step that it takes:
//! `<pid> <step> <path>`, with ` FAULT <act>` behind it where a plan has struck. Both variables are
//! handed on to supervisors; with [`SUPERVISOR_PLAN`] given, supervisors get that plan instead, or none
//! where it is empty.
//!
//! Within a test's own process, `install` plans for the paths that contain a part, and `record` keeps
//! every step with its data, for those that rebuild what a crash may leave. A killed test helps nobody:
//! there, only the acts that fail a step are of use. `hand_on` gives plans to the supervisors that a
//! test's process starts.

use std::io::{self, Write};
use std::path::Path;

#[cfg(feature = "faults")]
mod active;
#[cfg(feature = "faults")]
mod plan;

#[cfg(feature = "faults")]
pub use active::{HandedOn, Installed, Recorded, Recorder, hand_on, install, record};
#[cfg(feature = "faults")]
pub use plan::{Act, Plan};

/// Names the plans.
pub const PLAN: &str = "CRATEKUBE_FAULT";
/// Names the plans of supervisors, where they are to have others than who starts them.
pub const SUPERVISOR_PLAN: &str = "CRATEKUBE_FAULT_SUPERVISOR";
/// Names the file that steps are told to.
pub const TRACE: &str = "CRATEKUBE_FAULT_TRACE";

/// What is about to be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A file is made, or made empty.
    Create,
    /// Bytes are put into a file, behind what is there.
    Write(&'a [u8]),
    /// A file's content is made durable.
    Sync,
    /// A directory's entries are made durable.
    SyncDir,
    /// A file or directory gets this name instead.
    Rename(&'a Path),
    /// A file gets this name too.
    Link(&'a Path),
    /// A file is removed.
    Remove,
    /// A directory is removed with all that is in it.
    RemoveTree,
    /// A directory is made.
    MakeDir,
    /// Space is taken for a file.
    Allocate,
    /// No step of a file: the path is a name.
    Point,
}

impl Step<'_> {
    /// How it is called in a plan.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write(_) => "write",
            Self::Sync => "sync",
            Self::SyncDir => "sync-dir",
            Self::Rename(_) => "rename",
            Self::Link(_) => "link",
            Self::Remove => "remove",
            Self::RemoveTree => "remove-tree",
            Self::MakeDir => "make-dir",
            Self::Allocate => "allocate",
            Self::Point => "point",
        }
    }
}

/// A step is about to be taken.
///
/// # Errors
/// What a plan says.
#[cfg(feature = "faults")]
pub fn step(step: Step<'_>, path: &Path) -> io::Result<()> {
    active::step(step, path, &mut io::sink())
}

/// A step is about to be taken.
///
/// # Errors
/// None without the feature `faults`.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn step(_: Step<'_>, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes to a file, as far as a plan lets it.
///
/// # Errors
/// From the filesystem, or what a plan says.
#[inline]
pub fn write_all(mut file: impl Write, path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(feature = "faults")]
    active::step(Step::Write(bytes), path, &mut file)?;
    #[cfg(not(feature = "faults"))]
    let _ = path;
    file.write_all(bytes)
}

/// A place that is no step of a file: between a decision and what follows from it.
#[inline]
pub fn point(name: &str) {
    let _only_ends_are_of_use = step(Step::Point, Path::new(name));
}

/// Like [`point`], for a place that can fail.
///
/// # Errors
/// What a plan says.
#[inline]
pub fn fallible_point(name: &str) -> io::Result<()> {
    step(Step::Point, Path::new(name))
}

/// Whether a variable of the environment is one of ours.
#[must_use]
pub fn is_variable(name: &str) -> bool {
    cfg!(feature = "faults") && [PLAN, SUPERVISOR_PLAN, TRACE].contains(&name)
}

/// What a process that is started by this one is to find in its environment.
#[must_use]
pub fn handed_on() -> Vec<(String, String)> {
    #[cfg(feature = "faults")]
    if let Some(handed_on) = active::handed_on() {
        return handed_on;
    }
    let ours = |name: &str| std::env::var(name).ok().filter(|_| is_variable(name));
    let of_supervisor = [(PLAN, ours(SUPERVISOR_PLAN).or_else(|| ours(PLAN))), (TRACE, ours(TRACE))];
    of_supervisor.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
