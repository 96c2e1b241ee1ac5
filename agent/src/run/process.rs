//! The agent's hold on a supervisor and its `rke`: starting, recognising, awaiting and signalling.
//!
//! A process is known by number, start time and boot of the host, so that a reused number is never
//! taken for it. Ends are awaited through pidfds, which works for processes that are not our children.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cratekube_common::runtime::fault;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::journal::ProcessId;

/// What a process of ours finds in its `PATH`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The number of this process.
#[must_use]
pub fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// The boot of this host.
///
/// # Errors
/// Where there is no `/proc`.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Number and start time of a process that lives; "not found" for one that does not, or is a zombie.
///
/// # Errors
/// From `/proc`.
pub fn identify(pid: i32) -> io::Result<ProcessId> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let mut fields = stat_fields(&stat);
    let state = fields.next().unwrap_or_default();
    let start_time = fields.nth(18).and_then(|field| field.parse().ok());
    match start_time {
        Some(_) if matches!(state, "Z" | "X" | "x") => Err(io::ErrorKind::NotFound.into()),
        Some(start_time) => Ok(ProcessId { pid, start_time }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "/proc/<pid>/stat has another form")),
    }
}

/// The number of a process' parent; none when there is no such process.
pub(super) fn parent(pid: i32) -> Option<i32> {
    stat_fields(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).nth(1)?.parse().ok()
}

/// What follows the name, which is in parentheses and may have anything in it.
fn stat_fields(stat: &str) -> std::str::Split<'_, char> {
    stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default().split(' ')
}

/// Whether this very process lives. Its boot must be checked by the caller.
#[must_use]
pub fn lives(process: ProcessId) -> bool {
    identify(process.pid).is_ok_and(|found| found == process)
}

/// The first executable of a name on our own `PATH`, or else on that of our processes.
#[must_use]
pub fn program_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let mut candidates = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    candidates.find(|candidate| fs::metadata(candidate).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0))
}

/// Signals the group of a process, if that very process still leads it.
///
/// # Errors
/// From the kernel; a process that is gone is no error.
pub fn signal_group(process: ProcessId, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(process.pid).filter(|_| lives(process)) else { return Ok(()) };
    match kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Something whose end can be awaited.
#[derive(Debug)]
pub struct Awaited(AsyncFd<OwnedFd>);

impl Awaited {
    /// Awaits a process; none when it is not alive any more.
    ///
    /// # Errors
    /// From the kernel.
    pub fn of(process: ProcessId) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            opened => opened?,
        };
        // Checked after opening: from here on the descriptor stands for this very process.
        if !lives(process) {
            return Ok(None);
        }
        #[allow(deprecated, reason = "its successor is `unsafe`; this descriptor is owned and never replaced")]
        let awaited = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        Ok(Some(Self(awaited)))
    }

    /// Returns when the process has ended.
    ///
    /// # Errors
    /// When the runtime's driver is gone.
    pub async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }
}

/// Starts the supervisor of a run, which inherits the cluster's lock as its standard input.
///
/// # Errors
/// When it cannot be started.
pub fn start_supervisor(exe: Option<&Path>, run_dir: &Path, lock: &File) -> io::Result<Child> {
    // Resolved by the kernel in the child: our own executable, also when its file was replaced.
    let exe = exe.map_or_else(|| PathBuf::from("/proc/self/exe"), Path::to_owned);
    let mut command = Command::new(exe);
    command.arg0("cratekube-agent").arg("supervise").arg(run_dir).env_clear();
    detached(&mut command, lock)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Has nothing of ours but the cluster's lock.
pub(super) fn detached<'a>(command: &'a mut Command, lock: &File) -> io::Result<&'a mut Command> {
    Ok(command.current_dir("/").env("PATH", PATH).envs(fault::handed_on()).stdin(Stdio::from(lock.try_clone()?)))
}

/// The whole environment of `rke`.
#[must_use]
pub fn environment(run_dir: &Path, ssh_auth_sock: Option<String>) -> BTreeMap<String, String> {
    let home = run_dir.display().to_string();
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), home.clone()),
        ("TMPDIR".to_owned(), home),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    env.extend(ssh_auth_sock.map(|path| ("SSH_AUTH_SOCK".to_owned(), path)));
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_row_65_a_reused_number_is_another_process() {
        let own = identify(own_pid()).unwrap();
        assert!(lives(own));
        let reused = ProcessId { start_time: own.start_time + 1, ..own };
        assert!(!lives(reused));
        signal_group(reused, Signal::KILL).unwrap();
        assert!(boot_id().unwrap().len() > 30);
    }

    #[test]
    fn a_zombie_does_not_live() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        rustix::event::poll(&mut [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)], None).unwrap();
        assert_eq!(identify(child.id().cast_signed()).unwrap_err().kind(), io::ErrorKind::NotFound);
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_awaited() {
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let awaited = Awaited::of(identify(child.id().cast_signed()).unwrap()).unwrap().unwrap();
        drop(child.stdin.take());
        awaited.ended().await.unwrap();
        child.wait().unwrap();
    }
}
