//! The agent's settings: one TOML file plus `CRATEKUBE_…` environment variables.
//!
//! One section per file. Unknown keys are refused and every mistake is reported at once. Each default
//! is a constant with its reason beside it. Nothing here looks at the host: whether a path exists is
//! for `doctor` and for the modules that use it.

mod agent;
mod cloud;
mod controller;
mod kubernetes;
mod log;
mod metrics;
mod rke;
mod ssh;
mod steps;
mod volumes;

use std::path::{Path, PathBuf};

use cratekube_common::intake::{Field, Notes};
use cratekube_common::runtime::settings::{self, SettingsError};
use serde_json::Value;

pub use agent::AgentSection;
pub use cloud::CloudSection;
pub use controller::{Address, ControllerSection};
pub use kubernetes::KubernetesSection;
pub use log::LogSection;
pub use metrics::MetricsSection;
pub use rke::RkeSection;
pub use ssh::{SshLogin, SshSection};
pub use steps::StepsSection;
pub use volumes::VolumesSection;

/// Where the settings are when nothing else is said; the file may be absent.
pub const DEFAULT_FILE: &str = "/etc/cratekube/agent.toml";

/// Everything that an operator can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Where the controller is.
    pub controller: ControllerSection,
    /// The agent itself.
    pub agent: AgentSection,
    /// The state volumes it serves.
    pub volumes: VolumesSection,
    /// The `rke` it runs.
    pub rke: RkeSection,
    /// How long each kind of task may take.
    pub steps: StepsSection,
    /// How the clusters' hosts are reached.
    pub ssh: SshSection,
    /// How the clusters' APIs are reached.
    pub kubernetes: KubernetesSection,
    /// Whether and how it looks for what clusters leave in AWS.
    pub cloud: CloudSection,
    /// What is logged, and how.
    pub log: LogSection,
    /// The listener for Prometheus.
    pub metrics: MetricsSection,
}

impl AgentConfig {
    /// Reads the file, or the default file when there is one, under the environment.
    ///
    /// # Errors
    /// When a named file cannot be read, or with every mistake in the settings.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.exists().then_some(default));
        Self::read(&settings::load(file, env)?)
    }

    /// Makes settings of a document.
    ///
    /// # Errors
    /// [`SettingsError::Mistakes`] with every mistake.
    pub fn from_value(document: &Value) -> Result<Self, SettingsError> {
        Self::read(document).map(|(config, _)| config)
    }

    fn read(document: &Value) -> Result<(Self, Vec<String>), SettingsError> {
        let notes = Notes::default();
        let config = read_root(&Field::root(document, &notes));
        if let Some(config) = &config {
            config.steps.note_short(&config.kubernetes, &config.cloud, &notes);
        }
        let faults = notes.into_faults();
        match config {
            Some(config) if faults.is_acceptable() => {
                Ok((config, faults.warnings.iter().map(ToString::to_string).collect()))
            }
            _ => Err(SettingsError::Mistakes(faults.errors)),
        }
    }
}

/// Reads every section, also when an earlier one is unusable, so that all mistakes are noted.
fn read_root(root: &Field<'_>) -> Option<AgentConfig> {
    let mut root = root.object()?;
    let controller = section(&root.field("controller"), ControllerSection::read);
    let agent = section(&root.field("agent"), AgentSection::read);
    let volumes = section(&root.field("volumes"), VolumesSection::read);
    let rke = section(&root.field("rke"), RkeSection::read);
    let steps = section(&root.field("steps"), StepsSection::read);
    let ssh = section(&root.field("ssh"), SshSection::read);
    let kubernetes = section(&root.field("kubernetes"), KubernetesSection::read);
    let cloud = section(&root.field("cloud"), CloudSection::read);
    let log = section(&root.field("log"), LogSection::read);
    let metrics = section(&root.field("metrics"), MetricsSection::read);
    root.finish();
    Some(AgentConfig {
        controller: controller?,
        agent: agent?,
        volumes: volumes?,
        rke: rke?,
        steps: steps?,
        ssh: ssh?,
        kubernetes: kubernetes?,
        cloud: cloud?,
        log: log?,
        metrics: metrics?,
    })
}

