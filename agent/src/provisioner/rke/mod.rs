//! The driver of Rancher's `rke`: what it is told, and what its words and its state mean.
//!
//! Everything that is known of `rke`'s files and output is in [`cratekube_common::rke`]; here it is put behind
//! the seam.

mod reader;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cratekube_common::domain::run::Rotation;
use cratekube_common::domain::task::TaskKind;
use cratekube_common::rke::render;
use cratekube_common::rke::state::{self, StateFacts};
use cratekube_common::runtime::files;

use self::reader::RkeReader;
use super::{Capabilities, Description, NotOffered, Order, Provisioner, Reader, Tool, ToolError, Verb};
use crate::run::host::Host;
use crate::volume::generations::{CLUSTER_YML, STATE};

/// Its name.
pub const NAME: &str = "rke";

/// Snapshots and restoring are not offered: they need places for the copies and rules of their own.
const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    offers: &[
        (Verb::Apply, &["deploying certificates", "reconciling", "etcd", "control plane", "saving state", "workers"]),
        (Verb::Rotate, &["deploying certificates", "saving state", "etcd", "control plane", "workers"]),
        // What is half removed is removed by the next try; it reads only where state is exported.
        (Verb::Remove, &[]),
        (Verb::ExportState, &[]),
    ],
};

/// The driver.
#[derive(Debug, Clone, Copy, Default)]
pub struct RkeProvisioner;

#[async_trait]
impl Provisioner for RkeProvisioner {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn probe(&self, host: &dyn Host) -> Result<Arc<Tool>, ToolError> {
        host.rke().await
    }

    fn plan(&self, order: &Order<'_>) -> Description {
        let text = render::cluster_yml(order.spec, order.name.as_str(), order.ssh);
        Description { name: CLUSTER_YML, text }
    }

    fn command(&self, order: &Order<'_>) -> Result<Vec<String>, NotOffered> {
        let arguments: &[&str] = match order.verb {
            Verb::Apply => &["up"],
            Verb::Remove => &["remove", "--force"],
            Verb::ExportState => &["util", "get-state-file"],
            Verb::Rotate => &["cert", "rotate"],
            Verb::Snapshot | Verb::Restore => return Err(NotOffered(order.verb)),
        };
        let more = order.rotation.map(Rotation::arguments).into_iter().flatten();
        let all = arguments.iter().chain(&["--config", CLUSTER_YML]).map(|word| (*word).to_owned());
        Ok(all.chain(more).collect())
    }

    fn parse_progress(&self, kind: TaskKind) -> Box<dyn Reader> {
        Box::new(RkeReader::new(kind))
    }

    fn hosts(&self, place: &Path) -> Vec<String> {
        state_at(place).into_iter().flat_map(|state| state.nodes).map(|node| node.address).collect()
    }
}

/// What RKE's state says, when it is whole.
fn state_at(place: &Path) -> Option<StateFacts> {
    let bytes = files::read_optional(&place.join(STATE)).ok().flatten()?;
    state::inspect(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::cluster::intake;
    use cratekube_common::rke::phases::PhaseTracker;
    use cratekube_common::rke::render::SshAccess;
    use serde_json::json;

    #[test]
    fn each_verb_has_its_words_and_what_is_not_offered_has_none() {
        let node = json!({"address": "10.0.0.1", "roles": ["controlplane", "etcd"]});
        let (spec, _) = intake::read(&json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": [node]})).unwrap();
        let (name, rotation) = ("web".parse().unwrap(), Rotation { ca: true, services: Vec::new() });
        let words = |verb: Verb| {
            let rotation = (verb == Verb::Rotate).then_some(&rotation);
            let order = Order { verb, name: &name, spec: &spec, ssh: &SshAccess::Untold, rotation };
            assert_eq!(RkeProvisioner.plan(&order).name, "cluster.yml");
            assert_eq!(RkeProvisioner.validate(&order).is_ok(), RkeProvisioner.command(&order).is_ok(), "{verb:?}");
            RkeProvisioner.command(&order).map(|words| words.join(" "))
        };
        assert_eq!(words(Verb::Apply).unwrap(), "up --config cluster.yml");
        assert_eq!(words(Verb::Remove).unwrap(), "remove --force --config cluster.yml");
        assert_eq!(words(Verb::ExportState).unwrap(), "util get-state-file --config cluster.yml");
        assert_eq!(words(Verb::Rotate).unwrap(), "cert rotate --config cluster.yml --rotate-ca");
        for verb in [Verb::Snapshot, Verb::Restore] {
            assert_eq!(words(verb), Err(NotOffered(verb)));
        }
    }

    #[test]
    fn every_delicate_phase_is_one_that_rke_has() {
        let kinds = [(Verb::Apply, TaskKind::Provision), (Verb::Rotate, TaskKind::RotateCertificates)];
        for (verb, kind) in kinds {
            let known = PhaseTracker::names(kind);
            let (_, delicate) = CAPABILITIES.offers.iter().find(|(offered, _)| *offered == verb).unwrap();
            assert!(delicate.iter().all(|phase| known.contains(phase)), "{verb:?}: {known:?}");
        }
    }
}
