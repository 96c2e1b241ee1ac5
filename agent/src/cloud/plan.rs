//! What goes and what stays: decided from a scan, from who the cluster is and from the data policy.

use std::collections::BTreeSet;

use cratekube_common::domain::removal::{Cents, CloudKind, CloudObject, DataPolicy, Entry, Fate, KeptCause, Proof};

use super::belonging::{Claims, Identity, Standing, standing};
use super::price::Prices;
use super::{CloudFault, CloudSweeper, LOOKED_FOR, TAG_CLUSTER, order};

/// What a look at the cloud showed.
#[derive(Debug, Default)]
pub struct Scan {
    /// Every object of the kinds that a cluster leaves behind, whoever made it.
    pub objects: Vec<CloudObject>,
    /// Kinds that could not be read, with the reason.
    pub faults: Vec<(CloudKind, CloudFault)>,
}

impl Scan {
    /// Looks at the cloud. A kind that cannot be read is a fault of the scan; the others are read.
    pub async fn of(cloud: &dyn CloudSweeper, identity: &Identity) -> Self {
        let mut scan = Self::default();
        for kind in LOOKED_FOR {
            match cloud.list(kind).await {
                Ok(found) => scan.objects.extend(found),
                Err(fault @ CloudFault::NoCredentials(_)) => {
                    scan.faults.push((kind, fault));
                    return scan;
                }
                Err(fault) => scan.faults.push((kind, fault)),
            }
        }
        scan.listeners(cloud, identity).await;
        scan
    }

    async fn listeners(&mut self, cloud: &dyn CloudSweeper, identity: &Identity) {
        let mine = |object: &&CloudObject| {
            object.kind == CloudKind::LoadBalancer && matches!(standing(object, identity), Standing::Belongs(_))
        };
        let mut found = Vec::new();
        for whole in self.objects.iter().filter(mine) {
            match cloud.parts(whole).await {
                Ok(parts) => found.extend(parts),
                Err(fault) => self.faults.push((CloudKind::Listener, fault)),
            }
        }
        self.objects.extend(found);
    }

    /// Why not all of the cloud could be looked at; none when it could. One sentence, each reason once.
    #[must_use]
    pub fn blind_spots(&self) -> Option<String> {
        let reasons: BTreeSet<String> = self
            .faults
            .iter()
            .map(|(kind, fault)| match fault {
                CloudFault::NoCredentials(_) => fault.to_string(),
                _ => format!("{kind}: {fault}"),
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// True when objects of this kind could all be read.
    #[must_use]
    pub fn saw(&self, kind: CloudKind) -> bool {
        let blind = |fault: &CloudFault| matches!(fault, CloudFault::NoCredentials(_));
        !self.faults.iter().any(|(faulty, fault)| *faulty == kind || blind(fault))
    }
}

/// An object that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The object.
    pub object: CloudObject,
    /// Why it is held to belong to the cluster.
    pub proof: Proof,
    /// What it costs in a month.
    pub cents: Cents,
}

/// What goes and what stays.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What goes, in the order in which it goes.
    pub go: Vec<Doomed>,
    /// What stays although it has to do with the cluster, with the reason.
    pub keep: Vec<Entry>,
    /// The instances that are the cluster's.
    pub instances: BTreeSet<String>,
}

/// A cluster whose objects are decided on.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// How it is known in the cloud.
    pub identity: &'a Identity,
    /// Its id, as its last snapshots carry it.
    pub cluster: &'a str,
    /// What becomes of volumes and snapshots.
    pub policy: DataPolicy,
    /// Ids of objects that were its own and may be gone: what hangs on them stands near it still.
    pub once: &'a BTreeSet<String>,
}

