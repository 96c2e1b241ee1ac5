//! Access to clusters that was given out.

use cratekube_common::domain::cluster::ADMIN_KUBECONFIG;
use cratekube_common::domain::run::RunOutcome;

use super::family;
use super::house::{House, entry};
use crate::store::{EventFilter, KubeconfigIssued, PageRequest};

family![an_issued_kubeconfig_is_noted_and_an_administrators_one_marks_the_cluster_through_everything];

async fn an_issued_kubeconfig_is_noted_and_an_administrators_one_marks_the_cluster_through_everything(
    house: &mut House,
) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.ready(bastion, "prod", "web").await;
    let issued = |administrators| KubeconfigIssued {
        cluster: work.cluster,
        administrators,
        detail: "role edit in shop".into(),
        audit: entry("cluster.kubeconfig", "prod/web"),
        now: house.now(),
    };
    assert!(house.store.note_kubeconfig(issued(false)).await.unwrap());
    assert!(house.cluster("prod", "web").await.conditions.is_empty());
    assert!(house.store.note_kubeconfig(issued(true)).await.unwrap());
    assert!(house.store.note_kubeconfig(issued(true)).await.unwrap());
    let missing = KubeconfigIssued { cluster: house.id(), ..issued(true) };
    assert!(!house.store.note_kubeconfig(missing).await.unwrap(), "a cluster that is not there");
    house.reopen().await;
    let request = house.change_of("prod", "web", None).await;
    house.store.accept_reconfigure(request).await.unwrap();
    let again = house.lease_one(bastion).await;
    house.start(bastion, &again).await;
    house.settle(bastion, house.report(&again, RunOutcome::Succeeded)).await;
    let conditions = house.cluster("prod", "web").await.conditions;
    assert_eq!(conditions.iter().filter(|c| c.kind == ADMIN_KUBECONFIG).count(), 1, "{conditions:?}");
    let filter = EventFilter {
        environments: vec!["*".parse().unwrap()],
        kinds: vec!["cluster.kubeconfig-issued".into()],
        ..EventFilter::default()
    };
    let events = house.store.events(0, filter, 10).await.unwrap().items;
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].detail["what"], "role edit in shop");
    let page = PageRequest { after: None, limit: 100 };
    let audit = house.store.audit_entries(page).await.unwrap().items;
    assert_eq!(audit.iter().filter(|record| record.entry.action == "cluster.kubeconfig").count(), 3);
}
