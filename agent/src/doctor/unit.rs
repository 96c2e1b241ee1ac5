//! The agent as a unit of systemd: there, started at every start of the host, and such that runs outlive it.

use std::collections::BTreeMap;
use std::process::Command;

use super::Check;

const SUBJECT: &str = "unit";
const UNIT: &str = "cratekube-agent.service";
/// What is asked of systemd.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,KillMode,User,StatusText,Environment,NRestarts";

/// What systemd says of the unit, by property.
pub type Told = BTreeMap<String, String>;

/// Asks systemd.
///
/// # Errors
/// Why it does not answer.
pub fn ask() -> Result<Told, String> {
    let asked = Command::new("systemctl").args(["show", UNIT, "--property", PROPERTIES]).output();
    let output = asked.map_err(|error| format!("systemctl cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(text: &str) -> Told {
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Judges what systemd said.
#[must_use]
pub fn judge(told: Result<Told, String>) -> Vec<Check> {
    let told = match told {
        Ok(told) => told,
        Err(why) => {
            let remedy = "see whether systemd is well: systemctl status";
            return vec![Check::warn(SUBJECT, format!("systemd does not tell of {UNIT}: {why}"), remedy)];
        }
    };
    let is = |name: &str| told.get(name).map_or("", String::as_str);
    if is("LoadState") != "loaded" {
        let finding = format!("{UNIT} is {}: nothing starts the agent", words(is("LoadState"), "not installed"));
        let remedy = "install the package, or run install.sh; deploy/systemd has the unit";
        return vec![Check::warn(SUBJECT, finding, remedy)];
    }
    let mut checks = Vec::new();
    if is("ActiveState") == "failed" || is("SubState") == "auto-restart" {
        let finding = format!("{UNIT} does not stay up ({} starts again): {}", is("NRestarts"), is("StatusText"));
        checks.push(Check::fail(SUBJECT, finding, format!("see why: journalctl -u {UNIT} -n 50")));
    }
    if is("StatusText").starts_with("refused") {
        let remedy = "run `cratekube-agent enroll --force` with a new join token";
        checks.push(Check::fail(SUBJECT, format!("the agent says: {}", is("StatusText")), remedy));
    }
    if !is("UnitFileState").starts_with("enabled") {
        let finding = format!(
            "{UNIT} is {}: after the next start of this host there is no agent",
            words(is("UnitFileState"), "not enabled")
        );
        checks.push(Check::warn(SUBJECT, finding, format!("systemctl enable {UNIT}")));
    }
    checks.extend(outlived(is("KillMode"), is("User"), is("Environment")));
    if checks.is_empty() {
        let (state, status) = (is("ActiveState"), is("StatusText"));
        let status = if status.is_empty() { String::new() } else { format!(": {status}") };
        checks.push(Check::ok(SUBJECT, format!("{UNIT} is enabled and {state}{status}")));
    }
    checks
}

/// Whether a stop of the unit leaves runs alone: by scopes, which root has from systemd itself and others
/// from their own manager, or by not touching what is left.
fn outlived(kill_mode: &str, user: &str, environment: &str) -> Option<Check> {
    let root = user.is_empty() || user == "root";
    let scopes = root || environment.contains("XDG_RUNTIME_DIR=");
    match (scopes, kill_mode) {
        (true, _) => None,
        (false, "process") => Some(Check::warn(
            SUBJECT,
            format!(
                "user {user} has no manager of its own here: runs stay in the agent's unit, which leaves them alone"
            ),
            format!("loginctl enable-linger {user}, and XDG_RUNTIME_DIR in a drop-in, as install.sh writes it"),
        )),
        (false, mode) => Some(Check::fail(
            SUBJECT,
            format!("KillMode={mode}: a stop or restart of {UNIT} ends its runs"),
            "take the unit that comes with this release, or set KillMode=process",
        )),
    }
}

fn words<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    const WELL: &str = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nKillMode=process\n\
        User=cratekube-agent\nStatusText=online: in session x\nEnvironment=XDG_RUNTIME_DIR=/run/user/990\nNRestarts=0\n";

    #[test]
    fn hostile_row_63_a_unit_that_would_end_its_runs_or_never_start_is_found() {
        let judged = |from: &str, to: &str| judge(Ok(read(&WELL.replace(from, to))));
        let well = judged("", "");
        assert!(well.len() == 1 && well[0].level == Level::Ok && well[0].finding.contains("online"), "{well:?}");
        for (from, to, level, says) in [
            ("LoadState=loaded", "LoadState=not-found", Level::Warn, "not-found"),
            ("ActiveState=active", "ActiveState=failed", Level::Fail, "does not stay up"),
            ("SubState=running", "SubState=auto-restart", Level::Fail, "does not stay up"),
            ("StatusText=online: in session x", "StatusText=refused: revoked", Level::Fail, "revoked"),
            ("UnitFileState=enabled", "UnitFileState=disabled", Level::Warn, "no agent"),
            ("Environment=XDG_RUNTIME_DIR=/run/user/990", "Environment=", Level::Warn, "no manager"),
            (
                "KillMode=process\nUser=cratekube-agent\nStatusText=online: in session x\nEnvironment=XDG_RUNTIME_DIR=/run/user/990",
                "KillMode=control-group\nUser=x\nEnvironment=",
                Level::Fail,
                "ends its runs",
            ),
        ] {
            let found = judged(from, to);
            assert!(found.len() == 1 && found[0].level == level && found[0].finding.contains(says), "{to}: {found:?}");
            assert!(!found[0].remedy.is_empty(), "{found:?}");
        }
        assert!(
            judged("KillMode=process\nUser=cratekube-agent", "KillMode=mixed\nUser=")[0].level == Level::Ok,
            "root has scopes"
        );
        assert_eq!(judge(Err("no bus".into()))[0].level, Level::Warn);
    }
}
