//! Results in every form.

use serde_json::{Value, json};

use super::{OPERATION, failed, operation, play};
use crate::client::exit::Exit;
use crate::client::testing::{Reply, Script};

fn cluster(name: &str, phase: &str) -> Value {
    json!({
        "id": "01936f3e-7c00-7000-8000-00000000000c", "environment": "prod", "name": name, "phase": phase, "revision": 1,
        "kubernetes_version": "v1.28.12-rancher1-1", "nodes": 2, "volume": "0a", "generation": 3, "ca_sha256": "ab",
        "operation": null, "failure": null,
        "conditions": [{"kind": "rehearsal", "message": "No host was\u{1b}[2J contacted."}],
        "created_at": "1970-01-01T00:00:00.000Z", "updated_at": "1970-01-01T00:00:00.000Z", "links": {},
    })
}

fn agent(name: &str, state: &str) -> Value {
    json!({
        "id": "01936f3e-7c00-7000-8000-0000000000aa", "name": name, "state": state, "online": state == "active",
        "drained": state == "draining", "environments": "team-*", "version": "0.1.0", "hostname": "host-1",
        "address": "10.0.0.9:1", "rke": {"version": "v1.5.0", "sha256": "cd", "rehearsal": true},
        "kubernetes_versions": ["v1.28.12-rancher1-1", "v1.30.14-rancher1-1"], "slots": 4, "free_slots": 3, "load": 0.5,
        "volumes": [{"id": "0a", "path": "/mnt/state", "free_bytes": 5_368_709_120_u64, "total_bytes": 10_737_418_240_u64, "fault": null}],
        "running": ["01936f3e-7c00-7000-8000-0000000000bb"], "enrolled_at": "1970-01-01T00:00:00.000Z",
        "connected_at": null, "last_seen_at": "1970-01-01T00:16:30.000Z", "clock_skew_ms": -3,
        "certificate": {"serial": "0f", "expires_at": "1970-01-02T00:00:00.000Z"},
    })
}

async fn shown(line: &str, answer: &Value) -> String {
    shown_from(line, [answer]).await
}

async fn shown_from<const N: usize>(line: &str, answers: [&Value; N]) -> String {
    let script = Script::of(answers.map(|answer| Reply::json(200, answer)));
    let (exit, written) = play(&script, line).await;
    assert_eq!((exit, written.err()), (Exit::Done, String::new()), "{line}");
    written.out()
}

#[tokio::test]
async fn clusters_in_every_form() {
    let list = json!({"items": [cluster("web", "ready"), cluster("database", "failed")]});
    insta::assert_snapshot!("clusters_table", shown("cratekube cluster list", &list).await);
    insta::assert_snapshot!("clusters_yaml", shown("cratekube cluster list -o yaml", &list).await);
    assert_eq!(shown("cratekube cluster list -o name", &list).await, "web\ndatabase\n");
    let json: Value = serde_json::from_str(&shown("cratekube cluster list -o json", &list).await).unwrap();
    assert_eq!(json, list, "the API's own documents");
    let mut one = cluster("web", "failed");
    one["spec"] = json!({"nodes": [
        {"address": "192.0.2.11", "roles": ["controlplane", "etcd"]},
        {"address": "192.0.2.12", "roles": ["worker"], "labels": {"disk": "ssd", "zone": "a"}},
    ]});
    one["failure"] = failed()["failure"].clone();
    insta::assert_snapshot!("cluster_sheet", shown("cratekube cluster get web", &one).await);
    assert_eq!(shown("cratekube cluster get web -o name", &one).await, "web\n");
}

