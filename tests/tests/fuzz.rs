//! A short run of every fuzz target.

use cratekube_tests::fuzz::{SEED, play, targets};

/// Of each target: a second or two, unoptimised.
const EXECUTIONS: u64 = 20_000;

#[test]
fn nothing_that_a_stranger_sends_makes_a_parser_panic_or_believe_it() {
    let mut findings = Vec::new();
    for target in targets() {
        if let Err((number, input)) = play(&target, SEED, EXECUTIONS) {
            findings.push(format!("{} {number} {SEED}: {}", target.name, String::from_utf8_lossy(&input)));
        }
    }
    assert!(findings.is_empty(), "play again with `--bin fuzz -- TARGET EXECUTIONS SEED`: {findings:#?}");
}

#[test]
fn an_input_is_the_same_whenever_it_is_played() {
    let seen = || {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut target = targets().remove(1);
        let kept = std::rc::Rc::clone(&seen);
        target.run = Box::new(move |bytes| kept.borrow_mut().push(bytes.to_vec()));
        play(&target, SEED, 100).unwrap();
        drop(target);
        std::rc::Rc::try_unwrap(seen).unwrap().into_inner()
    };
    let once = seen();
    assert_eq!(once, seen());
    assert!(once.iter().collect::<std::collections::HashSet<_>>().len() > 90, "and hardly any twice");
}

#[test]
fn a_target_that_does_not_hold_is_found() {
    let mut target = targets().remove(1);
    target.run = Box::new(|bytes| assert!(!bytes.contains(&0xff), "found"));
    assert!(play(&target, SEED, 10_000).is_err());
}
