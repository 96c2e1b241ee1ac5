//! Before anything is removed: the objects that the cluster itself names, as the cloud describes them.
//!
//! What the cluster names is the only proof for objects without tags, such as volumes that the EBS driver
//! made without a cluster's id. Its instances also tell under which name it goes in tags: that name counts
//! only when every instance carries the same one, and no other machine in the region does.

use std::collections::{BTreeMap, BTreeSet};

use cratekube_common::domain::removal::{CloudKind, CloudObject, CloudRecord, KnownToCluster};

use super::belonging::Claims;
use super::{CloudFault, CloudSweeper};

/// Looks up what a cluster named. Where the cloud cannot be asked, the record says why.
pub async fn record(cloud: &dyn CloudSweeper, known: &KnownToCluster) -> CloudRecord {
    let mut objects = BTreeMap::new();
    let kinds = [CloudKind::Instance, CloudKind::Volume, CloudKind::ClassicLoadBalancer, CloudKind::LoadBalancer];
    for kind in kinds {
        match cloud.list(kind).await {
            Ok(found) => drop(objects.insert(kind, found)),
            Err(fault) => return unverified(&fault),
        }
    }
    recorded(&objects, known)
}

fn unverified(fault: &CloudFault) -> CloudRecord {
    CloudRecord { unverified: Some(fault.to_string()), ..CloudRecord::default() }
}

/// The record, decided from lists of the cloud.
fn recorded(listed: &BTreeMap<CloudKind, Vec<CloudObject>>, known: &KnownToCluster) -> CloudRecord {
    let mut record = CloudRecord::default();
    let of = |kind| listed.get(&kind).map(Vec::as_slice).unwrap_or_default();
    let find = |kinds: &[CloudKind], wanted: &str, says: fn(&CloudObject) -> Option<&str>| {
        kinds.iter().flat_map(|&kind| of(kind)).find(|object| says(object).is_some_and(|it| it == wanted)).cloned()
    };
    let balancers = [CloudKind::ClassicLoadBalancer, CloudKind::LoadBalancer];
    let by_name: fn(&CloudObject) -> Option<&str> = |object| object.name.as_deref();
    let by_id: fn(&CloudObject) -> Option<&str> = |object| Some(&object.id);
    let wanted = known.load_balancers.iter().map(|name| (&balancers[..], host(name), by_name));
    let wanted = wanted.chain(known.volumes.iter().map(|id| (&[CloudKind::Volume][..], last(id), by_id)));
    let wanted = wanted.chain(known.instances.iter().map(|id| (&[CloudKind::Instance][..], last(id), by_id)));
    for (kinds, name, says) in wanted {
        match find(kinds, &name, says) {
            Some(object) => record.objects.push(object),
            None => drop(record.missing.insert(name)),
        }
    }
    record.tag_names = names(&record.objects, of(CloudKind::Instance)).into_iter().collect();
    record
}

/// The name under which the cluster goes in tags, when its instances are of one mind and nobody else's
/// carry it.
fn names(recorded: &[CloudObject], instances: &[CloudObject]) -> Option<String> {
    let mine: BTreeSet<&str> =
        recorded.iter().filter(|object| object.kind == CloudKind::Instance).map(|object| object.id.as_str()).collect();
    let carried = |object: &CloudObject| Claims::of(object).owners.keys().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let mut owned = recorded.iter().filter(|object| object.kind == CloudKind::Instance).map(carried);
    let name = match owned.next()?.as_slice() {
        [name] => name.clone(),
        _ => return None,
    };
    let of_one_mind = owned.all(|names| names == [name.clone()]);
    let others = instances.iter().filter(|object| !mine.contains(object.id.as_str()));
    let elsewhere = others.into_iter().any(|object| Claims::of(object).owners.contains_key(name.as_str()));
    (of_one_mind && !elsewhere).then_some(name)
}

/// A load balancer's own host name: lower case, without the prefix of its name for both kinds of IP.
fn host(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("dualstack.").unwrap_or(&name).to_owned()
}

/// The id at the end of a provider's path.
fn last(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::{object, tagged};

    fn listed(objects: Vec<CloudObject>) -> BTreeMap<CloudKind, Vec<CloudObject>> {
        let mut listed = BTreeMap::<_, Vec<_>>::new();
        for object in objects {
            listed.entry(object.kind).or_default().push(object);
        }
        listed
    }

    fn known(balancers: &[&str], volumes: &[&str], instances: &[&str]) -> KnownToCluster {
        let set = |of: &[&str]| of.iter().map(|&one| one.to_owned()).collect();
        KnownToCluster { load_balancers: set(balancers), volumes: set(volumes), instances: set(instances) }
    }

    #[test]
    fn what_the_cluster_names_is_found_by_host_name_and_by_the_end_of_a_providers_path() {
        let named = |kind, id: &str, name: &str| CloudObject { name: Some(name.into()), ..object(kind, id) };
        let cloud = listed(vec![
            named(CloudKind::ClassicLoadBalancer, "a1", "a1-7.eu-central-1.elb.amazonaws.com"),
            named(CloudKind::LoadBalancer, "arn:1", "k8s-x.elb.eu-central-1.amazonaws.com"),
            object(CloudKind::Volume, "vol-1"),
            object(CloudKind::Volume, "vol-10"),
        ]);
        let found = recorded(
            &cloud,
            &known(
                &["dualstack.A1-7.eu-central-1.elb.amazonaws.com", "k8s-x.elb.eu-central-1.amazonaws.com"],
                &["aws://eu-central-1a/vol-1", "vol-2"],
                &["aws:///eu-central-1a/i-9"],
            ),
        );
        let ids: Vec<_> = found.objects.iter().map(|object| object.id.as_str()).collect();
        assert_eq!(ids, ["a1", "arn:1", "vol-1"]);
        assert_eq!(found.missing, ["i-9".to_owned(), "vol-2".to_owned()].into());
    }

    #[test]
    fn a_name_in_tags_counts_only_when_all_instances_carry_it_and_no_other_machine_does() {
        let instance =
            |id, name: &str| tagged(CloudKind::Instance, id, &[(&format!("kubernetes.io/cluster/{name}"), "owned")]);
        let me = known(&[], &[], &["i-1", "i-2"]);
        let names = |others: Vec<CloudObject>| recorded(&listed(others), &me).tag_names;
        assert_eq!(names(vec![instance("i-1", "web"), instance("i-2", "web")]), ["web".to_owned()].into());
        assert!(names(vec![instance("i-1", "web"), instance("i-2", "b")]).is_empty(), "not of one mind");
        assert!(names(vec![instance("i-1", "web"), object(CloudKind::Instance, "i-2")]).is_empty(), "one is silent");
        let third = vec![instance("i-1", "kubernetes"), instance("i-2", "kubernetes"), instance("i-3", "kubernetes")];
        assert!(names(third).is_empty(), "another machine goes by the same name");
        assert!(names(Vec::new()).is_empty());
    }
}
