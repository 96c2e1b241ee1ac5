//! What a new cluster has, and its nodes as the fleet has them now.

use serde_json::{Value, json};

use super::authority::Standing;
use super::cluster::{Cluster, key};
use crate::rehearsal::fleet::Fleet;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

impl Cluster {
    /// A cluster as `rke` leaves it.
    pub(crate) fn new(standing: &Standing) -> Cluster {
        let mut cluster = Cluster { definitions_take: 1, ..Cluster::default() };
        for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            cluster.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        }
        for (name, rules) in roles() {
            cluster.put(json!({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}));
        }
        cluster.put(json!({
            "apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": "cluster-admin"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:masters"}],
        }));
        cluster.put_add_ons(standing.config());
        cluster.control();
        cluster
    }

    fn put_add_ons(&mut self, config: &Value) {
        let mut workload = |kind: &str, namespace: &str, name: &str| {
            let labels = json!({"k8s-app": name});
            self.put(json!({
                "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
                "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                    "containers": [{"name": name, "image": format!("rancher/{name}")}]}}},
            }));
        };
        match config["network"]["plugin"].as_str() {
            Some("none") | None => {}
            Some(plugin) => workload("DaemonSet", "kube-system", plugin),
        }
        if config["dns"]["provider"] != "none" {
            workload("Deployment", "kube-system", "coredns");
            workload("Deployment", "kube-system", "coredns-autoscaler");
        }
        if config["monitoring"]["provider"] != "none" {
            workload("Deployment", "kube-system", "metrics-server");
        }
        if config["ingress"]["provider"] != "none" {
            workload("DaemonSet", "ingress-nginx", "nginx-ingress-controller");
            self.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ingress-nginx"}}));
        }
    }

    /// Brings nodes, version and admission to what the fleet says now.
    pub(crate) fn refresh(&mut self, standing: &Standing, fleet: &Fleet) {
        self.version = standing.version();
        let api = &standing.config()["services"]["kubeApi"];
        self.pod_security = api["podSecurityConfiguration"].as_str().map(ToOwned::to_owned);
        let gone = self.find("", "nodes", |node| {
            !standing.live.nodes.contains_key(node["metadata"]["name"].as_str().unwrap_or_default())
        });
        for key in gone {
            self.objects.remove(&key);
        }
        for (name, address) in &standing.live.nodes {
            let before = self.objects.get(&key("", "nodes", None, name)).cloned();
            let node = self.node(name, address, standing, fleet, before.clone());
            if before.as_ref() != Some(&node) {
                self.put(node);
            }
        }
    }

    fn node(&self, name: &str, address: &str, standing: &Standing, fleet: &Fleet, before: Option<Value>) -> Value {
        let described =
            standing.config()["nodes"].as_array().into_iter().flatten().find(|node| node["address"] == address);
        let host = fleet.host(address);
        let alive = host.fault.is_none_or(|fault| !fault.cuts_off()) && host.runs("kubelet");
        let ready = alive && !self.unready.contains(name);
        let mut node = before
            .unwrap_or_else(|| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}));
        node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
        node["metadata"]["labels"]["kubernetes.io/os"] = json!("linux");
        for role in described.and_then(|node| node["role"].as_array()).into_iter().flatten().filter_map(Value::as_str) {
            node["metadata"]["labels"][format!("node-role.kubernetes.io/{role}")] = json!("true");
        }
        for (label, value) in described.and_then(|node| node["labels"].as_object()).into_iter().flatten() {
            node["metadata"]["labels"][label] = value.clone();
        }
        let internal = described.and_then(|node| node["internalAddress"].as_str()).unwrap_or(address);
        let (status, reason) = if ready { ("True", "KubeletReady") } else { ("Unknown", "NodeStatusUnknown") };
        node["status"] = json!({
            "addresses": [{"type": "InternalIP", "address": internal}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": status, "reason": reason, "message": if ready { "kubelet is posting ready status" } else { "Kubelet stopped posting node status." }}],
            "nodeInfo": {"kubeletVersion": self.version, "osImage": "rehearsal", "containerRuntimeVersion": "docker://24.0.7"},
        });
        node
    }
}

/// The roles that Kubernetes brings, as far as anything here depends on them.
fn roles() -> [(&'static str, Value); 4] {
    let read = json!(["get", "list", "watch"]);
    let write = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    let core = json!([
        "configmaps",
        "endpoints",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "serviceaccounts",
        "services",
        "events"
    ]);
    let apps = json!(["daemonsets", "deployments", "replicasets", "statefulsets"]);
    let nets = json!(["ingresses", "networkpolicies"]);
    let rules = |verbs: &Value| {
        vec![
            json!({"apiGroups": [""], "resources": core, "verbs": verbs}),
            json!({"apiGroups": ["apps"], "resources": apps, "verbs": verbs}),
            json!({"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": verbs}),
            json!({"apiGroups": ["networking.k8s.io"], "resources": nets, "verbs": verbs}),
        ]
    };
    let secrets =
        json!({"apiGroups": [""], "resources": ["secrets", "pods/exec", "serviceaccounts/token"], "verbs": write});
    let grants =
        json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": write});
    let (view, mut edit) = (rules(&read), rules(&write));
    edit.push(secrets);
    let mut admin = edit.clone();
    admin.push(grants);
    [
        ("view", json!(view)),
        ("edit", json!(edit)),
        ("admin", json!(admin)),
        ("cluster-admin", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])),
    ]
}
