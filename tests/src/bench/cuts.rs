//! How long a revoked user keeps an open stream, and a revoked agent its session, over real sockets.

use std::io::Write;

use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::RevocationId;
use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::runtime::clock;
use cratekube_common::runtime::mint::Mint;
use cratekube_controller::store::Store as _;
use cratekube_controller::store::sqlite::{SqliteOptions, SqliteStore};
use serde_json::json;
use tokio::time::Instant;

use super::Samples;
use crate::house::puppet::{Hello, Puppet};
use crate::house::{Client, Events, Programs, World};

const TIMES: usize = 5;

pub(super) async fn run(programs: &Programs, out: &mut impl Write) -> anyhow::Result<()> {
    let world = World::quiet(programs.clone()).await?;
    let (mut here, mut elsewhere, mut agents) = (Samples::default(), Samples::default(), Samples::default());
    for n in 0..TIMES {
        here.add(user(&world, &format!("here-{n}"), false).await?);
        elsewhere.add(user(&world, &format!("elsewhere-{n}"), true).await?);
        agents.add(agent(&world, &format!("puppet-{n}")).await?);
    }
    writeln!(out, "a user is revoked, the stream ends     {here}   target 5 s")?;
    writeln!(out, "  by another controller's word         {elsewhere}   target 5 s")?;
    writeln!(out, "an agent is revoked, its session ends  {agents}   target 5 s")?;
    world.finish().await
}

async fn user(world: &World, subject: &str, elsewhere: bool) -> anyhow::Result<std::time::Duration> {
    let grants = json!([{"role": "admin", "environments": "*"}]);
    let wanted = json!({"name": "bench", "subject": subject, "grants": grants});
    let made = world.client.post("/v1/admin/api-keys", &wanted).await?.expect(201)?.json();
    let issued = world.client.post("/v1/auth/token", &json!({"api_key": made["api_key"]})).await?.expect(200)?.json();
    let client: Client = world.client.with_token(issued["token"].as_str().map(ToOwned::to_owned));
    let mut events = client.events("/v1/events?follow=true&after=0", None).await?;
    anyhow::ensure!(events.next().await?.is_some(), "the stream does not begin");
    let begun = Instant::now();
    if elsewhere {
        revoke_beside(world, subject).await?;
    } else {
        let body = json!({"kind": "subject", "value": subject, "reason": "a bench"});
        world.client.post("/v1/admin/revocations", &body).await?.expect(201)?;
    }
    until_closed(&mut events).await?;
    Ok(begun.elapsed())
}

async fn until_closed(events: &mut Events) -> anyhow::Result<()> {
    while events.next().await?.is_some() {}
    Ok(())
}

/// Another controller on the same store, as far as this one can tell.
async fn revoke_beside(world: &World, subject: &str) -> anyhow::Result<()> {
    let store = SqliteStore::open(world.controller.data(), SqliteOptions::default())?;
    let at = clock::system().now();
    let hour = std::time::Duration::from_secs(3_600);
    let revocation = Revocation {
        id: Mint::system(clock::system()).id::<RevocationId>(),
        kind: RevocationKind::Subject,
        value: subject.to_owned(),
        made_until: at.after(hour),
        reason: "a bench".into(),
        by: "another".into(),
        at,
        until: at.after(2 * hour),
    };
    let audit = AuditEntry {
        actor: "another".into(),
        origin: "local".into(),
        action: "token.revoke".into(),
        object: format!("subject {subject}"),
        outcome: AuditOutcome::Allowed,
        detail: "a bench".into(),
        request_id: "bench".into(),
    };
    store.revoke(revocation, audit).await?;
    store.close().await;
    Ok(())
}

async fn agent(world: &World, name: &str) -> anyhow::Result<std::time::Duration> {
    let puppet = Puppet::enrolled(&world.controller, world.path(), name).await?;
    let mut session = puppet.session(Hello::default()).await?;
    let agents = world.client.get("/v1/admin/agents").await?.expect(200)?.json();
    let found = agents["items"].as_array().into_iter().flatten().find(|agent| agent["name"] == name);
    let id = found.and_then(|agent| agent["id"].as_str()).unwrap_or_default();
    let begun = Instant::now();
    let path = format!("/v1/admin/agents/{id}/revoke");
    world.client.post(&path, &json!({"reason": "a bench"})).await?.expect(200)?;
    while session.next().await.is_ok() {}
    Ok(begun.elapsed())
}
