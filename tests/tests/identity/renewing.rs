//! One certificate after the other, and what becomes of those who hold an old one.

use cratekube_agent::config::AgentConfig;
use cratekube_agent::doctor::{self, Level};
use cratekube_agent::identity::Identity;
use cratekube_agent::identity::renew::RenewError;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_tests::house::indoors::{Host, Indoors};
use serde_json::json;
use tonic::{Code, Status};

const HOUR_MS: i64 = 3_600_000;

/// What a call that is not a renewal is answered.
async fn call(host: &Host, identity: &Identity) -> anyhow::Result<Result<(), Status>> {
    Ok(host.connect(identity).await?.accepted().await.map(|_| ()))
}

async fn state(house: &Indoors, agent: &Identity) -> anyhow::Result<serde_json::Value> {
    Ok(house.admin()?.get(&format!("/v1/admin/agents/{}", agent.agent)).await?.expect(200)?.json())
}

#[tokio::test]
async fn hostile_row_38_a_renewal_does_not_touch_the_stream_and_the_old_certificate_is_replaced() -> anyhow::Result<()>
{
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    let connection = host.connect(&first).await?;
    let mut session = host.session(&connection).await?;
    house.clock.jump(17 * HOUR_MS);
    let renewed = host.renew(&first, &connection).await?;
    assert_ne!(renewed.identity.chain[0], first.chain[0]);
    assert_eq!(host.files().load()?.current, renewed.identity, "kept once it was proved");
    // The stream under the old certificate goes on: what it asks is answered.
    let unknown = "00000000-0000-0000-0000-000000000001".to_owned();
    session
        .say(Up::Decline(v1::Decline { attempt: unknown, fence: 1, reason: "x".into(), unsupported: false }))
        .await?;
    assert!(session.heard().await?.is_some());
    let now = state(&house, &first).await?;
    assert_eq!((&now["certificate"]["generation"], &now["state"]), (&json!(2), &json!("active")));
    // When it was handed over, what is left under the old one ends, and nobody is suspected.
    house.clock.jump(121_000);
    assert_eq!(session.ended().await.code(), Code::Unauthenticated);
    assert_eq!(state(&house, &first).await?["state"], "active");
    assert!(call(&host, &renewed.identity).await?.is_ok());
    house.finish().await
}

#[tokio::test]
async fn hostile_row_38_an_ended_certificate_can_be_renewed_for_a_week_and_do_nothing_else() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    assert!(call(&host, &first).await?.is_ok());
    house.clock.jump(24 * HOUR_MS + 6 * 24 * HOUR_MS);
    let connection = host.connect(&first).await?;
    let refused = connection.accepted().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("only be renewed"), "{refused}");
    let refused = host.session(&connection).await.err().map(|status| status.code());
    assert_eq!(refused, Some(Code::Unauthenticated));
    let renewed = host.renew(&first, &connection).await?;
    assert!(call(&host, &renewed.identity).await?.is_ok());
    house.clock.jump(8 * 24 * HOUR_MS + HOUR_MS);
    let before = house.counters.read().handshakes_failed;
    let late = match host.connect(&renewed.identity).await {
        Ok(connection) => connection.accepted().await.is_err(),
        Err(_) => true,
    };
    assert!(late, "after a week not even the handshake is done");
    assert_eq!(house.counters.read().handshakes_failed, before + 1);
    house.finish().await
}

#[tokio::test]
async fn where_rsa_4096_is_asked_for_authority_listeners_and_agents_have_it_and_keep_it() -> anyhow::Result<()> {
    let house = Indoors::start(json!({"pki": {"key_algorithm": "rsa-4096"}})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    let connection = host.connect(&first).await?;
    assert!(connection.accepted().await.is_ok());
    house.clock.jump(17 * HOUR_MS);
    let renewed = host.renew(&first, &connection).await?.identity;
    assert!(call(&host, &renewed).await?.is_ok());
    let shown = super::handshakes::shown(&house).await?;
    for certificate in [&first.chain, &renewed.chain, &shown].into_iter().flatten() {
        let (_, read) = x509_parser::parse_x509_certificate(certificate)?;
        let key = read.public_key().parsed()?;
        assert!(matches!(key, x509_parser::public_key::PublicKey::RSA(_)), "{}", read.subject());
        assert_eq!(key.key_size(), 4096, "{}", read.subject());
    }
    assert_eq!((first.chain.len(), renewed.chain.len(), shown.len()), (2, 2, 2), "the authority's with each");
    house.finish().await
}

#[tokio::test]
async fn hostile_row_38_the_doctor_lets_an_ended_certificate_be_renewed_and_asks_for_a_token_after_a_week()
-> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    assert!(call(&host, &first).await?.is_ok());
    let settings = json!({
        "agent": {"name": "bastion-1", "state_dir": host.path()},
        "controller": {"address": first.controller.to_string()},
        "volumes": {"paths": [house.path()]},
    });
    let config = AgentConfig::from_value(&settings)?;
    house.clock.jump(24 * HOUR_MS + 3 * 24 * HOUR_MS);
    let now = || cratekube_common::runtime::clock::TimeSource::now(&*house.clock);
    let found = doctor::controller::check(&config, &house.clock()).await;
    let of_files = doctor::host::identity(host.path(), now());
    for check in [&found[0], &of_files[0]] {
        assert_eq!(check.level, Level::Warn, "{check:?}");
        assert!(check.remedy.contains("start the agent") && !check.remedy.contains("enroll"), "{check:?}");
    }
    house.clock.jump(5 * 24 * HOUR_MS);
    let of_files = doctor::host::identity(host.path(), now());
    let found = doctor::controller::check(&config, &house.clock()).await;
    for check in [&found[0], &of_files[0]] {
        assert_eq!(check.level, Level::Fail, "{check:?}");
        assert!(check.remedy.contains("enroll --force"), "{check:?}");
    }
    house.finish().await
}

