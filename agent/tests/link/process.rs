//! The program itself, as an operator meets it: init-volume, enroll, doctor, run, and its end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::support::controller::{Options, TestController};
use crate::support::soon;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cratekube-agent");

struct Host {
    dir: tempfile::TempDir,
    controller: TestController,
}

impl Host {
    async fn new() -> Self {
        let controller = TestController::start(Options { sockets: true, ..Options::default() }).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("volume")).unwrap();
        Self { dir, controller }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let volumes = format!("[{:?}]", self.path("volume"));
        command
            .args(args)
            .env_clear()
            .env("CRATEKUBE_CONTROLLER__ADDRESS", self.controller.address.to_string())
            .env("CRATEKUBE_AGENT__STATE_DIR", self.path("state"))
            .env("CRATEKUBE_AGENT__NAME", "bastion-1")
            .env("CRATEKUBE_VOLUMES__PATHS", volumes)
            .env("CRATEKUBE_VOLUMES__REQUIRE_MOUNT", "false")
            .env("CRATEKUBE_VOLUMES__MIN_FREE_BYTES", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn ask(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        soon("an answer", child.wait_with_output()).await.unwrap()
    }

    async fn enrolled() -> Self {
        let host = Self::new().await;
        let volume = host.path("volume");
        let made = host.ask(&["init-volume", "--path", volume.to_str().unwrap()], "").await;
        assert!(made.status.success(), "{}", text(&made.stderr));
        let token = host.controller.authority.token();
        let joined = host.ask(&["enroll"], token.expose().expose()).await;
        assert_eq!(text(&joined.stderr), "");
        assert!(text(&joined.stdout).starts_with("enrolled as bastion-1 (00000000-"), "{}", text(&joined.stdout));
        let asked = host.controller.state.enrolled.lock().unwrap()[0].clone();
        assert_eq!(asked.volumes.len(), 1, "it told which volume it serves");
        host
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test]
async fn from_an_empty_directory_to_a_session_and_a_clean_end() {
    let mut host = Host::enrolled().await;
    let socket = host.path("notify");
    let manager = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let agent = host.command(&["run"]).env("NOTIFY_SOCKET", &socket).spawn().unwrap();
    let mut session = host.controller.session().await;
    assert_eq!(session.hello.facts.as_ref().unwrap().volumes.len(), 1);
    session.welcome(Vec::new()).await;
    assert_eq!(session.ready().await, 4);

    signal(&agent);
    assert_eq!(session.ready().await, 0, "asked to stop, it takes nothing new");
    assert!(session.next().await.is_none());
    drop(session);
    let ended = soon("the end", agent.wait_with_output()).await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    let mut states: Vec<String> = Vec::new();
    while states.last().is_none_or(|state| !state.starts_with("STOPPING=1")) {
        let mut buffer = [0; 1024];
        let length = soon("a word to the service manager", manager.recv(&mut buffer)).await.unwrap();
        states.push(text(&buffer[..length]).to_owned());
    }
    assert!(states[0].starts_with("READY=1"), "{states:?}");
    assert!(states.iter().any(|state| state.starts_with("STATUS=online")), "{states:?}");
}

/// A key that nobody uses.
const KEY: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDPSskDAnYWN6d5QC6K5Dpata6Td1vjIEhYtvbVAaP8OQAAAIjUZqa41Gam
uAAAAAtzc2gtZWQyNTUxOQAAACDPSskDAnYWN6d5QC6K5Dpata6Td1vjIEhYtvbVAaP8OQ
AAAEBRTy1j9Q7c9kLqyJPOem5HRzUUKh3vOEQE2V1dQpJUns9KyQMCdhY3p3lALorkOlq1
rpN3W+MgSFi29tUBo/w5AAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";

#[tokio::test]
async fn the_doctor_looks_at_everything_and_fails_when_something_does() {
    let host = Host::enrolled().await;
    let rke = host.path("rke");
    write_script(&rke, "echo rke version v1.2.23");
    let key = host.path("id_ed25519");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let doctor = |path: &Path| {
        let mut command = host.command(&["doctor"]);
        command.env("CRATEKUBE_RKE__PATH", path).env("CRATEKUBE_SSH__KEY", &key);
        command
    };
    let well = soon("a diagnosis", doctor(&rke).output()).await.unwrap();
    let said = text(&well.stdout);
    assert_eq!(well.status.code(), Some(0), "{said}");
    for line in [
        "ok    settings",
        "ok    identity",
        "ok    volume",
        "ok    rke",
        "ok    ssh key",
        "ok    controller",
        "ok    clock",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let ill = soon("a diagnosis", doctor(&host.path("none")).output()).await.unwrap();
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill.stdout).contains("FAIL  rke"), "{}", text(&ill.stdout));
}

fn write_script(path: &Path, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_right_exit_code() {
    let host = Host::new().await;
    let usage = host.ask(&["frobnicate"], "").await;
    assert_eq!(usage.status.code(), Some(2));
    let help = host.ask(&["enroll", "--help"], "").await;
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Examples:"));
    let stranger = host.ask(&["run"], "").await;
    assert_eq!(stranger.status.code(), Some(1));
    assert!(text(&stranger.stderr).contains("not enrolled"), "{}", text(&stranger.stderr));
    let bad = soon(
        "an answer",
        host.command(&["run"]).env("CRATEKUBE_AGENT__SLOTS", "0").env("CRATEKUBE_STRAY", "1").output(),
    );
    let bad = bad.await.unwrap();
    let said = text(&bad.stderr);
    assert!(said.contains("/agent/slots") && said.contains("/stray"), "all mistakes at once: {said}");
}

#[tokio::test]
async fn hostile_row_31_a_used_token_file_is_removed_and_an_argument_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new().await;
    let token = host.controller.authority.token().expose();
    let file = host.path("token");
    std::fs::write(&file, token.expose()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = host.ask(&["enroll", "--token-file", file.to_str().unwrap()], "").await;
    assert!(!open.status.success() && text(&open.stderr).contains("chmod 600"), "{}", text(&open.stderr));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let joined = host.ask(&["enroll", "--token-file", file.to_str().unwrap()], "").await;
    assert!(joined.status.success(), "{}", text(&joined.stderr));
    assert!(!file.exists());
    let again = host.ask(&["enroll", "--force", "--token", token.expose()], "").await;
    assert!(text(&again.stderr).contains("warning: --token shows the join token"), "{}", text(&again.stderr));
    assert!(!text(&again.stderr).contains(token.expose()) && !text(&again.stdout).contains(token.expose()));
}
