//! The controller: reachable, the right one, willing, and of the same time.

use std::sync::Arc;

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_proto::status::MAY_RENEW;

use super::Check;
use crate::config::{Address, AgentConfig};
use crate::identity::files::IdentityFiles;
use crate::link::channel::{ConnectError, Connector};
use crate::link::dial::{Dialer, Tcp};
use crate::link::skew;
use crate::link::tls;

const CONTROLLER: &str = "controller";
const CLOCK: &str = "clock";

/// Connects as the agent would; without an identity, only as far as the network goes.
pub async fn check(config: &AgentConfig, clock: &Clock) -> Vec<Check> {
    let address = &config.controller.address;
    let Ok(saved) = IdentityFiles::at(&config.agent.state_dir).load() else {
        return vec![network_only(address).await];
    };
    let tls = match tls::enrolled(&saved.current, clock) {
        Ok(tls) => tls,
        Err(error) => return vec![Check::fail(CONTROLLER, error.to_string(), "run `cratekube-agent enroll --force`")],
    };
    let connection = match Connector::new(Arc::new(Tcp), address.clone()).connect(tls).await {
        Ok(connection) => connection,
        Err(error) => return vec![Check::fail(CONTROLLER, error.to_string(), remedy(&error))],
    };
    match connection.accepted().await {
        Ok(date) => vec![
            Check::ok(CONTROLLER, format!("{address} is the right one and accepts this agent")),
            same_time(clock.now(), date.as_deref()),
        ],
        Err(status) if status.metadata().contains_key(MAY_RENEW) => vec![Check::warn(
            CONTROLLER,
            format!("{address} is the right one; this agent's certificate has ended, and it may only renew it"),
            START,
        )],
        Err(status) if connection.is_refusal(&status) => vec![Check::fail(
            CONTROLLER,
            format!("{address} does not accept this agent: {}", status.message()),
            "run `cratekube-agent enroll --force` with a new join token",
        )],
        Err(status) => vec![Check::fail(
            CONTROLLER,
            format!("{address} does not answer calls of agents: {:?}: {}", status.code(), status.message()),
            "check that `controller.address` is the controller's listener for agents, not the one for REST",
        )],
    }
}

async fn network_only(address: &Address) -> Check {
    match tokio::time::timeout(std::time::Duration::from_secs(10), Tcp.connect(address.host(), address.port())).await {
        Ok(Ok(_)) => Check::ok(CONTROLLER, format!("{address} answers; who it is can be told after enrolment")),
        Ok(Err(error)) => Check::fail(CONTROLLER, format!("cannot reach {address}: {error}"), NETWORK),
        Err(_) => Check::fail(CONTROLLER, format!("{address} does not answer within 10 s"), NETWORK),
    }
}

/// What brings an agent back whose certificate has ended not long ago.
pub(super) const START: &str = "start the agent: it renews its certificate by itself, without a new join token";
const NETWORK: &str = "check `controller.address`, DNS, routes and firewalls from this host";

fn remedy(error: &ConnectError) -> &'static str {
    match error {
        error if error.is_distrust() => {
            "if the controller's CA was rotated while this agent was away, run `cratekube-agent enroll --force` with a \
             new join token; otherwise check that this is your controller: somebody may be in between"
        }
        ConnectError::Tls { refused: true, .. } => "run `cratekube-agent enroll --force` with a new join token",
        ConnectError::Tls { .. } => {
            "check that this is your controller, that its certificate carries this name, and the clocks of both hosts"
        }
        _ => NETWORK,
    }
}

/// Compares our time with the one in an HTTP `date`.
fn same_time(now: Timestamp, date: Option<&str>) -> Check {
    let theirs = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    let Some(theirs) = theirs.map(|time| Timestamp::from_millis(time.timestamp().as_millisecond())) else {
        return Check::ok(CLOCK, format!("{now}; the controller does not say its time here"));
    };
    if skew::worth_a_warning(now, theirs).is_some() {
        let finding = format!("this host says {now}, the controller {theirs}");
        return Check::warn(CLOCK, finding, "synchronise both clocks (chrony, systemd-timesyncd)");
    }
    Check::ok(CLOCK, format!("{now}, as on the controller"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn hostile_row_37_a_skewed_clock_is_shown_with_both_times() {
        let date = Some("Mon, 23 Nov 2026 22:00:00 GMT");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(same_time(at("2026-11-23T22:04:00Z"), date).level, Level::Ok);
        let skewed = same_time(at("2026-11-23T22:10:00Z"), date);
        assert_eq!(skewed.level, Level::Warn);
        assert!(skewed.finding.contains("22:10") && skewed.finding.contains("22:00"), "{skewed:?}");
        assert_eq!(same_time(at("2026-11-23T22:04:00Z"), None).level, Level::Ok);
    }
}
