//! API keys, revocations, protection of clusters, and looking into the audit log.

use std::time::Duration;

use cratekube_common::domain::api_key::ApiKey;
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::environment::{Grant, Role};
use cratekube_common::domain::revocation::{Revocation, RevocationKind};

use super::family;
use super::house::{House, accepted, entry};
use crate::store::{
    Acceptance, ApiKeyRefusal, ApiKeyUsed, AuditFilter, NewApiKey, PageRequest, ProtectCluster, Protected, UseApiKey,
};

family![
    a_key_counts_when_it_is_shown_whole_and_its_use_is_noted,
    a_key_ends_with_its_time_and_with_its_revocation,
    a_revoked_subject_loses_its_keys_and_others_keep_theirs,
    keys_and_revocations_page_newest_first_and_outlive_a_restart,
    revocations_are_read_on_from_where_one_was,
    revocations_are_forgotten_when_no_token_can_live_and_keys_some_time_later,
    a_protected_cluster_is_not_removed_until_that_is_taken_away,
    hostile_row_78_the_audit_log_is_searched_by_what_was_asked,
    hostile_row_78_links_of_the_audit_chain_are_found_again,
];

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn key(house: &House, subject: &str, handle: &str) -> NewApiKey {
    let grants = vec![Grant { role: Role::Operator, environments: "team-*".parse().unwrap() }];
    NewApiKey {
        key: ApiKey {
            id: house.id(),
            handle: handle.into(),
            name: "pipeline".into(),
            subject: subject.into(),
            grants,
            created_at: house.now(),
            created_by: "root".into(),
            expires_at: house.now().after(DAY),
            last_used_at: None,
            revoked_at: None,
        },
        sha256: [handle.as_bytes()[0]; 32],
    }
}

async fn kept(house: &House, subject: &str, handle: &str) -> ApiKey {
    let key = key(house, subject, handle);
    for _ in 0..2 {
        house.store.keep_api_key(key.clone(), entry("api-key.create", handle)).await.unwrap();
    }
    key.key
}

async fn show(house: &House, handle: &str, byte: u8) -> ApiKeyUsed {
    let (audit, now) = (entry("token.exchange", "?"), house.now());
    let request = UseApiKey { handle: handle.into(), sha256: [byte; 32], audit, now };
    house.store.use_api_key(request).await.unwrap()
}

fn revocation(house: &House, kind: RevocationKind, value: &str) -> Revocation {
    Revocation {
        id: house.id(),
        kind,
        value: value.into(),
        made_until: house.now(),
        reason: "left".into(),
        by: "root".into(),
        at: house.now(),
        until: house.now().after(Duration::from_secs(3_600)),
    }
}

async fn revoke(house: &House, kind: RevocationKind, value: &str) -> bool {
    house.store.revoke(revocation(house, kind, value), entry("token.revoke", value)).await.unwrap()
}

async fn newest(house: &House) -> AuditEntry {
    let page = house.store.audit_entries(PageRequest { after: None, limit: 1 }).await.unwrap();
    page.items[0].entry.clone()
}

async fn a_key_counts_when_it_is_shown_whole_and_its_use_is_noted(house: &mut House) {
    let known = kept(house, "ann", "aaaaaaaa").await;
    assert_eq!(newest(house).await.action, "api-key.create");
    house.clock.advance(Duration::from_secs(5));
    let used = ApiKey { last_used_at: Some(house.now()), ..known };
    assert_eq!(show(house, "aaaaaaaa", b'a').await, ApiKeyUsed::Accepted(Box::new(used.clone())));
    let noted = newest(house).await;
    assert_eq!(
        (noted.action.as_str(), noted.actor.as_str(), noted.object),
        ("token.exchange", "ann", used.id.to_string())
    );
    assert_eq!(show(house, "aaaaaaaa", b'b').await, ApiKeyUsed::Refused(ApiKeyRefusal::Wrong));
    assert_eq!(show(house, "bbbbbbbb", b'a').await, ApiKeyUsed::Refused(ApiKeyRefusal::Unknown));
    house.reopen().await;
    let listed = house.store.api_keys(PageRequest { after: None, limit: 9 }).await.unwrap().items;
    assert_eq!(listed, [used], "kept once, and used once");
}

