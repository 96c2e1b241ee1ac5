//! What the cluster knows of objects in the cloud, written down while it can still be asked: load balancers
//! of Services and Ingresses, volumes behind persistent volumes, machines behind nodes. The cloud is asked
//! what it knows of them: that record is what the sweep goes by later.
//!
//! The record is kept on the volume, too, and grows with each removal that is tried: what was released by an
//! earlier try cannot be asked for any more.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cratekube_common::domain::removal::{CloudRecord, KnownToCluster};
use cratekube_common::runtime::files;
use cratekube_common::step::StepOutcome;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{all, in_time, name_of, reach, skipped, standing, text, with};
use crate::cloud;
use crate::config::KubernetesSection;
use crate::kube::admin::AdminConfig;
use crate::kube::api::Api;
use crate::step::{Console, StepInput};
use crate::volume::layout::ClusterDir;

/// Most bytes of what the cluster said, as JSON. Beyond it objects are counted and not listed.
const MOST_SAID: usize = 300 * 1024;
/// Most bytes of the cloud's record. It is what the sweep goes by: beyond it only what that needs is kept.
const MOST_RECORDED: usize = 600 * 1024;
/// Drivers of EBS volumes.
const EBS_DRIVERS: [&str; 1] = ["ebs.csi.aws.com"];
/// How the host names of load balancers end.
const AWS_NAMES: [&str; 2] = [".amazonaws.com", ".amazonaws.com.cn"];

/// What a cluster says of objects in the cloud.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// Services of type LoadBalancer, and Ingresses.
    pub(super) load_balancers: Vec<Value>,
    /// Persistent volumes.
    pub(super) volumes: Vec<Value>,
    /// Nodes.
    pub(super) nodes: Vec<Value>,
}

/// What is kept on the volume.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// True when cluster and cloud once said everything.
    complete: bool,
    cloud: CloudRecord,
}

impl Kept {
    fn path(input: &StepInput) -> PathBuf {
        ClusterDir::of_working(&input.working).removal().join("record.json")
    }

    fn read(input: &StepInput) -> io::Result<Self> {
        let bytes = files::read_optional(&Self::path(input))?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?.unwrap_or_default())
    }

    fn write(&self, input: &StepInput) -> io::Result<()> {
        let path = Self::path(input);
        path.parent().map_or(Ok(()), files::make_child)?;
        files::write_atomic(&path, &serde_json::to_vec(self)?)
    }

    /// With what was recorded now.
    fn and(self, complete: bool, newer: CloudRecord) -> Self {
        // Whether the cloud could be asked is a matter of now.
        let older = CloudRecord { unverified: None, ..self.cloud };
        Self { complete: self.complete || complete, cloud: older.with(newer) }
    }
}

/// The step. It never fails a removal: what it could not learn is in its findings.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    console.phase(1, 3, "looking for the cluster's API");
    let mut faults = Vec::new();
    let kept = Kept::read(input).unwrap_or_else(|error| {
        faults.push(format!("what was recorded before cannot be read: {error}"));
        Kept::default()
    });
    let api = match reach(input, console).await {
        Ok((api, _)) => api,
        Err(why) => {
            let outcome = skipped("record", &why, console);
            let before = json!({"kubernetes": null, "cloud": kept.cloud, "recorded_before": kept.complete});
            return StepOutcome { findings: with(outcome.findings, before), ..outcome };
        }
    };
    console.phase(2, 3, "asking the cluster");
    console.waits_for("the API's lists of services, ingresses, volumes and nodes");
    let said = in_time(input, ask(&api, &mut faults)).await;
    let said = said.unwrap_or_else(|late| {
        faults.push(late);
        Said::default()
    });
    console.waits_for("");
    console.line(&format!(
        "the cluster names {} load balancers, {} volumes and {} nodes",
        said.load_balancers.len(),
        said.volumes.len(),
        said.nodes.len()
    ));
    console.phase(3, 3, "asking the cloud");
    let cloud = cloud::steps::record_cloud(&input.settings.cloud, &said.known(), console).await;
    faults.extend(cloud.unverified.iter().cloned());
    let mut kept = kept.and(faults.is_empty(), cloud);
    slim(&mut kept.cloud);
    if let Err(error) = kept.write(input) {
        faults.push(format!("the record cannot be kept on the volume: {error}"));
    }
    let warnings = faults.iter().map(|fault| format!("not everything could be recorded: {fault}")).collect();
    let more = json!({"kubernetes": said.bounded(), "cloud": kept.cloud, "recorded_before": kept.complete});
    StepOutcome { failure: None, warnings, findings: with(standing(&faults), more) }
}

