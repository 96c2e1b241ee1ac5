//! `cratekube` against the whole house: what people type, what they see, and the exit codes that
//! scripts go by.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use cratekube_tests::house::link::Link;
use cratekube_tests::house::puppet::Puppet;
use cratekube_tests::house::{Setup, Shell, World};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fleet::HostFault;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

const CRATEKUBE: &str = env!("CARGO_BIN_EXE_house-cratekube");
const ALL: &[&str] = &["operator:*", "admin:*"];

/// A description as people write it.
const WEB: &str = "\
name: web
environment: prod
spec:
  kubernetes_version: v1.28.12-rancher1-1
  nodes:
  - address: 192.0.2.11
    roles: [controlplane, etcd, worker]
";

async fn house() -> anyhow::Result<(World, Shell, String)> {
    let world = World::start(programs!()).await?;
    let shell = Shell::logged_in(&world, CRATEKUBE, ALL).await?;
    let file = shell.file("web.yaml", WEB)?.to_string_lossy().into_owned();
    Ok((world, shell, file))
}

#[tokio::test]
async fn a_cluster_is_made_looked_at_and_removed_from_a_shell() -> anyhow::Result<()> {
    let (world, shell, file) = house().await?;
    let made = shell.run(&["cluster", "create", "-f", &file, "--wait"]).await?.expect(0)?;
    assert_eq!(made.out, "The provision of prod/web succeeded.\n");
    assert!(made.err.lines().any(|line| line.starts_with('[') && line.contains('/')), "phases: {}", made.err);
    assert!(!made.err.contains('\u{1b}'), "nothing is drawn where nobody looks: {}", made.err);

    let clusters = shell.run(&["cluster", "list", "-o", "json"]).await?.expect(0)?.json()?;
    let theirs = world.client.get("/v1/environments/prod/clusters").await?.json();
    assert_eq!(clusters["items"], theirs["items"]);
    let cluster = shell.run(&["cluster", "get", "web", "-o", "json"]).await?.expect(0)?.json()?;
    assert_eq!(cluster, world.client.get("/v1/environments/prod/clusters/web").await?.json());
    let table = shell.run(&["cluster", "list", "-A"]).await?.expect(0)?.out;
    assert!(table.lines().nth(1).unwrap().starts_with("prod         web   ready "), "{table}");
    let generations = shell.run(&["cluster", "generations", "web", "-o", "name"]).await?.expect(0)?;
    assert_eq!(generations.out, "1\n");

    let id = shell.run(&["operation", "list", "-o", "name"]).await?.expect(0)?.out.trim().to_owned();
    let output = shell.run(&["operation", "output", &id]).await?.expect(0)?;
    let theirs = world.client.get(&format!("/v1/operations/{id}/output")).await?;
    assert!(output.out == theirs.text() && !output.out.is_empty(), "byte for byte");
    let seen = shell.run(&["operation", "get", &id]).await?.expect(0)?.out;
    assert!(seen.contains("State:") && seen.contains("succeeded") && seen.contains("(rehearsal)"), "{seen}");

    let gone =
        shell.run(&["cluster", "delete", "web", "--reason", "story", "--wait", "-o", "json"]).await?.expect(0)?;
    assert_eq!((&gone.json()?["kind"], &gone.json()?["state"]), (&json!("remove"), &json!("succeeded")));
    assert_eq!(gone.json()?["reason"], "story");
    let none = shell.run(&["cluster", "list"]).await?.expect(0)?;
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "There are no clusters.\n"));
    world.finish().await
}

#[tokio::test]
async fn a_failure_is_exit_code_1_with_what_to_do_and_can_be_tried_again() -> anyhow::Result<()> {
    let (world, shell, file) = house().await?;
    world.rke.host("192.0.2.11").unreachable(HostFault::WrongKey)?;
    let failed = shell.run(&["cluster", "create", "-f", &file, "--wait"]).await?.expect(1)?;
    for part in
        ["error: provision of prod/web failed [auth]", "rke said: ", "192.0.2.11", "what to do: ", "operation retry"]
    {
        assert!(failed.err.contains(part), "no {part:?} in: {}", failed.err);
    }
    assert_eq!(failed.out, "");
    let id =
        shell.run(&["operation", "list", "--state", "failed", "-o", "name"]).await?.expect(0)?.out.trim().to_owned();
    shell.run(&["operation", "watch", &id]).await?.expect(1)?;
    world.rke.host("192.0.2.11").reachable()?;
    let again = shell.run(&["operation", "retry", &id, "--wait", "-o", "json"]).await?.expect(0)?.json()?;
    assert_eq!((&again["state"], &again["retry_of"]), (&json!("succeeded"), &json!(id)));
    world.finish().await
}

