//! The small Kubernetes API, as a client sees it.

use serde_json::{Value, json};

use super::authority::Standing;
use super::cluster::Cluster;
use super::identity::User;
use super::proxy::read_query;
use super::request::Call;
use crate::rehearsal::fleet::{Fleet, LiveCluster};

fn cluster() -> Cluster {
    let config = json!({
        "kubernetesVersion": "v1.28.12-rancher1-1", "network": {"plugin": "canal"},
        "nodes": [{"address": "10.0.0.1", "role": ["controlplane", "etcd", "worker"]}],
        "services": {"kubeApi": {"podSecurityConfiguration": "restricted"}},
    });
    let live = LiveCluster { nodes: [("a".to_owned(), "10.0.0.1".to_owned())].into(), ..LiveCluster::default() };
    let standing = Standing { ca: "x".to_owned(), live, state: json!({"currentState": {"rkeConfig": config}}) };
    let mut cluster = Cluster::new(&standing);
    cluster.refresh(&standing, &Fleet::open(std::path::Path::new("/nowhere/at/all")));
    cluster
}

fn admin() -> User {
    User { name: "kube-admin".into(), groups: vec!["system:masters".into()] }
}

fn ask_as(cluster: &mut Cluster, user: User, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let apply = query.contains("fieldManager") && method == "PATCH";
    let call = Call {
        method: method.into(),
        path: path.into(),
        query: read_query(query),
        content_type: if apply { "application/apply-patch+yaml" } else { "application/merge-patch+json" }.into(),
        user_agent: "kubectl/v1".into(),
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
    };
    let reply = cluster.answer(&call, Ok(user));
    (reply.code, reply.body)
}

fn ask(cluster: &mut Cluster, method: &str, path: &str, body: &Value) -> (u16, Value) {
    ask_as(cluster, admin(), method, path, body)
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn an_applied_field_is_owned_and_another_manager_is_told_so() {
    let mut c = cluster();
    let apply = |c: &mut Cluster, manager: &str, force: bool, data: Value| {
        ask(c, "PATCH", &format!("{MAPS}/a?fieldManager={manager}&force={force}"), &config_map("a", &data))
    };
    assert_eq!(apply(&mut c, "one", false, json!({"k": "1", "l": "1"})).0, 201);
    let (code, status) = apply(&mut c, "two", false, json!({"k": "2"}));
    assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"one\" using v1: .data.k");
    assert_eq!(apply(&mut c, "two", true, json!({"k": "2"})).0, 200);
    // What a manager leaves out goes, unless another has it.
    let (_, map) = apply(&mut c, "one", false, json!({"m": "1"}));
    assert_eq!(map["data"], json!({"k": "2", "m": "1"}));
    let managers: Vec<_> =
        map["metadata"]["managedFields"].as_array().unwrap().iter().map(|e| e["manager"].clone()).collect();
    assert_eq!(managers, ["one", "two"]);
    // The same again changes nothing.
    let version = map["metadata"]["resourceVersion"].clone();
    assert_eq!(apply(&mut c, "one", false, json!({"m": "1"})).1["metadata"]["resourceVersion"], version);
    // An ordinary change takes a field over.
    ask(&mut c, "PATCH", &format!("{MAPS}/a"), &json!({"data": {"m": "3"}}));
    let (_, status) = apply(&mut c, "one", false, json!({"m": "1"}));
    assert!(status["message"].as_str().unwrap().contains("conflict with \"kubectl\""), "{status}");
}

#[test]
fn lists_come_in_pages_and_by_label() {
    let mut c = cluster();
    for i in 0..5 {
        let mut map = config_map(&format!("m{i}"), &json!({}));
        map["metadata"]["labels"] = json!({"odd": (i % 2).to_string()});
        assert_eq!(ask(&mut c, "POST", MAPS, &map).0, 201);
    }
    assert_eq!(ask(&mut c, "POST", MAPS, &config_map("m0", &json!({}))).1["reason"], "AlreadyExists");
    let (_, page) = ask(&mut c, "GET", &format!("{MAPS}?limit=3"), &Value::Null);
    assert_eq!(
        (page["items"].as_array().unwrap().len(), page["metadata"]["remainingItemCount"].as_i64()),
        (3, Some(2))
    );
    let next = page["metadata"]["continue"].as_str().unwrap().to_owned();
    let (_, page) = ask(&mut c, "GET", &format!("{MAPS}?limit=3&continue={next}"), &Value::Null);
    assert_eq!((page["items"].as_array().unwrap().len(), page["metadata"].get("continue")), (2, None));
    let (_, odd) = ask(&mut c, "GET", &format!("{MAPS}?labelSelector=odd%3D1"), &Value::Null);
    assert_eq!(odd["items"].as_array().unwrap().len(), 2);
}