#[tokio::test]
async fn generations_operations_agents_environments_and_audit_entries_as_tables() {
    let generation = |number: u64, good: bool| {
        json!({"number": number, "operation": OPERATION, "sealed_at": "1970-01-01T00:10:00.000Z", "ca_sha256": "ab", "good": good,
               "fault": (!good).then_some("the state is torn"), "files": [{"name": "a", "bytes": 1024, "sha256": "x"}, {"name": "b", "bytes": 512, "sha256": "y"}]})
    };
    let list = json!({"items": [generation(2, false), generation(1, true)]});
    insta::assert_snapshot!("generations_table", shown("cratekube cluster generations web", &list).await);
    let mut waiting = operation("queued");
    waiting["waiting_for"] = json!("An agent with a free slot is to take it.");
    let list = json!({"items": [operation("running"), waiting, failed(), operation("succeeded")]});
    insta::assert_snapshot!("operations_table", shown("cratekube operation list", &list).await);
    let list = json!({"items": [agent("bastion-1", "active"), agent("bastion-2", "draining"), agent("b3", "revoked")]});
    insta::assert_snapshot!("agents_table", shown("cratekube agent list", &list).await);
    let id = "01936f3e-7c00-7000-8000-0000000000aa";
    let get = format!("cratekube agent get {id}");
    let one = agent("bastion-1", "active");
    let nothing = json!({"items": []});
    insta::assert_snapshot!("agent_sheet", shown_from(&get, [&one, &nothing]).await);
    let happened = json!({"items": [
        {"at": "1970-01-01T00:05:00.000Z", "kind": "attempt.leased", "environment": "prod", "cluster": "web", "operation": OPERATION},
        {"at": "1970-01-01T00:01:00.000Z", "kind": "agent.connected", "environment": null, "cluster": null, "operation": null},
    ]});
    let sheet = shown_from(&get, [&one, &happened]).await;
    let (_, history) = sheet.split_once("\nHistory:\n").unwrap();
    assert!(
        history.contains("attempt.leased") && history.contains("prod/web") && history.contains(OPERATION),
        "{sheet}"
    );
    assert!(history.contains("agent.connected"), "{sheet}");
    let volume = json!({"id": "01936f3e-7c00-7000-8000-0000000000cc", "agent": {"name": "bastion-1", "online": true},
        "clusters": 1, "path": "/mnt/state", "free_bytes": 1_048_576, "total_bytes": 4_194_304, "reserve_bytes": 2_097_152,
        "below_reserve": true, "fault": null, "scrub": {"ended_at": "1970-01-01T00:05:00.000Z", "checked": 3, "faults": ["rot\u{1b}"]},
        "items": [{"environment": "prod", "name": "web", "phase": "ready", "generation": 4}]});
    let table = shown("cratekube volume list", &json!({"items": [volume]})).await;
    assert!(table.contains("bastion-1") && table.contains("less space than its reserve"), "{table}");
    let sheet = shown("cratekube volume get 01936f3e-7c00-7000-8000-0000000000cc", &volume).await;
    assert!(sheet.contains("1.0 MiB of 4.0 MiB") && sheet.contains("web") && !sheet.contains('\u{1b}'), "{sheet}");
    let finding = json!({"severity": "critical", "kind": "agent-offline", "since": "1970-01-01T00:05:00.000Z",
        "subject": {"kind": "agent", "name": "bastion-1", "link": "/x"}, "message": "Agent bastion-1 is not connected.",
        "remedy": "Look at its bastion."});
    let summary = json!({"gathering": false, "complete": true, "items": [finding]});
    let table = shown("cratekube summary", &summary).await;
    assert!(
        table.contains("critical") && table.contains("is not connected") && table.contains("Look at its"),
        "{table}"
    );
    let well = shown("cratekube summary", &json!({"gathering": false, "complete": true, "items": []})).await;
    assert_eq!(well, "Nothing needs you.\n");
    let list = json!({"items": [{"name": "prod", "clusters": 2, "role": "operator", "link": "/x"}]});
    insta::assert_snapshot!("environments_table", shown("cratekube environment list", &list).await);
    let list = json!({"items": [{"number": 7, "at": "1970-01-01T00:10:00.000Z", "actor": "ann", "origin": "10.0.0.1",
        "action": "cluster.provision", "object": "prod/web", "outcome": "allowed", "detail": "", "request_id": "r", "hash": "h"}]});
    insta::assert_snapshot!("audit_table", shown("cratekube audit list", &list).await);
}

#[tokio::test]
async fn one_operation_shows_its_failure_and_its_attempts() {
    let mut operation = failed();
    operation["attempts"] = json!([{
        "id": "01936f3e-7c00-7000-8000-0000000000bb", "task": "provision", "state": "exited",
        "agent": "01936f3e-7c00-7000-8000-0000000000aa", "leased_at": "1970-01-01T00:06:41.000Z",
        "started_at": "1970-01-01T00:06:42.000Z", "ended_at": null, "failure": operation["failure"],
        "rke": {"version": "v1.5.0", "sha256": "cd", "rehearsal": true}, "output_offset": 0, "output_bytes": 9, "taken_over": false,
    }]);
    let shown = shown(&format!("cratekube operation get {OPERATION}"), &operation).await;
    assert!(!shown.contains('\u{1b}'), "hostile row 13: {shown}");
    insta::assert_snapshot!("operation_sheet", shown);
}

