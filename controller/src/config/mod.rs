//! Configuration of the controller: one section a file, unknown keys refused, all mistakes at once.

pub mod agents;
pub mod auth;
pub mod data;
pub mod health;
pub mod install;
pub mod log;
pub mod metrics;
pub mod operations;
pub mod orphans;
pub mod pki;
pub mod policy;
pub mod resources;
pub mod rest;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cratekube_common::domain::name::check_label;
use cratekube_common::intake::{Field, Notes};
use cratekube_common::runtime::settings::{self, SettingsError};
use serde_json::Value;

/// Configuration of the controller.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[data]`: the data directory and the master key.
    pub data: data::Data,
    /// `[rest]`: the listener for users.
    pub rest: rest::Rest,
    /// `[agents]`: the listener for agents, and how long they may be silent.
    pub agents: agents::Agents,
    /// `[install]`: what new bastions are offered.
    pub install: install::InstallSection,
    /// `[operations]`: what goes along with `rke`, and how often what failed in passing is tried again.
    pub operations: operations::Operations,
    /// `[orphans]`: how often agents look for objects in the cloud whose clusters are gone.
    pub orphans: orphans::Orphans,
    /// `[policy]`: what is refused in which environment.
    pub policy: policy::PolicySection,
    /// `[health]`: how long what a check of a cluster found is gone by.
    pub health: health::Health,
    /// `[resources]`: where managed resources may put objects.
    pub resources: resources::Resources,
    /// `[auth]`: tokens.
    pub auth: auth::Auth,
    /// `[pki]`: certificates of our own authority.
    pub pki: pki::Pki,
    /// `[log]`: logs.
    pub log: log::Log,
    /// `[metrics]`: the listener for Prometheus.
    pub metrics: metrics::Metrics,
}

impl Config {
    /// Reads the file (when given) and the environment.
    ///
    /// # Errors
    /// [`SettingsError`], with every mistake.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, SettingsError> {
        Self::read(&settings::load(file, env)?)
    }

    /// Reads a merged document.
    ///
    /// # Errors
    /// [`SettingsError::Mistakes`], with every mistake.
    pub fn read(document: &Value) -> Result<Self, SettingsError> {
        let notes = Notes::default();
        let config = Self::from_field(&Field::root(document, &notes));
        let faults = notes.into_faults();
        match config {
            Some(config) if faults.is_acceptable() => Ok(config),
            _ => Err(SettingsError::Mistakes(faults.errors)),
        }
    }

    fn from_field(at: &Field<'_>) -> Option<Self> {
        let mut o = at.object()?;
        let config = Self {
            data: data::Data::from_field(&o.field("data")),
            rest: rest::Rest::from_field(&o.field("rest")),
            agents: agents::Agents::from_field(&o.field("agents")),
            install: install::InstallSection::from_field(&o.field("install")),
            operations: operations::Operations::from_field(&o.field("operations")),
            orphans: orphans::Orphans::from_field(&o.field("orphans")),
            policy: policy::PolicySection::from_field(&o.field("policy")),
            health: health::Health::from_field(&o.field("health")),
            resources: resources::Resources::from_field(&o.field("resources")),
            auth: auth::Auth::from_field(&o.field("auth")),
            pki: pki::Pki::from_field(&o.field("pki")),
            log: log::Log::from_field(&o.field("log")),
            metrics: metrics::Metrics::from_field(&o.field("metrics")),
        };
        o.finish();
        Some(config)
    }
}

fn duration(at: &Field<'_>, default: Duration, least: Duration, most: Duration) -> Duration {
    let Some(read) = at.string().and_then(|text| at.check(settings::parse_duration(text))) else { return default };
    if read < least || read > most {
        at.error(format!("must be between {least:?} and {most:?}"));
        return default;
    }
    read
}

fn address(at: &Field<'_>, default: SocketAddr) -> SocketAddr {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| format!("{text:?} is not an address to listen on: write `0.0.0.0:8443` or `[::]:8443`"))
    };
    at.string().and_then(|text| at.check(parse(text))).unwrap_or(default)
}

/// Names that a listener's certificate is made for.
fn names(at: &Field<'_>) -> Vec<String> {
    let Some(items) = at.items() else { return default_names() };
    if items.is_empty() {
        at.error("must hold at least one name or address");
    }
    items.iter().filter_map(name).collect()
}

