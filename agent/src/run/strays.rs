//! What `rke` left running: ended, whatever group or session it went into. No orphan outlives a run.
//!
//! While the supervisor lives, every orphan of the run becomes its child, and a child's number is
//! nobody else's before it is reaped. When the supervisor was killed, what is left is found by the
//! run's own `HOME`, which nothing else has; who hides from that as well still holds the cluster's lock.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open, pidfd_send_signal,
    set_child_subreaper, waitid,
};

use super::process::{own_pid, parent};

/// How often what is left of a dead supervisor's run is looked for: each look ends a generation of it.
const LOOKS: usize = 20;
/// How long a process may take to die: one that waits for a disk does not at once.
const DIES_WITHIN: Duration = Duration::from_millis(500);

/// From here on every orphan among this process' descendants becomes its child.
///
/// # Errors
/// From the kernel.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Ends all children of this process, and the children that they leave to it. Gives up on what the kernel
/// does not let go of in time.
pub(super) fn end_children(clock: &Clock, within: Duration) {
    let until = clock.monotonic().saturating_add(within);
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => continue,
            Ok(None) => {}
            Err(_) => return,
        }
        let children: Vec<Pid> = pids().filter(|pid| parent(pid.as_raw_nonzero().get()) == Some(own_pid())).collect();
        let ends: Vec<OwnedFd> = children.iter().filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok()).collect();
        for child in children {
            // Ours and not reaped, so that this is still the process that was found.
            let _gone = kill_process(child, Signal::KILL);
        }
        if !ends.iter().all(|end| has_ended(end, until.saturating_sub(clock.monotonic()))) {
            return;
        }
    }
}

/// Waits until a process has ended; false when it does not in time.
fn has_ended(process: &OwnedFd, within: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(within) else { return false };
    matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)), Ok(1..))
}

/// Ends everything that was started by the `rke` of a run whose supervisor is gone. Says how many.
#[must_use]
pub fn end_run(run_dir: &Path) -> usize {
    let mut ended = 0;
    for _ in 0..LOOKS {
        let found: Vec<OwnedFd> = pids().filter_map(|pid| of_run(pid, run_dir)).collect();
        if found.is_empty() {
            break;
        }
        for process in &found {
            let _gone = pidfd_send_signal(process, Signal::KILL);
        }
        ended += found.iter().filter(|process| has_ended(process, DIES_WITHIN)).count();
    }
    ended
}

/// The process, if it has the run's directory for its home. What was opened first is what was looked at.
fn of_run(pid: Pid, run_dir: &Path) -> Option<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let is_home = |entry: &[u8]| entry.strip_prefix(b"HOME=") == Some(run_dir.as_os_str().as_encoded_bytes());
    environment.split(|byte| *byte == 0).any(is_home).then_some(process)
}

/// Every process that there is.
fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::process::identify;
    use std::process::{Command, Stdio};

    #[test]
    fn hostile_row_66_what_a_killed_supervisor_left_is_found_by_its_home() {
        let dir = tempfile::tempdir().unwrap();
        let start = |home: &Path| {
            let mut command = Command::new("/bin/cat");
            command.env_clear().env("HOME", home).stdin(Stdio::piped()).spawn().unwrap()
        };
        let (mut strayed, mut other) = (start(dir.path()), start(&dir.path().join("other")));
        assert_eq!(end_run(dir.path()), 1);
        assert!(!strayed.wait().unwrap().success());
        assert!(identify(other.id().cast_signed()).is_ok(), "another run's are left alone");
        assert_eq!(end_run(dir.path()), 0);
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }
}