/// Decides what goes and what stays.
#[must_use]
pub fn plan(scan: &Scan, subject: Subject<'_>, prices: &Prices) -> Plan {
    let Subject { identity, cluster, policy, once } = subject;
    let standings: Vec<_> = scan.objects.iter().map(|object| (object, standing(object, identity))).collect();
    let ours = |kind: Option<CloudKind>| -> BTreeSet<String> {
        let belongs = standings.iter().filter(|(_, s)| matches!(s, Standing::Belongs(_)));
        belongs.filter(|(o, _)| kind.is_none_or(|k| k == o.kind)).map(|(o, _)| o.id.clone()).collect()
    };
    let (mine, groups) = (&ours(None) | once, ours(Some(CloudKind::SecurityGroup)));
    let mut plan = Plan { instances: ours(Some(CloudKind::Instance)), ..Plan::default() };
    for (object, standing) in standings {
        let cents = prices.monthly(object);
        let decided = match standing {
            Standing::Belongs(proof) => match spared(object, policy) {
                None => Err(proof),
                Some((cause, why)) => Ok((Some(proof), cause, why)),
            },
            Standing::Unproven(cause, why) => Ok((None, cause, why)),
            Standing::Foreign => match stranger(object, &mine, &groups, cluster) {
                None => continue,
                Some(decided) => decided.map(|(cause, why)| (None, cause, why)),
            },
        };
        match decided {
            Err(proof) => plan.go.push(Doomed { object: object.clone(), proof, cents }),
            Ok((proof, cause, why)) => plan.keep.push(Entry {
                fate: Fate::Kept,
                cause: Some(cause),
                why: Some(why),
                ..Entry::of(object, proof, cents)
            }),
        }
    }
    order::sort(&mut plan.go, |doomed| &doomed.object);
    plan
}

/// Why an object that belongs to the cluster is kept all the same.
fn spared(object: &CloudObject, policy: DataPolicy) -> Option<(KeptCause, String)> {
    let data = |keep: bool, what: &str| {
        keep.then(|| (KeptCause::Policy, format!("{what} are kept, as the data policy {policy} says")))
    };
    match object.kind {
        CloudKind::Instance => Some((KeptCause::Instance, "machines are never deleted here".into())),
        _ if object.goes_with_instance => {
            let instance = object.attached_to.first().map_or("its instance", String::as_str);
            Some((KeptCause::GoesWithInstance, format!("it goes together with {instance}")))
        }
        CloudKind::Volume => data(policy == DataPolicy::Retain, "volumes"),
        CloudKind::Snapshot => data(policy != DataPolicy::Delete, "snapshots"),
        _ => None,
    }
}

