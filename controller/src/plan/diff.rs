//! Two renderings of `cluster.yml` as a unified diff.
//!
//! Both are rendered from masked specs, so that no secret is in it. Not here: what the difference
//! means; that is in `change`.

use std::time::Duration;

use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::name::ClusterName;
use cratekube_common::rke::render::{SshAccess, cluster_yml};
use similar::TextDiff;

/// Longest that the shortest diff is looked for; after it a longer one is good enough.
const PATIENCE: Duration = Duration::from_millis(200);

/// How the rendering of `from` becomes the one of `to`; empty when they are the same.
#[must_use]
pub fn rendered(name: &ClusterName, from: &ClusterSpec, to: &ClusterSpec) -> String {
    let render = |spec: &ClusterSpec| {
        let mut masked = spec.clone();
        masked.take_secrets();
        cluster_yml(&masked, name.as_str(), &SshAccess::Untold)
    };
    let (from, to) = (render(from), render(to));
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&from, &to);
    diff.unified_diff().context_radius(3).header("present/cluster.yml", "planned/cluster.yml").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::cluster::intake;
    use serde_json::json;

    fn spec(workers: usize, password: &str) -> ClusterSpec {
        let mut nodes = vec![json!({"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]})];
        nodes.extend(
            (0..workers).map(|i| json!({"address": format!("10.1.{}.{}", i / 200, i % 200 + 1), "roles": ["worker"]})),
        );
        let document = json!({
            "kubernetes_version": "v1.30.14-rancher1-1",
            "nodes": nodes,
            "network": {"pod_cidr": "172.16.0.0/12"},
            "private_registries": [{"url": "r.example", "user": "u", "password": password}],
        });
        intake::read(&document).unwrap().0
    }

    #[test]
    fn hostile_row_07_a_diff_shows_what_changes_and_no_secret() {
        let name = "web".parse().unwrap();
        let diff = rendered(&name, &spec(0, "canary-1"), &spec(1, "canary-2"));
        insta::assert_snapshot!("diff", diff);
        assert!(!diff.contains("canary"), "{diff}");
        assert_eq!(rendered(&name, &spec(1, "canary-1"), &spec(1, "canary-2")), "", "passwords do not show");
    }

    #[test]
    fn the_largest_specs_have_a_diff_too() {
        let diff = rendered(&"web".parse().unwrap(), &spec(0, "p"), &spec(900, "p"));
        assert_eq!(diff.lines().filter(|line| line.starts_with('+') && line.contains("address:")).count(), 900);
    }
}
