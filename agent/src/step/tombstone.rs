//! The step *tombstone*: lays a removed cluster to rest.
//!
//! It changes nothing of the state: that was sealed as the last generation by the engine when `rke remove`
//! had ended. The step reads this generation again, compares it with its checksums, and writes down what is
//! kept and until when ([`crate::volume::tombstone`]). What shreds it later is the agent's own pass.
//!
//! What it is told (`StepInput::input`): `{"undelete_days": n}`. Findings: `{"state": "done" or "unverified",
//! "why"?, "generation", "sha256", "files", "shred_after", "undelete_days"}`; `sha256` is of the manifest.

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::generation::Manifest;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::step::StepOutcome;
use serde_json::{Value, json};

use super::{Console, StepInput};
use crate::volume::generations::Generations;
use crate::volume::layout::ClusterDir;
use crate::volume::tombstone::{self, MOST_UNDELETE_DAYS, Tombstone, UNDELETE_DAYS, shred_after};
use crate::volume::{VolumeError, digest};

/// The step.
pub(super) fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    console.phase(1, 1, "laying the cluster to rest");
    match lay(input, &clock::system()) {
        Ok((laid, fault)) => {
            console.line(&match laid.generation {
                Some(number) => format!("generation {number} is kept until {}, then shredded", laid.shred_after),
                None => "no generation was ever sealed: nothing is kept".to_owned(),
            });
            let warnings =
                fault.iter().map(|fault| format!("what is kept of the cluster is damaged: {fault}")).collect();
            StepOutcome { failure: None, warnings, findings: findings(&laid, fault.as_deref()) }
        }
        Err(failure) => {
            console.line(&failure.message);
            StepOutcome { failure: Some(*failure), ..StepOutcome::default() }
        }
    }
}

fn findings(laid: &Tombstone, fault: Option<&str>) -> Value {
    let mut findings = json!({
        "state": if fault.is_some() { "unverified" } else { "done" },
        "generation": laid.generation, "sha256": laid.manifest_sha256, "files": laid.files,
        "shred_after": laid.shred_after, "undelete_days": laid.undelete_days,
    });
    if let Some(fault) = fault {
        findings["why"] = json!(fault);
    }
    findings
}

/// Lays a tombstone. Gives it with what is wrong with the generation that is kept.
fn lay(input: &StepInput, clock: &Clock) -> Result<(Tombstone, Option<String>), Box<Failure>> {
    let volume = |error: VolumeError| Box::new(error.to_failure());
    let dir = ClusterDir::of_working(&input.working);
    let is_its = dir.read_record().map_err(volume)?.is_some_and(|file| file.cluster == input.cluster);
    if !is_its || !dir.is_removed() {
        return Err(Box::new(not_removed()));
    }
    let generations = Generations::at(dir.generations());
    let newest = generations.newest().map_err(volume)?;
    let fault = match &newest {
        Some(newest) => generations.verify(newest.number).map_err(volume)?,
        None => None,
    };
    let now = clock.now();
    let days = input.input["undelete_days"].as_u64().unwrap_or(UNDELETE_DAYS).min(MOST_UNDELETE_DAYS);
    let laid = Tombstone {
        format_version: 1,
        cluster: input.cluster,
        environment: input.environment.clone(),
        name: input.name.clone(),
        operation: input.operation,
        generation: newest.as_ref().map(|newest| newest.number),
        manifest_sha256: newest.as_ref().map(|newest| manifest(&generations, newest)).transpose().map_err(volume)?,
        files: newest.map(|newest| newest.files).unwrap_or_default(),
        laid_at: now,
        undelete_days: days,
        shred_after: shred_after(now, days),
    };
    let laid = match tombstone::read(&dir).map_err(volume)? {
        Some(older) => laid.beside(&older),
        None => laid,
    };
    tombstone::write(&dir, &laid).map_err(volume)?;
    Ok((laid, fault))
}

fn manifest(generations: &Generations, of: &Manifest) -> Result<String, VolumeError> {
    let path = generations.manifest_path(of.number);
    digest::file(&path).map(|(_, sha256)| sha256).map_err(VolumeError::io("read", &path))
}

fn not_removed() -> Failure {
    Failure {
        class: FailureClass::State,
        message: "the volume does not say that this cluster was removed: it is not laid to rest".into(),
        line: None,
        retryable: false,
        remedy: "Retry the removal from its start: `rke remove` must have cleaned every host first.".into(),
    }
}