#[tokio::test]
async fn refusals_tell_scripts_and_people_what_is_the_matter() -> anyhow::Result<()> {
    let (world, shell, file) = house().await?;
    let bad = shell
        .file("bad.yaml", "name: Web\nspec:\n  kubernetes_version: v1.2.3-rancher1-1\n  nodes: []\n  color: red\n")?;
    let bad = shell.run(&["cluster", "create", "-f", &bad.to_string_lossy()]).await?.expect(3)?;
    for place in
        ["/name: ", "/spec/kubernetes_version: ", "/spec/nodes: ", "/spec/color: ", "what to do: ", "request: "]
    {
        assert!(bad.err.contains(place), "no {place:?} in: {}", bad.err);
    }
    let twice = shell.file("twice.yaml", "name: web\nname: db\n")?;
    shell.run(&["cluster", "create", "-f", &twice.to_string_lossy()]).await?.expect(2)?;
    shell.run(&["cluster", "create", "-f", &file, "--wait"]).await?.expect(0)?;
    shell.run(&["cluster", "create", "-f", &file]).await?.expect(6)?;
    shell.run(&["cluster", "get", "none"]).await?.expect(4)?;
    shell.run(&["cluster", "get", "../etc"]).await?.expect(2)?;
    let viewer = shell.token(&world, &["viewer:prod"]).await?;
    let token = std::fs::read_to_string(viewer)?;
    let mut denied = shell.command(&["cluster", "delete", "web", "--reason", "x"]);
    let denied = denied.env("CK_TOKEN", &token).output().await?;
    assert_eq!(denied.status.code(), Some(5));
    let mut nobody = shell.command(&["cluster", "list"]);
    let nobody = nobody.env("CK_TOKEN", "no.such.token").output().await?;
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert!(nobody.status.code() == Some(5) && said.contains("cratekube login") && !said.contains("no.such"), "{said}");
    world.finish().await
}

#[tokio::test]
async fn a_cancelled_operation_is_exit_code_8_and_cancelling_it_is_0() -> anyhow::Result<()> {
    let (mut world, shell, file) = house().await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let id = shell.run(&["cluster", "create", "-f", &file, "-o", "name"]).await?.expect(0)?.out.trim().to_owned();
    let passage = gate.reached().await?;
    let watching = tokio::spawn({
        let (shell, id) = (shell.clone(), id.clone());
        async move { shell.run(&["operation", "watch", &id]).await }
    });
    let cancelled = shell.run(&["operation", "cancel", &id, "--wait"]).await?.expect(0)?;
    assert_eq!(cancelled.out, "The provision of prod/web is cancelled.\n");
    let watched = watching.await??.expect(8)?;
    assert!(watched.err.contains("error: provision of prod/web was cancelled"), "{}", watched.err);
    drop(passage);
    world.finish().await
}

