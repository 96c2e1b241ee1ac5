//! Nothing new is created: Services of type LoadBalancer, Ingresses and claims are denied, and what makes
//! machines or snapshots by itself is scaled to nothing.
//!
//! A quota of nothing in every namespace denies on every version of Kubernetes; where the cluster has
//! admission policies, two of these hold in namespaces, too, that are made later. That it is denied is
//! tried, by dry runs. What deletes load balancers and volumes goes on running: [`super::release`] needs
//! it. All of it is applied under one field manager, so that doing it again changes nothing.

use std::time::Duration;

use cratekube_common::step::StepOutcome;
use serde_json::{Value, json};

use super::{FIELD_MANAGER, all, in_time, is_going, name_of, reach, skipped, standing, text, with};
use crate::kube::api::{Api, escape};
use crate::kube::basics::MANAGED_BY;
use crate::kube::fault::ApiFault;
use crate::kube::kinds::Kinds;
use crate::step::{Console, StepInput};

/// Name of everything that freezes.
pub(super) const NAME: &str = "cratekube-removal";
/// Says how many replicas a workload had.
const REPLICAS_BEFORE: &str = "cratekube.io/replicas-before-removal";
/// A part of the image's path of workloads that make machines or snapshots by themselves.
const MAKERS: [&str; 3] = ["cluster-autoscaler", "karpenter", "velero"];
const POLICY_KIND: &str = "ValidatingAdmissionPolicy";
pub(super) const POLICY_GROUP: &str = "admissionregistration.k8s.io";
/// Tries of a dry run: a policy holds a moment after it is there.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Debug, Default)]
struct Frozen {
    policies: Vec<String>,
    namespaces: usize,
    scaled_down: Vec<Value>,
    faults: Vec<String>,
}

/// The step. It never fails a removal: what it could not do is in its findings.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    console.phase(1, 3, "looking for the cluster's API");
    let (api, namespaces) = match reach(input, console).await {
        Ok(reached) => reached,
        Err(why) => return skipped("freeze", &why, console),
    };
    let mut frozen = Frozen::default();
    console.phase(2, 3, "denying what makes objects in the cloud");
    let work = async {
        // In this order: by the quotas it is known that a cluster is frozen.
        frozen.deny_in(&api, &namespaces, console).await;
        frozen.deny_everywhere(&api).await;
        frozen.prove(&api).await;
        console.phase(3, 3, "scaling down what makes them by itself");
        frozen.scale_down(&api, console).await;
    };
    if let Err(late) = in_time(input, work).await {
        frozen.faults.push(late);
    }
    let how = if frozen.policies.is_empty() { "" } else { " and by policies everywhere" };
    console.line(&format!("load balancers, ingresses and claims are denied in {} namespaces{how}", frozen.namespaces));
    frozen.faults.iter().for_each(|fault| console.line(&format!("not frozen: {fault}")));
    frozen.outcome()
}

impl Frozen {
    fn note(&mut self, doing: &str, fault: &ApiFault) {
        self.faults.push(format!("could not {doing}: {}", fault.message()));
    }

    async fn deny_everywhere(&mut self, api: &Api) {
        let kinds = Kinds::of(api);
        for version in ["v1", "v1beta1"] {
            let api_version = format!("{POLICY_GROUP}/{version}");
            match kinds.find(&api_version, POLICY_KIND).await {
                Ok(None) => {}
                Ok(Some(_)) => return self.apply_policies(api, &api_version).await,
                Err(fault) => return self.note("ask for admission policies", &fault),
            }
        }
    }