#[tokio::test]
async fn an_empty_list_says_so_to_people_and_is_empty_for_programs() {
    let empty = json!({"items": []});
    let (exit, written) = play(&Script::of([Reply::json(200, &empty)]), "cratekube cluster list").await;
    assert_eq!((exit, written.out(), written.err()), (Exit::Done, String::new(), "There are no clusters.\n".into()));
    assert_eq!(shown("cratekube cluster list -o name", &empty).await, "");
    let json: Value = serde_json::from_str(&shown("cratekube cluster list -o json", &empty).await).unwrap();
    assert_eq!(json, empty);
}

#[tokio::test]
async fn a_list_is_read_to_its_end_or_to_its_limit() {
    let page = |names: &[&str], next: Option<&str>| {
        let items: Vec<_> = names.iter().map(|name| cluster(name, "ready")).collect();
        Reply::json(200, &json!({"items": items, "next": next}))
    };
    let script = Script::of([page(&["a", "b"], Some("c/1=")), page(&["c"], None)]);
    let (_, written) = play(&script, "cratekube cluster list --removed -o name").await;
    assert_eq!(written.out(), "a\nb\nc\n");
    let path = "GET /v1/environments/prod/clusters?include_removed=true&limit=200";
    assert_eq!(script.lines(), [path.to_owned(), format!("{path}&cursor=c%2F1%3D")]);
    let script = Script::of([page(&["a", "b"], Some("x"))]);
    let (_, written) = play(&script, "cratekube cluster list -o name --limit 1").await;
    assert_eq!(written.out(), "a\n");
    assert_eq!(script.lines(), ["GET /v1/environments/prod/clusters?limit=1"]);
}

#[tokio::test]
async fn clusters_of_all_environments_are_listed_together() {
    let seen = json!({"items": [{"name": "prod", "role": "viewer"}, {"name": "team-a", "role": "viewer"}]});
    let one = |name| Reply::json(200, &json!({"items": [cluster(name, "ready")]}));
    let script = Script::of([Reply::json(200, &seen), one("a"), one("b")]);
    let (_, written) = play(&script, "cratekube cluster list -A -o name").await;
    assert_eq!(written.out(), "a\nb\n");
    assert_eq!(script.lines()[2], "GET /v1/environments/team-a/clusters?limit=200");
}

#[tokio::test]
async fn an_agent_is_found_by_its_name_unless_the_name_is_not_its_own() {
    let list = |agents: &[Value]| Reply::json(200, &json!({"items": agents}));
    let (old, mut new) = (agent("b", "revoked"), agent("b", "active"));
    new["id"] = json!("01936f3e-7c00-7000-8000-0000000000ab");
    let script = Script::of([list(&[old, new.clone()]), Reply::json(200, &new)]);
    let (exit, written) = play(&script, "cratekube agent cordon b --reason disk").await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "b is given nothing new.\n"));
    assert_eq!(script.lines()[1], "POST /v1/admin/agents/01936f3e-7c00-7000-8000-0000000000ab/cordon");
    assert!(script.asked()[1].ends_with("{\"reason\":\"disk\"}"), "{:?}", script.asked());
    let (exit, written) = play(&Script::of([list(&[])]), "cratekube agent get b").await;
    assert_eq!(exit, Exit::NotFound);
    assert!(written.err().starts_with("error: there is no agent \"b\"\n"), "{}", written.err());
    let both = [agent("b", "active"), new];
    let (exit, written) = play(&Script::of([list(&both)]), "cratekube agent get b").await;
    assert!(exit == Exit::Usage && written.err().contains("00ab"), "{}", written.err());
}

#[tokio::test]
async fn a_join_token_alone_is_on_standard_output() {
    let made = json!({"token": "ckj1.secret.aa", "id": "x", "expires_at": "1970-01-01T00:26:40.000Z"});
    let script = Script::of([Reply::json(201, &made)]);
    let (exit, written) = play(&script, "cratekube agent join-token --agent bastion-2 --environments team-*").await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "ckj1.secret.aa\n"));
    assert_eq!(written.err(), "It can be used once, until 1970-01-01T00:26:40.000Z.\n");
    let body = "{\"agent\":\"bastion-2\",\"environments\":\"team-*\",\"lifetime\":\"10m\"}";
    assert!(script.asked()[0].ends_with(body), "{:?}", script.asked());
}

