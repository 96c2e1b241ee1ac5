//! Nobody gets in who should not: keys, tokens and their end, through real processes and sockets.
//!
//! Most of these stories need no agent: a cluster that waits for one is operation enough to follow.

use std::path::Path;

use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::domain::id::RevocationId;
use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::domain::time::Timestamp;
use cratekube_controller::store::Store as _;
use cratekube_controller::store::sqlite::{SqliteOptions, SqliteStore};
use cratekube_tests::house::controller::ControllerHost;
use cratekube_tests::house::rest::Ask;
use cratekube_tests::house::search::files_with;
use cratekube_tests::house::{Client, Events, specs};
use cratekube_tests::programs;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const CLUSTERS: &str = "/v1/environments/prod/clusters";
const LOG: &str = "debug,hyper=info,h2=info,rustls=info,tower=info";

/// A controller alone, with a client that administrates.
struct Lodge {
    controller: ControllerHost,
    admin: Client,
    dir: TempDir,
}

impl Lodge {
    async fn open() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let controller = start(dir.path()).await?;
        let admin = controller.client("root", &["admin:*"]).await?;
        Ok(Self { controller, admin, dir })
    }

    /// A client with a token that was made from a key.
    async fn login(&self, key: &str) -> anyhow::Result<Client> {
        let answer = self.admin.post("/v1/auth/token", &json!({"api_key": key})).await?.expect(200)?.json();
        Ok(self.admin.with_token(answer["token"].as_str().map(ToOwned::to_owned)))
    }

    async fn key(&self, subject: &str) -> anyhow::Result<Value> {
        let body =
            json!({"name": "story", "subject": subject, "grants": [{"role": "operator", "environments": "prod"}]});
        Ok(self.admin.post("/v1/admin/api-keys", &body).await?.expect(201)?.json())
    }
}

