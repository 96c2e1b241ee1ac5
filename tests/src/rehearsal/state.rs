//! The state file and the kubeconfig: their contents, and writing them as carelessly as rke does.
//!
//! Open with truncate, one write, close: no temporary file, no rename, no fsync, no lock. A state
//! that cannot be read or parsed is *no* state, silently; that is the trap the product has to
//! guard against, so it must be real here. Torn, empty and disk-full writes happen here.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::catalogue::Images;
use super::fault::{Kind, StateWrite};
use super::pki::{self, Bundle};
use super::spec::{Node, Role, Spec};
use super::stage::{Stage, Stop};

/// How much of a write a full disk takes, as recorded in 07c.
const LEFT_BY_A_FULL_DISK: usize = 12_288;

/// One half of the state.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Half {
    #[serde(rename = "rkeConfig", skip_serializing_if = "Value::is_null")]
    pub(crate) config: Value,
    #[serde(rename = "certificatesBundle", skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<Bundle>,
}

/// The whole state file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct State {
    pub(crate) desired_state: Half,
    pub(crate) current_state: Half,
}

impl State {
    /// What the file says; `None` for a file that is absent, empty, torn or not a state.
    pub(crate) fn read(path: &Path) -> Option<State> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The nodes that are part of the cluster as far as the state knows.
    pub(crate) fn current_nodes(&self) -> Vec<Node> {
        self.current_state.config["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| {
                let field = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
                Node {
                    address: field("address"),
                    port: field("port"),
                    internal: field("internalAddress"),
                    name: field("hostnameOverride"),
                    roles: value["role"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|role| match role.as_str() {
                            Some("etcd") => Some(Role::Etcd),
                            Some("controlplane") => Some(Role::ControlPlane),
                            Some("worker") => Some(Role::Worker),
                            _ => None,
                        })
                        .collect(),
                }
            })
            .collect()
    }
}

/// Where the files of a cluster are; they follow from `--config`.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) config: String,
    pub(crate) state: String,
    pub(crate) kubeconfig: String,
    pub(crate) dir: String,
}

impl Paths {
    pub(crate) fn of(config: &str) -> Paths {
        let path = Path::new(config);
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.display().to_string(),
            _ => ".".to_owned(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = match name.rsplit_once('.') {
            Some((stem, _)) => stem,
            None => &name,
        };
        Paths {
            config: config.to_owned(),
            state: format!("{dir}/{stem}.rkestate"),
            kubeconfig: format!("{dir}/kube_config_{name}"),
            dir,
        }
    }

    /// The absolute path that rke names when cluster.yml is missing.
    pub(crate) fn absolute_config(&self) -> PathBuf {
        std::path::absolute(&self.config).unwrap_or_else(|_| PathBuf::from(&self.config))
    }
}

/// `rkeConfig` for these nodes: the file, with the defaults that rke fills in.
pub(crate) fn rke_config(spec: &Spec, images: &Images, nodes: &[&Node]) -> Value {
    let mut config = spec.raw.clone();
    let kept: Vec<Value> = spec.raw["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|raw| {
            let node = nodes.iter().find(|n| raw["address"] == n.address)?;
            let mut raw = raw.clone();
            raw["port"] = json!(node.port);
            raw["internalAddress"] = json!(node.internal);
            raw["hostnameOverride"] = json!(node.name);
            Some(raw)
        })
        .collect();
    default(&mut config, &defaults(spec, images));
    config["nodes"] = Value::Array(kept);
    config
}

