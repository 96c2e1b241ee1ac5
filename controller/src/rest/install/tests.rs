//! What is offered, to whom, and how it is told from something else.

use http::{Method, StatusCode};

use cratekube_common::runtime::tls::sha256_hex;

use crate::rest::testing::World;

#[tokio::test]
async fn a_controller_without_agents_to_give_away_says_so() {
    let world = World::new().await;
    for path in ["/install.sh", "/install/agent/x86_64", "/install/agent/x86_64.sha256"] {
        assert_eq!(world.anonymous(Method::GET, path).send().await.problem(), "nothing-offered", "{path}");
    }
}

#[tokio::test]
async fn anyone_gets_the_script_the_agent_and_its_checksum_and_they_agree() {
    let dir = tempfile::tempdir().unwrap();
    let program: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(dir.path().join("cratekube-agent-x86_64"), &program).unwrap();
    let world = World::offering(dir.path()).await;
    let get = async |path: &str| world.anonymous(Method::GET, path).send().await;
    let sum = sha256_hex(&program);
    let script = get("/install.sh").await;
    assert_eq!(script.status, StatusCode::OK);
    assert!(script.text().contains(&format!("BINARIES='x86_64 {sum}'")), "the script knows the agent");
    assert_eq!(get("/install/agent/x86_64.sha256").await.text(), format!("{sum}  cratekube-agent-x86_64\n"));
    let got = get("/install/agent/x86_64").await;
    assert_eq!((got.header("content-length"), sha256_hex(&got.body)), ("800000", sum));
    for none in ["aarch64", "aarch64.sha256", "mips", "..%2fsecret", "x86_64.md5", "%00"] {
        assert_eq!(get(&format!("/install/agent/{none}")).await.problem(), "not-found", "{none}");
    }
    std::fs::write(dir.path().join("cratekube-agent-aarch64"), "new").unwrap();
    let sum = sha256_hex(b"new");
    assert!(get("/install.sh").await.text().contains(&format!("'aarch64 {sum}\nx86_64 ")), "found at once");
}

#[tokio::test]
async fn an_agent_that_is_replaced_is_offered_with_its_own_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cratekube-agent-x86_64");
    std::fs::write(&path, "one").unwrap();
    let world = World::offering(dir.path()).await;
    let sum = async || world.anonymous(Method::GET, "/install/agent/x86_64.sha256").send().await.text();
    assert!(sum().await.starts_with(&sha256_hex(b"one")));
    std::fs::write(dir.path().join("next"), "two").unwrap();
    std::fs::rename(dir.path().join("next"), &path).unwrap();
    assert!(sum().await.starts_with(&sha256_hex(b"two")));
}

#[tokio::test]
async fn downloads_are_bounded_and_their_places_come_back() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cratekube-agent-x86_64"), "agent").unwrap();
    let world = World::offering(dir.path()).await;
    let all = world.state.install.downloads.clone().acquire_many_owned(16).await.unwrap();
    let get = async || world.anonymous(Method::GET, "/install/agent/x86_64").send().await;
    let refused = get().await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "overloaded"));
    assert!(!refused.header("retry-after").is_empty());
    drop(all);
    assert_eq!(get().await.text(), "agent");
}