async fn start(dir: &Path) -> anyhow::Result<ControllerHost> {
    let agents = "[agents]\nlisten = \"127.0.0.1:0\"\n";
    ControllerHost::start(&programs!().controller, dir, agents, LOG).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Follows the output of a cluster that waits for an agent, until the stream is known to be open.
async fn follow(client: &Client, name: &str) -> anyhow::Result<Events> {
    let accepted = client.post(CLUSTERS, &specs::single(name, "192.0.2.11")).await?.expect(202)?;
    let mut events = client.events(&format!("{}/output?follow=true", accepted.header("location")), None).await?;
    anyhow::ensure!(events.next().await?.is_some_and(|event| event.event == "progress"), "the stream does not begin");
    Ok(events)
}

fn noted() -> AuditEntry {
    AuditEntry {
        actor: "another".into(),
        origin: "local".into(),
        action: "token.revoke".into(),
        object: "subject ann".into(),
        outcome: AuditOutcome::Allowed,
        detail: "left".into(),
        request_id: "r-1".into(),
    }
}

/// The reason that a stream gives when it ends before its operation.
async fn closing(mut events: Events) -> anyhow::Result<String> {
    while let Some(event) = events.next().await? {
        if event.event == "closing" {
            let data: Value = serde_json::from_str(&event.data)?;
            return Ok(text(&data["reason"]).to_owned());
        }
    }
    anyhow::bail!("the stream ended without a word")
}

#[tokio::test]
async fn hostile_row_24_a_key_is_made_exchanged_used_and_revoked_and_the_stream_is_cut() -> anyhow::Result<()> {
    let mut lodge = Lodge::open().await?;
    let first = ["api-key", "create", "--name", "first", "--subject", "ann", "--grant", "operator:prod"];
    let key = lodge.controller.command(&first).await?;
    let ann = lodge.login(&key).await?;
    let me = ann.get("/v1/auth/whoami").await?.expect(200)?.json();
    assert_eq!(me["subject"], "ann");
    let events = follow(&ann, "web").await?;
    ann.get("/v1/admin/api-keys").await?.expect(403)?;
    ann.with_token(Some(key.clone())).get("/v1/environments").await?.expect(401)?;

    let keys = lodge.admin.get("/v1/admin/api-keys").await?.expect(200)?.json();
    let id = text(&keys["items"][0]["id"]).to_owned();
    assert_eq!(keys["items"][0]["id"], me["api_key"]);
    lodge.admin.delete(&format!("/v1/admin/api-keys/{id}")).await?.expect(204)?;
    ann.get("/v1/auth/whoami").await?.expect(401)?;
    assert_eq!(closing(events).await?, "the token was revoked");
    let again = lodge.admin.post("/v1/auth/token", &json!({"api_key": key})).await?;
    assert_eq!(again.json()["type"], "/problems/invalid-api-key");

    lodge.controller.process.kill().await?;
    lodge.controller.restart().await?;
    ann.get("/v1/auth/whoami").await?.expect(401)?;
    lodge.admin.get("/v1/auth/whoami").await?.expect(200)?;
    lodge.controller.process.stop().await
}

#[tokio::test]
async fn hostile_row_24_what_another_process_revokes_cuts_streams_and_waits_here() -> anyhow::Result<()> {
    let mut lodge = Lodge::open().await?;
    let made = lodge.key("ann").await?;
    let ann = lodge.login(text(&made["api_key"])).await?;
    let events = follow(&ann, "web").await?;
    let operations = ann.get("/v1/operations").await?.expect(200)?.json();
    let waits = format!("/v1/operations/{}?wait=60s", text(&operations["items"][0]["id"]));

    // Another controller on the same store, as far as this one can tell.
    let store = SqliteStore::open(lodge.controller.data(), SqliteOptions::default())?;
    let at: Timestamp = text(&made["key"]["created_at"]).parse().map_err(anyhow::Error::msg)?;
    let revocation = Revocation {
        id: RevocationId(uuid::Uuid::from_u128(24)),
        kind: RevocationKind::Subject,
        value: "ann".into(),
        made_until: at.after(std::time::Duration::from_secs(3_600)),
        reason: "left".into(),
        by: "another".into(),
        at,
        until: at.after(std::time::Duration::from_secs(7_200)),
    };
    let revoke = async { store.revoke(revocation, noted()).await.map_err(anyhow::Error::from) };
    let (waited, recorded) = tokio::join!(ann.get(&waits), revoke);
    assert!(recorded?);
    assert_eq!(waited?.expect(401)?.json()["detail"], "the token was revoked");
    assert_eq!(closing(events).await?, "the token was revoked");
    ann.get("/v1/auth/whoami").await?.expect(401)?;
    store.close().await;
    lodge.controller.process.stop().await
}

#[tokio::test]
async fn signing_keys_rotate_while_the_controller_runs() -> anyhow::Result<()> {
    let mut lodge = Lodge::open().await?;
    let said = lodge.controller.command(&["signing-key", "rotate"]).await?;
    assert!(said.contains("signs from now on") && said.contains("verifies until"), "{said}");
    lodge.controller.process.line("another key signs tokens now").await?;
    lodge.admin.get("/v1/auth/whoami").await?.expect(200)?;
    let newer = lodge.controller.client("root", &["admin:*"]).await?;
    newer.get("/v1/auth/whoami").await?.expect(200)?;
    let twice = lodge.controller.command(&["signing-key", "rotate"]).await.unwrap_err().to_string();
    assert!(twice.contains("two keys are live until"), "{twice}");
    lodge.controller.process.kill().await?;
    lodge.controller.restart().await?;
    lodge.admin.get("/v1/auth/whoami").await?.expect(200)?;

    lodge.controller.command(&["signing-key", "rotate", "--at-once"]).await?;
    lodge.controller.process.line("another key signs tokens now").await?;
    for ended in [&lodge.admin, &newer] {
        ended.get("/v1/auth/whoami").await?.expect(401)?;
    }
    lodge.controller.client("root", &["admin:*"]).await?.get("/v1/auth/whoami").await?.expect(200)?;
    lodge.controller.process.stop().await
}

#[tokio::test]
async fn hostile_row_25_guessing_from_one_address_is_slowed_down() -> anyhow::Result<()> {
    let mut lodge = Lodge::open().await?;
    let guess = json!({"api_key": format!("ckk1_{}", "0".repeat(51))});
    let answers = futures::future::try_join_all((0..50).map(|_| lodge.admin.post("/v1/auth/token", &guess))).await?;
    let slowed =
        answers.iter().find(|answer| answer.status == 429).ok_or_else(|| anyhow::anyhow!("not slowed down"))?;
    assert!(!slowed.header("retry-after").is_empty());
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 401 | 429)), "{answers:?}");
    lodge.admin.get("/v1/auth/whoami").await?.expect(200)?;
    lodge.controller.process.stop().await
}

#[tokio::test]
async fn hostile_row_20_a_token_of_one_controller_is_nothing_to_another() -> anyhow::Result<()> {
    let (mut one, mut other) = (Lodge::open().await?, Lodge::open().await?);
    let token = one.controller.command(&["token", "issue", "--subject", "root", "--grant", "admin:*"]).await?;
    let stranger = other.admin.with_token(Some(token));
    stranger.get("/v1/environments").await?.expect(401)?;
    let audit = other.admin.get("/v1/admin/audit?actor=anonymous").await?.expect(200)?.json();
    assert_eq!(audit["items"][0]["detail"], "the token names an unknown key");
    one.controller.process.stop().await?;
    other.controller.process.stop().await
}