/// What a cluster says of objects in the cloud, asked once and kept nowhere.
///
/// # Errors
/// Why it was not asked, or did not say everything.
pub async fn known(
    working: &Path,
    settings: &KubernetesSection,
    ca_sha256: Option<&str>,
) -> Result<KnownToCluster, String> {
    let admin = AdminConfig::read(working).map_err(|failure| failure.message)?;
    if ca_sha256.is_some_and(|known| admin.ca_sha256().as_deref() != Some(known)) {
        return Err("the kubeconfig in the working directory is of another CA than the one on record".into());
    }
    let api = Api::new(&admin, settings).map_err(|failure| failure.message)?.once();
    let mut faults = Vec::new();
    let said = ask(&api, &mut faults).await;
    if faults.is_empty() { Ok(said.known()) } else { Err(faults.join("; ")) }
}

async fn ask(api: &Api, faults: &mut Vec<String>) -> Said {
    let mut list = async |path: &str| {
        all(api, path).await.unwrap_or_else(|fault| {
            faults.push(format!("could not list {path}: {}", fault.message()));
            Vec::new()
        })
    };
    let services = list("/api/v1/services").await;
    let ingresses = list("/apis/networking.k8s.io/v1/ingresses").await;
    let volumes = list("/api/v1/persistentvolumes").await;
    let nodes = list("/api/v1/nodes").await;
    Said::of(&services, &ingresses, &volumes, &nodes)
}

impl Said {
    /// What objects of a cluster say.
    pub(super) fn of(services: &[Value], ingresses: &[Value], volumes: &[Value], nodes: &[Value]) -> Self {
        let balanced = services.iter().filter(|service| service["spec"]["type"] == "LoadBalancer");
        let balancers = balanced.map(|object| balancer("Service", object));
        let node = |node: &Value| json!({"name": name_of(node), "provider_id": node["spec"]["providerID"]});
        Self {
            load_balancers: balancers.chain(ingresses.iter().map(|object| balancer("Ingress", object))).collect(),
            volumes: volumes.iter().map(volume).collect(),
            nodes: nodes.iter().map(node).collect(),
        }
    }

    /// What of it AWS can be asked for.
    fn known(&self) -> KnownToCluster {
        let names = self.load_balancers.iter().flat_map(|object| object["hostnames"].as_array().into_iter().flatten());
        let of_aws = |name: &&str| AWS_NAMES.iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        let ebs = |volume: &&Value| volume["driver"].is_null() || EBS_DRIVERS.contains(&text(&volume["driver"]));
        let set = |found: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> { found.map(str::to_owned).collect() };
        KnownToCluster {
            load_balancers: set(&mut names.filter_map(Value::as_str).filter(of_aws)),
            volumes: set(&mut self.volumes.iter().filter(ebs).filter_map(|volume| volume["handle"].as_str())),
            instances: set(&mut self.nodes.iter().filter_map(|node| node["provider_id"].as_str())),
        }
    }

    /// As findings: as much as there is room for, and how many more there are.
    fn bounded(mut self) -> Value {
        let (mut room, mut not_listed) = (MOST_SAID, 0);
        for list in [&mut self.volumes, &mut self.load_balancers, &mut self.nodes] {
            let before = list.len();
            list.retain(|object| {
                let bytes = bytes_of(object);
                let fits = bytes <= room;
                room -= if fits { bytes } else { room };
                fits
            });
            not_listed += before - list.len();
        }
        json!({
            "load_balancers": self.load_balancers, "volumes": self.volumes, "nodes": self.nodes,
            "not_listed": not_listed,
        })
    }
}

fn balancer(kind: &str, object: &Value) -> Value {
    let given = |field: &str| -> Vec<Value> {
        let points = object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
        points.map(|point| point[field].clone()).filter(|value| !value.is_null()).collect()
    };
    json!({"kind": kind, "name": name_of(object), "hostnames": given("hostname"), "addresses": given("ip")})
}

/// A persistent volume: what the cloud calls it is in `handle`; `driver` is null for the driver in Kubernetes
/// itself.
fn volume(object: &Value) -> Value {
    let spec = &object["spec"];
    let claim = &spec["claimRef"];
    let claimed = claim["name"].as_str().map(|name| format!("{}/{name}", text(&claim["namespace"])));
    let (driver, handle) = match spec["awsElasticBlockStore"]["volumeID"].as_str() {
        Some(id) => (Value::Null, json!(id)),
        None => (spec["csi"]["driver"].clone(), spec["csi"]["volumeHandle"].clone()),
    };
    json!({
        "name": name_of(object), "claim": claimed, "driver": driver, "handle": handle,
        "reclaim_policy": spec["persistentVolumeReclaimPolicy"], "size": spec["capacity"]["storage"],
    })
}