#[tokio::test]
async fn followed_output_survives_a_broken_connection_without_gap_or_duplicate() -> anyhow::Result<()> {
    let (mut world, shell, file) = house().await?;
    let link = Link::to(world.controller.rest).await?;
    let token = shell.token(&world, ALL).await?;
    let (address, ca) =
        (format!("https://localhost:{}", link.address().port()), world.controller.data().join("ca.pem"));
    let (ca, token) = (ca.to_string_lossy().into_owned(), token.to_string_lossy().into_owned());
    let login = ["login", "--profile", "far", "--address", &address, "--ca", &ca, "--credential", &token];
    shell.run(&login).await?.expect(0)?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let id = shell.run(&["cluster", "create", "-f", &file, "-o", "name"]).await?.expect(0)?.out.trim().to_owned();
    let passage = gate.reached().await?;
    let mut command = shell.command(&["operation", "output", "-f", &id, "--profile", "far"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    out.read_line(&mut text).await?;
    // The run stands at its gate: what was printed so far came before the cut.
    link.cut();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut note = String::new();
    told.read_line(&mut note).await?;
    assert!(note.contains("trying again"), "{note}");
    link.mend();
    drop(passage);
    out.read_to_string(&mut text).await?;
    assert_eq!(child.wait().await?.code(), Some(0));
    let theirs = world.client.get(&format!("/v1/operations/{id}/output")).await?.text();
    assert_eq!(text, theirs);
    world.finish().await
}

#[tokio::test]
async fn on_a_terminal_progress_is_drawn_over_and_the_outcome_stays() -> anyhow::Result<()> {
    let (mut world, shell, file) = house().await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let mut terminal = shell.on_terminal(&["cluster", "create", "-f", &file, "--wait"])?;
    let passage = gate.reached().await?;
    terminal.shows("provision of prod/web [").await?;
    drop(passage);
    let (code, seen) = terminal.ended().await?;
    assert_eq!(code, 0, "{seen:?}");
    assert!(seen.contains('\r') && seen.contains("\u{1b}["), "it is drawn over: {seen:?}");
    assert!(seen.trim_end().ends_with("The provision of prod/web succeeded."), "{seen:?}");

    let (code, seen) = shell.on_terminal(&["cluster", "list"])?.ended().await?;
    assert!(code == 0 && seen.contains("\u{1b}[32mready\u{1b}[0m"), "colours where people look: {seen:?}");
    world.finish().await
}

#[tokio::test]
async fn ctrl_c_ends_the_watching_and_not_the_operation() -> anyhow::Result<()> {
    let (mut world, shell, file) = house().await?;
    let gate = world.gate("Building Kubernetes cluster")?;
    let mut terminal = shell.on_terminal(&["cluster", "create", "-f", &file, "--wait"])?;
    let passage = gate.reached().await?;
    terminal.shows("provision of prod/web [").await?;
    terminal.signal(rustix::process::Signal::INT)?;
    let (code, seen) = terminal.ended().await?;
    assert_eq!(code, 130, "{seen:?}");
    let id = shell.run(&["operation", "list", "-o", "name"]).await?.expect(0)?.out.trim().to_owned();
    assert!(seen.contains(&format!("cratekube operation watch {id}")), "{seen:?}");
    drop(passage);
    shell.run(&["operation", "watch", &id]).await?.expect(0)?;
    world.finish().await
}

#[tokio::test]
async fn administrators_look_after_agents_from_a_shell() -> anyhow::Result<()> {
    let (world, shell, _) = house().await?;
    let agents = shell.run(&["agent", "list", "-o", "json"]).await?.expect(0)?.json()?;
    assert_eq!(agents["items"][0]["name"], "bastion-1");
    shell.run(&["agent", "cordon", "bastion-1", "--reason", "disk"]).await?.expect(0)?;
    let state = async |state: &str| -> anyhow::Result<()> {
        let one = shell.run(&["agent", "get", "bastion-1", "-o", "json"]).await?.expect(0)?.json()?;
        assert_eq!(one["state"], state);
        Ok(())
    };
    state("cordoned").await?;
    shell.run(&["agent", "uncordon", "bastion-1"]).await?.expect(0)?;
    state("active").await?;
    shell.run(&["agent", "drain", "bastion-1"]).await?.expect(0)?;
    state("draining").await?;
    let here = shell.run(&["agent", "forget", "bastion-1", "--reason", "x"]).await?.expect(6)?;
    assert!(here.err.contains("The agent is connected"), "{}", here.err);
    shell.run(&["agent", "get", "bastion-9"]).await?.expect(4)?;
    world.finish().await
}

#[tokio::test]
async fn a_cluster_is_kept_up_from_a_shell_checked_renewed_and_given_what_it_is_to_hold() -> anyhow::Result<()> {
    let setup = Setup { operations: "attempts = 1\nsteps = [\"configure\", \"verify\"]", ..Setup::default() };
    let world = World::with(programs!(), setup).await?;
    let shell = Shell::logged_in(&world, CRATEKUBE, ALL).await?;
    let file = shell.file("web.yaml", WEB)?.to_string_lossy().into_owned();
    shell.run(&["cluster", "create", "-f", &file, "--wait"]).await?.expect(0)?;
    let page = |title: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: page\n  namespace: workspace\ndata:\n  title: {title}\n"
        )
    };
    let put = async |title: &str, more: &[&str], code: i32| -> anyhow::Result<String> {
        let file = shell.file("page.yaml", &page(title))?.to_string_lossy().into_owned();
        let line = [&["resource", "put", "page", "--cluster", "web", "-f", &file], more].concat();
        Ok(shell.run(&line).await?.expect(code)?.err)
    };
    put("one", &["--mode", "sync", "--wait"], 0).await?;
    put("two", &["--mode", "sync", "--wait"], 0).await?;
    put("three", &["--revision", "1"], 6).await?;
    put("{", &[], 3).await?;
    let kept = shell.run(&["resource", "get", "page", "--cluster", "web", "--manifest"]).await?.expect(0)?.out;
    assert_eq!(kept, page("two"));
    let there = || world.clusters.list("192.0.2.11", "", "configmaps");
    let title = |title: &str| there().iter().any(|object| object["data"]["title"] == title);
    assert!(title("two") && !title("one"), "{:?}", there());
    let list = shell.run(&["resource", "list", "--cluster", "web"]).await?.expect(0)?.out;
    assert!(list.contains("page") && list.contains("applied"), "{list}");
    shell.run(&["resource", "delete", "page", "--cluster", "web", "--wait"]).await?.expect(0)?;
    assert!(!title("two"), "it left the cluster: {:?}", there());
    assert_eq!(shell.run(&["resource", "list", "-e", "prod", "-o", "name"]).await?.expect(0)?.out, "");

    shell.run(&["cluster", "verify", "web", "--wait"]).await?.expect(0)?;
    let health = shell.run(&["cluster", "health", "web"]).await?.expect(0)?.out;
    assert!(health.contains("healthy") && health.contains("Certificates:"), "{health}");
    shell.run(&["cluster", "rotate-certificates", "web", "--service", "etcd", "--wait"]).await?.expect(0)?;
    assert!(world.rke.runs()?.iter().any(|run| run.command == "cert rotate"), "{:?}", world.rke.runs()?);

    let keys = async || anyhow::Ok(shell.run(&["signing-key", "list", "-o", "name"]).await?.expect(0)?.out);
    let before = keys().await?;
    shell.run(&["signing-key", "rotate", "--reason", "story"]).await?.expect(0)?;
    let after = keys().await?;
    assert!(after.lines().count() == 2 && after.ends_with(&before), "{before} {after}");
    world.finish().await
}

