//! What goes and what stays.

use std::collections::BTreeSet;

use cratekube_common::domain::removal::{Fate, KeptCause, Verdict};
use cratekube_common::domain::task::TaskKind::{Confirm, Sweep};

use crate::support::moto::Moto;
use crate::support::proxy::{Call, Proxy, Rule};
use crate::support::step::{Bastion, Ended};
use crate::support::world::World;

fn kept(ended: &Ended, id: &str) -> Option<KeptCause> {
    ended.findings().entries.into_iter().find(|entry| entry.id == id && entry.fate == Fate::Kept)?.cause
}

#[test]
fn exactly_what_is_proven_to_belong_to_the_cluster_goes_and_the_rest_is_kept_with_its_reason() {
    let Some(moto) = Moto::start("exactly_what_is_proven") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let ended = bastion.step(Sweep, &world.asked("delete"));
    let findings = ended.findings();
    assert_eq!(world.ids(), &before - &world.doomed(), "{}", ended.said);
    assert_eq!(ended.gone(), world.doomed());
    assert_eq!(world.wrongly_touched(&proxy.calls()), None);
    let policy = include_str!("../../../deploy/aws-policy.json");
    let unnamed = proxy.calls().into_iter().find(|call| !policy.contains(&format!(":{}\"", call.action)));
    assert!(unnamed.is_none(), "deploy/aws-policy.json does not allow {unnamed:?}");
    assert_eq!((findings.verdict, findings.tally.left), (Verdict::Clean, 0), "{:?}", findings.entries);
    assert_eq!(ended.outcome.as_ref().unwrap().failure, None);
    for (name, cause) in [
        ("group that is shared", KeptCause::Shared),
        ("volume that is shared", KeptCause::Shared),
        ("volume of two", KeptCause::TwoClusters),
        ("volume of some cluster", KeptCause::NoProof),
        ("snapshot without tags", KeptCause::NoProof),
        ("machine of the cluster", KeptCause::Instance),
    ] {
        assert_eq!(kept(&ended, &world.others[name]), Some(cause), "{name}");
    }
    // Two load balancers, an address, three volumes and a snapshot of 8 GiB: 18.25 + 16.43 + 3.65 + 3 × 0.64 + 0.40.
    assert_eq!(findings.tally.monthly_cents_freed, 1825 + 1643 + 365 + 3 * 64 + 40);
    let again = bastion.step(Confirm, &world.asked("delete"));
    assert_eq!((again.findings().verdict, again.gone()), (Verdict::Clean, world.doomed()), "the report stays whole");
    println!("figures: {} objects, {} swept, 0 wrongly touched", before.len(), world.doomed().len());
}

#[test]
fn a_dry_run_lists_what_would_go_and_calls_nothing_that_changes_anything() {
    let Some(moto) = Moto::start("a_dry_run") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let mut asked = world.asked("delete");
    asked["dry_run"] = true.into();
    let ended = bastion.step(Sweep, &asked);
    let findings = ended.findings();
    let would: BTreeSet<_> =
        findings.entries.iter().filter(|entry| entry.fate == Fate::WouldGo).map(|entry| entry.id.clone()).collect();
    assert_eq!(would, world.doomed());
    assert!(findings.dry_run && findings.tally.monthly_cents_freed > 0);
    let changing: Vec<_> = proxy.calls().into_iter().filter(Call::changes).collect();
    assert!(changing.is_empty() && !proxy.calls().is_empty(), "{changing:?}");
    assert_eq!(world.ids(), before);
}

#[test]
fn volumes_stay_under_retain_and_leave_a_last_snapshot_under_snapshot() {
    let Some(moto) = Moto::start("volumes_stay_under_retain") else { return };
    let proxy = Proxy::start(moto.at);
    for policy in ["retain", "snapshot"] {
        moto.reset();
        proxy.rule(|_, _| Rule::Pass);
        let (world, bastion) = (World::full(moto.at), Bastion::before(proxy.at));
        let before = world.ids();
        let ended = bastion.step(Sweep, &world.asked(policy));
        let data = |name: &&str| name.starts_with("volume") || name.starts_with("snapshot");
        let stays = |name: &&str| if policy == "retain" { data(name) } else { name.starts_with("snapshot") };
        let gone: BTreeSet<_> = world.mine.iter().filter(|(name, _)| !stays(name)).map(|(_, id)| id.clone()).collect();
        assert_eq!(ended.gone(), gone, "{policy}: {}", ended.said);
        let after = world.ids();
        assert_eq!(&before - &after, gone, "{policy}");
        assert_eq!((&after - &before).len(), if policy == "snapshot" { 3 } else { 0 }, "one for each volume");
        assert_eq!(ended.findings().verdict, Verdict::Clean, "{policy}: {:?}", ended.findings().entries);
        assert_eq!(kept(&ended, &world.mine["snapshot"]), Some(KeptCause::Policy));
        if policy == "snapshot" {
            let taken = after.difference(&before).next().unwrap();
            assert_eq!(kept(&ended, taken), Some(KeptCause::Policy), "a last snapshot is in the report");
            // Done again it takes no more of them.
            bastion.step(Sweep, &world.asked(policy));
            assert_eq!(world.ids(), after);
        }
    }
}
