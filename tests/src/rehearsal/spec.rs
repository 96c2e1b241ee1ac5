//! Reading and judging `cluster.yml`, as far as rke does before it talks to a host.
//!
//! Unknown keys are accepted silently, as rke does. The order of the checks and the wording of
//! the refusals are the recorded ones. The rest of the file is carried along for the state,
//! with keys in the state's spelling (`hostname_override` → `hostnameOverride`).

use serde_json::{Map, Value, json};

use super::catalogue::{self, Images};

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Etcd,
    ControlPlane,
    Worker,
}

/// One host of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) port: String,
    pub(crate) internal: String,
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
}

impl Node {
    pub(crate) fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    fn read(value: &Value) -> Result<Node, Refusal> {
        let address = text(&value["address"]).unwrap_or_default();
        let or = |key: &str, otherwise: &str| {
            text(&value[key]).filter(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned())
        };
        let mut roles = Vec::new();
        for role in value["role"].as_array().into_iter().flatten() {
            match text(role).unwrap_or_default().as_str() {
                "etcd" => roles.push(Role::Etcd),
                "controlplane" => roles.push(Role::ControlPlane),
                "worker" => roles.push(Role::Worker),
                other => {
                    return Err(Refusal(format!(
                        "Failed to classify hosts from config file: \
                         Failed to recognize host [{address}] role {other}"
                    )));
                }
            }
        }
        Ok(Node {
            port: or("port", "22"),
            internal: or("internalAddress", &address),
            name: or("hostnameOverride", &address),
            address,
            roles,
        })
    }
}

/// Why rke stops before it begins: the text of its fatal line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

/// A specification.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// `cluster_name`.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: String,
    pub(crate) dns: String,
    pub(crate) ingress: String,
    pub(crate) monitoring: String,
    pub(crate) has_addons: bool,
    /// The whole file with the state's key names.
    pub(crate) raw: Value,
}

impl Spec {
    /// Parses the file. Judging is separate because rke prints a line between the two.
    pub(crate) fn parse(yaml: &str) -> Result<Spec, Refusal> {
        let parsed: Value = if yaml.trim().is_empty() {
            json!({})
        } else {
            serde_saphyr::from_str(yaml).map_err(|error| {
                let error = error.to_string();
                let first = error.lines().next().unwrap_or_default().to_owned();
                Refusal(format!(
                    "Failed to parse cluster file: error unmarshalling: \
                     error converting YAML to JSON: yaml: {first}"
                ))
            })?
        };
        let raw = camel(&parsed);
        if !raw["nodes"].is_array() && !raw["nodes"].is_null() {
            return Err(Refusal(
                "Failed to parse cluster file: json: cannot unmarshal string into Go struct \
                 field RancherKubernetesEngineConfig.nodes of type []types.RKEConfigNode"
                    .to_owned(),
            ));
        }
        if let Some(role) = raw["nodes"].as_array().into_iter().flatten().find_map(|node| node["role"].as_str()) {
            return Err(scalar_role(yaml, role));
        }
        let provider =
            |section: &str, otherwise: &str| text(&raw[section]["provider"]).unwrap_or_else(|| otherwise.to_owned());
        Ok(Spec {
            name: text(&raw["clusterName"]).unwrap_or_else(|| "local".to_owned()),
            version: text(&raw["kubernetesVersion"])
                .filter(|version| !version.is_empty())
                .unwrap_or_else(|| catalogue::DEFAULT_KUBERNETES.to_owned()),
            nodes: Vec::new(),
            network: text(&raw["network"]["plugin"]).unwrap_or_else(|| "canal".to_owned()),
            dns: provider("dns", "coredns"),
            ingress: provider("ingress", "nginx"),
            monitoring: provider("monitoring", "metrics-server"),
            has_addons: text(&raw["addons"]).is_some_and(|addons| !addons.trim().is_empty())
                || raw["addonsInclude"].as_array().is_some_and(|a| !a.is_empty()),
            raw,
        })
    }

