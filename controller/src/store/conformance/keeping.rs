//! Housekeeping: the audit log, what is forgotten, closing.

use std::time::Duration;

use super::family;
use super::house::{House, accepted, entry};
use crate::store::{PageRequest, StoreError};

family![the_audit_log_counts_from_one_and_pages_backwards, what_has_ended_is_forgotten, a_store_that_is_closed_says_so,];

async fn the_audit_log_counts_from_one_and_pages_backwards(house: &mut House) {
    for n in 1..=5 {
        house.store.audit(entry("test", &n.to_string()), house.now()).await.unwrap();
    }
    house.reopen().await;
    house.store.audit(entry("test", "6"), house.now()).await.unwrap();
    let first = house.store.audit_entries(PageRequest { after: None, limit: 4 }).await.unwrap();
    let second = house.store.audit_entries(PageRequest { after: first.next, limit: 4 }).await.unwrap();
    let numbers: Vec<_> = first.items.iter().chain(&second.items).map(|record| record.number).collect();
    assert_eq!((numbers, second.next), (vec![6, 5, 4, 3, 2, 1], None));
    assert_eq!((second.items[1].entry.object.as_str(), second.items[1].at), ("1", house.now()));
}

async fn what_has_ended_is_forgotten(house: &mut House) {
    let mut request = house.provision("prod", "web");
    request.idempotency = house.key("ann", "k1", "d1");
    accepted(house.store.accept_provision(request).await.unwrap());
    house.token("secret", "*").await;
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 0);
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 1);
    house.clock.advance(Duration::from_secs(3_600));
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 1);
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 0);
}

async fn a_store_that_is_closed_says_so(house: &mut House) {
    house.store.ready().await.unwrap();
    house.store.close().await;
    house.store.close().await;
    let closed = |error| matches!(error, StoreError::Unavailable(_));
    assert!(closed(house.store.ready().await.unwrap_err()));
    assert!(closed(house.store.operation(house.id()).await.unwrap_err()));
    let asked = house.store.accept_provision(house.provision("prod", "web")).await;
    assert!(closed(asked.unwrap_err()));
    house.reopen().await;
    house.store.ready().await.unwrap();
    assert!(house.store.environments().await.unwrap().is_empty(), "what was refused was not done");
}
