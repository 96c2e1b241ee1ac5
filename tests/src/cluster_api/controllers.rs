//! What a cluster's controllers do, at once: namespaces, workloads, volumes, load balancers.

use serde_json::{Value, json};

use super::cluster::{Cluster, Key, key};
use super::objects::has_finalizers;

const LB_FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const PVC_FINALIZER: &str = "kubernetes.io/pvc-protection";
const ALB_FINALIZER: &str = "ingress.k8s.aws/resources";
/// Who deletes the disk of a volume; the volume itself goes after it.
const DISK_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const DEFAULT_ACCOUNT: &str = "default";

impl Cluster {
    /// Acts until nothing changes.
    pub(crate) fn control(&mut self) {
        loop {
            let before = self.revision;
            self.fill_namespaces();
            self.run_workloads();
            self.make_load_balancers();
            self.make_ingresses();
            self.bind_volumes();
            self.finish_deletions();
            self.end_namespaces();
            if self.revision == before {
                return;
            }
        }
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let Some(mut object) = self.objects.get(key).cloned() else { return };
        change(&mut object);
        self.stamp(&mut object);
        self.objects.insert(key.clone(), object);
    }

    fn fill_namespaces(&mut self) {
        for key in self.find("", "namespaces", |n| n["status"].is_null()) {
            self.change(&key, |namespace| {
                namespace["status"] = json!({"phase": "Active"});
                let name = namespace["metadata"]["name"].clone();
                namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            });
        }
        for (_, _, _, name) in self.find("", "namespaces", |n| n["metadata"]["deletionTimestamp"].is_null()) {
            if self.get("", "serviceaccounts", Some(&name), DEFAULT_ACCOUNT).is_none() {
                self.put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT_ACCOUNT, "namespace": name}}));
            }
        }
    }

    /// Everything is available as soon as it is there.
    fn run_workloads(&mut self) {
        for plural in ["deployments", "statefulsets", "daemonsets"] {
            let behind = |w: &Value| w["status"]["observedGeneration"] != w["metadata"]["generation"];
            for key in self.find("apps", plural, behind) {
                self.change(&key, |workload| {
                    let wanted = workload["spec"]["replicas"].as_i64().unwrap_or(1);
                    workload["status"] = json!({
                        "observedGeneration": workload["metadata"]["generation"], "replicas": wanted,
                        "readyReplicas": wanted, "availableReplicas": wanted, "updatedReplicas": wanted,
                        "desiredNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1, "currentNumberScheduled": 1,
                    });
                });
            }
        }
    }

    fn make_load_balancers(&mut self) {
        let bare = |s: &Value| s["spec"]["type"] == "LoadBalancer" && s["status"].is_null();
        for key in self.find("", "services", bare) {
            self.serial += 1;
            let host = format!("a{:031x}-{}.eu-central-1.elb.amazonaws.com", self.serial, 1000 + self.serial);
            self.change(&key, |service| {
                service["status"] = json!({"loadBalancer": {"ingress": [{"hostname": host}]}});
                service["metadata"]["finalizers"] = json!([LB_FINALIZER]);
            });
        }
    }

    /// Load balancers of Ingresses: only where their class asks for one.
    fn make_ingresses(&mut self) {
        let bare = |i: &Value| i["spec"]["ingressClassName"] == "alb" && i["status"].is_null();
        for key in self.find("networking.k8s.io", "ingresses", bare) {
            self.serial += 1;
            let host = format!("k8s-{:08x}-{}.eu-central-1.elb.amazonaws.com", self.serial, 1000 + self.serial);
            self.change(&key, |ingress| {
                ingress["status"] = json!({"loadBalancer": {"ingress": [{"hostname": host}]}});
                ingress["metadata"]["finalizers"] = json!([ALB_FINALIZER]);
            });
        }
    }

    /// Whether a pod uses a claim.
    fn is_used(&self, claim: &Key) -> bool {
        let uses = |pod: &Value| {
            let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
            let mut claims = volumes.map(|volume| &volume["persistentVolumeClaim"]["claimName"]);
            claims.any(|name| name == claim.3.as_str())
        };
        self.list("", "pods", claim.2.as_deref()).any(uses)
    }

    fn bind_volumes(&mut self) {
        for claim in self.find("", "persistentvolumeclaims", |c| c["status"].is_null()) {
            self.serial += 1;
            let volume = format!("pvc-{:032x}", self.serial);
            let handle = format!("vol-{:017x}", self.serial);
            let wanted = self.objects[&claim].clone();
            self.put(json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
                "spec": {
                    "capacity": wanted["spec"]["resources"]["requests"], "accessModes": wanted["spec"]["accessModes"],
                    "persistentVolumeReclaimPolicy": "Delete", "storageClassName": wanted["spec"]["storageClassName"],
                    "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": handle},
                    "claimRef": {"kind": "PersistentVolumeClaim", "namespace": claim.2, "name": claim.3, "uid": wanted["metadata"]["uid"]},
                },
                "status": {"phase": "Bound"},
            }));
            self.change(&claim, |object| {
                object["spec"]["volumeName"] = json!(volume);
                object["status"] = json!({"phase": "Bound"});
                object["metadata"]["finalizers"] = json!([PVC_FINALIZER]);
            });
        }
    }

    /// Works off the finalizers of what is being deleted, and what hung on it.
    fn finish_deletions(&mut self) {
        let going: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, object)| !object["metadata"]["deletionTimestamp"].is_null() && has_finalizers(object))
            .map(|(key, _)| key.clone())
            .collect();
        for key in going {
            let used = key.1 == "persistentvolumeclaims" && self.is_used(&key);
            let known = |name: &Value| {
                [LB_FINALIZER, ALB_FINALIZER].iter().any(|known| name == known) || name == PVC_FINALIZER && !used
            };
            let mut object = self.objects[&key].clone();
            let Some(list) = object["metadata"]["finalizers"].as_array_mut() else { continue };
            let before = list.len();
            list.retain(|name| !known(name) || self.stuck.contains(name.as_str().unwrap_or_default()));
            if list.len() == before {
                continue;
            }
            let volume = object["spec"]["volumeName"].as_str().map(ToOwned::to_owned);
            if has_finalizers(&object) {
                self.change(&key, |stored| *stored = object);
            } else {
                self.objects.remove(&key);
                self.revision += 1;
            }
            if let Some(volume) = volume.filter(|_| key.1 == "persistentvolumeclaims") {
                self.reclaim(&volume);
            }
        }
    }

    fn reclaim(&mut self, volume: &str) {
        let key = key("", "persistentvolumes", None, volume);
        let deletes = self.objects.get(&key).is_some_and(|v| v["spec"]["persistentVolumeReclaimPolicy"] == "Delete");
        let deletes = deletes && !self.stuck.contains(DISK_FINALIZER);
        if deletes {
            self.objects.remove(&key);
        } else {
            self.change(&key, |volume| volume["status"] = json!({"phase": "Released"}));
        }
    }

    fn end_namespaces(&mut self) {
        for namespace in self.find("", "namespaces", |n| !n["metadata"]["deletionTimestamp"].is_null()) {
            let inside: Vec<Key> =
                self.objects.keys().filter(|key| key.2.as_deref() == Some(&*namespace.3)).cloned().collect();
            for key in &inside {
                self.remove(key);
            }
            let empty = !self.objects.keys().any(|key| key.2.as_deref() == Some(&*namespace.3));
            if empty && !has_finalizers(&self.objects[&namespace]) {
                self.objects.remove(&namespace);
                self.revision += 1;
            }
        }
    }
}
