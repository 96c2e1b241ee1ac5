//! The book of invocations: who was started when, how it ended, and whether two ran at once.
//!
//! `<fleet>/invocations.jsonl` only grows: one line when a process starts, one when it ends by
//! itself. A killed process leaves no second line. Overlap is found with a file lock per
//! `cluster_name` that death releases, so a reused process id cannot mislead anybody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::clock;
use super::fleet::Fleet;

/// One invocation.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct RunRecord {
    /// The command line.
    pub argv: Vec<String>,
    /// The command in words: `up`, `cert rotate`, …
    pub command: String,
    /// Working directory.
    pub cwd: String,
    /// Process id.
    pub pid: u32,
    /// When it started, in nanoseconds since 1970.
    pub start_ns: u64,
    /// NAMES of the environment variables it was given.
    pub environment: Vec<String>,
    /// `cluster_name` of its cluster.yml, if there was one.
    pub cluster: Option<String>,
    /// SHA-256 of its cluster.yml.
    pub config_sha256: Option<String>,
    /// Another invocation for the same `cluster_name` was alive at the start.
    pub overlap: bool,
    /// When it ended by itself.
    #[serde(default)]
    pub end_ns: Option<u64>,
    /// How it ended; absent for one that was killed or still runs.
    #[serde(default)]
    pub exit: Option<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Entry {
    Start(RunRecord),
    End { pid: u32, start_ns: u64, end_ns: u64, exit: u8 },
}

/// An invocation under way. It holds the lock that makes overlap visible to others.
#[derive(Debug)]
pub(crate) struct Invocation {
    fleet: Fleet,
    pid: u32,
    start_ns: u64,
    _alive: Option<File>,
}

/// What is known of an invocation before it has done anything.
pub(crate) struct Opening<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) command: &'a str,
    pub(crate) start_ns: u128,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) config: Option<&'a [u8]>,
}

impl Invocation {
    pub(crate) fn begin(fleet: &Fleet, opening: &Opening<'_>) -> io::Result<Invocation> {
        let (alive, overlap) = match opening.cluster {
            Some(cluster) => claim(fleet, cluster)?,
            None => (None, false),
        };
        let start_ns = u64::try_from(opening.start_ns).unwrap_or(u64::MAX);
        let record = RunRecord {
            argv: opening.argv.to_vec(),
            command: opening.command.to_owned(),
            cwd: std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default(),
            pid: std::process::id(),
            start_ns,
            environment: std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect(),
            cluster: opening.cluster.map(str::to_owned),
            config_sha256: opening.config.map(sha256),
            overlap,
            end_ns: None,
            exit: None,
        };
        let pid = record.pid;
        append(fleet, &Entry::Start(record))?;
        Ok(Invocation { fleet: fleet.clone(), pid, start_ns, _alive: alive })
    }

    pub(crate) fn end(self, exit: u8) -> io::Result<()> {
        append(
            &self.fleet,
            &Entry::End {
                pid: self.pid,
                start_ns: self.start_ns,
                end_ns: u64::try_from(clock::now_ns()).unwrap_or(u64::MAX),
                exit,
            },
        )
    }
}

/// Exclusive means alone; whoever is not alone is told so, and all of them hold on.
fn claim(fleet: &Fleet, cluster: &str) -> io::Result<(Option<File>, bool)> {
    let dir = fleet.root().join("alive");
    fs::create_dir_all(&dir)?;
    let file = File::create(dir.join(cluster.replace(['/', '\0'], "_")))?;
    let _lock = fleet.lock()?;
    let overlap = flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
    flock(&file, FlockOperation::LockShared)?;
    Ok((Some(file), overlap))
}

fn append(fleet: &Fleet, entry: &Entry) -> io::Result<()> {
    fs::create_dir_all(fleet.root())?;
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).open(book(fleet.root()))?.write_all(&line)
}

fn book(root: &Path) -> std::path::PathBuf {
    root.join("invocations.jsonl")
}

/// All invocations in the order of their starts.
///
/// # Errors
/// When the book exists and cannot be read.
pub fn read(fleet: &Fleet) -> io::Result<Vec<RunRecord>> {
    let text = match fs::read_to_string(book(fleet.root())) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut runs: Vec<RunRecord> = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line)? {
            Entry::Start(run) => runs.push(run),
            Entry::End { pid, start_ns, end_ns, exit } => {
                let run = runs.iter_mut().find(|run| run.pid == pid && run.start_ns == start_ns);
                if let Some(run) = run {
                    run.end_ns = Some(end_ns);
                    run.exit = Some(exit);
                }
            }
        }
    }
    runs.sort_by_key(|run| run.start_ns);
    Ok(runs)
}

/// Hexadecimal SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    data_encoding::HEXLOWER.encode(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(cluster: &str) -> Opening<'_> {
        Opening { argv: &[], command: "up", start_ns: clock::now_ns(), cluster: Some(cluster), config: None }
    }

    #[test]
    fn two_at_once_for_one_cluster_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::open(dir.path());
        let first = Invocation::begin(&fleet, &opening("a")).unwrap();
        let other = Invocation::begin(&fleet, &opening("b")).unwrap();
        let second = Invocation::begin(&fleet, &opening("a")).unwrap();
        first.end(0).unwrap();
        let third = Invocation::begin(&fleet, &opening("a")).unwrap();
        second.end(1).unwrap();
        third.end(0).unwrap();
        let last = Invocation::begin(&fleet, &opening("a")).unwrap();
        let overlaps: Vec<bool> = read(&fleet).unwrap().iter().map(|r| r.overlap).collect();
        assert_eq!(overlaps, [false, false, true, true, false]);
        drop((other, last));
    }
}
