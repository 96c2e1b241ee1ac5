//! Lists: by key, stable while others add, within what is allowed.

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::operation::OperationState;

use super::family;
use super::house::House;
use crate::store::{ClusterFilter, OperationFilter, PageRequest};

family![
    operations_page_newest_first_while_others_are_added,
    operations_are_filtered_by_what_is_allowed_and_asked,
    clusters_page_by_name_and_removed_ones_only_when_asked,
    agents_page_by_name,
    environments_are_counted,
    a_cursor_that_cannot_be_read_ends_the_list,
];

fn all() -> OperationFilter {
    OperationFilter { environments: vec![EnvironmentPattern::any()], ..OperationFilter::default() }
}

/// Reads a list to its end.
async fn operations(house: &House, filter: OperationFilter, limit: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = house.store.operations(filter.clone(), PageRequest { after, limit }).await.unwrap();
        assert!(page.items.len() <= limit);
        names
            .extend(page.items.into_iter().map(|operation| format!("{}/{}", operation.environment, operation.cluster)));
        after = page.next;
        if after.is_none() {
            return names;
        }
    }
}

async fn operations_page_newest_first_while_others_are_added(house: &mut House) {
    for n in 0..7 {
        house.provisioned("prod", &format!("c{n}")).await;
    }
    let first = house.store.operations(all(), PageRequest { after: None, limit: 3 }).await.unwrap();
    house.provisioned("prod", "later").await;
    let mut seen: Vec<String> = first.items.iter().map(|o| o.cluster.to_string()).collect();
    let mut after = first.next;
    while let Some(cursor) = after {
        let page = house.store.operations(all(), PageRequest { after: Some(cursor), limit: 3 }).await.unwrap();
        seen.extend(page.items.iter().map(|o| o.cluster.to_string()));
        after = page.next;
    }
    assert_eq!(seen, ["c6", "c5", "c4", "c3", "c2", "c1", "c0"]);
}

async fn operations_are_filtered_by_what_is_allowed_and_asked(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "a").await;
    for (environment, name) in [("team-a", "b"), ("team-b", "c"), ("prod", "d"), ("team-a", "e")] {
        house.provisioned(environment, name).await;
    }
    assert_eq!(operations(house, all(), 2).await, ["team-a/e", "prod/d", "team-b/c", "team-a/b", "prod/a"]);
    let teams = OperationFilter { environments: vec!["team-*".parse().unwrap()], ..OperationFilter::default() };
    assert_eq!(operations(house, teams.clone(), 1).await, ["team-a/e", "team-b/c", "team-a/b"]);
    let both = OperationFilter { environments: vec!["team-a".parse().unwrap(), "team-*".parse().unwrap()], ..all() };
    assert_eq!(operations(house, both, 2).await, ["team-a/e", "team-b/c", "team-a/b"], "named twice, shown once");
    let forbidden = OperationFilter { environment: Some("prod".parse().unwrap()), ..teams };
    assert!(operations(house, forbidden, 2).await.is_empty());
    assert!(operations(house, OperationFilter::default(), 2).await.is_empty(), "nothing is allowed");
    let prod = OperationFilter { environment: Some("prod".parse().unwrap()), ..all() };
    assert_eq!(operations(house, prod.clone(), 1).await, ["prod/d", "prod/a"]);
    let done = OperationFilter { state: Some(OperationState::Succeeded), ..all() };
    assert_eq!(operations(house, done, 5).await, ["prod/a"]);
    let queued = OperationFilter { state: Some(OperationState::Queued), ..prod };
    assert_eq!(operations(house, queued, 5).await, ["prod/d"]);
    let of_cluster = OperationFilter { cluster: Some("b".parse().unwrap()), ..all() };
    assert_eq!(operations(house, of_cluster, 5).await, ["team-a/b"]);
}

async fn clusters_page_by_name_and_removed_ones_only_when_asked(house: &mut House) {
    for name in ["b", "d", "a", "c"] {
        house.provisioned("prod", name).await;
    }
    house.provisioned("team-a", "z").await;
    house.remove("prod", "b").await;
    house.provisioned("prod", "b").await;
    house.remove("prod", "c").await;
    for (include_removed, expected) in [(false, vec!["a", "b", "d"]), (true, vec!["a", "b", "b", "c", "d"])] {
        let filter = ClusterFilter { environment: "prod".parse().unwrap(), include_removed };
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = house.store.clusters(filter.clone(), PageRequest { after, limit: 2 }).await.unwrap();
            names.extend(page.items.iter().map(|cluster| cluster.name.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(names, expected);
    }
}

async fn agents_page_by_name(house: &mut House) {
    for name in ["c", "a", "b"] {
        house.enrolled(name, "*").await;
    }
    let first = house.store.agents(PageRequest { after: None, limit: 2 }).await.unwrap();
    let second = house.store.agents(PageRequest { after: first.next, limit: 2 }).await.unwrap();
    let names: Vec<_> = first.items.iter().chain(&second.items).map(|agent| agent.name.to_string()).collect();
    assert_eq!((names, second.next), (vec!["a".into(), "b".into(), "c".into()], None));
}

async fn environments_are_counted(house: &mut House) {
    house.provisioned("team-b", "a").await;
    house.provisioned("prod", "a").await;
    house.provisioned("prod", "b").await;
    house.remove("team-b", "a").await;
    let found = house.store.environments().await.unwrap();
    let found: Vec<_> = found.iter().map(|e| (e.name.as_str(), e.clusters)).collect();
    assert_eq!(found, [("prod", 2)]);
}

async fn a_cursor_that_cannot_be_read_ends_the_list(house: &mut House) {
    house.provisioned("prod", "a").await;
    for cursor in ["", "x", "-", "a/b", "99999999999999999999", "' OR 1=1 --"] {
        let page = PageRequest { after: Some(cursor.into()), limit: 2 };
        let operations = house.store.operations(all(), page.clone()).await.unwrap();
        assert!(operations.items.is_empty() && operations.next.is_none(), "{cursor:?}");
        let filter = ClusterFilter { environment: "prod".parse().unwrap(), include_removed: true };
        assert!(house.store.clusters(filter, page.clone()).await.unwrap().items.is_empty(), "{cursor:?}");
        assert!(house.store.audit_entries(page.clone()).await.unwrap().items.is_empty(), "{cursor:?}");
        assert!(house.store.agents(page).await.unwrap().items.is_empty(), "{cursor:?}");
    }
    let nothing = house.store.operations(all(), PageRequest { after: None, limit: 0 }).await.unwrap();
    assert_eq!(nothing.items.len(), 1, "a list that never ends helps nobody");
}