#[tokio::test]
async fn hostile_row_78_the_audit_log_is_verified_beside_the_controller_and_a_change_is_found() -> anyhow::Result<()> {
    let mut lodge = Lodge::open().await?;
    let body = json!({"kind": "token", "value": "t-1", "reason": "the-first-of-its-kind"});
    lodge.admin.post("/v1/admin/revocations", &body).await?.expect(201)?;
    lodge.controller.process.line("pass=\"audit-anchor\"").await?;
    let said = lodge.controller.command(&["audit", "verify"]).await?;
    assert!(said.contains("none changed, none missing") && said.contains("anchored at entry"), "{said}");
    let ask = Ask::new(Method::GET, "/v1/admin/audit").header("accept", "application/x-ndjson");
    let copy = lodge.admin.send(ask).await?.expect(200)?.text();
    let entry: Value =
        serde_json::from_str(copy.lines().find(|line| line.contains("the-first-of-its-kind")).unwrap_or("{}"))?;
    lodge.controller.process.stop().await?;

    let file = lodge.controller.data().join("cratekube.db");
    let mut bytes = std::fs::read(&file)?;
    let word = b"the-first-of-its-kind";
    let places: Vec<_> = (0..bytes.len() - word.len()).filter(|at| &bytes[*at..at + word.len()] == word).collect();
    assert!(!places.is_empty(), "the entry is at rest in the database");
    places.iter().for_each(|at| bytes[at + 4] = b'w');
    std::fs::write(&file, &bytes)?;
    let found = lodge.controller.command(&["audit", "verify"]).await.unwrap_err().to_string();
    assert!(found.contains(&format!("entry {} was changed", entry["number"])), "{found}");
    places.iter().for_each(|at| bytes[at + 4] = b'f');
    std::fs::write(&file, &bytes)?;
    lodge.controller.command(&["audit", "verify"]).await?;

    std::fs::remove_file(lodge.controller.data().join("audit.anchor.sealed"))?;
    let found = lodge.controller.command(&["audit", "verify"]).await.unwrap_err().to_string();
    assert!(found.contains("there is no anchor"), "{found}");
    let said = lodge.controller.command(&["audit", "anchor", "--reason", "the file was deleted by mistake"]).await?;
    assert!(said.contains("anchored at entry"), "{said}");
    lodge.controller.command(&["audit", "verify"]).await?;
    drop(lodge.dir);
    Ok(())
}

#[tokio::test]
async fn hostile_row_72_and_78_planted_secrets_are_found_nowhere() -> anyhow::Result<()> {
    const PASSWORD: &str = "canary-4b1d-never-to-be-seen";
    let mut lodge = Lodge::open().await?;
    let made = lodge.key("ann").await?;
    let key = text(&made["api_key"]).to_owned();
    let issued = lodge.admin.post("/v1/auth/token", &json!({"api_key": key})).await?.expect(200)?.json();
    let token = text(&issued["token"]).to_owned();
    let join = lodge.controller.command(&["agent", "join-token"]).await?;
    let ann = lodge.admin.with_token(Some(token.clone()));
    let mut body = specs::single("web", "192.0.2.11");
    body["spec"]["private_registries"] = json!([{"url": "registry.example", "user": "u", "password": PASSWORD}]);
    let accepted = ann.post(CLUSTERS, &body).await?.expect(202)?;
    // Each of them where it does not belong, too.
    ann.with_token(Some(key.clone())).get(CLUSTERS).await?.expect(401)?;
    ann.with_token(Some(join.clone())).get(CLUSTERS).await?.expect(401)?;
    ann.get(&format!("/v1/environments?token={token}")).await?.expect(400)?;
    ann.post("/v1/auth/token", &json!({"api_key": format!("{key}x")})).await?.expect(401)?;
    ann.post("/v1/auth/token", &json!({"api_key": token})).await?.expect(401)?;
    ann.post("/v1/auth/token", &json!({key.clone(): token, "api_key": [PASSWORD]})).await?.expect(422)?;
    ann.post("/v1/auth/logout", &json!({})).await?.expect(204)?;

    let signature = token.rsplit('.').next().unwrap_or_default();
    let secret_of_join = join.split('.').nth(1).unwrap_or_default();
    let needles = [PASSWORD, &key[13..], signature, secret_of_join];
    assert!(needles.iter().all(|needle| needle.len() >= 20), "{}", needles.len());
    let mut documents = Vec::new();
    for path in ["/v1/admin/api-keys", "/v1/admin/revocations", "/v1/admin/audit?limit=200", "/v1/operations", CLUSTERS]
    {
        documents.push(lodge.admin.get(path).await?.expect(200)?.text());
    }
    documents.push(lodge.admin.get(&format!("{CLUSTERS}/web")).await?.expect(200)?.text());
    documents.push(accepted.text());
    lodge.controller.process.stop().await?;
    documents.extend(lodge.controller.process.printed());
    for document in &documents {
        assert!(!needles.iter().any(|needle| document.contains(needle)), "{document}");
    }
    for needle in needles {
        let found = files_with(lodge.controller.data(), needle)?;
        assert!(found.is_empty(), "{found:?}");
    }
    Ok(())
}