#[test]
fn accounts_may_do_what_roles_say_and_tokens_end_with_them() {
    let mut c = cluster();
    let uid = c.get("", "serviceaccounts", Some("default"), "default").unwrap()["metadata"]["uid"].clone();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 60}});
    assert_eq!(ask(&mut c, "POST", path, &request).0, 422);
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let (code, issued) = ask(&mut c, "POST", path, &request);
    assert_eq!(code, 201);
    let user = c.user_of_token(issued["status"]["token"].as_str().unwrap()).unwrap();
    let (code, status) = ask_as(&mut c, user.clone(), "GET", MAPS, &Value::Null);
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "configmaps is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "v", "namespace": "default"},
        "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    c.put(binding);
    assert_eq!(ask_as(&mut c, user.clone(), "GET", MAPS, &Value::Null).0, 200);
    assert_eq!(ask_as(&mut c, user.clone(), "GET", "/api/v1/namespaces/kube-system/configmaps", &Value::Null).0, 403);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "secrets"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(ask_as(&mut c, user, "POST", path, &review).1["status"]["allowed"], false);
    ask(&mut c, "DELETE", "/api/v1/namespaces/default/serviceaccounts/default", &Value::Null);
    let again = c.get("", "serviceaccounts", Some("default"), "default").unwrap()["metadata"]["uid"].clone();
    assert_ne!(again, uid, "the controller makes a new one");
    assert!(c.user_of_token(issued["status"]["token"].as_str().unwrap()).is_err());
}

#[test]
fn claims_and_load_balancers_get_what_a_cloud_gives_and_give_it_back() {
    let mut c = cluster();
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    ask(&mut c, "POST", "/api/v1/namespaces/default/persistentvolumeclaims", &claim);
    let (_, service) = ask(&mut c, "POST", "/api/v1/namespaces/default/services", &service);
    assert!(service["status"]["loadBalancer"]["ingress"][0]["hostname"].as_str().unwrap().ends_with("amazonaws.com"));
    let handle = c.list("", "persistentvolumes", None).next().unwrap()["spec"]["csi"]["volumeHandle"].clone();
    assert!(handle.as_str().unwrap().starts_with("vol-"));
    c.stuck.insert("service.kubernetes.io/load-balancer-cleanup".into());
    let (_, going) = ask(&mut c, "DELETE", "/api/v1/namespaces/default/services/s", &Value::Null);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert!(c.get("", "services", Some("default"), "s").is_some());
    ask(&mut c, "PATCH", "/api/v1/namespaces/default/services/s", &json!({"metadata": {"finalizers": null}}));
    assert!(c.get("", "services", Some("default"), "s").is_none());
    ask(&mut c, "DELETE", "/api/v1/namespaces/default/persistentvolumeclaims/d", &Value::Null);
    assert_eq!(c.list("", "persistentvolumes", None).count(), 0);
}

#[test]
fn namespaces_take_what_is_in_them_along_and_must_be_there_first() {
    let mut c = cluster();
    let maps = "/api/v1/namespaces/shop/configmaps";
    let (code, status) = ask(&mut c, "POST", maps, &config_map("a", &json!({})));
    assert_eq!((code, status["message"].as_str()), (404, Some("namespaces \"shop\" not found")));
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    assert_eq!(ask(&mut c, "POST", "/api/v1/namespaces", &shop).0, 201);
    assert_eq!(ask(&mut c, "POST", maps, &config_map("a", &json!({}))).0, 201);
    assert!(c.get("", "serviceaccounts", Some("shop"), "default").is_some());
    ask(&mut c, "DELETE", "/api/v1/namespaces/shop", &Value::Null);
    assert_eq!(ask(&mut c, "GET", "/api/v1/namespaces/shop", &Value::Null).0, 404);
    assert_eq!(ask(&mut c, "GET", &format!("{maps}/a"), &Value::Null).0, 404);
}