async fn a_key_ends_with_its_time_and_with_its_revocation(house: &mut House) {
    let first = kept(house, "ann", "aaaaaaaa").await;
    kept(house, "ann", "bbbbbbbb").await;
    assert!(revoke(house, RevocationKind::ApiKey, &first.id.to_string()).await);
    assert!(!revoke(house, RevocationKind::ApiKey, &first.id.to_string()).await, "once is enough");
    assert!(!revoke(house, RevocationKind::ApiKey, &house.id::<uuid::Uuid>().to_string()).await, "no such key");
    assert_eq!(show(house, "aaaaaaaa", b'a').await, ApiKeyUsed::Refused(ApiKeyRefusal::Revoked));
    assert!(matches!(show(house, "bbbbbbbb", b'b').await, ApiKeyUsed::Accepted(_)));
    house.clock.advance(DAY);
    assert_eq!(show(house, "bbbbbbbb", b'b').await, ApiKeyUsed::Refused(ApiKeyRefusal::Expired));
}

async fn a_revoked_subject_loses_its_keys_and_others_keep_theirs(house: &mut House) {
    kept(house, "ann", "aaaaaaaa").await;
    kept(house, "bob", "bbbbbbbb").await;
    assert!(revoke(house, RevocationKind::Subject, "ann").await);
    assert_eq!(show(house, "aaaaaaaa", b'a').await, ApiKeyUsed::Refused(ApiKeyRefusal::Revoked));
    assert!(matches!(show(house, "bbbbbbbb", b'b').await, ApiKeyUsed::Accepted(_)));
    assert!(revoke(house, RevocationKind::Before, "now").await);
    assert!(matches!(show(house, "bbbbbbbb", b'b').await, ApiKeyUsed::Accepted(_)), "tokens end, keys do not");
}

async fn keys_and_revocations_page_newest_first_and_outlive_a_restart(house: &mut House) {
    for handle in ["aaaaaaaa", "bbbbbbbb", "cccccccc"] {
        kept(house, "ann", handle).await;
        revoke(house, RevocationKind::Token, handle).await;
    }
    house.reopen().await;
    let page = |after| PageRequest { after, limit: 2 };
    let first = house.store.api_keys(page(None)).await.unwrap();
    let second = house.store.api_keys(page(first.next)).await.unwrap();
    let handles: Vec<_> = first.items.iter().chain(&second.items).map(|key| key.handle.as_str()).collect();
    assert_eq!((handles, second.next), (vec!["cccccccc", "bbbbbbbb", "aaaaaaaa"], None));
    let first = house.store.revocations(page(None)).await.unwrap();
    let second = house.store.revocations(page(first.next)).await.unwrap();
    let values: Vec<_> = first.items.iter().chain(&second.items).map(|revocation| revocation.value.as_str()).collect();
    assert_eq!((values, second.next), (vec!["cccccccc", "bbbbbbbb", "aaaaaaaa"], None));
}

async fn revocations_are_read_on_from_where_one_was(house: &mut House) {
    assert_eq!(house.store.revocations_after(0).await.unwrap(), (Vec::new(), 0));
    let one = revocation(house, RevocationKind::Token, "t-1");
    for _ in 0..2 {
        assert!(house.store.revoke(one.clone(), entry("token.revoke", "t-1")).await.unwrap());
    }
    let (found, end) = house.store.revocations_after(0).await.unwrap();
    assert_eq!(found, [one]);
    house.clock.advance(Duration::from_secs(3_601));
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 1);
    revoke(house, RevocationKind::Subject, "ann").await;
    let (found, later) = house.store.revocations_after(end).await.unwrap();
    assert_eq!((found.len(), found[0].value.as_str()), (1, "ann"), "a number is not given twice");
    assert_eq!(house.store.revocations_after(later).await.unwrap(), (Vec::new(), later));
}

async fn revocations_are_forgotten_when_no_token_can_live_and_keys_some_time_later(house: &mut House) {
    kept(house, "ann", "aaaaaaaa").await;
    revoke(house, RevocationKind::Token, "t-1").await;
    house.clock.advance(DAY);
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 1);
    house.clock.advance(29 * DAY);
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 0);
    assert_eq!(show(house, "aaaaaaaa", b'a').await, ApiKeyUsed::Refused(ApiKeyRefusal::Expired));
    house.clock.advance(2 * DAY);
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 1);
    assert_eq!(show(house, "aaaaaaaa", b'a').await, ApiKeyUsed::Refused(ApiKeyRefusal::Unknown));
}

fn protection(house: &House, name: &str, protection: bool) -> ProtectCluster {
    ProtectCluster {
        environment: "prod".parse().unwrap(),
        name: name.parse().unwrap(),
        protection,
        if_revision: None,
        audit: entry("cluster.protect", name),
        now: house.now(),
    }
}

