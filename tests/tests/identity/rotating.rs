//! What the rotation of the CA means for those who hold its certificates (row 39), one call at a time.

use cratekube_agent::identity::Identity;
use cratekube_agent::identity::credentials::{self, NewKey};
use cratekube_agent::identity::renew::RenewError;
use cratekube_proto::v1;
use cratekube_tests::house::indoors::{Host, Indoors};
use cratekube_tests::house::rest::Answer;
use serde_json::json;
use tonic::{Code, Status};

async fn step(house: &Indoors, step: &str) -> anyhow::Result<Answer> {
    house.admin()?.post(&format!("/v1/admin/ca/{step}"), &json!({"reason": "story"})).await
}

/// What a call that is not a renewal is answered.
async fn call(host: &Host, identity: &Identity) -> anyhow::Result<Result<(), Status>> {
    Ok(host.connect(identity).await?.accepted().await.map(|_| ()))
}

/// A certificate that is made and never shown: the identity that would be staged.
async fn made(host: &Host, identity: &Identity) -> anyhow::Result<Identity> {
    let NewKey { key, csr } = credentials::new_key("bastion-1")?;
    let connection = host.connect(identity).await?;
    let answer = connection.link().renew(v1::RenewRequest { csr }).await?.into_inner();
    let granted = credentials::check(&key, answer.certificate, None, &host.clock())?;
    Ok(Identity { key, chain: granted.chain, trust: granted.trust, ..identity.clone() })
}

#[tokio::test]
async fn hostile_row_39_who_is_connected_under_the_old_ca_is_cut_when_it_goes() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    let old = host.connect(&first).await?;
    let session = host.session(&old).await?;
    step(&house, "rotate").await?.expect(200)?;
    let renewed = host.renew(&first, &old).await?.identity;
    step(&house, "switch").await?.expect(200)?;
    assert!(old.accepted().await.is_ok(), "it is trusted until the end");
    step(&house, "finish").await?.expect(200)?;
    // No time has passed: the replaced certificate would be let pass while it is handed over.
    let refused = old.accepted().await.unwrap_err();
    assert!(refused.code() == Code::Unauthenticated && refused.message().contains("trusted no more"), "{refused}");
    let ended = session.ended().await;
    assert!(ended.code() == Code::Unauthenticated && ended.message().contains("trusted no more"), "{ended}");
    assert!(call(&host, &renewed).await?.is_ok());
    let agent = house.admin()?.get(&format!("/v1/admin/agents/{}", first.agent)).await?.expect(200)?.json();
    assert_eq!(agent["state"], "active", "nobody is suspected: {agent:#}");
    house.finish().await
}

#[tokio::test]
async fn hostile_row_39_a_certificate_of_the_ca_that_goes_does_not_take_the_place_of_one_of_the_ca_that_stays()
-> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    assert!(call(&host, &first).await?.is_ok());
    step(&house, "rotate").await?.expect(200)?;
    let staged = made(&host, &first).await?;
    step(&house, "roll-back").await?.expect(200)?;
    // Its agent was killed before it could show it, and shows it now.
    let refused = call(&host, &staged).await?.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    step(&house, "finish").await?.expect(200)?;
    assert!(call(&host, &first).await?.is_ok(), "the one in use is in use");
    let renewed = host.renew(&first, &host.connect(&first).await?).await?.identity;
    assert!(call(&host, &renewed).await?.is_ok());
    house.finish().await
}

#[tokio::test]
async fn hostile_row_39_a_renewal_from_before_a_rotation_is_made_again_without_suspicion() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, first) = house.agent("bastion-1").await?;
    assert!(call(&host, &first).await?.is_ok());
    let staged = made(&host, &first).await?;
    step(&house, "rotate").await?.expect(200)?;
    host.files().stage(&staged)?;
    let refused = host.settle(&mut Some(staged)).await.unwrap_err();
    assert!(matches!(refused, RenewError::Refused(_)), "{refused}");
    let renewed = host.renew(&first, &host.connect(&first).await?).await?.identity;
    assert!(call(&host, &renewed).await?.is_ok());
    assert_eq!(renewed.trust.len(), 2);
    step(&house, "switch").await?.expect(200)?;
    assert!(call(&host, &renewed).await?.is_ok());
    house.finish().await
}

#[tokio::test]
async fn hostile_row_39_an_agent_that_enrols_during_a_rotation_follows_it() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    step(&house, "rotate").await?.expect(200)?;
    let (host, first) = house.agent("bastion-1").await?;
    assert!(call(&host, &first).await?.is_ok());
    assert_eq!(step(&house, "switch").await?.status, 409, "it knows the new one, and has nothing from it yet");
    let renewed = host.renew(&first, &host.connect(&first).await?).await?.identity;
    let stale = house.join_token(json!({})).await?;
    step(&house, "switch").await?.expect(200)?;
    let refused = house.host("bastion-2").enroll(stale).await.unwrap_err();
    assert!(refused.to_string().contains("from before its CA was rotated"), "{refused}");
    let (later, second) = house.agent("bastion-3").await?;
    step(&house, "finish").await?.expect(200)?;
    for (host, identity) in [(&host, &renewed), (&later, &second)] {
        assert!(call(host, identity).await?.is_ok());
    }
    house.finish().await
}

#[tokio::test]
async fn hostile_row_39_of_two_steps_at_once_the_second_is_judged_by_what_the_first_left() -> anyhow::Result<()> {
    for _again in 0..8 {
        let house = Indoors::start(json!({})).await?;
        let (host, first) = house.agent("bastion-1").await?;
        step(&house, "rotate").await?.expect(200)?;
        let renewed = host.renew(&first, &host.connect(&first).await?).await?.identity;
        step(&house, "switch").await?.expect(200)?;
        let (finished, rolled_back) = tokio::join!(step(&house, "finish"), step(&house, "roll-back"));
        let (finished, rolled_back) = (finished?.status.as_u16(), rolled_back?.status.as_u16());
        // Either the CA that the agent has stays; or it goes, and the agent is waited for.
        assert!(matches!((finished, rolled_back), (200, 409) | (409, 200)), "{finished} {rolled_back}");
        assert!(call(&host, &renewed).await?.is_ok());
        house.finish().await?;
    }
    Ok(())
}
