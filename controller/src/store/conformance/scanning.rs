//! Looks for orphans in the cloud.

use std::time::Duration;

use cratekube_common::domain::id::OrphanScanId;
use cratekube_common::domain::time::Timestamp;

use super::family;
use super::house::{House, entry};
use crate::store::{BeginOrphanScan, OrphanScan, OrphanScanBegun, OrphanScanResult, PageRequest};

family![
    one_scan_is_at_work_at_a_time_and_one_of_a_controller_that_is_gone_blocks_none,
    the_newest_scans_are_kept,
    clusters_are_named_by_id_and_name_and_a_name_in_use_is_nobodys_orphan,
];

/// The controller's start, in these stories.
const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

async fn begin(house: &House) -> OrphanScanBegun {
    let request = BeginOrphanScan {
        id: house.id(),
        requested_by: Some("ann".into()),
        agent: None,
        dead_before: START,
        audit: Some(entry("orphans.scan", "all agents")),
        now: house.now(),
    };
    house.store.begin_orphan_scan(request).await.unwrap()
}

async fn begun(house: &House) -> OrphanScan {
    match begin(house).await {
        OrphanScanBegun::Begun(scan) => scan,
        OrphanScanBegun::AtWork(other) => panic!("{other} is at work"),
    }
}

async fn end(house: &House, id: OrphanScanId, fault: &str) -> bool {
    let agent = house.id();
    let result = OrphanScanResult { agent, name: "bastion-1".into(), findings: None, fault: Some(fault.into()) };
    house.store.end_orphan_scan(id, vec![result], house.now()).await.unwrap()
}

async fn one_scan_is_at_work_at_a_time_and_one_of_a_controller_that_is_gone_blocks_none(house: &mut House) {
    house.clock.advance(Duration::from_secs(1));
    let first = begun(house).await;
    assert_eq!((first.ended_at, first.results.len()), (None, 0));
    assert_eq!(begin(house).await, OrphanScanBegun::AtWork(first.id));
    house.reopen().await;
    assert!(end(house, first.id, "away").await);
    assert!(!end(house, first.id, "again").await, "it has ended");
    let kept = house.store.orphan_scan(first.id).await.unwrap().unwrap();
    assert_eq!((kept.ended_at, kept.results[0].fault.as_deref()), (Some(house.now()), Some("away")));
    let dead = BeginOrphanScan {
        id: house.id(),
        requested_by: None,
        agent: None,
        dead_before: Timestamp::from_millis(0),
        audit: None,
        now: Timestamp::from_millis(5),
    };
    house.store.begin_orphan_scan(dead.clone()).await.unwrap();
    assert!(matches!(begin(house).await, OrphanScanBegun::Begun(_)), "its controller is gone");
    let given_up = house.store.orphan_scan(dead.id).await.unwrap().unwrap();
    assert!(given_up.ended_at.is_some() && given_up.results.is_empty());
}

async fn the_newest_scans_are_kept(house: &mut House) {
    let mut ids = Vec::new();
    for _ in 0..32 {
        let scan = begun(house).await;
        end(house, scan.id, "away").await;
        ids.push(scan.id);
    }
    ids.reverse();
    let page = house.store.orphan_scans(PageRequest { after: None, limit: 100 }).await.unwrap();
    let kept: Vec<_> = page.items.iter().map(|scan| scan.id).collect();
    assert_eq!(kept, ids[..30]);
}

async fn clusters_are_named_by_id_and_name_and_a_name_in_use_is_nobodys_orphan(house: &mut House) {
    let gone = house.provisioned("prod", "gone").await.cluster_id.to_string();
    house.remove("prod", "gone").await;
    let old = house.provisioned("prod", "web").await.cluster_id.to_string();
    house.remove("prod", "web").await;
    let web = house.provisioned("prod", "web").await.cluster_id.to_string();
    let input = house.store.orphan_input().await.unwrap();
    assert_eq!(input.living, [web, "web".to_owned()].into());
    assert_eq!(input.removed, [gone, old, "gone".to_owned()].into());
}