/// What becomes of an object that says nothing of this cluster: it may be a part of one of its objects, or
/// stand so near that a person should know of it.
fn stranger(
    object: &CloudObject,
    mine: &BTreeSet<String>,
    groups: &BTreeSet<String>,
    cluster: &str,
) -> Option<Result<(KeptCause, String), Proof>> {
    let near = object.attached_to.iter().find(|id| mine.contains(*id));
    match object.kind {
        CloudKind::Listener => near.map(|whole| Err(Proof::PartOf { id: whole.clone() })),
        CloudKind::SecurityGroupRule => {
            let (holder, named) = (object.attached_to.first()?, object.attached_to.get(1)?);
            (holder != named && groups.contains(named)).then(|| Err(Proof::PartOf { id: named.clone() }))
        }
        CloudKind::Snapshot if object.tag(TAG_CLUSTER) == Some(cluster) => {
            Some(Ok((KeptCause::Policy, "it is the last snapshot of a volume, taken by a removal".into())))
        }
        _ => near.filter(|_| Claims::of(object).silent()).map(|near| {
            if object.goes_with_instance {
                return Ok((KeptCause::GoesWithInstance, format!("it goes together with {near}")));
            }
            Ok((KeptCause::NoProof, format!("it hangs on {near}, which is the cluster's, but nothing says that it is")))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::{object, tagged};
    use cratekube_common::domain::removal::CloudRecord;

    const MINE: &[(&str, &str)] = &[("kubernetes.io/cluster/web", "owned")];

    fn decide(objects: Vec<CloudObject>, policy: DataPolicy) -> Plan {
        let scan = Scan { objects, faults: Vec::new() };
        let names = ["web".to_owned()].into();
        let cluster = uuid::Uuid::from_u128(7).into();
        let identity = Identity::new(cluster, &names, &CloudRecord::default());
        let once = ["vol-gone".to_owned()].into();
        let subject = Subject { identity: &identity, cluster: &cluster.to_string(), policy, once: &once };
        plan(&scan, subject, &Prices::load(None).unwrap())
    }

    fn going(plan: &Plan) -> Vec<&str> {
        plan.go.iter().map(|doomed| doomed.object.id.as_str()).collect()
    }

    fn kept(plan: &Plan) -> Vec<(&str, KeptCause)> {
        plan.keep.iter().map(|entry| (entry.id.as_str(), entry.cause.unwrap())).collect()
    }

    fn on(object: CloudObject, holders: &[&str]) -> CloudObject {
        CloudObject { attached_to: holders.iter().map(|&h| h.to_owned()).collect(), ..object }
    }

    #[test]
    fn machines_and_what_goes_with_them_are_never_deleted() {
        let plan = decide(
            vec![
                tagged(CloudKind::Instance, "i-1", MINE),
                CloudObject { goes_with_instance: true, ..on(tagged(CloudKind::Volume, "vol-root", MINE), &["i-1"]) },
                CloudObject { goes_with_instance: true, ..on(object(CloudKind::NetworkInterface, "eni-0"), &["i-1"]) },
                on(tagged(CloudKind::Volume, "vol-data", MINE), &["i-1"]),
            ],
            DataPolicy::Delete,
        );
        assert_eq!(going(&plan), ["vol-data"]);
        use KeptCause::{GoesWithInstance, Instance};
        assert_eq!(kept(&plan), [("i-1", Instance), ("vol-root", GoesWithInstance), ("eni-0", GoesWithInstance)]);
        assert_eq!(plan.instances, ["i-1".to_owned()].into());
    }

    #[test]
    fn the_data_policy_decides_over_volumes_and_snapshots_and_nothing_else() {
        let objects = || {
            vec![
                tagged(CloudKind::Snapshot, "snap-1", MINE),
                tagged(CloudKind::Volume, "vol-1", MINE),
                tagged(CloudKind::ClassicLoadBalancer, "elb", MINE),
            ]
        };
        assert_eq!(going(&decide(objects(), DataPolicy::Delete)), ["elb", "vol-1", "snap-1"]);
        assert_eq!(going(&decide(objects(), DataPolicy::Snapshot)), ["elb", "vol-1"]);
        assert_eq!(going(&decide(objects(), DataPolicy::Retain)), ["elb"]);
        let kept = decide(objects(), DataPolicy::Retain).keep;
        assert!(kept.iter().all(|entry| entry.cause == Some(KeptCause::Policy) && entry.proof.is_some()));
        let last = tagged(CloudKind::Snapshot, "snap-9", &[(TAG_CLUSTER, &uuid::Uuid::from_u128(7).to_string())]);
        let plan = decide(vec![last], DataPolicy::Delete);
        assert_eq!((plan.go.len(), plan.keep[0].cause), (0, Some(KeptCause::Policy)), "a last snapshot is kept always");
    }

    #[test]
    fn rules_that_name_a_group_of_the_cluster_go_with_it_and_no_others() {
        let rule = |id, holder, named| on(object(CloudKind::SecurityGroupRule, id), &[holder, named]);
        let plan = decide(
            vec![
                tagged(CloudKind::SecurityGroup, "sg-mine", MINE),
                tagged(CloudKind::SecurityGroup, "sg-shared", &[("kubernetes.io/cluster/web", "shared")]),
                rule("r-names-mine", "sg-nodes", "sg-mine"),
                rule("r-in-mine", "sg-mine", "sg-nodes"),
                rule("r-self", "sg-mine", "sg-mine"),
                rule("r-foreign", "sg-nodes", "sg-shared"),
            ],
            DataPolicy::Delete,
        );
        assert_eq!(going(&plan), ["r-names-mine", "sg-mine"]);
        assert_eq!(plan.go[0].proof, Proof::PartOf { id: "sg-mine".into() });
    }

    #[test]
    fn what_hangs_on_the_clusters_objects_without_a_tag_is_named_and_kept() {
        let plan = decide(
            vec![
                tagged(CloudKind::Volume, "vol-1", MINE),
                on(object(CloudKind::Snapshot, "snap-plain"), &["vol-1"]),
                on(object(CloudKind::Snapshot, "snap-gone"), &["vol-gone"]),
                on(tagged(CloudKind::Snapshot, "snap-theirs", &[("kubernetes.io/cluster/b", "owned")]), &["vol-1"]),
                on(object(CloudKind::Snapshot, "snap-elsewhere"), &["vol-2"]),
            ],
            DataPolicy::Delete,
        );
        assert_eq!(
            (going(&plan), kept(&plan)),
            (vec!["vol-1"], vec![("snap-plain", KeptCause::NoProof), ("snap-gone", KeptCause::NoProof)])
        );
    }
}
