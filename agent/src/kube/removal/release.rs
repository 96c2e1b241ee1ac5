//! What makes a cluster hold objects in the cloud is deleted: Services of type LoadBalancer, then Ingresses,
//! then claims with the pods that use them; each is waited for. The cluster's own controllers delete the
//! load balancers and volumes then, which nobody else can do as well.
//!
//! Data are kept from going by accident: unless the data policy is to delete them, no claim is deleted
//! before every volume's reclaim policy is Retain. For `snapshot` the sweep takes the last snapshots and
//! deletes the volumes. What hangs is named ([`super::blockers`]), and fails the step only when it costs
//! money.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cratekube_common::domain::removal::DataPolicy;
use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::runtime::clock;
use cratekube_common::step::StepOutcome;
use serde_json::{Value, json};

use super::blockers::{self, Blocker};
use super::{all, is_going, name_of, reach, skipped, standing, text, with};
use crate::kube::api::{Api, escape};
use crate::kube::fault::ApiFault;
use crate::step::{Console, StepInput};

/// Longest wait for all objects of one kind: ten times what AWS takes for a load balancer.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Waits between two looks are parts of the patience, so that one setting makes all of it faster or slower: of
/// ten minutes, half a second at first, ten at most.
const FIRST_LOOK: u32 = 1_200;
const MOST_LOOK: u32 = 60;
/// Most names in one list of the findings.
const MOST_NAMES: usize = 2_000;
const VOLUMES: &str = "/api/v1/persistentvolumes";

/// What is deleted, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Service,
    Ingress,
    Claim,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Service, Self::Ingress, Self::Claim];

    fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Ingress => "Ingress",
            Self::Claim => "PersistentVolumeClaim",
        }
    }

    fn phase(self) -> &'static str {
        match self {
            Self::Service => "releasing load balancers of Services",
            Self::Ingress => "releasing Ingresses",
            Self::Claim => "releasing claims and their volumes",
        }
    }

    fn collection(self) -> &'static str {
        match self {
            Self::Service => "/api/v1/services",
            Self::Ingress => "/apis/networking.k8s.io/v1/ingresses",
            Self::Claim => "/api/v1/persistentvolumeclaims",
        }
    }

    fn path(self, object: &Value) -> String {
        let (root, plural) = self.collection().rsplit_once('/').unwrap_or_default();
        let metadata = &object["metadata"];
        let (namespace, name) = (escape(text(&metadata["namespace"])), escape(text(&metadata["name"])));
        format!("{root}/namespaces/{namespace}/{plural}/{name}")
    }

    fn goes(self, object: &Value) -> bool {
        self != Self::Service || object["spec"]["type"] == "LoadBalancer"
    }
}

/// A release at work.
struct Release<'a> {
    api: Api,
    policy: DataPolicy,
    patience: Duration,
    console: &'a dyn Console,
    /// What was to go, by kind: also what an earlier run of the step, or the record, had seen.
    seen: BTreeMap<Kind, BTreeSet<String>>,
    /// What the API said of an object that it did not delete, by uid.
    refused: BTreeMap<String, String>,
    pods: u64,
    /// Volumes that are kept from going with their claims.
    kept: BTreeMap<String, Value>,
    blockers: Vec<Blocker>,
    left: BTreeSet<String>,
}

/// The step.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    let policy: DataPolicy =
        input.input["policy"].as_str().and_then(|text| text.parse().ok()).unwrap_or(DataPolicy::Retain);
    console.phase(1, 4, "looking for the cluster's API");
    let api = match reach(input, console).await {
        Ok((api, _)) => api,
        Err(why) => return skipped("release", &why, console),
    };
    let mut release = Release {
        api,
        policy,
        patience: input.settings.kubernetes.ready_timeout.min(PATIENCE),
        console,
        seen: recorded(&input.input["earlier"]["record"]["kubernetes"]),
        refused: BTreeMap::new(),
        pods: 0,
        kept: BTreeMap::new(),
        blockers: Vec::new(),
        left: BTreeSet::new(),
    };
    let fault = release.perform().await.err().map(|fault| format!("the API went away: {}", fault.message()));
    fault.iter().for_each(|fault| console.line(fault));
    release.outcome(fault)
}

