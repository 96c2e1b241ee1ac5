//! The client alone: what logs in, what is refused, what is bounded.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cratekube_agent::ssh::session::{Patience, keys_of_agent};
use cratekube_agent::ssh::{Bounds, Connector, Credentials, KeyFault, KnownHosts, SshFault, Target};
use cratekube_common::runtime::clock;

use crate::yard::{Host, PATIENT, Yard, user};

const AMPLE: Bounds = Bounds { time: Duration::from_secs(300), output: 64 * 1024 };

fn connector(credentials: Credentials) -> Arc<Connector> {
    Arc::new(Connector::new(credentials, KnownHosts::none(), clock::system()))
}

fn target(host: &Host) -> Target {
    Target { address: host.address.clone(), port: host.port, user: user() }
}

#[tokio::test]
async fn a_command_gets_its_input_and_its_output_and_errors_are_kept_apart() {
    let Some(yard) = Yard::open("a_command_gets_its_input") else { return };
    let host = yard.up(2);
    let session = connector(yard.credentials()).connect(&target(&host), PATIENT).await.unwrap();
    // More than one window of the protocol.
    let input = "line of input\n".repeat(300_000);
    let script = "wc -c; echo oops >&2; exit 3";
    let output = session.exec(script, input.as_bytes(), AMPLE).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), input.len().to_string());
    assert_eq!((output.status, output.stderr.as_slice(), output.cut), (Some(3), b"oops\n".as_slice(), false));
    // A second command on the same connection.
    assert_eq!(session.exec("echo again", b"", AMPLE).await.unwrap().stdout, b"again\n");
    session.close().await;
}

#[tokio::test]
async fn a_command_that_prints_without_end_or_never_ends_is_given_up() {
    let Some(yard) = Yard::open("a_command_that_prints_without_end") else { return };
    let host = yard.up(2);
    let session = connector(yard.credentials()).connect(&target(&host), PATIENT).await.unwrap();
    let output = session.exec("yes", b"", AMPLE).await.unwrap();
    assert!(output.cut && output.stdout.len() == AMPLE.output && output.status.is_none());
    let short = Bounds { time: Duration::from_millis(50), ..AMPLE };
    let never = session.exec(&format!("cat {}", host.fifo().display()), b"", short).await;
    assert_eq!(never, Err(SshFault::TooLong(0)));
}

#[tokio::test]
async fn rsa_keys_and_keys_of_an_ssh_agent_log_in() {
    let Some(yard) = Yard::open("rsa_keys_and_keys_of_an_ssh_agent") else { return };
    let host = yard.up(2);
    yard.key("rsa", "rsa", "");
    let public = fs::read_to_string(yard.dir.path().join("rsa.pub")).unwrap();
    fs::write(host.dir.join("authorized_keys"), public).unwrap();
    let rsa = Credentials::from_file(&yard.dir.path().join("rsa")).unwrap();
    connector(rsa).connect(&target(&host), PATIENT).await.unwrap().close().await;

    let socket = yard.dir.path().join("agent.sock");
    let mut agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::piped()).spawn().unwrap();
    // It prints where it listens once it does.
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(agent.stdout.take().unwrap()), &mut said).unwrap();
    let by_agent = connector(Credentials::Agent(socket.clone()));
    let empty = by_agent.connect(&target(&host), PATIENT).await.unwrap_err();
    assert_eq!(empty, SshFault::Key(KeyFault::Agent("holds no key".into())));
    for key in ["id", "rsa"] {
        let added =
            Command::new("ssh-add").arg(yard.dir.path().join(key)).env("SSH_AUTH_SOCK", &socket).output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
    assert_eq!(keys_of_agent(&socket).await.unwrap().len(), 2);
    // The first key is refused, the second one lets in.
    by_agent.connect(&target(&host), PATIENT).await.unwrap().close().await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let gone = by_agent.connect(&target(&host), PATIENT).await.unwrap_err();
    assert!(matches!(gone, SshFault::Key(KeyFault::NoAgent(_))), "{gone:?}");
}

#[tokio::test]
async fn a_key_with_a_passphrase_is_refused_in_a_clear_sentence() {
    let Some(yard) = Yard::open("a_key_with_a_passphrase") else { return };
    let path = yard.key("locked", "ed25519", "a passphrase");
    let fault = Credentials::from_file(&path).unwrap_err();
    assert!(matches!(fault, KeyFault::Encrypted { .. }) && fault.to_string().contains("passphrase"), "{fault}");
    assert!(fault.remedy().contains("ssh-keygen -p"));
}

#[tokio::test]
async fn what_is_no_ssh_is_told_and_does_not_hang() {
    let Some(yard) = Yard::open("what_is_no_ssh") else { return };
    let listener = tokio::net::TcpListener::bind("127.0.1.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target { address: "127.0.1.1".into(), port, user: user() };
    tokio::spawn(async move {
        let noise = [
            "HTTP/1.1 400 Bad Request\r\n\r\n".repeat(10_000),
            "SSH-2.0-x\r\n\u{0}\u{0}\u{0}\u{1}".into(),
            String::new(),
        ];
        for said in noise {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _gone = tokio::io::AsyncWriteExt::write_all(&mut stream, said.as_bytes()).await;
        }
    });
    for _ in 0..3 {
        let fault = connector(yard.credentials()).connect(&target, PATIENT).await.unwrap_err();
        assert!(matches!(fault, SshFault::Protocol { .. } | SshFault::Lost(_)), "{fault:?}");
    }
    let patience =
        Patience { connect: Duration::from_secs(60), login: Duration::from_millis(50), look: Duration::ZERO };
    let mute = std::net::TcpListener::bind("127.0.1.1:0").unwrap();
    let target = Target { port: mute.local_addr().unwrap().port(), ..target };
    let fault = connector(yard.credentials()).connect(&target, patience).await.unwrap_err();
    assert!(matches!(fault, SshFault::Mute { .. }), "{fault:?}");
}