    async fn apply_policies(&mut self, api: &Api, api_version: &str) {
        for (name, rules, expression) in policies() {
            let metadata = json!({"name": name, "labels": {MANAGED_BY: "cratekube"}});
            let policy = json!({
                "apiVersion": api_version, "kind": POLICY_KIND, "metadata": metadata,
                "spec": {
                    "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules},
                    "validations": [{"expression": expression, "message": "this cluster is being removed"}],
                },
            });
            let binding = json!({
                "apiVersion": api_version, "kind": format!("{POLICY_KIND}Binding"), "metadata": metadata,
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            });
            let root = format!("/apis/{api_version}");
            let policy = api.apply(&format!("{root}/validatingadmissionpolicies/{name}"), &policy, true).await;
            let bound = match policy {
                Ok(_) => api.apply(&format!("{root}/validatingadmissionpolicybindings/{name}"), &binding, true).await,
                refused => refused,
            };
            match bound {
                Ok(_) => self.policies.push(name),
                Err(fault) => self.note(&format!("apply the admission policy {name}"), &fault),
            }
        }
    }

    async fn deny_in(&mut self, api: &Api, namespaces: &[Value], console: &dyn Console) {
        for namespace in namespaces.iter().filter(|namespace| !is_going(namespace)) {
            let name = text(&namespace["metadata"]["name"]);
            let path = format!("/api/v1/namespaces/{}/resourcequotas/{NAME}", escape(name));
            console.waits_for(&format!("the API's answer to a quota in namespace {name}"));
            match api.apply(&path, &quota(name), true).await {
                Ok(_) => self.namespaces += 1,
                // It went meanwhile.
                Err(fault) if fault.is_not_found() => {}
                Err(fault) => self.note(&format!("deny in namespace {name}"), &fault),
            }
        }
        console.waits_for("");
    }

    /// Tries to create each of what is denied, by dry runs.
    async fn prove(&mut self, api: &Api) {
        for (kind, path, object) in forbidden() {
            let mut tries_left = TRIES;
            let accepted = loop {
                match api.create(&format!("{path}?dryRun=All"), &object).await {
                    Ok(_) => tries_left -= 1,
                    Err(fault) if fault.is_denial() => break false,
                    Err(fault) => {
                        self.note(&format!("try whether a {kind} is denied"), &fault);
                        break false;
                    }
                }
                if tries_left == 0 {
                    break true;
                }
                tokio::time::sleep(TRY_AGAIN).await;
            };
            if accepted {
                self.faults.push(format!("a new {kind} is not denied by the cluster"));
            }
        }
    }

    async fn scale_down(&mut self, api: &Api, console: &dyn Console) {
        let deployments = match all(api, "/apis/apps/v1/deployments").await {
            Ok(deployments) => deployments,
            Err(fault) => return self.note("list the deployments", &fault),
        };
        for deployment in deployments.iter().filter(|deployment| makes(deployment)) {
            let (replicas, before) = replicas(deployment);
            if replicas == 0 && before.is_none() {
                continue;
            }
            let (name, before) = (name_of(deployment), before.unwrap_or(replicas));
            match api.apply(&path_of(deployment), &scaled(deployment, before), true).await {
                Ok(_) => {
                    console.line(&format!("deployment {name} is scaled from {before} to 0"));
                    self.scaled_down.push(json!({"kind": "Deployment", "name": name, "replicas": before}));
                }
                Err(fault) => self.note(&format!("scale down deployment {name}"), &fault),
            }
        }
    }

    fn outcome(self) -> StepOutcome {
        let warnings = self.faults.iter().map(|fault| format!("the cluster is not wholly frozen: {fault}")).collect();
        let denied = json!({
            "kinds": ["Service of type LoadBalancer", "Ingress", "PersistentVolumeClaim"],
            "by_policies": self.policies, "by_quotas_in_namespaces": self.namespaces,
        });
        let more = json!({"denied": denied, "scaled_down": self.scaled_down, "field_manager": FIELD_MANAGER});
        StepOutcome { failure: None, warnings, findings: with(standing(&self.faults), more) }
    }
}

