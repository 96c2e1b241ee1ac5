//! What does not go: named with its finalizers, how long it has been going, and whether it costs money. Pure.

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::removal::DataPolicy;
use cratekube_common::domain::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{name_of, text};

/// Finalizer of a Service that has a load balancer.
const SERVICE_FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// Most blockers that a failure names; all of them are in the findings.
const NAMED: usize = 5;
/// Longest text of the cluster that is passed on.
const MOST_WORDS: usize = 300;

/// An object that should be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Blocker {
    /// Its kind.
    pub(super) kind: &'static str,
    /// `namespace/name`, or its name.
    pub(super) name: String,
    /// Finalizers that nobody has worked off.
    pub(super) finalizers: Vec<String>,
    /// How long it has been going, in seconds; none when its deletion has not begun.
    pub(super) age_s: Option<u64>,
    /// Whether something that costs money stays as long as it does.
    pub(super) costs: bool,
    /// Why it is there, as far as the cluster says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

impl Blocker {
    /// Of an object that is still there.
    pub(super) fn of(kind: &'static str, object: &Value, costs: bool, why: Option<&str>, now: Timestamp) -> Self {
        let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
        let since = object["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        Self {
            kind,
            name: name_of(object),
            finalizers: finalizers.filter_map(Value::as_str).map(bounded).collect(),
            age_s: since.map(|since| now.since(since).as_secs()),
            costs,
            why: why.map(bounded),
        }
    }

    fn told(&self) -> String {
        let mut told = format!("{} {}", self.kind, self.name);
        let mut more: Vec<String> = Vec::new();
        if !self.finalizers.is_empty() {
            more.push(format!("finalizer {}", self.finalizers.join(", ")));
        }
        more.push(match self.age_s {
            Some(age) => format!("being deleted for {age} s"),
            None => "not being deleted".into(),
        });
        more.extend(self.why.clone());
        told.push_str(&format!(" ({})", more.join("; ")));
        told
    }
}

fn bounded(words: &str) -> String {
    let one_line = |c: char| if c.is_whitespace() { ' ' } else { c };
    let words: String = words.chars().take(MOST_WORDS).map(one_line).collect();
    cratekube_common::visible::visible(&words).into_owned()
}

/// Whether a Service has, or may have, a load balancer.
pub(super) fn service_costs(service: &Value) -> bool {
    let finalizers = service["metadata"]["finalizers"].as_array();
    has_point(service) || finalizers.is_some_and(|list| list.iter().any(|name| name == SERVICE_FINALIZER))
}