#[tokio::test]
async fn a_copy_of_the_audit_log_is_whole_or_a_fault() {
    let lines = b"{\"number\":2}\n{\"number\":1}\n";
    let kind = "application/x-ndjson";
    let script = Script::of([Reply::with(200, kind, &[], lines)]);
    let (exit, written) = play(&script, "cratekube audit export --actor ann --outcome refused").await;
    assert_eq!((exit, written.out().as_bytes()), (Exit::Done, lines.as_slice()));
    assert_eq!(script.lines(), ["GET /v1/admin/audit?actor=ann&outcome=refused"]);
    assert!(script.asked()[0].contains("accept: application/x-ndjson"), "{:?}", script.asked());
    let (exit, _) = play(&Script::of([Reply::cut(200, kind, &[], lines, 13)]), "cratekube audit export").await;
    assert_eq!(exit, Exit::Unavailable);
}

#[tokio::test]
async fn yaml_reads_back_as_the_document_that_it_was_whatever_words_are_in_it() {
    let words = [
        "NO",
        "yes",
        "0755",
        "1e3",
        "1_000",
        "1:30",
        "null",
        "~",
        "",
        " x",
        "a: b",
        "- c",
        "#d",
        "ü\n\u{1b}",
        "'",
        "\"",
    ];
    let document = json!({"items": words, "n": 1, "f": 0.5, "none": null, "empty": [], "t": true});
    let read: Value = serde_saphyr::from_str(&shown("cratekube cluster get web -o yaml", &document).await).unwrap();
    assert_eq!(read, document);
}