async fn a_protected_cluster_is_not_removed_until_that_is_taken_away(house: &mut House) {
    let request = crate::store::AcceptProvision { deletion_protection: true, ..house.provision("prod", "web") };
    accepted(house.store.accept_provision(request).await.unwrap());
    assert!(house.cluster("prod", "web").await.deletion_protection);
    assert_eq!(house.remove("prod", "web").await, Acceptance::Protected);
    let stale = ProtectCluster { if_revision: Some(7), ..protection(house, "web", false) };
    assert_eq!(house.store.protect_cluster(stale).await.unwrap(), Protected::Changed(1));
    assert_eq!(house.store.protect_cluster(protection(house, "none", true)).await.unwrap(), Protected::NotFound);
    assert_eq!(newest(house).await.action, "cluster.provision", "nothing was done, nothing is recorded");
    for _ in 0..2 {
        let done = house.store.protect_cluster(protection(house, "web", false)).await.unwrap();
        assert!(matches!(&done, Protected::Done(cluster) if !cluster.deletion_protection), "{done:?}");
    }
    assert_eq!(newest(house).await.action, "cluster.protect");
    house.reopen().await;
    accepted(house.remove("prod", "web").await);
    let gone = house.store.protect_cluster(protection(house, "web", true)).await.unwrap();
    assert_eq!(gone, Protected::NotFound, "what was removed needs no protection");
}

async fn hostile_row_78_the_audit_log_is_searched_by_what_was_asked(house: &mut House) {
    let start = house.now();
    for (actor, action, object, outcome) in [
        ("ann", "a", "prod/web", AuditOutcome::Allowed),
        ("bob", "a", "prod/web", AuditOutcome::Refused),
        ("ann", "b", "prod/db", AuditOutcome::Allowed),
        ("ann", "a", "prod/db' OR 1=1 --", AuditOutcome::Allowed),
    ] {
        let entry = AuditEntry { actor: actor.into(), outcome, ..entry(action, object) };
        house.store.audit(entry, house.now()).await.unwrap();
        house.clock.advance(Duration::from_secs(1));
    }
    let find = async |filter: AuditFilter| {
        let (mut numbers, mut after) = (Vec::new(), None);
        loop {
            let page = house.store.audit_matching(filter.clone(), PageRequest { after, limit: 1 }).await.unwrap();
            numbers.extend(page.items.iter().map(|record| record.number));
            after = page.next;
            if after.is_none() {
                return numbers;
            }
        }
    };
    let all = AuditFilter::default();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(find(all.clone()).await, [4, 3, 2, 1]);
    assert_eq!(find(AuditFilter { actor: text("ann"), ..all.clone() }).await, [4, 3, 1]);
    assert_eq!(find(AuditFilter { actor: text("ann"), action: text("a"), ..all.clone() }).await, [4, 1]);
    assert_eq!(find(AuditFilter { object: text("prod/web"), ..all.clone() }).await, [2, 1]);
    assert_eq!(find(AuditFilter { object: text("prod/db' OR 1=1 --"), ..all.clone() }).await, [4]);
    assert_eq!(find(AuditFilter { outcome: Some(AuditOutcome::Refused), ..all.clone() }).await, [2]);
    let second = start.after(Duration::from_secs(1));
    assert_eq!(find(AuditFilter { since: Some(second), ..all.clone() }).await, [4, 3, 2]);
    assert_eq!(find(AuditFilter { until: Some(second), ..all }).await, [1]);
}

async fn hostile_row_78_links_of_the_audit_chain_are_found_again(house: &mut House) {
    assert_eq!(house.store.audit_link(None).await.unwrap(), None);
    for n in 1..=3 {
        house.store.audit(entry("test", &n.to_string()), house.now()).await.unwrap();
    }
    let newest = house.store.audit_link(None).await.unwrap().unwrap();
    assert_eq!((newest.number, newest.hash.len()), (3, 32));
    house.reopen().await;
    assert_eq!(house.store.audit_link(Some(3)).await.unwrap().as_ref(), Some(&newest));
    assert_eq!(house.store.audit_link(Some(4)).await.unwrap(), None);
    let page = house.store.audit_entries(PageRequest { after: None, limit: 9 }).await.unwrap();
    assert_eq!(page.items[0].hash, newest.hash);
    assert_ne!(house.store.audit_link(Some(2)).await.unwrap().unwrap().hash, newest.hash);
}