fn default_names() -> Vec<String> {
    DEFAULT_NAMES.iter().map(ToString::to_string).collect()
}

fn name(at: &Field<'_>) -> Option<String> {
    let text = at.string()?;
    let is_name = text.len() <= 253 && text.split('.').all(|label| check_label(label).is_ok());
    if is_name || text.parse::<std::net::IpAddr>().is_ok() {
        return Some(text.to_owned());
    }
    at.error(format!("{text:?} is neither a DNS name nor an IP address"));
    None
}

/// A controller whose certificate names nothing else is usable from its own host only.
const DEFAULT_NAMES: &[&str] = &["localhost", "127.0.0.1", "::1"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_configuration_is_complete() {
        let config = Config::read(&json!({})).unwrap();
        assert_eq!(config.rest.listen.port(), 8443);
        assert_eq!(config.agents.listen.port(), 7443);
        assert_eq!(config.metrics.listen, None, "nothing is open that was not asked for");
    }

    #[test]
    fn the_master_key_has_one_source() {
        let read = |data: Value| Config::read(&json!({"data": data}));
        let command = read(json!({"master_key_command": ["kms", "decrypt"]})).unwrap().data.master_key;
        assert_eq!(command, crate::keys::master::MasterKeySource::Command(vec!["kms".into(), "decrypt".into()]));
        for two in [
            json!({"master_key_file": "/k", "master_key_command": ["kms"]}),
            json!({"master_key": "ab".repeat(32), "master_key_file": "/k"}),
            json!({"master_key_command": []}),
            json!({"master_key_command": [1]}),
        ] {
            assert!(read(two.clone()).is_err(), "{two}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_their_place() {
        let document = json!({
            "data": {"directory": "", "master_key": "abc"},
            "rest": {"listen": "nowhere", "certificate": "only.pem", "names": [], "trusted_proxies": ["10.0.0.0/8", "::1", "10/8"]},
            "agents": {"lease_ttl": "1s", "heartbeat_interval": 5},
            "install": {"url": "http://c", "agents": "c", "agent_binaries": 1},
            "operations": {"attempts": 0, "retry_delay": "1h", "retry_delay_max": "1m", "confirm_pause": "2h", "undelete_window": "400d", "steps": ["verify", "remove", "x"]},
            "policy": {"refuse_end_of_life": "yes", "environments": [{"refuse_below_floor": true}, {"environments": "a b", "x": 1}]},
            "auth": {"max_token_lifetime": "2d", "max_api_key_lifetime": "forever"},
            "orphans": {"scan_interval": "5 days"},
            "health": {"stale_after": "1s"},
            "resources": {"namespaces": ["kube-system"]},
            "pki": {"key_algorithm": "rsa-1024"},
            "log": {"format": "xml", "filter": "a=b=c"},
            "metrics": {"listen": "localhost"},
            "surprise": true,
        });
        let Err(SettingsError::Mistakes(faults)) = Config::read(&document) else { panic!("accepted") };
        let mut pointers: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
        pointers.sort_unstable();
        let expected = [
            "/agents/heartbeat_interval",
            "/agents/lease_ttl",
            "/auth/max_api_key_lifetime",
            "/auth/max_token_lifetime",
            "/data/directory",
            "/data/master_key",
            "/health/stale_after",
            "/install/agent_binaries",
            "/install/agents",
            "/install/url",
            "/log/filter",
            "/log/format",
            "/metrics/listen",
            "/operations/attempts",
            "/operations/confirm_pause",
            "/operations/retry_delay_max",
            "/operations/steps/1",
            "/operations/steps/2",
            "/operations/undelete_window",
            "/orphans/scan_interval",
            "/pki/key_algorithm",
            "/policy/environments/0/environments",
            "/policy/environments/1/environments",
            "/policy/environments/1/x",
            "/policy/refuse_end_of_life",
            "/resources/namespaces/0",
            "/rest/key",
            "/rest/listen",
            "/rest/names",
            "/rest/trusted_proxies/2",
            "/surprise",
        ];
        assert_eq!(pointers, expected);
    }
}
