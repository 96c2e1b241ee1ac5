//! Nodes as the cluster has them, against nodes as the spec wants them. Pure.

use cratekube_common::domain::cluster::spec::{ClusterSpec, NetworkPlugin, Node};
use serde_json::Value;

/// What is wrong with one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeFault {
    /// Its name in Kubernetes.
    pub(super) node: String,
    /// What is wrong, as the rest of a sentence that begins with the name.
    pub(super) what: String,
    /// Whether it may come right by waiting.
    pub(super) passing: bool,
}

impl std::fmt::Display for NodeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.node, self.what)
    }
}

/// Everything that is not as the spec says.
pub(super) fn judge(spec: &ClusterSpec, nodes: &[Value]) -> Vec<NodeFault> {
    let mut faults = Vec::new();
    for wanted in &spec.nodes {
        let name = wanted.kubernetes_name().to_ascii_lowercase();
        let mut note = |what: String, passing| faults.push(NodeFault { node: name.clone(), what, passing });
        match nodes.iter().find(|node| node["metadata"]["name"] == name.as_str()) {
            None => note("is not in the cluster".into(), true),
            Some(node) => compare(spec, wanted, node, &mut note),
        }
    }
    for node in nodes {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        if !spec.nodes.iter().any(|wanted| wanted.kubernetes_name().eq_ignore_ascii_case(name)) {
            faults.push(NodeFault {
                node: name.to_owned(),
                what: "is in the cluster and not in its description".into(),
                passing: true,
            });
        }
    }
    faults
}

fn compare(spec: &ClusterSpec, wanted: &Node, node: &Value, note: &mut impl FnMut(String, bool)) {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let is_ready = ready.is_some_and(|condition| condition["status"] == "True");
    // Without a network plugin a node waits for the one that the user deploys.
    if !is_ready && spec.network.plugin != NetworkPlugin::None {
        let why = ready.and_then(|condition| condition["message"].as_str()).unwrap_or("its kubelet says nothing");
        note(format!("is not ready: {}", cratekube_common::visible::visible(why)), true);
    }
    let has = |role: &str| !node["metadata"]["labels"][format!("node-role.kubernetes.io/{role}")].is_null();
    for role in cratekube_common::domain::cluster::spec::NodeRole::ALL {
        match (wanted.has(*role), has(role.as_str())) {
            (true, false) => note(format!("does not have the role {role}"), true),
            (false, true) => note(format!("has the role {role}, which its description does not give it"), true),
            _ => {}
        }
    }
    let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
    if !is_version(version, spec) {
        note(format!("runs kubelet {version:?} instead of {}", wanted_version(spec)), true);
    }
}

/// `v1.28.12`, as Kubernetes itself says it.
pub(super) fn wanted_version(spec: &ClusterSpec) -> String {
    let (major, minor, patch) = spec.kubernetes_version.numbers();
    format!("v{major}.{minor}.{patch}")
}

/// Whether a version that Kubernetes says is the one of the spec; builds may add a suffix.
pub(super) fn is_version(found: &str, spec: &ClusterSpec) -> bool {
    found.split(['-', '+']).next() == Some(&wanted_version(spec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::cluster::intake;
    use serde_json::json;

    fn spec() -> ClusterSpec {
        let document = json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": [
            {"address": "10.0.0.1", "hostname": "cp-1", "roles": ["controlplane", "etcd"]},
            {"address": "10.0.0.2", "roles": ["worker"]},
        ]});
        intake::read(&document).unwrap().0
    }

    fn node(name: &str, ready: &str, version: &str, roles: &[&str]) -> Value {
        let mut node = json!({"metadata": {"name": name, "labels": {}}, "status": {
            "conditions": [{"type": "Ready", "status": ready, "message": "because"}], "nodeInfo": {"kubeletVersion": version}}});
        for role in roles {
            node["metadata"]["labels"][format!("node-role.kubernetes.io/{role}")] = json!("true");
        }
        node
    }

    fn words(nodes: &[Value]) -> Vec<String> {
        judge(&spec(), nodes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nodes_as_described_have_no_faults() {
        let nodes = [
            node("cp-1", "True", "v1.28.12", &["controlplane", "etcd"]),
            node("10.0.0.2", "True", "v1.28.12+rke", &["worker"]),
        ];
        assert_eq!(words(&nodes), Vec::<String>::new());
    }

    #[test]
    fn every_fault_of_every_node_is_named() {
        let nodes =
            [node("cp-1", "Unknown", "v1.27.1", &["controlplane", "worker"]), node("old", "True", "v1.28.12", &[])];
        assert_eq!(
            words(&nodes),
            [
                "cp-1 is not ready: because",
                "cp-1 does not have the role etcd",
                "cp-1 has the role worker, which its description does not give it",
                "cp-1 runs kubelet \"v1.27.1\" instead of v1.28.12",
                "10.0.0.2 is not in the cluster",
                "old is in the cluster and not in its description",
            ]
        );
    }
}
