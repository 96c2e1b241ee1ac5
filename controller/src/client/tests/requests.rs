//! What is sent, what is sent again, and what faults look like.

use std::sync::{Arc, Mutex};

use clap::Parser as _;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use serde_json::{Value, json};

use super::{OPERATION, finish, operation, play, problem};
use crate::client::args::{Cli, Format};
use crate::client::credential::Credential;
use crate::client::exit::Exit;
use crate::client::run::Session;
use crate::client::testing::{Reply, Script, session, token};

fn accepted() -> Reply {
    Reply::json(
        202,
        &json!({"operation": operation("queued"), "cluster": null,
        "warnings": [{"pointer": "/spec/nodes", "detail": "an even number of etcd members"}]}),
    )
}

fn header(request: &str, name: &str) -> Option<String> {
    request.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(ToOwned::to_owned)
}

/// A description in a file that lives as long as the answer.
fn description(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yaml");
    std::fs::write(&path, text).unwrap();
    (dir, path.display().to_string())
}

#[tokio::test]
async fn a_description_is_sent_without_its_environment_and_says_what_to_do_next() {
    let (_dir, file) = description("name: web\nenvironment: team-a\nspec:\n  nodes: []\n");
    let script = Script::of([accepted()]);
    let (exit, written) = play(&script, &format!("cratekube cluster create -f {file}")).await;
    assert_eq!(exit, Exit::Done);
    assert_eq!(script.lines(), ["POST /v1/environments/team-a/clusters"]);
    let request = &script.asked()[0];
    assert!(request.ends_with("{\"name\":\"web\",\"spec\":{\"nodes\":[]}}"), "{request}");
    assert_eq!(header(request, "authorization"), Some("Bearer tok.en.1".into()));
    assert_eq!(header(request, "host"), Some("ck.internal:8443".into()));
    let next = format!("The provision of prod/web is accepted. Watch it: cratekube operation watch {OPERATION}\n");
    assert_eq!(written.out(), next);
    assert_eq!(written.err(), "warning: /spec/nodes: an even number of etcd members\n");
    let (exit, written) = play(&Script::of([]), &format!("cratekube cluster create -e prod -f {file}")).await;
    assert_eq!(exit, Exit::Usage, "two environments");
    assert!(written.err().contains("team-a") && written.err().contains("prod"), "{}", written.err());
}

#[tokio::test(start_paused = true)]
async fn a_creation_is_sent_again_under_the_same_key_until_it_is_answered() {
    let (_dir, file) = description("name: web\nspec: {}\n");
    let busy = Reply::with(
        503,
        "application/problem+json",
        &[("retry-after", "2")],
        problem(503, "Busy").to_string().as_bytes(),
    );
    let script = Script::of([Reply::Down, Reply::Lost, busy, accepted()]);
    let (exit, written) = play(&script, &format!("cratekube cluster create -e prod -f {file} -o name")).await;
    assert_eq!((exit, written.out()), (Exit::Done, format!("{OPERATION}\n")));
    let keys: Vec<_> = script.asked().iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(written.err().matches("trying again").count(), 1, "told once: {}", written.err());
}