/// The policies: name, what they look at, what must hold. A Service that has a load balancer may still be
/// changed: whoever deletes the load balancer has to.
pub(super) fn policies() -> [(String, Value, &'static str); 2] {
    let rule = |group: &str, resources: &[&str], operations: &[&str]| json!({"apiGroups": [group], "apiVersions": ["*"], "operations": operations, "resources": resources});
    let held =
        [rule("", &["persistentvolumeclaims"], &["CREATE"]), rule("networking.k8s.io", &["ingresses"], &["CREATE"])];
    let services = [rule("", &["services"], &["CREATE", "UPDATE"])];
    let balanced = "object.spec.type != 'LoadBalancer' || (oldObject != null && oldObject.spec.type == 'LoadBalancer')";
    [
        (format!("{NAME}-claims-and-ingresses"), json!(held), "false"),
        (format!("{NAME}-load-balancers"), json!(services), balanced),
    ]
}

fn quota(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {MANAGED_BY: "cratekube"}},
        "spec": {"hard": {
            "services.loadbalancers": "0", "persistentvolumeclaims": "0", "count/ingresses.networking.k8s.io": "0",
        }},
    })
}

/// One of each that must be denied, and where it would be created.
fn forbidden() -> [(&'static str, &'static str, Value); 3] {
    let metadata = json!({"name": "cratekube-removal-probe", "namespace": "default"});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let backend = json!({"service": {"name": "none", "port": {"number": 80}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
        "spec": {"defaultBackend": backend}});
    [
        ("Service of type LoadBalancer", "/api/v1/namespaces/default/services", service),
        ("PersistentVolumeClaim", "/api/v1/namespaces/default/persistentvolumeclaims", claim),
        ("Ingress", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", ingress),
    ]
}

/// Whether a deployment makes machines or snapshots by itself, as its images say.
fn makes(deployment: &Value) -> bool {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let images = containers.into_iter().flatten().map(|container| text(&container["image"]));
    images.into_iter().any(|image| image.split(['/', ':', '@']).any(|part| MAKERS.contains(&part)))
}

/// How many replicas a workload has, and how many it had before a removal scaled it down.
pub(super) fn replicas(workload: &Value) -> (i64, Option<i64>) {
    let before = workload["metadata"]["annotations"][REPLICAS_BEFORE].as_str();
    (workload["spec"]["replicas"].as_i64().unwrap_or(1), before.and_then(|text| text.parse().ok()))
}

fn scaled(deployment: &Value, before: i64) -> Value {
    let metadata = &deployment["metadata"];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"],
            "annotations": {REPLICAS_BEFORE: before.to_string()}},
        "spec": {"replicas": 0},
    })
}

pub(super) fn path_of(deployment: &Value) -> String {
    let metadata = &deployment["metadata"];
    let (namespace, name) = (escape(text(&metadata["namespace"])), escape(text(&metadata["name"])));
    format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_image(image: &str) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [{"image": "x/pause"}, {"image": image}]}}}})
    }

    #[test]
    fn what_makes_machines_or_snapshots_is_known_by_its_image_and_nothing_by_a_name_that_begins_alike() {
        for image in [
            "registry.k8s.io/autoscaling/cluster-autoscaler:v1.28.0",
            "10.0.0.1:5000/cluster-autoscaler@sha256:00",
            "public.ecr.aws/karpenter/controller:0.37",
            "velero/velero",
        ] {
            assert!(makes(&of_image(image)), "{image}");
        }
        for image in ["rancher/coredns-coredns", "x/cluster-autoscaler-ui:1", "velero-ui/app", ""] {
            assert!(!makes(&of_image(image)), "{image}");
        }
    }

    #[test]
    fn how_many_replicas_there_were_is_kept_when_it_is_done_again() {
        let fresh = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"replicas": 3}});
        assert_eq!(replicas(&fresh), (3, None));
        let again = scaled(&fresh, 3);
        assert_eq!(replicas(&again), (0, Some(3)));
        assert_eq!(scaled(&again, 3), again);
        assert_eq!(path_of(&again), "/apis/apps/v1/namespaces/n/deployments/a");
    }
}