    /// Judges what was parsed and classifies the hosts.
    pub(crate) fn judge(mut self) -> Result<(Spec, Images), Refusal> {
        let invalid = |why: String| Err(Refusal(format!("Failed to validate cluster: {why}")));
        for node in self.raw["nodes"].as_array().into_iter().flatten() {
            self.nodes.push(Node::read(node)?);
        }
        let Some(images) = catalogue::images(&self.version) else {
            return invalid(format!(
                "{} is an unsupported Kubernetes version and system images are not populated: \
                 etcd image is not populated",
                self.version
            ));
        };
        for (index, node) in self.nodes.iter().enumerate() {
            if self.nodes[..index].iter().any(|n| n.address == node.address) {
                return invalid(format!("Cluster can't have duplicate node: {}", node.address));
            }
            if !is_subdomain(&node.name) {
                return invalid(format!(
                    "Hostname_override [{}] for host ({}) is not valid: {}",
                    node.name,
                    index + 1,
                    SUBDOMAIN_RULE
                ));
            }
        }
        if !["none", "canal", "flannel", "calico", "weave", "aci"].contains(&self.network.as_str()) {
            return invalid(format!("Network plugin [{}] is not supported", self.network));
        }
        Ok((self, images))
    }

    pub(crate) fn with(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.is(role))
    }
}

/// `role: etcd` instead of `role: [etcd]`.
fn scalar_role(yaml: &str, role: &str) -> Refusal {
    let line = yaml.lines().position(|line| line.contains("role") && line.contains(role)).map_or(1, |index| index + 1);
    Refusal(format!(
        "Failed to parse cluster file: yaml: unmarshal errors:\n  line {line}: \
         cannot unmarshal !!str `{role}` into []string"
    ))
}

const SUBDOMAIN_RULE: &str = "[a lowercase RFC 1123 subdomain must consist of lower case \
    alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
    (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')]";

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(|label| {
        let ends_well = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        ends_well(label.bytes().next())
            && ends_well(label.bytes().last())
            && label.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

/// A scalar as text; YAML leaves ports and versions as numbers at times.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Maps whose keys are the user's own words.
const OPAQUE: [&str; 8] = [
    "extra_args",
    "labels",
    "options",
    "node_selector",
    "config",
    "configuration",
    "custom_config",
    "extra_args_array",
];

/// Keys in the spelling of the state file.
fn camel(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| {
                    let value = if OPAQUE.contains(&key.as_str()) { value.clone() } else { camel(value) };
                    (camel_word(key), value)
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(camel).collect()),
        scalar => scalar.clone(),
    }
}

fn camel_word(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut raise = false;
    for c in word.chars() {
        match c {
            '_' | '-' => raise = true,
            c if raise => {
                out.extend(c.to_uppercase());
                raise = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAND_WRITTEN: &str = r#"
cluster_name: lab
nodes:
- address: 172.30.0.11
  user: rke
  role: [controlplane, etcd, worker]
  hostname_override: node1
  port: 2222
network: {plugin: none}
dns: {provider: none}
services:
  kubelet: {extra_args: {eviction-hard: "nodefs.available<1%"}}
"#;

    #[test]
    fn a_hand_written_file_is_understood() {
        let (spec, _) = Spec::parse(HAND_WRITTEN).unwrap().judge().unwrap();
        assert_eq!(spec.name, "lab");
        assert_eq!(spec.nodes[0].name, "node1");
        assert_eq!(spec.nodes[0].port, "2222");
        assert_eq!(spec.nodes[0].roles.len(), 3);
        assert_eq!(spec.network, "none");
        assert_eq!(spec.ingress, "nginx");
        let args = &spec.raw["services"]["kubelet"]["extraArgs"];
        assert_eq!(args["eviction-hard"], "nodefs.available<1%");
    }

    #[test]
    fn our_own_quoted_block_style_is_understood() {
        let yaml = "\"cluster_name\": \"a\"\n\"kubernetes_version\": \"v1.30.14-rancher1-1\"\n\
                    \"nodes\":\n  - \"address\": \"10.0.0.1\"\n    \"role\":\n      - \"etcd\"\n";
        let (spec, images) = Spec::parse(yaml).unwrap().judge().unwrap();
        assert_eq!(spec.nodes[0].name, "10.0.0.1");
        assert_eq!(images.kubernetes, "rancher/hyperkube:v1.30.14-rancher1");
    }

    #[test]
    fn broken_yaml_and_wrong_types_are_refused() {
        for yaml in ["nodes:\n- address: [", "nodes: hello"] {
            let Refusal(why) = Spec::parse(yaml).unwrap_err();
            assert!(why.starts_with("Failed to parse cluster file: "), "{why}");
        }
    }
}
