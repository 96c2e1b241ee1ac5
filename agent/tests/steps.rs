//! Steps: work that is not `rke`'s, under the same supervisor, with the same journal and output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use cratekube_common::domain::run::{ExitStatus, RunOutcome};
use cratekube_common::domain::task::TaskKind::{Provision, Tombstone};
use support::{World, fixtures};

#[test]
fn a_step_is_a_run_that_leaves_the_state_alone_and_no_secret_behind() {
    let (mut world, ca) = (World::new(), fixtures::ca("blue"));
    world.behave_well(&ca);
    world.play(Provision);
    let (state, calls) = (fs::read(world.working("cluster.rkestate")).unwrap(), world.calls().len());
    let report = world.play(Tombstone);
    // What came of it is what it says itself, not how it exited.
    assert_eq!(report.exit, Some(ExitStatus::Code(0)));
    let RunOutcome::Failed(failure) = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.message, "this release of the agent cannot do `tombstone`");
    assert_eq!((report.generation, report.rke), (None, None));
    assert_eq!(fs::read(world.working("cluster.rkestate")).unwrap(), state);
    assert_eq!(world.calls().len(), calls, "rke is not started for it");
    let journal = world.journal(report.attempt);
    let output = fs::read_to_string(journal.output()).unwrap();
    assert_eq!((output.len() as u64, output.contains("tombstone")), (report.output_bytes, true));
    for entry in fs::read_dir(journal.dir()).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.ends_with("scratch"), "its input, with the spec's secrets, is gone");
        assert!(!fs::read_to_string(&path).unwrap().contains("hunter2"), "{}", path.display());
    }
}
