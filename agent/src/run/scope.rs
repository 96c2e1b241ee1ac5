//! A scope of its own for each supervisor, where the agent is a unit of systemd: whoever stops or restarts
//! that unit ends every process in its control group, but not the runs.
//!
//! `systemd-run --scope` moves itself into the new scope and becomes the supervisor, so that number and
//! standard input (the cluster's lock) stay what they are. Which way it goes is decided by [`decide`],
//! which is pure. A scope that cannot be made hinders no run: it is started without one, and that is told.

use std::fs;
use std::io::{self, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use cratekube_common::domain::id::AttemptId;
use cratekube_common::runtime::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::journal::Journal;
use super::process::{detached, own_pid, program_on_path};

/// The supervisor's first word: it supervises.
pub(super) const READY: &[u8] = b"supervising\n";
/// Longest wait for it: a manager that is asked for a scope answers in milliseconds, or is in trouble.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// More is not said of why a scope cannot be made.
const MOST_WORDS: usize = 4096;
/// Where control groups are.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// What systemd hands on to find the manager of a user.
const OF_A_USER: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A scope where the agent is a unit.
    Auto,
    /// A scope in any case.
    Systemd,
    /// None.
    None,
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "systemd" => Ok(Self::Systemd),
            "none" => Ok(Self::None),
            other => Err(format!("must be \"auto\", \"systemd\" or \"none\", found {other:?}")),
        }
    }
}

/// What this host offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// systemd is its init.
    pub systemd: bool,
    /// This process is part of a unit.
    pub in_unit: bool,
    /// The command that makes scopes.
    pub systemd_run: Option<PathBuf>,
    /// The unit is one of a user's own manager.
    pub of_user: bool,
}

impl Surroundings {
    /// Looks.
    #[must_use]
    pub fn look() -> Self {
        let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            systemd: Path::new("/run/systemd/system").is_dir(),
            in_unit: has("INVOCATION_ID"),
            systemd_run: program_on_path("systemd-run"),
            of_user: !rustix::process::geteuid().is_root() && has("XDG_RUNTIME_DIR"),
        }
    }
}

/// How scopes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The command that makes them.
    pub systemd_run: PathBuf,
    /// By a user's own manager.
    pub of_user: bool,
}

/// Why supervisors are started without a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// The settings say so.
    AsWanted,
    /// systemd is not the init of this host.
    NoSystemd,
    /// The agent is not a unit.
    NoUnit,
    /// `systemd-run` is not on the path.
    NoCommand,
}

/// Decides whether supervisors get scopes.
///
/// # Errors
/// Why not.
pub fn decide(wanted: Wanted, host: &Surroundings) -> Result<Scope, Plain> {
    let refused = match wanted {
        Wanted::None => Some(Plain::AsWanted),
        Wanted::Auto if !host.systemd => Some(Plain::NoSystemd),
        Wanted::Auto if !host.in_unit => Some(Plain::NoUnit),
        Wanted::Auto | Wanted::Systemd => None,
    };
    refused.map_or(Ok(()), Err)?;
    let systemd_run = host.systemd_run.clone().ok_or(Plain::NoCommand)?;
    Ok(Scope { systemd_run, of_user: host.of_user })
}

impl Scope {
    /// Starts the supervisor of a run in a scope, and waits until it supervises.
    ///
    /// # Errors
    /// When the scope cannot be made. Nothing was started then.
    pub(super) fn start(
        &self,
        exe: Option<&Path>,
        run_dir: &Path,
        lock: &fs::File,
        clock: &Clock,
    ) -> io::Result<Child> {
        let attempt = attempt_of(run_dir)?;
        // By then /proc/self is another; ours is found as long as we live, also when its file was replaced.
        let exe = exe.map_or_else(|| PathBuf::from(format!("/proc/{}/exe", own_pid())), Path::to_owned);
        let (words, writer) = io::pipe()?;
        let mut command = Command::new(&self.systemd_run);
        command.args(self.arguments(attempt)).arg(exe).arg("supervise").arg(run_dir).env_clear();
        command.envs(OF_A_USER.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let mut child = detached(&mut command, lock)?
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer))
            .spawn()?;
        // Both ends that the child has are its own now.
        drop(command);
        let said = until_ready(words, clock);
        if said.is_ok() {
            return Ok(child);
        }
        let _already_gone = child.kill();
        child.wait()?;
        // It began after all, and was just ended: that is a run that was interrupted.
        if matches!(Journal::at(run_dir.to_owned()).supervisor(), Ok(None)) { said.map(|()| child) } else { Ok(child) }
    }

    fn arguments(&self, attempt: AttemptId) -> Vec<String> {
        let mut arguments = vec!["--scope".to_owned(), "--collect".into(), "--quiet".into()];
        arguments.extend(self.of_user.then(|| "--user".to_owned()));
        arguments.push(format!("--unit={}", unit(attempt)));
        arguments.push(format!("--description=CrateKube run {attempt}"));
        // A stop of the host: the supervisor is given the time to write how rke ended.
        arguments.push("--property=TimeoutStopSec=60s".into());
        arguments.push("--".into());
        arguments
    }
}

