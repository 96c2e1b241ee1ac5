//! The engine works with any driver: here with one that writes a text, through real processes. It offers
//! less than `rke` does, and says how far it is in its own words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cratekube_agent::engine::LocalEngine;
use cratekube_agent::port::{self, Engine, Event};
use cratekube_agent::provisioner::announced::Announced;
use cratekube_agent::provisioner::{
    Capabilities, Case, Description, Judgement, NotOffered, Order, Provisioner, Reader, Stop, Tool, ToolError, Verb,
};
use cratekube_agent::run::host::Host;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::{ExitStatus, RkeBinary, RunOutcome, RunVerdict};
use cratekube_common::domain::task::TaskKind;
use support::{Agent, World, refusal};

/// Writes a text; that is its cluster.
#[derive(Debug)]
struct Scribe {
    pen: PathBuf,
}

#[async_trait]
impl Provisioner for Scribe {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "scribe", offers: &[(Verb::Apply, &["writing"])] }
    }

    async fn probe(&self, _host: &dyn Host) -> Result<Arc<Tool>, ToolError> {
        let binary = RkeBinary { version: "pen 1".into(), sha256: "0".repeat(64), rehearsal: false };
        Ok(Arc::new(Tool { path: self.pen.clone(), mark: None, binary, kubernetes_versions: vec!["v9".into()] }))
    }

    fn plan(&self, order: &Order<'_>) -> Description {
        Description { name: "text", text: format!("{} has {} hosts\n", order.name, order.spec.nodes.len()) }
    }

    fn command(&self, order: &Order<'_>) -> Result<Vec<String>, NotOffered> {
        self.capabilities().require(order.verb)?;
        Ok(vec!["write".into(), "text".into()])
    }

    fn parse_progress(&self, _kind: TaskKind) -> Box<dyn Reader> {
        Box::new(Script(Announced::new()))
    }

    fn hosts(&self, place: &Path) -> Vec<String> {
        let written = fs::read_to_string(place.join("written")).unwrap_or_default();
        written.lines().map(str::to_owned).collect()
    }
}

/// What a pen says.
#[derive(Debug)]
struct Script(Announced);

impl Reader for Script {
    fn feed(&mut self, bytes: &[u8]) -> Option<Progress> {
        self.0.feed(bytes)
    }

    fn finish(&mut self) {
        self.0.finish();
    }

    fn progress(&self) -> Option<Progress> {
        self.0.progress()
    }

    fn has_finished(&self) -> bool {
        self.0.has_finished()
    }

    fn cleaned(&self) -> &BTreeSet<String> {
        self.0.cleaned()
    }

    fn wiped(&self) -> &BTreeSet<String> {
        self.0.wiped()
    }

    /// It wrote what it was to write, or it was ended, or it did not.
    fn judge(&self, case: &Case<'_>) -> Option<Judgement> {
        let outcome = match (case.exit, case.stopped) {
            (Some(ExitStatus::Code(0)), _) if case.place.join("written").exists() => Ok(()),
            (_, Some(Stop::Cancelled)) => Err(FailureClass::Cancelled),
            _ => Err(FailureClass::Addon),
        };
        let failure =
            |class| Failure { class, message: "no text".into(), line: None, retryable: true, remedy: "Write.".into() };
        Some(Judgement { outcome: outcome.map_err(failure), warnings: vec!["in ink".into()] })
    }
}

fn agent(world: &World) -> Agent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sender, events) = port::events();
    let scribe = Arc::new(Scribe { pen: world.rke() });
    let opening = LocalEngine::open_with(scribe, world.settings(), world.clock.clone(), sender);
    let engine = runtime.block_on(opening).unwrap();
    Agent { engine, events, runtime }
}

#[test]
fn a_driver_other_than_rke_is_planned_run_followed_judged_and_sealed_by_the_same_engine() {
    let mut world = World::new();
    world.behave("echo '==> [1/2] reading'; cat text; echo '==> [2/2] writing'; echo 172.30.0.11 > written; exit 0");
    let mut agent = agent(&world);
    let facts = agent.runtime.block_on(agent.engine.facts());
    assert_eq!((facts.rke.unwrap().version.as_str(), facts.kubernetes_versions), ("pen 1", vec!["v9".to_owned()]));
    let assignment = world.assignment(TaskKind::Provision);
    let attempt = agent.assign(&assignment);
    let output = agent.started();
    let last = agent.wait(|event| match event {
        Event::Progress { progress, .. } if progress.step == 2 => Some(progress),
        _ => None,
    });
    assert_eq!((last.phase.as_str(), last.steps), ("writing", 2));
    let report = agent.report();
    assert_eq!(
        (&report.outcome, report.warnings.as_slice()),
        (&RunOutcome::Succeeded, ["in ink".to_owned()].as_slice())
    );
    assert_eq!(world.calls(), ["write text"]);
    let said = fs::read_to_string(&output.path).unwrap();
    assert_eq!(said, "==> [1/2] reading\nblue has 2 hosts\n==> [2/2] writing\n");
    assert_eq!(world.journal(attempt).run().unwrap().unwrap().provisioner, "scribe");
    let kept: serde_json::Value =
        serde_json::from_slice(&fs::read(world.cluster_dir().join("cluster.json")).unwrap()).unwrap();
    assert_eq!(kept["hosts"], serde_json::json!(["172.30.0.11"]), "which hosts carry the cluster is the driver's word");
    agent.settle(attempt);

    // It did not write: its own verdict counts, not the exit.
    fs::remove_file(world.working("written")).unwrap();
    world.behave("exit 0");
    let failed = agent.play(world.assignment(TaskKind::Provision));
    assert!(
        matches!(&failed.outcome, RunOutcome::Failed(failure) if failure.class == FailureClass::Addon),
        "{failed:?}"
    );
    agent.close();
}

#[test]
fn what_a_driver_does_not_offer_is_refused_before_anything_is_touched() {
    let mut world = World::new();
    world.behave("exit 0");
    let mut agent = agent(&world);
    for (kind, words) in [
        (TaskKind::Remove, "scribe cannot remove clusters in this release"),
        (TaskKind::RotateCertificates, "scribe cannot renew certificates in this release"),
    ] {
        let report = agent.play(world.assignment(kind));
        assert_eq!((refusal(&report).message.as_str(), refusal(&report).class), (words, FailureClass::Config));
        assert_eq!(report.generation, None);
    }
    assert_eq!(world.calls(), Vec::<String>::new());
    assert!(!world.cluster_dir().join("fence").exists(), "not even a fence was accepted");
    agent.close();
}

#[test]
fn a_run_that_is_ended_in_a_delicate_phase_says_so_and_elsewhere_nothing() {
    for (phase, said) in [("[1/2] reading", false), ("[2/2] writing", true)] {
        let mut world = World::new();
        world.behave(&format!("echo '==> {phase}'; gate"));
        let mut agent = agent(&world);
        let attempt = agent.assign(&world.assignment(TaskKind::Provision));
        agent.wait(|event| matches!(event, Event::Progress { .. }).then_some(()));
        agent.engine.verdict(attempt, RunVerdict::Cancel);
        let report = agent.report();
        assert!(matches!(&report.outcome, RunOutcome::Failed(failure) if failure.class == FailureClass::Cancelled));
        let warned = report.warnings.iter().any(|warning| warning.contains("scribe was ended in the phase `writing`"));
        assert_eq!(warned, said, "{:?}", report.warnings);
        agent.settle(attempt);
        agent.close();
    }
}