#[tokio::test]
async fn an_alarm_is_seen_to_from_a_shell() -> anyhow::Result<()> {
    let (world, shell, _) = house().await?;
    let none = shell.run(&["alarm", "list", "--state", "open"]).await?.expect(0)?;
    assert_eq!(none.err, "There are no alarms.\n");
    let token = shell.run(&["agent", "join-token"]).await?.expect(0)?.out.trim().to_owned();
    Puppet::enrolled_with(&world.controller, world.path(), "bastion-2", &token).await?;
    assert!(Puppet::enrolled_with(&world.controller, world.path(), "thief", &token).await.is_err());
    let rings = shell.run(&["alarm", "list", "--state", "open"]).await?.expect(0)?.out;
    assert!(rings.contains("join-token-reused"), "{rings}");
    let number = shell.run(&["alarm", "list", "-o", "name"]).await?.expect(0)?.out.trim().to_owned();
    shell.run(&["alarm", "acknowledge", &number, "--reason", "a script ran twice"]).await?.expect(0)?;
    shell.run(&["alarm", "ack", &number, "--reason", "again"]).await?.expect(6)?;
    shell.run(&["alarm", "ack", "999", "--reason", "x"]).await?.expect(4)?;
    assert_eq!(shell.run(&["alarm", "list", "--state", "open", "-o", "name"]).await?.expect(0)?.out, "");
    world.finish().await
}

