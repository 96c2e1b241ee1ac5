//! Manifests of managed resources: what is read, and what each rule refuses.

use super::manifest::*;
use crate::intake::Notes;

fn scope(namespaces: &[&str]) -> Scope {
    Scope { namespaces: namespaces.iter().map(|n| (*n).to_owned()).collect(), cluster_scoped: false }
}

fn check(manifest: &str, scope: &Scope) -> (Vec<Object>, Vec<String>) {
    let notes = Notes::default();
    let objects = read(manifest, scope, "/manifest", &notes);
    let faults = notes.into_faults();
    assert!(faults.errors.iter().all(|fault| fault.pointer == "/manifest"));
    (objects, faults.errors.into_iter().map(|fault| fault.detail).collect())
}

fn rules(manifest: &str, scope: &Scope) -> Vec<String> {
    let words = check(manifest, scope).1;
    words.iter().map(|fault| fault.split(':').next().unwrap_or_default().to_owned()).collect()
}

fn config_map(metadata: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{{metadata}}}\n")
}

#[test]
fn objects_of_several_documents_and_lists_are_read_and_get_the_only_namespace() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: b, namespace: shop}\n- apiVersion: acme.example/v1\n  kind: Widget\n  metadata: {name: c}\n";
    let (objects, faults) = check(text, &scope(&["shop"]));
    assert_eq!(faults, Vec::<String>::new());
    let names: Vec<_> = objects.iter().map(|o| o.object.to_string()).collect();
    assert_eq!(names, ["v1/ConfigMap shop/a", "apps/v1/Deployment shop/b", "acme.example/v1/Widget c"]);
    assert_eq!(objects[0].value["metadata"]["namespace"], "shop");
    assert_eq!(objects[2].value["metadata"].get("namespace"), None, "the cluster knows whether it has one");
}

#[test]
fn every_fault_is_found_at_once_with_its_rule_and_place() {
    let text = "kind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: kube-system}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n---\n- 1\n---\napiVersion: v1\nkind: Pod\nmetadata: {generateName: x-, uid: '1'}\n";
    let (_, faults) = check(text, &scope(&["shop"]));
    assert_eq!(
        faults,
        [
            "object-fields: document 1 (line 1) needs apiVersion, such as `v1` or `apps/v1`",
            "namespace-not-allowed: document 2 (line 3) Secret \"a\" the namespace \"kube-system\" is not allowed here; allowed are: shop",
            "cluster-scoped: document 3 (line 7) Namespace \"mine\" Namespace is cluster-scoped, which needs a permission that you do not have; allowed are objects in: shop",
            "object-fields: document 4 (line 11) is not a mapping; an object has apiVersion, kind and metadata",
            "object-fields: document 5 (line 13) needs metadata.name; generateName would make a new object every time",
        ]
    );
}

#[test]
fn each_rule_refuses_what_it_is_for() {
    let one = scope(&["shop"]);
    for (metadata, rule) in [
        ("name: cratekube-admin", "reserved-name"),
        ("name: a, labels: {cratekube.io/resource: other}", "reserved-name"),
        ("name: a, resourceVersion: '7'", "set-by-cluster"),
        ("name: a, managedFields: []", "set-by-cluster"),
        ("name: a, labels: {a: 1}", "object-fields"),
        ("name: a, labels: [a]", "object-fields"),
        ("name: ../../nodes/x", "object-fields"),
        ("name: 'a?b'", "object-fields"),
        ("name: ..", "object-fields"),
        ("name: 5", "object-fields"),
        ("name: a, namespace: ../x", "object-fields"),
        ("name: a, namespace: other", "namespace-not-allowed"),
    ] {
        assert_eq!(rules(&config_map(metadata), &one), [rule], "{metadata}");
    }
    assert_eq!(rules(&config_map("name: a"), &scope(&["a", "b"])), ["namespace-missing"]);
    assert_eq!(rules(&config_map("name: a").replace("v1", "v1/../x"), &one), ["object-fields"]);
    let twice = format!("{}---\n{}", config_map("name: a"), config_map("name: a, namespace: shop"));
    assert_eq!(rules(&twice, &one), ["object-twice"]);
    for empty in ["", "---\n", "# nothing\n", "null\n"] {
        assert_eq!(rules(empty, &one), ["manifest-empty"], "{empty:?}");
    }
}

#[test]
fn hostile_rows_03_and_04_large_and_devious_manifests_are_refused_by_rule() {
    let one = scope(&["shop"]);
    assert_eq!(rules(&"x".repeat(5 * 1024 * 1024), &one), ["manifest-size"]);
    assert_eq!(rules("a: &x 1\nb: *x\n<<: {}\nc: !t 1\na: 2\n", &one).len(), 5);
    let many = config_map("name: NAME");
    let many: Vec<_> = (0..=MAX_OBJECTS).map(|i| many.replace("NAME", &format!("a{i}"))).collect();
    assert_eq!(rules(&many.join("---\n"), &one), ["manifest-size"]);
}

#[test]
fn the_permission_for_cluster_scoped_objects_lifts_both_rules() {
    let all = Scope { cluster_scoped: true, ..scope(&["shop"]) };
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: mine}\n";
    let (objects, faults) = check(text, &all);
    assert_eq!((objects.len(), faults), (2, Vec::new()));
    assert_eq!(rules("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n", &all), ["object-fields"]);
}

#[test]
fn kinds_of_kubernetes_have_a_known_scope_and_others_do_not() {
    assert_eq!(kind_scope("", "Secret"), KindScope::Namespaced);
    assert_eq!(kind_scope("", "Node"), KindScope::Cluster);
    assert_eq!(kind_scope("rbac.authorization.k8s.io", "Role"), KindScope::Namespaced);
    assert_eq!(kind_scope("rbac.authorization.k8s.io", "ClusterRole"), KindScope::Cluster);
    assert_eq!(kind_scope("coordination.k8s.io", "Lease"), KindScope::Namespaced);
    assert_eq!(kind_scope("gateway.networking.k8s.io", "GatewayClass"), KindScope::Unknown);
    assert_eq!(kind_scope("acme.example", "Widget"), KindScope::Unknown);
}