fn defaults(spec: &Spec, images: &Images) -> Value {
    let rolling = json!({"strategy": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
    let kubernetes = &images.kubernetes;
    json!({
        "services": {
            "etcd": {
                "image": images.etcd,
                "extraArgs": {"election-timeout": "5000", "heartbeat-interval": "500"},
                "snapshot": true, "retention": "72h", "creation": "12h",
            },
            "kubeApi": {
                "image": kubernetes,
                "serviceClusterIpRange": "10.43.0.0/16",
                "serviceNodePortRange": "30000-32767",
            },
            "kubeController": {
                "image": kubernetes,
                "clusterCidr": "10.42.0.0/16",
                "serviceClusterIpRange": "10.43.0.0/16",
            },
            "scheduler": {"image": kubernetes},
            "kubelet": {
                "image": kubernetes,
                "clusterDomain": "cluster.local",
                "infraContainerImage": "rancher/mirrored-pause:3.6",
                "clusterDnsServer": "10.43.0.10",
            },
            "kubeproxy": {"image": kubernetes},
        },
        "network": {"plugin": spec.network, "updateStrategy": rolling},
        "authentication": {"strategy": "x509"},
        "systemImages": {
            "etcd": images.etcd, "alpine": images.tools, "nginxProxy": images.tools,
            "certDownloader": images.tools, "kubernetesServicesSidecar": images.tools,
            "kubernetes": kubernetes,
        },
        "sshKeyPath": "~/.ssh/id_rsa",
        "sshAgentAuth": false,
        "authorization": {"mode": "rbac"},
        "ignoreDockerVersion": false,
        "kubernetesVersion": spec.version,
        "ingress": {"provider": spec.ingress, "updateStrategy": rolling},
        "clusterName": spec.name,
        "cloudProvider": {},
        "prefixPath": "/",
        "addonJobTimeout": 45,
        "bastionHost": {},
        "monitoring": {"provider": spec.monitoring, "replicas": 1},
        "restore": {},
        "rotateEncryptionKey": false,
        "dns": {"provider": spec.dns},
        "upgradeStrategy": {"maxUnavailableWorker": "10%", "maxUnavailableControlplane": "1"},
    })
}

/// Fills in what is absent, never what is present.
fn default(value: &mut Value, defaults: &Value) {
    if value.is_null() {
        *value = defaults.clone();
    }
    if let (Value::Object(map), Value::Object(defaults)) = (value, defaults) {
        fill(map, defaults);
    }
}

fn fill(map: &mut Map<String, Value>, defaults: &Map<String, Value>) {
    for (key, wanted) in defaults {
        default(map.entry(key.clone()).or_insert(Value::Null), wanted);
    }
}

/// Writes the state as rke does, or as a fault wants it.
pub(crate) fn deploy(stage: &mut Stage, paths: &Paths, state: &State, write: StateWrite) -> Result<(), Stop> {
    let bytes = state.bytes();
    let path = Path::new(&paths.state);
    let fault = stage.take_fault(|kind| match kind {
        Kind::TornState { write: w, .. } | Kind::EmptyState { write: w, .. } | Kind::DiskFull { write: w } => {
            *w == write
        }
        _ => false,
    });
    let written = match fault {
        Some(Kind::TornState { bytes: n, .. }) => {
            careless_write(path, &bytes[..n.min(bytes.len())]).map(|()| stage.die())
        }
        Some(Kind::EmptyState { goes_on, .. }) => careless_write(path, b"").map(|()| {
            if !goes_on {
                stage.die();
            }
        }),
        Some(Kind::DiskFull { .. }) => careless_write(path, &bytes[..LEFT_BY_A_FULL_DISK.min(bytes.len())])
            .and(Err(io::Error::from_raw_os_error(28))),
        _ => careless_write(path, &bytes),
    };
    if let Err(error) = written {
        let verb = if path.exists() && error.raw_os_error() == Some(28) { "write" } else { "open" };
        let why = go_error(&error);
        let state = &paths.state;
        return Err(stage.fatal(0, &format!("Failed to write state file: {verb} {state}: {why}")));
    }
    stage.say(3, &format!("Successfully Deployed state file at [{}]", paths.state))
}

/// Writes the administrator's kubeconfig; it proves nothing about the cluster.
pub(crate) fn deploy_kubeconfig(stage: &mut Stage, paths: &Paths, bundle: &Bundle) -> Result<(), Stop> {
    stage.say(30, "[reconcile] Rebuilding and updating local kube config")?;
    let config = bundle.get("kube-admin").map_or("", |e| e.config.as_str());
    if let Err(error) = careless_write(Path::new(&paths.kubeconfig), config.as_bytes()) {
        return Err(stage.fatal(
            0,
            &format!(
                "Failed to redeploy local admin config with new host: open {}: {}",
                paths.kubeconfig,
                go_error(&error)
            ),
        ));
    }
    stage.say(1, &format!("Successfully Deployed local admin kubeconfig at [{}]", paths.kubeconfig))
}

/// Not atomic, on purpose. New files are 0600; existing ones keep their mode.
pub(crate) fn careless_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

/// An operating system error in Go's words.
pub(crate) fn go_error(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(2) => "no such file or directory".to_owned(),
        Some(13) => "permission denied".to_owned(),
        Some(20) => "not a directory".to_owned(),
        Some(21) => "is a directory".to_owned(),
        Some(28) => "no space left on device".to_owned(),
        Some(30) => "read-only file system".to_owned(),
        _ => error.to_string(),
    }
}

/// The fingerprint of the CA that a state carries.
pub(crate) fn ca_of(state: &State) -> Option<String> {
    pki::ca_fingerprint(state.desired_state.bundle.as_ref()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_follow_from_the_config() {
        let paths = Paths::of("cluster.yml");
        assert_eq!(paths.state, "./cluster.rkestate");
        assert_eq!(paths.kubeconfig, "./kube_config_cluster.yml");
        let paths = Paths::of("/x/prod.v2.yaml");
        assert_eq!(paths.state, "/x/prod.v2.rkestate");
        assert_eq!(paths.kubeconfig, "/x/kube_config_prod.v2.yaml");
    }

    #[test]
    fn what_the_user_wrote_wins_over_defaults() {
        let mut value = json!({"a": {"b": 1}});
        default(&mut value, &json!({"a": {"b": 2, "c": 3}, "d": []}));
        assert_eq!(value, json!({"a": {"b": 1, "c": 3}, "d": []}));
    }
}