/// Whether an Ingress has, or may have, a load balancer of its own: one that a controller in the cluster serves
/// has addresses of nodes and no finalizer.
pub(super) fn ingress_costs(ingress: &Value) -> bool {
    let points = ingress["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let named = points.into_iter().any(|point| point["hostname"].is_string());
    named || ingress["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

fn has_point(object: &Value) -> bool {
    object["status"]["loadBalancer"]["ingress"].as_array().is_some_and(|points| !points.is_empty())
}

/// Whether a persistent volume is a disk in a cloud that stays although it is to go.
pub(super) fn volume_costs(volume: &Value, policy: DataPolicy) -> bool {
    policy == DataPolicy::Delete && in_cloud(volume)
}

/// Whether a persistent volume is a disk that a driver made.
pub(super) fn in_cloud(volume: &Value) -> bool {
    let spec = &volume["spec"];
    spec["awsElasticBlockStore"].is_object() || spec["csi"].is_object()
}

/// Whether a persistent volume's disk goes with its claim.
pub(super) fn goes_with_claim(volume: &Value) -> bool {
    text(&volume["spec"]["persistentVolumeReclaimPolicy"]) == "Delete"
}

/// Some of them by name, and how many more there are.
pub(super) fn named<'a>(blockers: impl ExactSizeIterator<Item = &'a Blocker>) -> String {
    let more = blockers.len().saturating_sub(NAMED);
    let and = if more > 0 { format!("; and {more} more") } else { String::new() };
    let named: Vec<String> = blockers.take(NAMED).map(Blocker::told).collect();
    format!("{}{and}", named.join("; "))
}

/// The failure that blockers are which cost money; none when none does.
pub(super) fn failure(blockers: &[Blocker]) -> Option<Failure> {
    let costly: Vec<&Blocker> = blockers.iter().filter(|blocker| blocker.costs).collect();
    (!costly.is_empty()).then(|| Failure {
        class: FailureClass::Cloud,
        message: format!("the cluster does not let go of what costs money: {}", named(costly.iter().copied())),
        line: None,
        retryable: true,
        remedy: "Mend the controller in the cluster that works the finalizer off (its logs say what keeps it), then \
            retry: the release goes on where it was. Where that controller is gone for good, take the finalizer away \
            with kubectl: what is left in the cloud is swept later, by tags and by what was recorded."
            .into(),
    })
}

/// Blockers that cost nothing, as warnings.
pub(super) fn warnings(blockers: &[Blocker]) -> Vec<String> {
    let free: Vec<&Blocker> = blockers.iter().filter(|blocker| !blocker.costs).collect();
    let more = free.len().saturating_sub(NAMED);
    let mut told: Vec<String> =
        free.iter().take(NAMED).map(|blocker| format!("it is still there: {}", blocker.told())).collect();
    if more > 0 {
        told.push(format!("{more} more objects of the cluster are still there"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_costs_money_is_a_failure_with_object_finalizer_and_age_and_the_rest_a_warning() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let going = json!({"metadata": {"name": "shop", "namespace": "n", "finalizers": [SERVICE_FINALIZER],
            "deletionTimestamp": Timestamp::from_millis(1_794_999_388_000).to_string()}});
        let refused = json!({"metadata": {"name": "data", "namespace": "n"}});
        let blockers = [
            Blocker::of("Service", &going, service_costs(&going), None, now),
            Blocker::of("PersistentVolumeClaim", &refused, false, Some("denied\nby a webhook"), now),
        ];
        let failure = failure(&blockers).unwrap();
        assert_eq!((failure.class, failure.retryable), (FailureClass::Cloud, true));
        let named = "Service n/shop (finalizer service.kubernetes.io/load-balancer-cleanup; being deleted for 612 s)";
        assert!(failure.message.ends_with(named), "{}", failure.message);
        let [warning] = &warnings(&blockers)[..] else { panic!("one") };
        assert!(warning.contains("PersistentVolumeClaim n/data (not being deleted; denied"), "{warning}");
        assert!(!warning.contains('\n'));
        assert_eq!(super::failure(&blockers[1..]), None);
    }

    #[test]
    fn what_costs_money_follows_from_the_object_and_the_data_policy() {
        let ingress = |points: Value| json!({"metadata": {}, "status": {"loadBalancer": {"ingress": points}}});
        assert!(ingress_costs(&ingress(json!([{"hostname": "x.elb.amazonaws.com"}]))));
        assert!(!ingress_costs(&ingress(json!([{"ip": "10.0.0.2"}]))), "a controller on nodes costs nothing more");
        assert!(service_costs(&ingress(json!([{"ip": "192.0.2.7"}]))));
        assert!(!service_costs(&json!({"metadata": {}, "status": {"loadBalancer": {}}})));
        let disk = json!({"spec": {"csi": {"driver": "ebs.csi.aws.com"}, "persistentVolumeReclaimPolicy": "Delete"}});
        let policies = [DataPolicy::Delete, DataPolicy::Retain, DataPolicy::Snapshot];
        assert_eq!(policies.map(|policy| volume_costs(&disk, policy)), [true, false, false]);
        assert!(goes_with_claim(&disk) && !volume_costs(&json!({"spec": {"local": {}}}), DataPolicy::Delete));
    }
}