#[tokio::test]
async fn an_open_stream_ends_with_its_certificate() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let connection = host.connect(&identity).await?;
    let session = host.session(&connection).await?;
    house.clock.jump(25 * HOUR_MS);
    let ended = session.ended().await;
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    house.finish().await
}

#[tokio::test]
async fn hostile_row_35_a_copied_key_is_noticed_when_its_owner_has_renewed() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, stolen) = house.agent("bastion-1").await?;
    let connection = host.connect(&stolen).await?;
    let renewed = host.renew(&stolen, &connection).await?;
    let session = host.session(&renewed.connection).await?;
    // The thief copied the host's disk before that, and tries to renew.
    let thief = host.connect(&stolen).await?;
    let refused = host.renew(&stolen, &thief).await.unwrap_err();
    assert!(matches!(&refused, RenewError::Call(said) if said.contains("PermissionDenied")), "{refused}");
    assert_eq!(state(&house, &stolen).await?["state"], "quarantined");
    assert_eq!(
        session.ended().await.code(),
        Code::PermissionDenied,
        "the owner is cut, too: nobody can tell them apart"
    );
    assert_eq!(call(&host, &renewed.identity).await?.unwrap_err().code(), Code::PermissionDenied);
    let log = house.audit().await?;
    let alarm = log.iter().find(|entry| entry.action == "agent.quarantine").unwrap();
    assert!(alarm.detail.contains("in two places") && alarm.origin == "127.0.0.1", "{alarm:?}");
    // An admin revokes it, and the right host is enrolled anew.
    let path = format!("/v1/admin/agents/{}/revoke", stolen.agent);
    house.admin()?.post(&path, &json!({"reason": "its disk was copied"})).await?.expect(200)?;
    let anew = host.enroll(house.join_token(json!({"agent": "bastion-1"})).await?).await?;
    assert!(call(&host, &anew).await?.is_ok());
    house.finish().await
}

#[tokio::test]
async fn hostile_row_35_a_thief_who_renews_first_is_noticed_when_the_owner_comes() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, stolen) = house.agent("bastion-1").await?;
    let connection = host.connect(&stolen).await?;
    let thief = house.host("thief");
    let ahead = thief.renew(&stolen, &host.connect(&stolen).await?).await?;
    assert!(call(&thief, &ahead.identity).await?.is_ok(), "nothing can be noticed yet");
    let refused = host.renew(&stolen, &connection).await.unwrap_err();
    assert!(matches!(refused, RenewError::Call(_)), "{refused}");
    assert_eq!(call(&thief, &ahead.identity).await?.unwrap_err().code(), Code::PermissionDenied);
    house.finish().await
}

#[tokio::test]
async fn hostile_row_35_an_old_key_that_only_connects_is_noticed_after_the_handover() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, stolen) = house.agent("bastion-1").await?;
    let renewed = host.renew(&stolen, &host.connect(&stolen).await?).await?;
    assert!(call(&host, &stolen).await?.is_ok(), "calls that were on their way");
    assert_eq!(state(&house, &stolen).await?["state"], "active");
    house.clock.jump(121_000);
    assert_eq!(call(&host, &stolen).await?.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(call(&host, &renewed.identity).await?.unwrap_err().code(), Code::PermissionDenied);
    house.finish().await
}

#[tokio::test]
async fn an_agent_whose_renewal_was_answered_into_the_void_asks_again() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    let connection = host.connect(&first).await?;
    let lost = v1::RenewRequest { csr: cratekube_agent::identity::credentials::new_key("bastion-1")?.csr };
    connection.link().renew(lost).await?;
    let renewed = host.renew(&first, &connection).await?;
    assert!(call(&host, &renewed.identity).await?.is_ok());
    assert_eq!(state(&house, &first).await?["certificate"]["generation"], 2);
    house.finish().await
}

#[tokio::test]
async fn a_controller_that_wants_stronger_keys_gets_them_at_enrolment_and_at_renewal() -> anyhow::Result<()> {
    use x509_parser::prelude::parse_x509_certificate;
    let house = Indoors::start(json!({"pki": {"key_algorithm": "ecdsa-p384"}})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let renewed = host.renew(&identity, &host.connect(&identity).await?).await?;
    for identity in [&identity, &renewed.identity] {
        let (_, leaf) = parse_x509_certificate(&identity.chain[0])?;
        assert_eq!(leaf.public_key().parsed()?.key_size(), 384);
    }
    assert!(call(&host, &renewed.identity).await?.is_ok());
    house.finish().await
}
