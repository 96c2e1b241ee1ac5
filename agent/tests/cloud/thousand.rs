//! More than a page of everything.

use cratekube_common::domain::removal::Verdict;
use cratekube_common::domain::task::TaskKind::Sweep;

use crate::support::moto::Moto;
use crate::support::proxy::Proxy;
use crate::support::step::Bastion;
use crate::support::world::{MINE, THEIRS, World};

#[test]
fn more_than_a_thousand_objects_go_page_by_page() {
    let Some(moto) = Moto::start("more_than_a_thousand") else { return };
    let (world, proxy) = (World::empty(moto.at), Proxy::start(moto.at));
    proxy.page(None);
    let mine: std::collections::BTreeSet<_> = (0..1_050).map(|_| world.volume(&[MINE])).collect();
    for _ in 0..50 {
        world.volume(&[THEIRS]);
    }
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let clock = cratekube_common::runtime::clock::system();
    let ended = bastion.step(Sweep, &world.asked("delete"));
    println!("figures: {} objects swept in {:?}", mine.len(), clock.monotonic());
    let findings = ended.findings();
    assert_eq!((findings.verdict, findings.tally.deleted), (Verdict::Clean, 1_050), "{}", ended.said);
    assert_eq!(findings.entries.len() as u64 + findings.not_listed, 1_050);
    assert_eq!(world.ids(), &before - &mine);
    let pages = proxy.calls().iter().filter(|call| call.param("NextToken").is_some()).count();
    assert!(pages >= 2, "{pages}");
}
