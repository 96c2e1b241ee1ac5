//! Whom the agent trusts: the authorities that it was given when it enrolled, and how long they live.

use std::time::Duration;

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls::fingerprint;

use super::Check;
use crate::identity::{Identity, validity};

const SUBJECT: &str = "trust";
/// An authority is exchanged by people, with time to plan it.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// Tells each authority by its fingerprint, as join tokens end with it.
#[must_use]
pub fn check(identity: &Identity, now: Timestamp) -> Vec<Check> {
    identity
        .trust
        .iter()
        .map(|authority| judge(&fingerprint(authority), validity(authority).map(|v| v.not_after), now))
        .collect()
}

fn judge(sha256: &str, ends: Option<Timestamp>, now: Timestamp) -> Check {
    let Some(ends) = ends else {
        let remedy = "run `cratekube-agent enroll --force` with a new join token";
        return Check::fail(SUBJECT, format!("the CA {sha256} cannot be read"), remedy);
    };
    let finding = format!("CA {sha256} until {ends}");
    if ends <= now {
        let remedy = "renew the controller's CA, then run `cratekube-agent enroll --force` with a new join token";
        return Check::fail(SUBJECT, format!("{finding}: it has ended, and nothing from it is believed"), remedy);
    }
    if ends <= now.after(SOON) {
        return Check::warn(SUBJECT, format!("{finding}: it ends soon"), "plan the exchange of the controller's CA");
    }
    Check::ok(SUBJECT, finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn an_authority_that_ends_is_told_in_time() {
        let now = "2026-11-25T00:00:00Z".parse::<Timestamp>().unwrap();
        let after = |days: u64| Some(now.after(Duration::from_secs(days * 86_400)));
        assert_eq!(judge("ab", after(31), now).level, Level::Ok);
        assert_eq!(judge("ab", after(30), now).level, Level::Warn);
        assert_eq!(judge("ab", Some(now), now).level, Level::Fail);
        assert_eq!(judge("ab", None, now).level, Level::Fail);
    }
}
