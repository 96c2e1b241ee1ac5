//! Looks at everything that a run will need, and says what is wrong and how to mend it.
//!
//! Every check ends in a [`Check`] value; nothing is changed on the host. What is looked at is in
//! [`host`] (identity, volumes), [`trust`], [`account`], [`mount`], [`mod@unit`], [`rke`], [`scope`],
//! [`ssh_key`], [`network`] and [`controller`].

pub mod account;
pub mod controller;
pub mod host;
pub mod mount;
pub mod network;
pub mod rke;
pub mod scope;
pub mod ssh_key;
pub mod trust;
pub mod unit;

use std::fmt;
use std::io::{self, Write};

use cratekube_common::runtime::clock::Clock;

use crate::config::AgentConfig;
use crate::identity::files::IdentityFiles;
use crate::run::scope::Surroundings;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but will be regretted.
    Warn,
    /// Runs will fail.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub finding: String,
    /// How to mend it; empty when nothing is to be mended.
    pub remedy: String,
}

impl Check {
    /// As it should be.
    #[must_use]
    pub fn ok(subject: &'static str, finding: impl Into<String>) -> Self {
        Self { subject, level: Level::Ok, finding: finding.into(), remedy: String::new() }
    }

    /// Works, but will be regretted.
    #[must_use]
    pub fn warn(subject: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, level: Level::Warn, finding: finding.into(), remedy: remedy.into() }
    }

    /// Runs will fail.
    #[must_use]
    pub fn fail(subject: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, level: Level::Fail, finding: finding.into(), remedy: remedy.into() }
    }
}

/// Looks at everything.
pub async fn examine(config: &AgentConfig, clock: &Clock) -> Vec<Check> {
    let surroundings = Surroundings::look();
    let mut checks = host::identity(&config.agent.state_dir, clock.now());
    if let Ok(saved) = IdentityFiles::at(&config.agent.state_dir).load() {
        checks.extend(trust::check(&saved.current, clock.now()));
    }
    for path in &config.volumes.paths {
        checks.extend(host::volume(path, &config.volumes));
        if config.volumes.require_mount {
            checks.push(mount::check(path, &mount::Tables::default()));
        }
    }
    let euid = rustix::process::geteuid().as_raw();
    checks.extend(account::check(&config.agent.state_dir, &config.volumes.paths, euid));
    if surroundings.systemd {
        checks.extend(unit::judge(unit::ask()));
    }
    checks.push(rke::check(&config.rke).await);
    checks.push(scope::check(config.rke.scope, &surroundings));
    checks.push(ssh_key::check(&config.ssh).await);
    checks.extend(network::proxy(std::env::vars()));
    checks.extend(network::kubernetes(config.kubernetes.proxy.as_deref()).await);
    checks.push(network::name(&config.controller.address).await);
    checks.extend(controller::check(config, clock).await);
    checks
}

/// Writes the checks for people; true when nothing failed.
///
/// # Errors
/// From the writer.
pub fn print(checks: &[Check], out: &mut impl Write) -> io::Result<bool> {
    for check in checks {
        writeln!(out, "{:<5} {:<12} {}", check.level, check.subject, check.finding)?;
        if !check.remedy.is_empty() {
            writeln!(out, "{:18} mend: {}", "", check.remedy)?;
        }
    }
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    writeln!(out, "{} checks, {failed} failed, {warned} warned", checks.len())?;
    Ok(failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_printed_with_how_to_mend_it() {
        let checks = [
            Check::ok("rke", "v1.2.23"),
            Check::warn("ssh key", "is RSA", "use ed25519"),
            Check::fail("volume", "is full", "grow it"),
        ];
        let mut out = Vec::new();
        assert!(!print(&checks, &mut out).unwrap());
        let expected = "\
ok    rke          v1.2.23
warn  ssh key      is RSA
                   mend: use ed25519
FAIL  volume       is full
                   mend: grow it
3 checks, 1 failed, 1 warned
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(print(&checks[..2], &mut Vec::new()).unwrap(), "a warning is not a failure");
    }
}
