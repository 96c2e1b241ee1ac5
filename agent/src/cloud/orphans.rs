//! Objects that were made for clusters which are not there any more. A scan only looks.

use std::collections::BTreeMap;

use cratekube_common::domain::removal::{
    CloudObject, Entry, Fate, KeptCause, MOST_BYTES, OrphanFindings, OrphanGroup, OrphanInput, OrphanReason,
};
use cratekube_common::domain::time::Timestamp;

use super::belonging::{Claims, Identity};
use super::plan::Scan;
use super::price::Prices;
use super::{CloudSweeper, TAG_CLUSTER, TAG_REMOVAL};

/// Looks at the cloud for orphans.
pub async fn scan(cloud: &dyn CloudSweeper, input: &OrphanInput, prices: &Prices, at: Timestamp) -> OrphanFindings {
    // Nothing belongs to nobody: listeners are not asked for, they cost nothing.
    let scan = Scan::of(cloud, &Identity::default()).await;
    OrphanFindings { region: Some(cloud.region().to_owned()), ..orphans(&scan, input, prices, at) }
}

/// Which objects of a scan are orphans, by cluster.
#[must_use]
pub fn orphans(scan: &Scan, input: &OrphanInput, prices: &Prices, at: Timestamp) -> OrphanFindings {
    let mut groups = BTreeMap::<_, Vec<Entry>>::new();
    for object in &scan.objects {
        let Some((name, reason)) = whose(object, input) else { continue };
        let mut entry = Entry::of(object, None, prices.monthly(object));
        (entry.fate, entry.cause) = (Fate::Kept, (reason == OrphanReason::Nameless).then_some(KeptCause::NoProof));
        groups.entry((name.map(str::to_owned), reason)).or_default().push(entry);
    }
    let mut groups: Vec<_> = groups.into_iter().map(|((name, reason), objects)| group(name, reason, objects)).collect();
    groups.sort_by(|a, b| b.monthly_cents.cmp(&a.monthly_cents).then_with(|| a.name.cmp(&b.name)));
    let mut findings = OrphanFindings {
        region: None,
        at,
        unverified: scan.blind_spots(),
        prices: prices.name.clone(),
        monthly_cents: groups.iter().map(|group| group.monthly_cents).sum(),
        groups,
        not_listed: 0,
    };
    bound(&mut findings);
    findings
}

/// The cluster that an orphan was made for, and why it is one; none for what is no orphan. What two clusters
/// own is an orphan when both are gone.
fn whose<'a>(object: &'a CloudObject, input: &OrphanInput) -> Option<(Option<&'a str>, OrphanReason)> {
    if object.tag(TAG_REMOVAL).is_some() {
        return Some((object.tag(TAG_CLUSTER), OrphanReason::LastSnapshots));
    }
    let claims = Claims::of(object);
    let mut names = claims.owners.keys().chain(&claims.users);
    if names.any(|name| input.living.contains(*name)) {
        return None;
    }
    match claims.owners.keys().next() {
        Some(name) if input.removed.contains(*name) => Some((Some(name), OrphanReason::Removed)),
        Some(name) => Some((Some(name), OrphanReason::Unknown)),
        None if claims.made && claims.users.is_empty() && object.attached_to.is_empty() => {
            Some((None, OrphanReason::Nameless))
        }
        None => None,
    }
}

fn group(name: Option<String>, reason: OrphanReason, mut objects: Vec<Entry>) -> OrphanGroup {
    objects.sort_by(|a, b| b.monthly_cents.cmp(&a.monthly_cents).then_with(|| a.key().cmp(&b.key())));
    OrphanGroup {
        name,
        reason,
        count: u64::try_from(objects.len()).unwrap_or(u64::MAX),
        monthly_cents: objects.iter().map(|entry| entry.monthly_cents).sum(),
        oldest: objects.iter().filter_map(|entry| entry.created_at).min(),
        objects,
    }
}

/// Lists as many objects as the report has room for, the dearest groups first; all are counted.
fn bound(findings: &mut OrphanFindings) {
    let mut room = MOST_BYTES;
    for group in &mut findings.groups {
        let fits = |entry: &&Entry| {
            room = room.saturating_sub(serde_json::to_string(entry).map_or(usize::MAX, |text| text.len() + 1));
            room > 0
        };
        let listed = group.objects.iter().take_while(fits).count();
        findings.not_listed += u64::try_from(group.objects.len() - listed).unwrap_or(u64::MAX);
        group.objects.truncate(listed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::{object, tagged};
    use cratekube_common::domain::removal::CloudKind::{ClassicLoadBalancer, ElasticIp, Instance, Snapshot, Volume};

    #[test]
    fn objects_of_living_clusters_are_no_orphans_and_the_rest_is_grouped_with_age_and_cost() {
        let owned =
            |kind, id: &str, name: &str| tagged(kind, id, &[(&format!("kubernetes.io/cluster/{name}"), "owned")]);
        let old = |ms, object: CloudObject| CloudObject { created_at: Some(Timestamp::from_millis(ms)), ..object };
        let shared = &[("kubernetes.io/cluster/live", "shared"), ("kubernetes.io/cluster/dead", "owned")];
        let csi = &[("ebs.csi.aws.com/cluster", "true")];
        let objects = vec![
            owned(Volume, "vol-live", "live"),
            tagged(Volume, "vol-both", shared),
            old(9, owned(ClassicLoadBalancer, "elb", "dead")),
            old(5, owned(ElasticIp, "eip", "dead")),
            owned(Instance, "i-1", "strange"),
            CloudObject { size_gib: Some(10), ..tagged(Volume, "vol-csi", csi) },
            CloudObject { attached_to: vec!["i-2".into()], ..tagged(Volume, "vol-used", csi) },
            tagged(Snapshot, "snap", &[(TAG_REMOVAL, "op"), (TAG_CLUSTER, "id")]),
            object(Volume, "vol-plain"),
        ];
        let input = OrphanInput { living: ["live".to_owned()].into(), removed: ["dead".to_owned()].into() };
        let scan = Scan { objects, faults: Vec::new() };
        let found = orphans(&scan, &input, &Prices::load(None).unwrap(), Timestamp::from_millis(10));
        let groups: Vec<_> =
            found.groups.iter().map(|g| (g.name.as_deref(), g.reason, g.count, g.monthly_cents)).collect();
        let expected = [
            (Some("dead"), OrphanReason::Removed, 2, 2190),
            (None, OrphanReason::Nameless, 1, 80),
            (Some("id"), OrphanReason::LastSnapshots, 1, 0),
            (Some("strange"), OrphanReason::Unknown, 1, 0),
        ];
        assert_eq!(groups, expected);
        assert_eq!((found.groups[0].oldest, found.monthly_cents), (Some(Timestamp::from_millis(5)), 2270));
        assert_eq!(found.unverified, None);
    }
}
