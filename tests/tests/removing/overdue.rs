//! A step of a removal that is over its limit says so, with what it waited for, and goes on when asked again.

use cratekube_tests::house::{Setup, World};
use cratekube_tests::programs;
use serde_json::{Value, json};

use super::{HOST, LOAD_BALANCER, STEPS, built, removed, service, states};

#[tokio::test]
async fn a_step_that_is_over_its_own_limit_names_what_it_waited_for_and_the_setting_and_a_retry_goes_on()
-> anyhow::Result<()> {
    let setup = Setup {
        operations: "attempts = 1\nconfirm_pause = \"0s\"",
        agent: "[steps]\nrelease = \"12s\"\n",
        ..Setup::default()
    };
    let mut world = World::with(programs!(), setup).await?;
    built(&world).await?;
    world.clusters.hold_finalizer(HOST, LOAD_BALANCER);
    world.clusters.write(HOST, service("shop", "LoadBalancer"));

    let failed = removed(&world, "hosts_terminated=true").await?;
    let release = &failed["tasks"][2];
    assert_eq!((&release["kind"], &release["state"]), (&json!("release"), &json!("failed")), "{failed:#}");
    let blocker = release["blocker"].as_str().unwrap();
    for named in ["after 12 s, the limit of the step release", "releasing load balancers", "Service default/shop"] {
        assert!(blocker.contains(named), "{named}: {blocker}");
    }
    assert!(blocker.contains(LOAD_BALANCER) && blocker.contains("`steps.release`"), "{blocker}");
    let attempt = failed["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(attempt["failure"]["class"], "timeout", "{attempt:#}");
    let later = |operation: &Value| states(operation)[3..].iter().all(|(_, state)| *state == "cancelled");
    assert!(later(&failed), "{failed:#}");

    world.clusters.erase(HOST, "", "services", Some("default"), "shop");
    world.agent.process.stop().await?;
    world.agent.restart_with(&[("CRATEKUBE_STEPS__RELEASE", "1h")])?;
    let path = format!("/v1/operations/{}/retry", failed["id"].as_str().unwrap());
    let accepted = world.client.post(&path, &json!({})).await?.expect(202)?;
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(states(&operation), STEPS.map(|step| (step, "succeeded")), "{operation:#}");
    let attempts = operation["attempts"].as_array().unwrap();
    assert_eq!(attempts.iter().map(|a| a["task"].as_str().unwrap()).collect::<Vec<_>>(), STEPS[2..]);
    world.finish().await
}