#[test]
fn pods_that_the_admission_configuration_forbids_are_refused_also_in_a_dry_run() {
    let mut c = cluster();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]}});
    let (code, status) = ask(&mut c, "POST", "/api/v1/namespaces/default/pods?dryRun=All", &pod);
    assert_eq!(code, 403);
    assert!(
        status["message"].as_str().unwrap().contains("violates PodSecurity \"restricted:latest\": privileged"),
        "{status}"
    );
    assert_eq!(ask(&mut c, "POST", "/api/v1/namespaces/kube-system/pods?dryRun=All", &pod).0, 201);
    assert!(c.get("", "pods", Some("kube-system"), "p").is_none(), "a dry run stores nothing");
}

#[test]
fn a_bound_admission_policy_denies_with_its_message() {
    let mut c = cluster();
    let group = "admissionregistration.k8s.io/v1";
    c.put(json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "freeze"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["services"]}]},
        "validations": [{"expression": "!has(object.spec.type) || object.spec.type != 'LoadBalancer'", "message": "no new load balancers"}]}}));
    let service = |kind: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": kind, "ports": [{"port": 1}]}});
    let path = "/api/v1/namespaces/default/services?dryRun=All";
    assert_eq!(ask(&mut c, "POST", path, &service("LoadBalancer")).0, 201, "not bound yet");
    c.put(json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "freeze"},
        "spec": {"policyName": "freeze", "validationActions": ["Deny"]}}));
    let (code, status) = ask(&mut c, "POST", path, &service("LoadBalancer"));
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().contains("no new load balancers"), "{status}");
    assert_eq!(ask(&mut c, "POST", path, &service("ClusterIP")).0, 201);
}

#[test]
fn a_definition_is_served_a_little_later_than_it_is_stored() {
    let mut c = cluster();
    let group = "/apis/acme.example/v1";
    assert_eq!(ask(&mut c, "GET", group, &Value::Null).0, 404);
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.acme.example"},
        "spec": {"group": "acme.example", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true}]}});
    ask(&mut c, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
    assert_eq!(ask(&mut c, "GET", group, &Value::Null).0, 404);
    let (code, list) = ask(&mut c, "GET", group, &Value::Null);
    assert_eq!((code, list["resources"][0]["name"].as_str()), (200, Some("widgets")));
    let widget =
        json!({"apiVersion": "acme.example/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}});
    assert_eq!(ask(&mut c, "POST", "/apis/acme.example/v1/namespaces/default/widgets", &widget).0, 201);
}

#[test]
fn old_versions_of_an_object_are_not_written_over_new_ones() {
    let mut c = cluster();
    let (_, mut map) = ask(&mut c, "POST", MAPS, &config_map("a", &json!({"k": "1"})));
    ask(&mut c, "PATCH", &format!("{MAPS}/a"), &json!({"data": {"k": "2"}}));
    map["data"]["k"] = json!("3");
    let (code, status) = ask(&mut c, "PUT", &format!("{MAPS}/a"), &map);
    assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
    let body = json!({"preconditions": {"uid": "other"}});
    assert_eq!(ask(&mut c, "DELETE", &format!("{MAPS}/a"), &body).0, 409);
    assert_eq!(
        ask(&mut c, "GET", "/api/v1/things", &Value::Null).1["message"],
        "the server could not find the requested resource"
    );
}

#[test]
fn nodes_are_those_of_the_fleet_with_their_roles() {
    let c = cluster();
    let node = c.get("", "nodes", None, "a").unwrap();
    assert_eq!(node["metadata"]["labels"]["node-role.kubernetes.io/etcd"], "true");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.28.12");
    assert_eq!(node["status"]["conditions"][0]["status"], "Unknown", "no kubelet runs there");
}
