//! Who the agent is to AWS, and what is said when it is nobody.

use cratekube_common::domain::removal::Verdict;
use cratekube_common::domain::task::TaskKind::{Confirm, Sweep};

use crate::support::moto::Moto;
use crate::support::proxy::{Proxy, Rule};
use crate::support::step::Bastion;
use crate::support::world::World;

/// An address of this machine where nobody listens.
fn nobody() -> std::net::SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

#[test]
fn without_keys_the_step_says_so_and_the_report_is_unverified_and_never_clean() {
    let asked = serde_json::json!({"policy": "delete"});
    let mut bastion = Bastion::before(nobody());
    bastion.cloud.metadata = Some(format!("http://{}", nobody()));
    bastion.cloud.credentials = None;
    let no_role = bastion.step(Sweep, &asked);
    bastion.cloud.credentials = Some("/nowhere/aws".into());
    let no_file = bastion.step(Confirm, &asked);
    bastion.cloud.enabled = false;
    let off = bastion.step(Sweep, &asked);
    for (ended, reason) in [(no_role, "no instance of EC2"), (no_file, "/nowhere/aws"), (off, "cloud.enabled")] {
        let findings = ended.findings();
        assert_eq!(findings.verdict, Verdict::Unverified, "{reason}");
        assert!(findings.unverified.as_ref().unwrap().contains("no credentials"), "{findings:?}");
        assert!(findings.unverified.unwrap().contains(reason), "{reason}");
        let outcome = ended.outcome.unwrap();
        assert_eq!((outcome.failure, outcome.warnings.len()), (None, 1), "the removal goes on, and says so");
    }
}

#[test]
fn the_role_of_the_instance_is_used_and_asked_anew_when_its_keys_end() {
    let Some(moto) = Moto::start("the_role_of_the_instance") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let before = world.ids();
    let mut bastion = Bastion::before(proxy.at);
    bastion.cloud.metadata = Some(format!("http://{}", crate::support::metadata::start()));
    bastion.cloud.credentials = None;
    bastion.cloud.region = None;
    proxy.rule(|_, number| if number == 5 { Rule::Refuse("ExpiredToken") } else { Rule::Pass });
    let ended = bastion.step(Sweep, &world.asked("delete"));
    assert_eq!(ended.findings().verdict, Verdict::Clean, "{}", ended.said);
    assert_eq!(ended.findings().region.as_deref(), Some("eu-central-1"));
    assert_eq!(world.ids(), &before - &world.doomed());
}