/// A run's directory has the name of its attempt.
fn attempt_of(run_dir: &Path) -> io::Result<AttemptId> {
    let name = run_dir.file_name().unwrap_or_default().to_string_lossy();
    name.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no attempt: {e}")))
}

fn unit(attempt: AttemptId) -> String {
    format!("cratekube-run-{attempt}.scope")
}

/// Waits for the supervisor's word; what was said instead is the error.
fn until_ready(mut words: PipeReader, clock: &Clock) -> io::Result<()> {
    let (mut said, mut buffer) = (Vec::new(), [0; 512]);
    let until = clock.monotonic().saturating_add(READY_WITHIN);
    while said.len() < MOST_WORDS {
        let left = until.saturating_sub(clock.monotonic());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&words, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "systemd does not answer")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let read = words.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        said.extend_from_slice(&buffer[..read]);
        if said.ends_with(READY) {
            return Ok(());
        }
    }
    Err(io::Error::other(String::from_utf8_lossy(&said).trim().to_owned()))
}

/// The control group of this process, if it is the one that was made for this run.
pub(super) fn own_cgroup(attempt: AttemptId) -> Option<String> {
    of_run(&fs::read_to_string("/proc/self/cgroup").ok()?, attempt)
}

fn of_run(cgroups: &str, attempt: AttemptId) -> Option<String> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    is_ours(path, attempt).then(|| path.to_owned())
}

fn is_ours(path: &str, attempt: AttemptId) -> bool {
    let mut parts = path.split('/');
    parts.next_back() == Some(&unit(attempt)) && !parts.any(|part| part == "..")
}

/// Ends every process in the control group of a run whose supervisor is gone, if it is the run's own.
///
/// # Errors
/// From the kernel; a group that is gone is no error.
pub fn end_cgroup(root: &Path, path: &str, attempt: AttemptId) -> io::Result<()> {
    if !is_ours(path, attempt) {
        return Ok(());
    }
    match fs::OpenOptions::new().write(true).open(root.join(path.trim_start_matches('/')).join("cgroup.kill")) {
        Ok(mut file) => io::Write::write_all(&mut file, b"1"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(7));

    #[test]
    fn hostile_row_63_a_unit_gives_its_supervisors_scopes_where_systemd_can_make_them() {
        let host = |systemd, in_unit, found: bool| Surroundings {
            systemd,
            in_unit,
            systemd_run: found.then(|| "/usr/bin/systemd-run".into()),
            of_user: false,
        };
        let scope = Ok(Scope { systemd_run: "/usr/bin/systemd-run".into(), of_user: false });
        for (wanted, host, way) in [
            (Wanted::Auto, host(true, true, true), scope.clone()),
            (Wanted::Auto, host(true, true, false), Err(Plain::NoCommand)),
            (Wanted::Auto, host(true, false, true), Err(Plain::NoUnit)),
            (Wanted::Auto, host(false, true, true), Err(Plain::NoSystemd)),
            (Wanted::Systemd, host(false, false, true), scope),
            (Wanted::Systemd, host(true, true, false), Err(Plain::NoCommand)),
            (Wanted::None, host(true, true, true), Err(Plain::AsWanted)),
        ] {
            assert_eq!(decide(wanted, &host), way, "{wanted:?} {host:?}");
        }
        assert!("auto".parse() == Ok(Wanted::Auto) && "unit".parse::<Wanted>().is_err());
    }

    #[test]
    fn a_scope_is_named_after_its_run_and_belongs_to_the_right_manager() {
        let scope = |of_user| Scope { systemd_run: "systemd-run".into(), of_user }.arguments(ATTEMPT);
        assert!(scope(false).contains(&format!("--unit=cratekube-run-{ATTEMPT}.scope")));
        assert_eq!(scope(false).last().map(String::as_str), Some("--"));
        assert!(!scope(false).contains(&"--user".into()) && scope(true).contains(&"--user".into()));
    }

    #[test]
    fn hostile_row_66_only_the_control_group_of_the_run_itself_is_ended() {
        let ours = format!("/system.slice/cratekube-run-{ATTEMPT}.scope");
        assert_eq!(of_run(&format!("1:cpu:/x\n0::{ours}\n"), ATTEMPT), Some(ours.clone()));
        for other in ["/system.slice/cratekube-agent.service", "/", &ours.replace("0007", "0008")] {
            assert_eq!(of_run(&format!("0::{other}\n"), ATTEMPT), None, "{other}");
        }
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join(&ours[1..]);
        end_cgroup(root.path(), &ours, ATTEMPT).unwrap();
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.kill"), "").unwrap();
        fs::write(root.path().join("cgroup.kill"), "").unwrap();
        end_cgroup(root.path(), "/", ATTEMPT).unwrap();
        end_cgroup(root.path(), &format!("/x/../{ours}"), ATTEMPT).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("cgroup.kill")).unwrap(), "");
        assert_eq!(fs::read_to_string(group.join("cgroup.kill")).unwrap(), "");
        end_cgroup(root.path(), &ours, ATTEMPT).unwrap();
        assert_eq!(fs::read_to_string(group.join("cgroup.kill")).unwrap(), "1");
    }
}