#[tokio::test]
async fn a_login_trusts_one_authority_and_keeps_what_it_stores_private() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let shell = Shell::at(&world.path().join("home"), CRATEKUBE)?;
    let first = shell.run(&["cluster", "list", "-e", "prod"]).await?.expect(2)?;
    assert!(first.err.contains("cratekube login"), "{}", first.err);
    let token = shell.token(&world, ALL).await?.to_string_lossy().into_owned();
    let address = format!("https://localhost:{}", world.controller.rest.port());
    let login = |sha256: &str| {
        let args = ["login", "--address", &address, "--ca-fingerprint", sha256, "--credential", &token, "-e", "prod"];
        args.map(ToOwned::to_owned)
    };
    let run = async |args: [String; 9]| shell.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let other = run(login(&"0f".repeat(32))).await?.expect(7)?;
    assert!(other.err.contains("is not the controller that this profile trusts"), "{}", other.err);
    assert!(!shell.profile("default").exists(), "nothing is stored of a login that failed");
    let pem = std::fs::read(world.controller.data().join("ca.pem"))?;
    let authority = cratekube_common::runtime::tls::certificates(&pem).map_err(anyhow::Error::msg)?.remove(0);
    let done = run(login(&cratekube_common::runtime::tls::fingerprint(&authority))).await?.expect(0)?;
    let secret = std::fs::read_to_string(&token)?;
    assert!(!done.err.contains(&secret) && !done.out.contains(&secret));
    let profile = shell.profile("default");
    assert_eq!(std::fs::metadata(&profile)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(shell.run(&["cluster", "list", "-o", "json"]).await?.expect(0)?.json()?, json!({"items": []}));
    std::fs::set_permissions(&profile, std::fs::Permissions::from_mode(0o644))?;
    shell.run(&["cluster", "list"]).await?.expect(2)?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_31_a_credential_that_is_typed_is_not_shown() -> anyhow::Result<()> {
    let world = World::start(programs!()).await?;
    let shell = Shell::at(&world.path().join("home"), CRATEKUBE)?;
    let token = std::fs::read_to_string(shell.token(&world, ALL).await?)?;
    let address = format!("https://localhost:{}", world.controller.rest.port());
    let ca = world.controller.data().join("ca.pem");
    let mut terminal = shell.on_terminal(&["login", "--address", &address, "--ca", &ca.to_string_lossy()])?;
    terminal.shows("API key or token (not shown): ").await?;
    terminal.types(&token)?;
    let (code, seen) = terminal.ended().await?;
    assert!(code == 0 && seen.contains("Logged in at https://localhost:"), "{seen:?}");
    assert!(!seen.contains(&token[..20]), "{seen:?}");
    assert!(std::fs::read_to_string(shell.profile("default"))?.contains(&token));
    world.finish().await
}

#[tokio::test]
async fn a_restart_of_the_controller_is_waited_for() -> anyhow::Result<()> {
    let (mut world, shell, file) = house().await?;
    world.controller.process.stop().await?;
    let mut command = shell.command(&["cluster", "create", "-f", &file, "--wait", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut note = String::new();
    told.read_line(&mut note).await?;
    assert!(note.contains("trying again"), "{note}");
    world.controller.restart().await?;
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).await?;
    let operation: Value = serde_json::from_str(&out)?;
    assert_eq!((child.wait().await?.code(), &operation["state"]), (Some(0), &json!("succeeded")));
    world.finish().await
}

#[tokio::test]
async fn hostile_row_39_who_trusts_the_new_ca_before_the_switch_does_not_notice_it() -> anyhow::Result<()> {
    let (world, shell, _) = house().await?;
    // Another profile that is not told of it.
    std::fs::copy(shell.profile("default"), shell.profile("unaware"))?;
    let begun = shell.run(&["ca", "rotate", "--reason", "story"]).await?.expect(0)?;
    assert!(begun.out.contains("introduced") && begun.err.contains("cratekube ca trust"), "{}{}", begun.out, begun.err);
    let trusted = shell.run(&["ca", "trust"]).await?.expect(0)?;
    assert!(trusted.err.starts_with("2 CAs are trusted now"), "{}", trusted.err);
    world.agent.process.line("the agent's certificate is renewed").await?;
    let until_switched = async {
        // It is behind until it has shown its new certificate.
        while shell.run(&["ca", "switch", "--reason", "story"]).await?.expect(0).is_err() {}
        anyhow::Ok(())
    };
    tokio::time::timeout(cratekube_tests::house::process::PATIENCE, until_switched).await??;
    shell.run(&["cluster", "list"]).await?.expect(0)?;
    let refused = shell.run(&["--profile", "unaware", "--timeout", "1s", "cluster", "list"]).await?.expect(7)?;
    assert!(refused.err.contains("If its CA was rotated"), "{}", refused.err);
    let finished = shell.run(&["ca", "finish", "--reason", "story"]).await?.expect(0)?;
    assert!(finished.err.contains("Make a backup now"), "{}", finished.err);
    shell.run(&["cluster", "list"]).await?.expect(0)?;
    assert!(shell.run(&["ca", "trust"]).await?.expect(0)?.err.starts_with("1 CA is trusted now"));
    let token = world.controller.command(&["agent", "join-token"]).await?;
    let ca = shell.run(&["ca", "show", "-o", "name"]).await?.expect(0)?.out;
    assert!(token.trim().ends_with(ca.trim()), "new tokens name it");
    world.finish().await
}