/// What the step *record* saw, by kind.
fn recorded(said: &Value) -> BTreeMap<Kind, BTreeSet<String>> {
    let mut seen = BTreeMap::<Kind, BTreeSet<String>>::new();
    for object in said["load_balancers"].as_array().into_iter().flatten() {
        let kind = if object["kind"] == "Ingress" { Kind::Ingress } else { Kind::Service };
        seen.entry(kind).or_default().extend(object["name"].as_str().map(str::to_owned));
    }
    let volumes = said["volumes"].as_array().into_iter().flatten();
    let claims = volumes.filter_map(|volume| volume["claim"].as_str().map(str::to_owned));
    seen.entry(Kind::Claim).or_default().extend(claims);
    seen
}

impl Release<'_> {
    async fn perform(&mut self) -> Result<(), ApiFault> {
        let mut safe = true;
        for (step, kind) in (2..).zip(Kind::ALL) {
            self.console.phase(step, 4, kind.phase());
            if kind == Kind::Claim {
                safe = self.keep_volumes().await?;
            }
            if safe {
                self.release(kind).await?;
            }
        }
        self.volumes().await
    }

    /// Deletes all objects of a kind, and waits until they are gone or patience is at its end.
    async fn release(&mut self, kind: Kind) -> Result<(), ApiFault> {
        let begun = tokio::time::Instant::now();
        let mut backoff = Backoff::new(self.patience / FIRST_LOOK, self.patience / MOST_LOOK);
        let mut told = usize::MAX;
        loop {
            let left: Vec<Value> =
                all(&self.api, kind.collection()).await?.into_iter().filter(|o| kind.goes(o)).collect();
            self.seen.entry(kind).or_default().extend(left.iter().map(name_of));
            if left.is_empty() {
                let gone = self.seen.get(&kind).map_or(0, BTreeSet::len);
                self.console.line(&format!("{gone} of kind {} are gone", kind.name()));
                return Ok(());
            }
            if begun.elapsed() >= self.patience {
                return self.blocked(kind, &left).await;
            }
            self.console.waits_for(&blockers::named(self.blockers_of(kind, &left, &[]).iter()));
            if told != left.len() {
                told = left.len();
                self.console.line(&format!(
                    "waiting: {told} of kind {} are there, for example {}",
                    kind.name(),
                    name_of(&left[0])
                ));
            }
            if kind == Kind::Claim && !self.keep_volumes().await? {
                return self.blocked(kind, &left).await;
            }
            for object in left.iter().filter(|object| !is_going(object)) {
                self.delete(&kind.path(object), object).await?;
            }
            if kind == Kind::Claim {
                self.end_users(&left).await?;
            }
            tokio::time::sleep(backoff.next(1.0)).await;
        }
    }

    /// Deletes an object, or remembers why it is not deleted.
    async fn delete(&mut self, path: &str, object: &Value) -> Result<(), ApiFault> {
        let uid = text(&object["metadata"]["uid"]);
        match self.api.delete(path, uid).await {
            Ok(_) => drop(self.refused.remove(uid)),
            // Another object has its name now: the next look sees it.
            Err(ApiFault::Refused(refusal)) if refusal.code == 409 => {}
            Err(fault @ ApiFault::Refused(_)) => drop(self.refused.insert(uid.to_owned(), fault.message().to_owned())),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Ends the pods that use claims which are going: these wait for them. What comes in their place is not
    /// started, for want of the claim.
    async fn end_users(&mut self, claims: &[Value]) -> Result<(), ApiFault> {
        let claims: BTreeSet<String> = claims.iter().map(name_of).collect();
        for pod in all(&self.api, "/api/v1/pods").await?.iter().filter(|pod| !is_going(pod)) {
            let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
            let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
            let used = volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
            if used.into_iter().any(|claim| claims.contains(&format!("{namespace}/{claim}"))) {
                let path = format!("/api/v1/namespaces/{}/pods/{}", escape(namespace), escape(name));
                self.delete(&path, pod).await?;
                self.pods += 1;
            }
        }
        Ok(())
    }

    /// Keeps volumes from going with their claims, unless they are to. False when that could not be done for
    /// all of them: then no claim may be deleted.
    async fn keep_volumes(&mut self) -> Result<bool, ApiFault> {
        if self.policy == DataPolicy::Delete {
            return Ok(true);
        }
        let mut safe = true;
        for volume in all(&self.api, VOLUMES).await? {
            if blockers::goes_with_claim(&volume) && !is_going(&volume) {
                safe &= self.retain(&volume).await?;
            }
            let spec = &volume["spec"];
            let claim = spec["claimRef"]["name"]
                .as_str()
                .map(|name| format!("{}/{name}", text(&spec["claimRef"]["namespace"])));
            self.kept.entry(name_of(&volume)).or_insert_with(
                || json!({"volume": name_of(&volume), "handle": spec["csi"]["volumeHandle"], "claim": claim}),
            );
        }
        Ok(safe)
    }

    async fn retain(&mut self, volume: &Value) -> Result<bool, ApiFault> {
        let name = name_of(volume);
        let wanted = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"persistentVolumeReclaimPolicy": "Retain"}});
        let path = format!("{VOLUMES}/{}", escape(&name));
        let why = match self.api.apply(&path, &wanted, true).await {
            Ok(after) if !blockers::goes_with_claim(&after) => return Ok(true),
            Ok(_) => "its reclaim policy is still Delete".to_owned(),
            Err(fault @ ApiFault::Refused(_)) => fault.message().to_owned(),
            Err(fault) => return Err(fault),
        };
        if self.api.get(&path).await?.is_none() {
            return Ok(true);
        }
        let why = format!("it cannot be kept from going with its claim, so that no claim is deleted: {why}");
        let blocker = Blocker::of("PersistentVolume", volume, true, Some(&why), clock::system().now());
        if !self.blockers.iter().any(|known| known.name == blocker.name && known.kind == blocker.kind) {
            self.blockers.push(blocker);
        }
        Ok(false)
    }

    /// Notes what is still there.
    async fn blocked(&mut self, kind: Kind, left: &[Value]) -> Result<(), ApiFault> {
        let volumes = if kind == Kind::Claim { all(&self.api, VOLUMES).await? } else { Vec::new() };
        let found = self.blockers_of(kind, left, &volumes);
        self.blockers.extend(found);
        self.left.extend(left.iter().map(|object| format!("{} {}", kind.name(), name_of(object))));
        Ok(())
    }

    fn blockers_of(&self, kind: Kind, left: &[Value], volumes: &[Value]) -> Vec<Blocker> {
        let now = clock::system().now();
        let blocker = |object: &Value| {
            let costs = match kind {
                Kind::Service => blockers::service_costs(object),
                Kind::Ingress => blockers::ingress_costs(object),
                Kind::Claim => {
                    let volume =
                        volumes.iter().find(|volume| volume["metadata"]["name"] == object["spec"]["volumeName"]);
                    volume.is_some_and(|volume| blockers::volume_costs(volume, self.policy))
                }
            };
            let why = self.refused.get(text(&object["metadata"]["uid"])).map(String::as_str);
            Blocker::of(kind.name(), object, costs, why, now)
        };
        left.iter().map(blocker).collect()
    }

    /// Waits for volumes that go with their claims.
    async fn volumes(&mut self) -> Result<(), ApiFault> {
        let begun = tokio::time::Instant::now();
        let mut backoff = Backoff::new(self.patience / FIRST_LOOK, self.patience / MOST_LOOK);
        loop {
            let going: Vec<Value> =
                all(&self.api, VOLUMES).await?.into_iter().filter(|v| self.is_released(v)).collect();
            if going.is_empty() {
                return Ok(());
            }
            let now = clock::system().now();
            let why = "its claim is gone, and nobody in the cluster deletes it";
            let blocker = |volume: &Value| Blocker::of("PersistentVolume", volume, true, Some(why), now);
            let left: Vec<Blocker> = going.iter().map(blocker).collect();
            if begun.elapsed() >= self.patience {
                self.blockers.extend(left);
                return Ok(());
            }
            self.console.waits_for(&blockers::named(left.iter()));
            tokio::time::sleep(backoff.next(1.0)).await;
        }
    }

    /// Whether a volume is to go, and its claim is gone already.
    fn is_released(&self, volume: &Value) -> bool {
        let claim = &volume["spec"]["claimRef"];
        let claim = format!("PersistentVolumeClaim {}/{}", text(&claim["namespace"]), text(&claim["name"]));
        let claimed = volume["spec"]["claimRef"]["name"].is_string() && !self.left.contains(&claim);
        claimed && blockers::goes_with_claim(volume) && blockers::volume_costs(volume, self.policy)
    }

    fn outcome(self, fault: Option<String>) -> StepOutcome {
        let failure = blockers::failure(&self.blockers);
        let mut warnings = blockers::warnings(&self.blockers);
        warnings.extend(fault.iter().map(|fault| format!("the cluster was not wholly released: {fault}")));
        let mut not_listed = 0;
        let mut names = |kind: Kind| -> Vec<String> {
            let seen = self.seen.get(&kind).into_iter().flatten();
            let gone: Vec<_> =
                seen.filter(|name| !self.left.contains(&format!("{} {name}", kind.name()))).cloned().collect();
            not_listed += gone.len().saturating_sub(MOST_NAMES);
            gone.into_iter().take(MOST_NAMES).collect()
        };
        // Without the API nobody knows what is gone.
        let deleted = if fault.is_some() {
            Value::Null
        } else {
            json!({"services": names(Kind::Service), "ingresses": names(Kind::Ingress), "claims": names(Kind::Claim),
                "pods": self.pods})
        };
        let listed = |len: usize| len.saturating_sub(MOST_NAMES);
        not_listed += listed(self.kept.len()) + listed(self.blockers.len());
        let kept: Vec<_> = self.kept.into_values().take(MOST_NAMES).collect();
        let blockers: Vec<_> = self.blockers.into_iter().take(MOST_NAMES).collect();
        let mut faults: Vec<String> = fault.into_iter().collect();
        if !blockers.is_empty() {
            faults.push(format!("{} objects of the cluster are still there", blockers.len()));
        }
        let more = json!({
            "policy": self.policy, "deleted": deleted, "kept": kept, "blockers": blockers, "not_listed": not_listed,
        });
        StepOutcome { failure, warnings, findings: with(standing(&faults), more) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_one_path_each_and_only_services_with_load_balancers_go() {
        let object = json!({"metadata": {"name": "a:b", "namespace": "n"}, "spec": {"type": "ClusterIP"}});
        let paths = Kind::ALL.map(|kind| kind.path(&object));
        assert_eq!(
            paths,
            [
                "/api/v1/namespaces/n/services/a%3Ab",
                "/apis/networking.k8s.io/v1/namespaces/n/ingresses/a%3Ab",
                "/api/v1/namespaces/n/persistentvolumeclaims/a%3Ab",
            ]
        );
        assert_eq!(Kind::ALL.map(|kind| kind.goes(&object)), [false, true, true]);
    }

    #[test]
    fn what_was_recorded_counts_as_seen() {
        let said = json!({"load_balancers": [{"kind": "Service", "name": "n/a"}, {"kind": "Ingress", "name": "n/b"}],
            "volumes": [{"claim": "n/c"}, {"claim": null}]});
        let seen: Vec<_> =
            recorded(&said).into_iter().map(|(kind, names)| (kind, names.into_iter().collect())).collect();
        let one = |name: &str| vec![name.to_owned()];
        assert_eq!(seen, [(Kind::Service, one("n/a")), (Kind::Ingress, one("n/b")), (Kind::Claim, one("n/c"))]);
        assert_eq!(recorded(&Value::Null).len(), 1);
    }
}
