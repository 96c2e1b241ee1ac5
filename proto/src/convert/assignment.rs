//! What an agent is asked to do.

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::Secrets;
use cratekube_common::domain::generation::KnownState;
use cratekube_common::domain::run::{Assignment, Recovery, TaskInput};
use cratekube_common::intake::{Field, Notes, parse_json};

use super::{Malformed, document, parse, read_document, sha256};
use crate::v1;

impl From<Assignment> for v1::Assignment {
    fn from(a: Assignment) -> Self {
        Self {
            attempt: a.attempt.to_string(),
            fence: a.fence.0,
            task: a.task.to_string(),
            kind: a.kind.to_string(),
            operation: a.operation.to_string(),
            request_id: a.request_id,
            cluster: a.cluster.to_string(),
            environment: a.environment.to_string(),
            name: a.name.to_string(),
            volume: a.volume.to_string(),
            spec_json: a.spec.to_json(Secrets::Reveal).to_string(),
            known: a.known.map(Into::into),
            recovery: a.recovery.map(Into::into),
            input_json: document(&a.input.0),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = Malformed;
    fn try_from(wire: v1::Assignment) -> Result<Self, Malformed> {
        Ok(Self {
            attempt: parse("attempt", &wire.attempt)?,
            fence: Fence(wire.fence),
            task: parse("task", &wire.task)?,
            kind: parse("kind", &wire.kind)?,
            operation: parse("operation", &wire.operation)?,
            request_id: request_id(wire.request_id),
            cluster: parse("cluster", &wire.cluster)?,
            environment: parse("environment", &wire.environment)?,
            name: parse("name", &wire.name)?,
            volume: parse("volume", &wire.volume)?,
            spec: read_spec(&wire.spec_json)?,
            known: wire.known.map(TryInto::try_into).transpose()?,
            recovery: wire.recovery.map(Into::into),
            input: TaskInput(read_document("input_json", &wire.input_json)?),
        })
    }
}

/// An id goes into logs and files: one that is not as ids are made is not taken.
fn request_id(id: String) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if id.len() <= 64 && id.bytes().all(safe) { id } else { String::new() }
}

fn read_spec(json: &str) -> Result<cratekube_common::domain::cluster::spec::ClusterSpec, Malformed> {
    let malformed = |fault: String| Malformed { field: "spec_json", fault };
    let document = parse_json(json.as_bytes()).map_err(|e| malformed(e.to_string()))?;
    let notes = Notes::default();
    let spec = intake::read_spec(&Field::root(&document, &notes));
    let faults = notes.into_faults();
    match (spec, faults.errors.first()) {
        (Some(spec), None) => Ok(spec),
        (_, fault) => Err(malformed(fault.map_or_else(|| "is not a spec".into(), ToString::to_string))),
    }
}

impl From<Recovery> for v1::Recovery {
    fn from(recovery: Recovery) -> Self {
        Self { generation: recovery.generation, newest_recorded: recovery.newest_recorded }
    }
}

impl From<v1::Recovery> for Recovery {
    fn from(wire: v1::Recovery) -> Self {
        Self { generation: wire.generation, newest_recorded: wire.newest_recorded }
    }
}

impl From<KnownState> for v1::KnownState {
    fn from(known: KnownState) -> Self {
        Self { generation: known.generation, state_sha256: known.state_sha256, ca_sha256: known.ca_sha256 }
    }
}

impl TryFrom<v1::KnownState> for KnownState {
    type Error = Malformed;
    fn try_from(wire: v1::KnownState) -> Result<Self, Malformed> {
        Ok(Self {
            generation: wire.generation,
            state_sha256: wire.state_sha256.map(|s| sha256("known.state_sha256", s)).transpose()?,
            ca_sha256: wire.ca_sha256.map(|s| sha256("known.ca_sha256", s)).transpose()?,
        })
    }
}