/// Leaves of a record that is too long what tells objects from each other, and says what that leaves out.
fn slim(record: &mut CloudRecord) {
    if bytes_of(record) <= MOST_RECORDED {
        return;
    }
    for object in &mut record.objects {
        object.tags.clear();
        object.attached_to.clear();
        (object.name, object.size_gib, object.flavour, object.state) = (None, None, None, None);
    }
    let mut room = MOST_RECORDED;
    let before = record.objects.len();
    record.objects.retain(|object| {
        room = room.saturating_sub(bytes_of(object) + 1);
        room > 0
    });
    let left_out = before - record.objects.len();
    if left_out > 0 {
        record.unverified = Some(format!("{left_out} objects that the cluster names did not fit into the record"));
    }
}

fn bytes_of(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::tagged;
    use cratekube_common::domain::removal::CloudKind;

    fn said() -> Said {
        let balancer = |kind: &str, host: &str| {
            json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"type": kind},
                "status": {"loadBalancer": {"ingress": [{"hostname": host}, {"ip": "192.0.2.1"}]}}})
        };
        let elb = "A1.eu-central-1.elb.AMAZONAWS.com";
        let csi = |driver: &str, handle: &str| json!({"driver": driver, "volumeHandle": handle});
        let claim = json!({"namespace": "n", "name": "data"});
        Said::of(
            &[balancer("LoadBalancer", elb), balancer("ClusterIP", "x.amazonaws.com")],
            &[balancer("", "web.example"), json!({"metadata": {"name": "b", "namespace": "n"}})],
            &[
                json!({"metadata": {"name": "p1"}, "spec": {"csi": csi("ebs.csi.aws.com", "vol-1"), "claimRef": claim,
                    "persistentVolumeReclaimPolicy": "Delete", "capacity": {"storage": "8Gi"}}}),
                json!({"metadata": {"name": "p2"}, "spec": {"awsElasticBlockStore": {"volumeID": "aws://z/vol-2"}}}),
                json!({"metadata": {"name": "p3"}, "spec": {"csi": csi("nfs.csi.k8s.io", "share")}}),
                json!({"metadata": {"name": "p4"}, "spec": {"hostPath": {"path": "/x"}}}),
            ],
            &[
                json!({"metadata": {"name": "node"}, "spec": {"providerID": "aws:///z/i-1"}}),
                json!({"metadata": {"name": "bare"}, "spec": {}}),
            ],
        )
    }

    #[test]
    fn what_the_cluster_names_is_written_down_and_aws_is_asked_for_what_can_be_its() {
        let said = said();
        let known = said.known();
        let set = |of: &[&str]| -> BTreeSet<String> { of.iter().map(|&one| one.to_owned()).collect() };
        assert_eq!(known.load_balancers, set(&["A1.eu-central-1.elb.AMAZONAWS.com"]));
        assert_eq!((known.volumes, known.instances), (set(&["vol-1", "aws://z/vol-2"]), set(&["aws:///z/i-1"])));
        let told = said.bounded();
        assert_eq!(told["load_balancers"].as_array().unwrap().len(), 3, "a Service without a load balancer is none");
        assert_eq!(told["load_balancers"][1]["hostnames"][0], "web.example");
        assert_eq!(
            told["volumes"][0],
            json!({"name": "p1", "claim": "n/data", "driver": "ebs.csi.aws.com",
            "handle": "vol-1", "reclaim_policy": "Delete", "size": "8Gi"})
        );
        assert_eq!((told["nodes"].as_array().unwrap().len(), &told["not_listed"]), (2, &json!(0)));
    }

    #[test]
    fn a_record_of_thousands_of_objects_fits_and_keeps_what_the_sweep_needs() {
        let object = |n: usize| tagged(CloudKind::Volume, &format!("vol-{n:017}"), &[("k", &"x".repeat(200))]);
        let mut record = CloudRecord { objects: (0..3_000).map(object).collect(), ..CloudRecord::default() };
        slim(&mut record);
        assert_eq!((record.objects.len(), record.unverified.as_deref()), (3_000, None));
        assert!(bytes_of(&record) <= MOST_RECORDED, "{}", bytes_of(&record));
        record.objects = (0..20_000).map(object).collect();
        slim(&mut record);
        assert!(bytes_of(&record) <= MOST_RECORDED + 1024 && record.unverified.is_some());
        let node = |n: usize| json!({"name": "n".repeat(100), "provider_id": format!("aws:///z/i-{n}")});
        let told = Said { nodes: (0..20_000).map(node).collect(), ..Said::default() }.bounded();
        assert!(bytes_of(&told) <= MOST_SAID + 1024 && told["not_listed"].as_u64() > Some(0));
    }
}
