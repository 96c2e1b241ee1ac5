//! AWS on bad days: throttling, things in use, things that show up late, missing rights.

use std::collections::BTreeMap;

use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::removal::{Fate, Verdict};
use cratekube_common::domain::task::TaskKind::{Confirm, Sweep};

use crate::support::moto::Moto;
use crate::support::proxy::{Call, Proxy, Rule};
use crate::support::step::Bastion;
use crate::support::world::{MINE, World};

#[test]
fn throttling_and_failures_in_passing_are_sat_out() {
    let Some(moto) = Moto::start("throttling") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let codes = ["RequestLimitExceeded", "Throttling", "InternalError", "ServiceUnavailable"];
    proxy.rule(move |_, number| if number % 3 == 0 { Rule::Pass } else { Rule::Refuse(codes[number % 4]) });
    let ended = bastion.step(Sweep, &world.asked("delete"));
    assert_eq!(ended.findings().verdict, Verdict::Clean, "{}", ended.said);
    assert_eq!(world.ids(), &before - &world.doomed());
    let refused = proxy.calls().iter().filter(|call| !call.passed).count();
    assert!(refused > 50, "{refused}");
}

#[test]
fn what_is_still_in_use_is_tried_again_until_it_is_not() {
    let Some(moto) = Moto::start("what_is_still_in_use") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let mut refusals = BTreeMap::<String, u32>::new();
    proxy.rule(move |call, _| {
        let code = match call.action.as_str() {
            "DeleteSecurityGroup" => "DependencyViolation",
            "DeleteTargetGroup" => "ResourceInUse",
            "DeleteVolume" => "VolumeInUse",
            "ReleaseAddress" => "InvalidIPAddress.InUse",
            _ => return Rule::Pass,
        };
        let refused = refusals.entry(call.action.clone()).or_default();
        *refused += 1;
        if *refused <= 3 { Rule::Refuse(code) } else { Rule::Pass }
    });
    let ended = bastion.step(Sweep, &world.asked("delete"));
    assert_eq!(ended.findings().verdict, Verdict::Clean, "{}", ended.said);
    assert_eq!(world.ids(), &before - &world.doomed());
    assert!(ended.said.contains("still in use"), "{}", ended.said);
}

#[test]
fn what_holds_on_is_left_and_named_and_a_retry_goes_on_from_there() {
    let Some(moto) = Moto::start("what_holds_on") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let mut bastion = Bastion::before(proxy.at);
    bastion.cloud.patience = std::time::Duration::from_millis(300);
    proxy.rule(|call, _| match call.action.as_str() {
        "DeleteSecurityGroup" => Rule::Refuse("DependencyViolation"),
        "ReleaseAddress" => Rule::Refuse("UnauthorizedOperation"),
        "DeleteLoadBalancer" if call.param("LoadBalancerArn").is_some() => Rule::Refuse("OperationNotPermitted"),
        _ => Rule::Pass,
    });
    let ended = bastion.step(Sweep, &world.asked("delete"));
    let findings = ended.findings();
    let why = |name: &str| {
        let entry = findings.entries.iter().find(|entry| entry.id == world.mine[name]).unwrap();
        assert_eq!(entry.fate, Fate::Left, "{name}");
        entry.why.clone().unwrap()
    };
    assert!(why("group").contains("still in use: DependencyViolation"), "{}", why("group"));
    assert!(why("address").contains("may not call ec2:ReleaseAddress"), "{}", why("address"));
    assert!(why("balancer").contains("protected against deletion"), "{}", why("balancer"));
    assert_eq!((findings.verdict, findings.tally.left), (Verdict::Left, 3));
    let waited_for = ended.waited_for.unwrap();
    assert!(waited_for.contains("still in use, for example: "), "{waited_for}");
    let failure = ended.outcome.unwrap().failure.unwrap();
    assert_eq!((failure.class, failure.retryable), (FailureClass::Cloud, true));
    assert!(failure.message.contains(&world.mine["group"]), "{}", failure.message);
    proxy.rule(|_, _| Rule::Pass);
    let again = bastion.step(Sweep, &world.asked("delete"));
    assert_eq!((again.findings().verdict, again.gone()), (Verdict::Clean, world.doomed()), "{}", again.said);
}

#[test]
fn what_shows_up_late_is_found_by_looking_again_and_swept() {
    let Some(moto) = Moto::start("what_shows_up_late") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let late = world.mine["volume"].clone();
    let hidden = late.clone();
    proxy.rule(move |call, _| if call.action == "DescribeVolumes" { Rule::Hide(hidden.clone()) } else { Rule::Pass });
    let ended = bastion.step(Sweep, &world.asked("delete"));
    assert_eq!((ended.findings().verdict, ended.gone().contains(&late)), (Verdict::Clean, false), "{}", ended.said);
    // Made after the sweep, by a controller that was not dead after all.
    let made = world.volume(&[MINE]);
    proxy.rule(|_, _| Rule::Pass);
    let again = bastion.step(Confirm, &world.asked("delete"));
    assert_eq!(again.findings().verdict, Verdict::Clean, "{}", again.said);
    assert!(again.gone().contains(&late) && again.gone().contains(&made));
    assert_eq!(world.ids(), &before - &world.doomed());
}

#[test]
fn what_comes_back_each_time_is_left_after_the_last_look() {
    let Some(moto) = Moto::start("what_comes_back") else { return };
    let (world, proxy) = (World::empty(moto.at), Proxy::start(moto.at));
    let bastion = Bastion::before(proxy.at);
    let at = moto.at;
    // Someone makes a new volume each time that volumes are looked at.
    proxy.rule(move |call, _| {
        if call.action == "DescribeInstances" {
            World::empty(at).volume(&[MINE]);
        }
        Rule::Pass
    });
    let ended = bastion.step(Confirm, &world.asked("delete"));
    assert_eq!(ended.findings().verdict, Verdict::Left, "{}", ended.said);
    assert_eq!(ended.outcome.unwrap().failure.unwrap().class, FailureClass::Cloud);
}

#[test]
fn a_kind_that_may_not_be_looked_at_makes_the_report_unverified_and_the_rest_is_swept() {
    let Some(moto) = Moto::start("a_kind_that_may_not") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let bastion = Bastion::before(proxy.at);
    let denied = |call: &Call| call.action == "DescribeLoadBalancers";
    proxy.rule(move |call, _| if denied(call) { Rule::Refuse("AccessDenied") } else { Rule::Pass });
    let ended = bastion.step(Sweep, &world.asked("delete"));
    let findings = ended.findings();
    assert_eq!(findings.verdict, Verdict::Unverified);
    let why = findings.unverified.unwrap();
    assert!(why.contains("may not call elasticloadbalancing:DescribeLoadBalancers"), "{why}");
    assert!(ended.gone().contains(&world.mine["volume"]));
    assert!(ended.outcome.unwrap().warnings[0].contains("not verified"));
}