#[tokio::test(start_paused = true)]
async fn patience_ends_with_the_time_that_was_given() {
    let script = Script::of(vec![Reply::Down; 500]);
    let before = tokio::time::Instant::now();
    let (exit, written) = play(&script, "cratekube cluster list").await;
    assert_eq!(exit, Exit::Unavailable);
    assert!(before.elapsed().as_secs() <= 60, "simulated time: {:?}", before.elapsed());
    insta::assert_snapshot!("unreachable", written.err());
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_and_has_no_key_is_not_sent_again() {
    let line = "cratekube cluster force-unlock web --reason burnt";
    let script = Script::of([Reply::Down, Reply::Lost]);
    let (exit, written) = play(&script, line).await;
    assert_eq!((exit, script.lines().len()), (Exit::Unavailable, 1), "only what was not sent is sent again");
    assert!(written.err().contains("Look whether it was done"), "{}", written.err());
    let script = Script::of([Reply::json(503, &problem(503, "The request took too long"))]);
    assert_eq!(play(&script, line).await.0, Exit::Unavailable);
}

#[tokio::test]
async fn state_is_brought_back_with_a_reason_from_where_it_was_said() {
    let script = Script::of([accepted()]);
    let line = "cratekube cluster recover-state web --reason deleted --generation 3 -o name";
    assert_eq!(play(&script, line).await.0, Exit::Done);
    assert_eq!(script.lines(), ["POST /v1/environments/prod/clusters/web/recover-state"]);
    assert!(script.asked()[0].ends_with("{\"generation\":3,\"reason\":\"deleted\"}"), "{:?}", script.asked());
    assert!(header(&script.asked()[0], "idempotency-key").is_some());
}

#[tokio::test]
async fn a_removal_says_what_becomes_of_data_and_a_dry_run_is_sent_as_one() {
    let script = Script::of([accepted()]);
    let line = "cratekube cluster delete web --reason costs --data-policy snapshot --hosts-terminated";
    assert_eq!(play(&script, line).await.0, Exit::Done);
    let web = "DELETE /v1/environments/prod/clusters/web";
    assert_eq!(script.lines(), [format!("{web}?reason=costs&data_policy=snapshot&hosts_terminated=true")]);
    assert!(header(&script.asked()[0], "idempotency-key").is_some());
    let script = Script::of([Reply::json(200, &json!({"cluster": {"name": "web"}}))]);
    assert_eq!(play(&script, "cratekube cluster delete web --dry-run -o name").await.1.out(), "web\n");
    assert_eq!(script.lines(), [format!("{web}?data_policy=retain&dry_run=true")]);
    let unexplained = "cratekube cluster delete web".split(' ');
    assert!(Cli::try_parse_from(unexplained).is_err(), "why?");
}

#[tokio::test]
async fn a_removal_is_abandoned_with_a_reason_and_a_scan_begins_where_it_is_told() {
    let script = Script::of([accepted()]);
    let line = format!("cratekube operation abandon {OPERATION} --reason closed");
    assert_eq!(play(&script, &line).await.0, Exit::Done);
    assert_eq!(script.lines(), [format!("POST /v1/operations/{OPERATION}/abandon")]);
    assert!(script.asked()[0].ends_with("{\"reason\":\"closed\"}"), "{:?}", script.asked());
    let script = Script::of([Reply::json(202, &json!({"id": "s"}))]);
    assert_eq!(play(&script, &format!("cratekube orphan scan --agent {OPERATION}")).await.0, Exit::Done);
    assert_eq!(script.lines(), ["POST /v1/admin/orphan-scans"]);
    assert!(script.asked()[0].ends_with(&format!("{{\"agent\":\"{OPERATION}\"}}")), "{:?}", script.asked());
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_is_written_as_it_is_for_its_owner_alone_and_an_agent_is_waited_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let made = Reply::json(
        200,
        &json!({"kubeconfig": "apiVersion: v1\n", "role": "edit", "namespace": "shop",
        "expires_at": "1970-01-01T01:00:00.000Z"}),
    );
    let away = Reply::json(503, &problem(503, "The agent of the cluster is not connected"));
    let line = "cratekube cluster kubeconfig web --role edit --namespace shop --ttl 8h";
    let script = Script::of([away, made.clone()]);
    let (exit, written) = play(&script, line).await;
    assert_eq!((exit, written.out()), (Exit::Done, "apiVersion: v1\n".to_owned()), "{}", written.err());
    assert_eq!(script.lines()[1], "POST /v1/environments/prod/clusters/web/kubeconfig");
    assert!(script.asked()[1].ends_with("{\"namespace\":\"shop\",\"role\":\"edit\",\"ttl\":\"8h\"}"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let line =
        format!("cratekube cluster kubeconfig web --role cluster-admin --reason broken --file {}", path.display());
    let (exit, written) = play(&Script::of([made.clone()]), &line).await;
    assert_eq!((exit, std::fs::read_to_string(&path).unwrap().as_str()), (Exit::Done, "apiVersion: v1\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(written.out().contains("until 1970-01-01T01:00:00.000Z"), "{}", written.out());
    let (_, written) = play(&Script::of([made]), "cratekube cluster kubeconfig web --role view -o json").await;
    assert_eq!(serde_json::from_str::<Value>(&written.out()).unwrap()["kubeconfig"], "apiVersion: v1\n");
}

#[tokio::test]
async fn refusals_have_exit_codes_and_show_every_fault_with_its_remedy() {
    let mut validation = problem(422, "The request is understood but not acceptable");
    validation["errors"] = json!([
        {"pointer": "/spec/nodes/0/address", "detail": "\"x y\" is not an address"},
        {"pointer": "/spec/kubernetes_version", "detail": "no agent offers v1.2.3"},
    ]);
    let (_dir, file) = description("name: web\nspec: {}\n");
    let line = format!("cratekube cluster create -e prod -f {file}");
    let (exit, written) = play(&Script::of([Reply::json(422, &validation)]), &line).await;
    assert_eq!((exit, written.out()), (Exit::Refused, String::new()));
    insta::assert_snapshot!("refused", written.err());
    for (status, exit) in [(400, 3), (401, 5), (403, 5), (404, 4), (409, 6), (412, 6), (500, 7)] {
        let script = Script::of([Reply::json(status, &problem(status, "No"))]);
        assert_eq!(play(&script, "cratekube cluster get web").await.0.code(), exit, "{status}");
    }
    let (_, written) =
        play(&Script::of([Reply::json(401, &problem(401, "A valid token is required"))]), "cratekube cluster list")
            .await;
    insta::assert_snapshot!("unauthorized", written.err());
}

#[tokio::test]
async fn an_expired_token_is_renewed_from_the_api_key_kept_and_used() {
    let made = json!({"token": "tok.en.2", "token_type": "Bearer", "expires_at": "1970-01-01T01:00:00.000Z"});
    let list = Reply::json(200, &json!({"items": []}));
    let stale = Credential {
        api_key: Some(Secret::new("ckk1_hunter2")),
        token: Some(Secret::new("tok.en.1")),
        expires_at: Some(Timestamp::from_millis(1_000_001)),
    };
    // Ended by our clock: no request is wasted on it.
    let script = Script::of([Reply::json(200, &made), list.clone()]);
    let (session, written) = session(&script, Format::Table, stale.clone());
    let kept = Arc::new(Mutex::new(None));
    let session = with_keep(session, &kept);
    let cli = Cli::try_parse_from(["cratekube", "cluster", "list"]).unwrap();
    assert_eq!(finish(&session, cli).await, Exit::Done);
    assert_eq!(script.lines()[0], "POST /v1/auth/token");
    assert_eq!(header(&script.asked()[0], "authorization"), None);
    assert!(script.asked()[0].ends_with("{\"api_key\":\"ckk1_hunter2\"}"));
    assert_eq!(header(&script.asked()[1], "authorization"), Some("Bearer tok.en.2".into()));
    let kept = kept.lock().unwrap().clone().unwrap();
    assert_eq!((kept.token.unwrap().expose(), kept.api_key), ("tok.en.2", stale.api_key));
    assert_eq!(kept.expires_at, Some(Timestamp::from_millis(3_600_000)));
    assert!(!written.err().contains("hunter2"));
}

#[tokio::test]
async fn a_token_that_the_controller_does_not_take_is_renewed_once() {
    let made = json!({"token": "tok.en.2", "expires_at": null});
    let key = |token: &str| Credential {
        api_key: Some(Secret::new("ckk1_x")),
        token: Some(Secret::new(token)),
        expires_at: None,
    };
    let refusal = || Reply::json(401, &problem(401, "A valid token is required"));
    let run = async |replies: Vec<Reply>| {
        let script = Script::of(replies);
        let (session, _) = session(&script, Format::Table, key("tok.en.1"));
        let cli = Cli::try_parse_from(["cratekube", "environment", "list"]).unwrap();
        (finish(&session, cli).await, script.lines())
    };
    let list = Reply::json(200, &json!({"items": []}));
    let (exit, lines) = run(vec![refusal(), Reply::json(200, &made), list]).await;
    assert_eq!((exit, lines.len()), (Exit::Done, 3));
    let (exit, lines) = run(vec![refusal(), Reply::json(200, &made), refusal()]).await;
    assert_eq!((exit, lines.len()), (Exit::Denied, 3), "not for ever");
    let (exit, lines) = run(vec![refusal(), Reply::json(401, &problem(401, "The API key is not valid"))]).await;
    assert_eq!((exit, lines.len()), (Exit::Denied, 2));
}

#[tokio::test]
async fn an_answer_that_is_no_document_is_a_fault() {
    let script = Script::of([Reply::with(200, "text/html", &[], b"<html>")]);
    assert_eq!(play(&script, "cratekube cluster get web").await.0, Exit::Unavailable);
    let script = Script::of([Reply::json(200, &Value::Null)]);
    assert_eq!(play(&script, "cratekube cluster list").await.0, Exit::Unavailable);
}

#[tokio::test]
async fn without_an_environment_nothing_is_sent() {
    let script = Script::of([]);
    let (mut session, written) = session(&script, Format::Table, token());
    session.environment = None;
    let cli = Cli::try_parse_from(["cratekube", "cluster", "list"]).unwrap();
    assert_eq!(finish(&session, cli).await, Exit::Usage);
    insta::assert_snapshot!("no_environment", written.err());
}

fn with_keep(session: Session, kept: &Arc<Mutex<Option<Credential>>>) -> Session {
    let kept = Arc::clone(kept);
    let keep = Box::new(move |credential: &Credential| {
        *kept.lock().unwrap() = Some(credential.clone());
        Ok(())
    });
    Session { api: session.api.keeping(keep), ..session }
}

#[tokio::test]
async fn certificates_are_renewed_and_clusters_checked_as_was_said() {
    let web = "/v1/environments/prod/clusters/web";
    for (line, path, body) in [
        ("cratekube cluster verify web", "verify", ""),
        ("cratekube cluster rotate-certificates web", "rotate-certificates", "{\"ca\":false}"),
        (
            "cratekube cluster rotate-certificates web --service etcd --service kubelet",
            "rotate-certificates",
            "{\"ca\":false,\"services\":[\"etcd\",\"kubelet\"]}",
        ),
        (
            "cratekube cluster rotate-certificates web --ca --reason leaked",
            "rotate-certificates",
            "{\"ca\":true,\"reason\":\"leaked\"}",
        ),
    ] {
        let script = Script::of([accepted()]);
        assert_eq!(play(&script, line).await.0, Exit::Done, "{line}");
        assert_eq!(script.lines(), [format!("POST {web}/{path}")]);
        assert!(script.asked()[0].ends_with(body), "{:?}", script.asked());
        assert!(header(&script.asked()[0], "idempotency-key").is_some());
    }
    for line in [
        "cratekube cluster rotate-certificates web --ca",
        "cratekube cluster rotate-certificates web --ca --reason x --service etcd",
        "cratekube alarm acknowledge 7",
        "cratekube signing-key rotate",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

#[tokio::test]
async fn a_resource_is_replaced_as_it_was_seen_or_made_where_there_is_none() {
    let (_dir, file) = description("apiVersion: v1\nkind: ConfigMap\n");
    let path = "/v1/environments/prod/clusters/web/resources/page";
    let kept = |operation: Value| {
        Reply::json(202, &json!({"resource": {"name": "page", "revision": 4}, "operation": operation}))
    };
    let put = format!("cratekube resource put page --cluster web -f {file} --mode sync");
    let there = Reply::json(200, &json!({"name": "page", "revision": 3, "manifest": ""}));
    let script = Script::of([there, kept(json!(format!("/v1/operations/{OPERATION}")))]);
    let (exit, written) = play(&script, &put).await;
    assert_eq!(exit, Exit::Done, "{}", written.err());
    assert_eq!(script.lines(), [format!("GET {path}"), format!("PUT {path}")]);
    assert_eq!(header(&script.asked()[1], "if-match"), Some("\"3\"".into()));
    assert!(script.asked()[1].ends_with("{\"manifest\":\"apiVersion: v1\\nkind: ConfigMap\\n\",\"mode\":\"sync\"}"));
    assert_eq!(written.out(), format!("page is kept. Watch it: cratekube operation watch {OPERATION}\n"));

    let script = Script::of([Reply::json(404, &problem(404, "Not found")), kept(Value::Null)]);
    let (exit, written) = play(&script, &format!("{put} -o name")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "page\n"));
    assert_eq!(header(&script.asked()[1], "if-none-match"), Some("*".into()));
    assert_eq!(header(&script.asked()[1], "if-match"), None);

    let script = Script::of([kept(Value::Null)]);
    let line = format!("cratekube resource put page -e team-a -f {file} --revision 7");
    assert_eq!(play(&script, &line).await.0, Exit::Done);
    assert_eq!(script.lines(), ["PUT /v1/environments/team-a/resources/page"], "nobody is asked what was seen");
    assert_eq!(header(&script.asked()[0], "if-match"), Some("\"7\"".into()));

    let script = Script::of([Reply::with(204, "application/json", &[], b"")]);
    let (exit, written) = play(&script, "cratekube resource delete page --cluster web --revision 4").await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "page is gone.\n"));
    assert_eq!(header(&script.asked()[0], "if-match"), Some("\"4\"".into()));
    let (exit, _) = play(&Script::of([]), "cratekube resource put page --cluster web -f /nowhere/x.yaml").await;
    assert_ne!(exit, Exit::Done);
}

#[tokio::test]
async fn what_changes_alarms_and_keys_carries_its_reason() {
    let alarm = json!({"number": 7, "kind": "key-in-two-places", "open": false});
    let script = Script::of([Reply::json(200, &alarm)]);
    let (exit, written) = play(&script, "cratekube alarm acknowledge 7 --reason mended").await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "Alarm 7 is seen to.\n"));
    assert_eq!(script.lines(), ["POST /v1/admin/alarms/7/acknowledge"]);
    assert!(script.asked()[0].ends_with("{\"reason\":\"mended\"}"));
    let keys = Reply::json(200, &json!({"items": [{"kid": "k2", "signs": true, "ends_at": null}]}));
    let script = Script::of([keys]);
    let (exit, written) = play(&script, "cratekube signing-key rotate --at-once --reason stolen -o name").await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "k2\n"));
    assert!(script.asked()[0].ends_with("{\"at_once\":true,\"reason\":\"stolen\"}"));
    assert!(written.err().contains("has ended"), "{}", written.err());
}