type Section<'a> = cratekube_common::intake::Object<'a>;

fn section<T>(field: &Field<'_>, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
    let mut object = field.object_or_empty()?;
    let made = read(&mut object);
    object.finish();
    made
}

/// The absolute path here.
fn path(field: &Field<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(field.string()?);
    if path.is_absolute() {
        return Some(path);
    }
    field.error(format!("must be an absolute path, found {:?}", path.display().to_string()));
    None
}

/// Value of an optional setting: its default when absent, nothing when it is there and wrong.
fn or<'a, T>(field: &Field<'a>, default: T, read: impl FnOnce(&Field<'a>) -> Option<T>) -> Option<T> {
    if field.is_present() { read(field) } else { Some(default) }
}

/// The duration here.
fn duration(field: &Field<'_>) -> Option<std::time::Duration> {
    field.check(settings::parse_duration(field.string()?))
}

/// A limit that leaves some time.
fn limit(field: &Field<'_>) -> Option<std::time::Duration> {
    let limit = duration(field)?;
    if limit.is_zero() {
        field.error("must be longer than nothing");
    }
    (!limit.is_zero()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::task::TaskKind;
    use serde_json::json;
    use std::time::Duration;

    fn least() -> Value {
        json!({"controller": {"address": "controller.internal:7443"}, "volumes": {"paths": ["/mnt/state"]}})
    }

    fn mistakes(document: &Value) -> Vec<String> {
        match AgentConfig::from_value(document) {
            Err(SettingsError::Mistakes(faults)) => faults.iter().map(ToString::to_string).collect(),
            other => panic!("no mistakes: {other:?}"),
        }
    }

    #[test]
    fn two_settings_are_enough_and_the_rest_has_defaults() {
        let config = AgentConfig::from_value(&least()).unwrap();
        assert_eq!(config.controller.address.to_string(), "controller.internal:7443");
        assert_eq!(config.agent.state_dir, Path::new("/var/lib/cratekube-agent"));
        assert_eq!(config.agent.slots, 4);
        assert!(config.volumes.require_mount);
        assert_eq!(config.rke.run_timeout, Duration::from_secs(7_200));
        assert_eq!(
            (config.rke.silence_timeout, config.rke.phase_timeout),
            (Duration::from_secs(1_200), Duration::from_secs(2_700))
        );
        assert!(config.rke.allowed_sha256.is_empty() && config.rke.scope == crate::run::scope::Wanted::Auto);
        assert_eq!(config.ssh, SshSection { login: SshLogin::Agent, preflight: true, clean_hosts: true });
        assert_eq!(config.kubernetes, KubernetesSection::default());
        assert_eq!((config.cloud.clone(), config.steps.clone()), (CloudSection::default(), StepsSection::default()));
        assert!(!config.cloud.enabled, "nothing is deleted in an account unless someone says so");
    }

    #[test]
    fn everything_can_be_set() {
        let config = AgentConfig::from_value(&json!({
            "controller": {"address": "[::1]:7443"},
            "agent": {"name": "bastion-1", "state_dir": "/var/lib/a", "slots": 16},
            "volumes": {"paths": ["/mnt/a", "/mnt/b"], "require_mount": false, "keep_generations": 5, "min_free_bytes": 67_108_864, "scrub_interval": "1h"},
            "rke": {"path": "/usr/local/bin/rke", "run_timeout": "30m", "stop_grace": "5s", "output_cap": 1_048_576,
                "silence_timeout": "10m", "phase_timeout": "20m", "scope": "none", "allowed_sha256": ["AB".repeat(32)]},
            "steps": {"release": "90m", "remove": "3h"},
            "ssh": {"key": "/etc/cratekube/id", "preflight": false, "clean_hosts": false},
            "kubernetes": {"proxy": "http://proxy.internal:3128", "request_timeout": "5s", "ready_timeout": "30m"},
            "cloud": {"enabled": true, "region": "eu-central-1", "endpoint": "https://vpce.internal", "confirm_pause": "1m",
                "credentials": "/etc/cratekube/aws", "metadata": "http://[fd00:ec2::254]", "prices": "/etc/cratekube/p.toml", "patience": "5m"},
            "log": {"format": "json", "filter": "debug"},
            "metrics": {"listen": "127.0.0.1:9465"},
        }))
        .unwrap();
        assert_eq!((config.controller.address.host(), config.controller.address.port()), ("::1", 7443));
        assert_eq!(config.agent.name.unwrap().as_str(), "bastion-1");
        assert_eq!(config.volumes.paths.len(), 2);
        assert_eq!(config.volumes.scrub_interval, Duration::from_secs(3_600));
        assert_eq!(
            config.ssh,
            SshSection { login: SshLogin::Key("/etc/cratekube/id".into()), preflight: false, clean_hosts: false }
        );
        assert_eq!((config.cloud.enabled, config.cloud.confirm_pause), (true, Duration::from_secs(60)));
        assert_eq!(config.cloud.credentials.as_deref(), Some(Path::new("/etc/cratekube/aws")));
        assert_eq!(config.rke.allowed_sha256, ["ab".repeat(32)]);
        let limits = [TaskKind::Release, TaskKind::Remove].map(|kind| config.steps.limit(kind).unwrap().as_secs());
        assert_eq!(limits, [5_400, 10_800]);
        assert_eq!(config.kubernetes.proxy.as_deref(), Some("http://proxy.internal:3128"));
        assert_eq!(config.kubernetes.ready_timeout, Duration::from_secs(1_800));
        assert_eq!(config.metrics.listen.map(|at| at.port()), Some(9465));
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = mistakes(&json!({
            "controller": {"address": "controller.internal"},
            "agent": {"name": "Not A Name", "slots": 0, "state_dir": "relative"},
            "volumes": {"paths": ["/a", "b", "/a"], "require_mount": "yes", "keep_generations": 1},
            "rke": {"run_timeout": "soon", "silence_timeout": "0s", "scope": "cgroup", "allowed_sha256": ["x"], "output_cap": 3, "trace": true},
            "steps": {"freeze": "never", "rest": "1h"},
            "ssh": {"key": "/k", "agent": true},
            "kubernetes": {"proxy": "https://user:word@proxy", "request_timeout": "1ms"},
            "cloud": {"enabled": 1, "endpoint": "aws.com", "prices": "p.toml"},
            "log": {"format": "xml", "filter": "a=b=c"},
            "metrics": {"listen": 9465},
            "stray": 1,
        }));
        let expected = [
            "/controller/address",
            "/agent/name",
            "/agent/state_dir",
            "/agent/slots",
            "/volumes/paths/1",
            "/volumes/paths/2",
            "/volumes/require_mount",
            "/volumes/keep_generations",
            "/rke/run_timeout",
            "/rke/silence_timeout",
            "/rke/scope",
            "/rke/allowed_sha256/0",
            "/rke/output_cap",
            "/rke/trace",
            "/steps/freeze",
            "/steps/rest",
            "/ssh",
            "/kubernetes/proxy",
            "/kubernetes/request_timeout",
            "/cloud/enabled",
            "/cloud/endpoint",
            "/cloud/prices",
            "/log/format",
            "/log/filter",
            "/metrics/listen",
            "/stray",
        ];
        for pointer in expected {
            assert!(found.iter().any(|f| f.starts_with(&format!("{pointer}:"))), "{pointer} not in {found:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn what_is_required_is_asked_for_by_its_full_name() {
        let found = mistakes(&json!({}));
        assert_eq!(found, ["/controller/address: is required", "/volumes/paths: is required"]);
    }

    #[test]
    fn the_file_that_is_shipped_says_the_defaults() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
        let (config, warnings) = AgentConfig::load(Some(&shipped), std::iter::empty()).unwrap();
        assert_eq!((config, warnings), (AgentConfig::from_value(&least()).unwrap(), Vec::new()));
    }

    #[test]
    fn the_environment_alone_is_enough() {
        let env = [("CRATEKUBE_CONTROLLER__ADDRESS", "c:1"), ("CRATEKUBE_VOLUMES__PATHS", "[\"/mnt/a\"]")];
        let document = settings::load(None, env.iter().map(|(k, v)| ((*k).into(), (*v).into()))).unwrap();
        assert_eq!(AgentConfig::from_value(&document).unwrap().volumes.paths, [Path::new("/mnt/a")]);
    }
}
