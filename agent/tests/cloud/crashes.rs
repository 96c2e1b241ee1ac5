//! The step is killed after every single call, and simply run again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cratekube_common::domain::removal::Verdict;
use cratekube_common::domain::task::TaskKind::Sweep;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::moto::Moto;
use crate::support::proxy::{Call, Proxy, Rule};
use crate::support::step::Bastion;
use crate::support::world::World;

/// Where in a call the process is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Point {
    /// AWS did it, and the process never heard of it.
    Heard,
    /// AWS never heard of it. For calls that only look this is the same as the point before.
    Unheard,
}

#[test]
fn killed_after_any_call_that_only_looks_and_run_again_nothing_is_missing() {
    let Some(moto) = Moto::start("killed_after_any_call_that_only_looks") else { return };
    let (world, proxy) = (World::full(moto.at), Proxy::start(moto.at));
    let (before, bastion) = (world.ids(), Bastion::before(proxy.at));
    let mut survived = 0;
    // Before anything is deleted, and again when everything is.
    for doomed in [world.doomed(), BTreeSet::new()] {
        for number in 1.. {
            let died = die(&bastion, &proxy, &world.asked("delete"), move |call, count| {
                // The first call that changes something ends the looks: it is not let through.
                let ends = count <= number && call.changes();
                (count == number || ends).then_some(if ends { Point::Unheard } else { Point::Heard })
            });
            if died.is_none_or(|call| call.changes()) {
                break;
            }
            survived += 1;
            assert_eq!(&before - &world.ids(), &world.doomed() - &doomed);
        }
        proxy.rule(|_, _| Rule::Pass);
        let ended = bastion.step(Sweep, &world.asked("delete"));
        assert_eq!((ended.findings().verdict, ended.gone()), (Verdict::Clean, world.doomed()), "{}", ended.said);
    }
    println!("figures: {survived} crash points survived between looks");
    assert!(survived > 20, "{survived}");
}

#[test]
fn killed_in_any_call_that_changes_something_and_run_again_the_end_is_the_same_and_nothing_else_is_touched() {
    let Some(moto) = Moto::start("killed_in_any_call_that_changes") else { return };
    let proxy = Proxy::start(moto.at);
    // Fewer calls, fewer deaths: whole pages.
    proxy.page(None);
    let mut survived = 0;
    for (policy, actions) in [("delete", ""), ("snapshot", "CreateSnapshot")] {
        for point in [Point::Heard, Point::Unheard] {
            for number in 1.. {
                if !die_once(&moto, &proxy, policy, actions, point, number) {
                    break;
                }
                survived += 1;
            }
        }
    }
    println!("figures: {survived} crash points survived in changes");
    assert!(survived > 25, "{survived}");
}

/// Runs a sweep and kills it where it is said, by the call and its number; the call in which it died, none when
/// it came to its end.
fn die(
    bastion: &Bastion,
    proxy: &Proxy,
    asked: &serde_json::Value,
    at: impl Fn(&Call, usize) -> Option<Point> + Send + 'static,
) -> Option<Call> {
    let victim = Arc::new(AtomicI32::new(0));
    let dead = Arc::new(Mutex::new(None));
    let (pid, died_in) = (Arc::clone(&victim), Arc::clone(&dead));
    proxy.rule(move |call, count| {
        // The process has begun before its number is known here.
        while pid.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let number = Pid::from_raw(pid.load(Ordering::SeqCst)).unwrap();
        let kill = Box::new(move || {
            let _gone = kill_process(number, Signal::KILL);
        });
        let point = at(call, count);
        if point.is_some() {
            *died_in.lock().unwrap() = Some(call.clone());
        }
        match point {
            None => Rule::Pass,
            Some(Point::Heard) => Rule::Then(kill),
            Some(Point::Unheard) => Rule::Instead(kill),
        }
    });
    let running = bastion.begin(Sweep, asked);
    victim.store(i32::try_from(running.child.id()).unwrap(), Ordering::SeqCst);
    let ended = running.end();
    let died_in = dead.lock().unwrap().take();
    assert_eq!(died_in.is_some(), ended.outcome.is_none(), "{}", ended.said);
    died_in
}

/// Kills a sweep in its n-th call of a sort, and runs it again; false when there were not as many calls.
fn die_once(moto: &Moto, proxy: &Proxy, policy: &str, action: &'static str, point: Point, number: usize) -> bool {
    moto.reset();
    let (world, bastion) = (World::full(moto.at), Bastion::before(proxy.at));
    let before = world.ids();
    let seen = AtomicUsize::new(0);
    let died = die(&bastion, proxy, &world.asked(policy), move |call, _| {
        let counts = call.changes() && call.action.starts_with(action);
        (counts && seen.fetch_add(1, Ordering::SeqCst) + 1 == number).then_some(point)
    });
    let Some(died) = died else { return false };
    let first = proxy.calls();
    proxy.rule(|_, _| Rule::Pass);
    let second = bastion.step(Sweep, &world.asked(policy));
    let told = format!("{policy}, {point:?} {number} {}: {}", died.action, second.said);
    let keeps = policy == "snapshot";
    let gone: BTreeSet<_> =
        world.mine.iter().filter(|(name, _)| !(keeps && **name == "snapshot")).map(|(_, id)| id.clone()).collect();
    let after = world.ids();
    assert_eq!(second.findings().verdict, Verdict::Clean, "{told}");
    assert_eq!(second.gone(), gone, "the report is whole: {told}");
    assert_eq!(&before - &after, gone, "{told}");
    assert_eq!((&after - &before).len(), if keeps { 3 } else { 0 }, "one last snapshot each: {told}");
    for calls in [first, proxy.calls()] {
        assert_eq!(world.wrongly_touched(&calls), None, "{told}");
    }
    true
}
