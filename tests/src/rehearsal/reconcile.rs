//! Bringing a cluster that exists in line with the specification: hosts that are no longer wanted.
//!
//! Only hosts that the *current state* knows are looked at. A host that an earlier failed run
//! dropped from the state is never missed again: it stays an orphan, and that is recorded.

use super::dial;
use super::fleet::Host;
use super::remove::{self, Cleaning};
use super::run::Run;
use super::spec::{Node, Role};
use super::stage::{Script, Stop};
use super::state;

impl Run<'_> {
    /// The whole phase.
    pub(crate) fn reconcile(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[reconcile] Reconciling cluster state")?;
        if self.is_new() {
            return self.stage.say(1, "[reconcile] This is newly generated cluster");
        }
        let unwanted: Vec<Node> = self.known.iter().filter(|known| !self.is_specified(known)).cloned().collect();
        self.stage.say(1, "[reconcile] Check etcd hosts to be deleted")?;
        for node in unwanted.iter().filter(|node| node.is(Role::Etcd)) {
            self.remove_etcd_member(node)?;
        }
        self.stage.say(1, "[reconcile] Check etcd hosts to be added")?;
        for node in &unwanted {
            self.remove_host(node)?;
        }
        state::deploy_kubeconfig(self.stage, self.paths, &self.bundle())?;
        self.tell_reachable_api()?;
        self.stage.say(1, "[reconcile] Reconciled cluster state successfully")?;
        self.stage.say(1, "max_unavailable_worker got rounded down to 0, resetting to 1")?;
        self.stage.say(1, "Setting maxUnavailable for worker nodes to: 1")?;
        self.stage.say(1, "Setting maxUnavailable for controlplane nodes to: 1")
    }

    fn is_specified(&self, known: &Node) -> bool {
        self.spec.nodes.iter().chain(&self.lost).any(|node| node.address == known.address)
    }

    fn remove_etcd_member(&mut self, node: &Node) -> Result<(), Stop> {
        let Some(first) = self.with(Role::Etcd).first().cloned() else {
            return Ok(());
        };
        let (gone, stays) = (&node.name, &first.name);
        let mut script = Script::new();
        script.say(3, format!("[remove/etcd] Removing member [etcd-{gone}] from etcd cluster"));
        script.say(
            172,
            format!(
                "[remove/etcd] Checking etcd cluster health on [etcd-{stays}] after removing \
                 [etcd-{gone}]"
            ),
        );
        script.say(109, format!("[etcd] etcd host [{}] reported healthy=true", first.address));
        script.say(
            1,
            format!(
                "[remove/etcd] etcd cluster health is healthy on [etcd-{stays}] after removing \
                 [etcd-{gone}]"
            ),
        );
        script.say(1, format!("[remove/etcd] Successfully removed member [etcd-{gone}] from etcd cluster"));
        self.stage.play(script)
    }

    /// Out of Kubernetes first, then off the host; a host that does not answer keeps its
    /// containers and costs a warning only.
    fn remove_host(&mut self, node: &Node) -> Result<(), Stop> {
        let at = &node.address;
        let mut script = Script::new();
        script.say(1, format!("[hosts] Cordoning host [{at}]"));
        script.say(31, format!("[hosts] Deleting host [{at}] from the cluster"));
        script.say(9, format!("[hosts] Successfully deleted host [{at}] from the cluster"));
        script.say(1, dial::setup(node));
        self.stage.play(script)?;
        let name = node.name.clone();
        let kept = self.stage.fleet.change_cluster(&self.ca, |cluster| {
            cluster.nodes.remove(&name);
        });
        self.stage.kept(kept)?;
        if let Some(fault) = dial::unreachable(self.stage, node) {
            for after_ms in [74_146, 6081] {
                self.stage.say(after_ms, &dial::setup(node))?;
            }
            return self.stage.warn(
                6081,
                &format!(
                    "[reconcile] Couldn't clean up worker node [{at}]: Not able to reach the \
                     host: {}",
                    dial::complaint(fault, node)
                ),
            );
        }
        let nodes = std::slice::from_ref(node);
        remove::tear_down_workers(self.stage, nodes)?;
        if node.is(Role::ControlPlane) {
            remove::tear_down_control_plane(self.stage, nodes)?;
        }
        if node.is(Role::Etcd) {
            remove::tear_down_etcd(self.stage, nodes)?;
        }
        remove::clean(self.stage, nodes, &self.options.images, Cleaning::OneHost)?;
        let kept = self.stage.fleet.change_host(at, |host: &mut Host| remove::wipe(host));
        self.stage.kept(kept)
    }
}
