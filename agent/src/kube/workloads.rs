//! Whether RKE's own workloads are available. Pure.

use serde_json::Value;

/// Namespaces that RKE deploys into.
pub(super) const NAMESPACES: &[&str] = &["kube-system", "ingress-nginx"];

/// What is not available, each in a few words.
pub(super) fn unavailable(deployments: &[Value], daemon_sets: &[Value]) -> Vec<String> {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!(
            "{}/{}",
            metadata["namespace"].as_str().unwrap_or_default(),
            metadata["name"].as_str().unwrap_or_default()
        )
    };
    let mut found = Vec::new();
    for object in deployments {
        let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
        let available = number(&object["status"]["availableReplicas"]);
        if available < wanted {
            found.push(format!("deployment {} has {available} of {wanted} replicas", name(object)));
        }
    }
    for object in daemon_sets {
        let wanted = number(&object["status"]["desiredNumberScheduled"]);
        let available = number(&object["status"]["numberAvailable"]);
        if available < wanted {
            found.push(format!("daemon set {} runs on {available} of {wanted} nodes", name(object)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_runs_in_part_is_named_with_its_numbers() {
        let deployment = |wanted: i64, available: i64| {
            json!({"metadata": {"namespace": "kube-system", "name": "coredns"}, "spec": {"replicas": wanted},
                "status": {"availableReplicas": available}})
        };
        let set = json!({"metadata": {"namespace": "kube-system", "name": "canal"},
            "status": {"desiredNumberScheduled": 3, "numberAvailable": 2}});
        assert_eq!(
            unavailable(&[deployment(2, 2), deployment(2, 1)], &[set]),
            ["deployment kube-system/coredns has 1 of 2 replicas", "daemon set kube-system/canal runs on 2 of 3 nodes"]
        );
        assert_eq!(unavailable(&[deployment(0, 0)], &[]), Vec::<String>::new(), "scaled to nothing is as wanted");
    }
}