#[tokio::test]
async fn alarms_keys_resources_and_health_as_people_read_them() {
    let alarm = json!({"number": 7, "kind": "join-token-reused", "object": "01\u{1b}", "detail": "It came from 10.0.0.9.",
        "remedy": "Revoke the agent.", "open": true, "first_at": "1970-01-01T00:05:00.000Z",
        "last_at": "1970-01-01T00:10:00.000Z", "count": 2, "acknowledged": null});
    let script = Script::of([Reply::json(200, &json!({"items": [alarm]}))]);
    let (_, written) = play(&script, "cratekube alarm list --state open").await;
    insta::assert_snapshot!("alarms_table", written.out());
    assert_eq!(script.lines(), ["GET /v1/admin/alarms?state=open&limit=200"]);
    let keys = json!({"items": [{"kid": "k2", "signs": true, "ends_at": null},
        {"kid": "k1", "signs": false, "ends_at": "1970-01-01T01:00:00.000Z"}]});
    insta::assert_snapshot!("signing_keys_table", shown("cratekube signing-key list", &keys).await);

    let object = json!({"api_version": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"});
    let resource = json!({"name": "page", "revision": 3, "mode": "sync", "state": "failed", "withdrawn": false,
        "wanted": [object], "objects": [object], "requested_by": "ann", "created_at": "1970-01-01T00:05:00.000Z",
        "updated_at": "1970-01-01T00:10:00.000Z", "checked_at": "1970-01-01T00:12:00.000Z", "manifest": "kind: Deployment\n",
        "faults": [{"object": object, "reason": "Forbidden", "message": "not\nallowed"}]});
    insta::assert_snapshot!("resource_sheet", shown("cratekube resource get page -c web", &resource).await);
    let listed = json!({"items": [resource]});
    let script = Script::of([Reply::json(200, &listed)]);
    let (_, written) = play(&script, "cratekube resource list -c web").await;
    insta::assert_snapshot!("resources_table", written.out());
    assert_eq!(script.lines(), ["GET /v1/environments/prod/clusters/web/resources"], "it has no pages");
    assert_eq!(shown("cratekube resource get page -c web --manifest", &resource).await, "kind: Deployment\n");

    let health = json!({"environment": "prod", "name": "web", "phase": "ready", "status": "unhealthy", "stale": true,
        "checked_at": "1970-01-01T00:10:00.000Z", "kubernetes_version": "v1.30.14",
        "checks": [{"name": "nodes", "outcome": "failed", "detail": "192.0.2.12 is not ready"}],
        "certificates": [{"name": "kube-apiserver", "not_after": "1971-01-01T00:00:00.000Z"}]});
    insta::assert_snapshot!("health_sheet", shown("cratekube cluster health web", &health).await);
}

fn entry(fate: &str) -> Value {
    json!({"kind": "volume", "id": "vol-1", "name": "pvc-1", "fate": fate, "monthly_cents": 64, "why": "in use\u{1b}[2J"})
}

#[tokio::test]
async fn what_a_removal_would_do_and_what_it_left_are_shown_with_costs() {
    let preview = json!({"cluster": {"environment": "prod", "name": "web"}, "data_policy": "delete",
        "steps": ["freeze", "remove"], "hosts": ["10.0.0.1"], "refused_because": ["the cluster is protected"],
        "unverified": null, "monthly_cents_freed": 64, "monthly_cents_kept": 5, "prices": "list",
        "cloud": {"entries": [entry("would_go")]}});
    insta::assert_snapshot!("removal_preview", shown("cratekube cluster delete web --dry-run", &preview).await);
    let report = json!({"operation": OPERATION, "environment": "prod", "cluster": "web", "verdict": "residue",
        "because": ["volume vol-1 in the cloud: in use"], "data_policy": "delete",
        "cloud": {"prices": "list", "objects": [entry("left")],
            "tally": {"monthly_cents_freed": 0, "monthly_cents_left": 64, "monthly_cents_kept": 0}},
        "steps": [{"step": "sweep", "state": "succeeded", "outcome": "done", "why": null}],
        "hosts": [{"address": "10.0.0.1", "outcome": "cleaned", "detail": "clean"}],
        "tombstone": {"shred_after": "2026-12-25T00:00:00Z"}, "abandoned": {"by": "eve", "reason": "closed"}});
    let line = format!("cratekube operation residue {OPERATION}");
    insta::assert_snapshot!("residue_sheet", shown(&line, &json!({"report": report, "jws": "a.b.c"})).await);
    let group = json!({"name": "gone", "reason": "removed", "count": 3, "age_days": 24, "monthly_cents": 192});
    let orphans = json!({"items": [], "cloud": {"results": [{"name": "bastion-1", "findings": {"groups": [group]}}]}});
    insta::assert_snapshot!("orphans_table", shown("cratekube orphan list", &orphans).await);
}

#[tokio::test]
async fn the_ca_shows_how_far_its_rotation_is_and_every_step_is_one_request() {
    let root = |sha256: &str, stays: bool| {
        json!({"sha256": sha256, "key_algorithm": "ecdsa-p256", "expires_at": "2046-11-20T00:00:00.000Z",
            "stays": stays, "shown": !stays, "pem": "-----BEGIN CERTIFICATE-----"})
    };
    let behind = json!([{"id": "01", "name": "bastion-7\u{1b}", "state": "active", "online": false,
        "last_seen_at": "1970-01-01T00:10:00.000Z"}]);
    let ca = json!({"phase": "introduced", "rolled_back": false, "begun_at": "1970-01-01T00:05:00.000Z",
        "changed_at": "1970-01-01T00:05:00.000Z", "roots": [root("bb", true), root("aa", false)], "behind": behind});
    insta::assert_snapshot!("ca_sheet", shown("cratekube ca show", &ca).await);
    for (line, path, body) in [
        ("rotate --reason yearly", "rotate", "{\"reason\":\"yearly\"}"),
        ("switch --reason x", "switch", "{\"leave_behind\":false,\"reason\":\"x\"}"),
        ("roll-back --reason x", "roll-back", "{\"reason\":\"x\"}"),
        ("finish --leave-behind --reason x", "finish", "{\"leave_behind\":true,\"reason\":\"x\"}"),
    ] {
        let script = Script::of([Reply::json(200, &ca)]);
        let (exit, written) = play(&script, &format!("cratekube ca {line} -o name")).await;
        assert_eq!((exit, written.out().as_str()), (Exit::Done, "bb\n"), "{line}");
        assert!(written.err().contains("cratekube ca trust"), "what comes next: {}", written.err());
        assert_eq!(script.lines(), [format!("POST /v1/admin/ca/{path}")]);
        assert!(script.asked()[0].ends_with(body), "{:?}", script.asked());
    }
}
