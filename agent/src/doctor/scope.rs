//! Whether runs outlive a restart of the agent's unit, by a scope of their own.
//!
//! Whoever asks the doctor is rarely the unit itself, so that it is assumed here that the agent is one.

use super::Check;
use crate::run::scope::{Plain, Scope, Surroundings, Wanted, decide};

const SUBJECT: &str = "scope";

/// Says which way supervisors will be started.
#[must_use]
pub fn check(wanted: Wanted, host: &Surroundings) -> Check {
    match decide(wanted, &Surroundings { in_unit: true, ..host.clone() }) {
        Ok(Scope { systemd_run, .. }) => {
            let when = if wanted == Wanted::Auto { "when the agent is a unit, " } else { "" };
            Check::ok(SUBJECT, format!("{when}each run gets a scope of its own by {}", systemd_run.display()))
        }
        Err(Plain::AsWanted) if host.systemd => Check::warn(
            SUBJECT,
            "runs are part of the agent's unit: stopping the unit ends them",
            "set `rke.scope` to \"auto\", unless the unit says KillMode=process",
        ),
        Err(Plain::NoCommand) => Check::warn(
            SUBJECT,
            "systemd-run is not on the PATH: a restart of the agent's unit ends its runs",
            "install systemd's tools, or add their folder to the unit's PATH",
        ),
        Err(Plain::AsWanted | Plain::NoSystemd | Plain::NoUnit) => {
            Check::ok(SUBJECT, "no systemd here: supervisors are started in sessions of their own")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_doctor_says_which_way_it_will_be() {
        let host = |systemd, found: bool| Surroundings {
            systemd,
            in_unit: false,
            systemd_run: found.then(|| "/usr/bin/systemd-run".into()),
            of_user: false,
        };
        let well = check(Wanted::Auto, &host(true, true));
        assert!(well.level == Level::Ok && well.finding.contains("/usr/bin/systemd-run"), "{well:?}");
        assert_eq!(check(Wanted::Auto, &host(false, false)).level, Level::Ok);
        for (wanted, host) in
            [(Wanted::Auto, host(true, false)), (Wanted::None, host(true, true)), (Wanted::Systemd, host(false, false))]
        {
            let found = check(wanted, &host);
            assert!(found.level == Level::Warn && !found.remedy.is_empty(), "{found:?}");
        }
    }
}
