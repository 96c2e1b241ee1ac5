//! What every cluster has for its users: namespaces with accounts and rights, and, in hardened
//! clusters, what the guide asks of every namespace. Pure.

use cratekube_common::domain::cluster::access::AccessRole;
use cratekube_common::domain::cluster::spec::Profile;
use serde_json::{Value, json};

/// Label of everything that is made here.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Name of the policy that the guide wants in every namespace.
pub(super) const NETWORK_POLICY: &str = "cratekube-allow-all";

/// An object and where it is applied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Basic {
    /// Its path.
    pub(super) path: String,
    /// The object.
    pub(super) object: Value,
}

/// A namespace for users, with an account for each role that kubeconfigs are issued for.
pub(super) fn for_users(namespace: &str) -> Vec<Basic> {
    let mut basics = vec![Basic {
        path: format!("/api/v1/namespaces/{namespace}"),
        object: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {MANAGED_BY: "cratekube"}}}),
    }];
    for role in AccessRole::NAMESPACED {
        let name = role.service_account();
        let metadata = json!({"name": name, "namespace": namespace, "labels": {MANAGED_BY: "cratekube"}});
        basics.push(Basic {
            path: format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}"),
            // Nothing runs as these: they are for tokens that people hold.
            object: json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": false}),
        });
        basics.push(Basic {
            path: format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/{name}"),
            object: json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            }),
        });
    }
    basics
}

/// What a profile asks of a namespace, whoever made it.
pub(super) fn for_profile(profile: Profile, namespace: &str) -> Vec<Basic> {
    if profile != Profile::Cis {
        return Vec::new();
    }
    let metadata = json!({"name": NETWORK_POLICY, "namespace": namespace, "labels": {MANAGED_BY: "cratekube"}});
    vec![
        Basic {
            path: format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"),
            object: json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
                "automountServiceAccountToken": false}),
        },
        Basic {
            path: format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{NETWORK_POLICY}"),
            // The guide's own: a policy that is there, and that nothing breaks by. Stricter ones add to it.
            object: json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
                "spec": {"podSelector": {}, "ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]}}),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_an_account_that_is_bound_to_it_and_to_nothing_else() {
        let basics = for_users("shop");
        assert_eq!(basics.len(), 7);
        let bindings: Vec<_> = basics.iter().filter(|basic| basic.object["kind"] == "RoleBinding").collect();
        let roles: Vec<_> = bindings.iter().map(|b| b.object["roleRef"]["name"].clone()).collect();
        assert_eq!(roles, ["view", "edit", "admin"]);
        assert!(bindings.iter().all(|b| b.object["subjects"][0]["name"] == b.object["metadata"]["name"]));
        assert!(basics.iter().all(|basic| basic.path.ends_with(basic.object["metadata"]["name"].as_str().unwrap())));
    }

    #[test]
    fn only_the_hardened_profile_touches_what_others_made() {
        assert_eq!(for_profile(Profile::None, "kube-system"), []);
        assert_eq!(for_profile(Profile::Cis, "kube-system").len(), 2);
    }
}
