//! One run of `up`: what it knows and what its phases share.
//!
//! The phases are methods in modules of their own (`ports`, `deploy`, `planes`, `reconcile`,
//! `addons`); `up` calls them in order. The nodes in `spec` are those still on rke's lists; a host
//! that does not answer goes to `lost`.

use super::console::Level;
use super::container::Site;
use super::fleet::Host;
use super::pki::Bundle;
use super::spec::{Node, Role, Spec};
use super::stage::{Options, Stage, Stop};
use super::state::{Paths, State};

/// One run of `up`.
pub(crate) struct Run<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) spec: Spec,
    pub(crate) options: &'a Options,
    pub(crate) paths: &'a Paths,
    pub(crate) state: State,
    /// Nodes of the cluster according to the state as it was found.
    pub(crate) known: Vec<Node>,
    /// Fingerprint of the CA in use.
    pub(crate) ca: String,
    /// Hosts that did not answer.
    pub(crate) lost: Vec<Node>,
    /// All nodes of the specification, whether they answer or not.
    pub(crate) specified: Vec<Node>,
}

impl<'a> Run<'a> {
    /// A run that knows its specification and nothing else.
    pub(crate) fn new(stage: &'a mut Stage, spec: Spec, options: &'a Options, paths: &'a Paths) -> Run<'a> {
        Run {
            stage,
            specified: spec.nodes.clone(),
            spec,
            options,
            paths,
            state: State::default(),
            known: Vec::new(),
            ca: String::new(),
            lost: Vec::new(),
        }
    }

    pub(crate) fn bundle(&self) -> Bundle {
        self.state.desired_state.bundle.clone().unwrap_or_default()
    }

    /// No cluster was ever finished, as far as the state knows.
    pub(crate) fn is_new(&self) -> bool {
        self.known.is_empty()
    }

    /// Not yet part of the cluster.
    pub(crate) fn is_added(&self, node: &Node) -> bool {
        !self.known.iter().any(|known| known.address == node.address)
    }

    pub(crate) fn with(&self, role: Role) -> Vec<Node> {
        self.spec.with(role).cloned().collect()
    }

    /// Works on several hosts at once: `work` writes each one's script and changes its containers.
    pub(crate) fn on_all(&mut self, nodes: &[Node], work: impl Fn(&Node, &mut Site)) -> Result<(), Stop> {
        let mut scripts = Vec::with_capacity(nodes.len());
        let mut sites = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut site = Site::new(&node.address, self.stage.fleet.host(&node.address));
            work(node, &mut site);
            scripts.push(std::mem::take(&mut site.script));
            sites.push(site);
        }
        // Kept first: a run that is killed in the middle has touched its hosts.
        for site in sites {
            self.keep(&site)?;
        }
        self.stage.parallel(scripts)
    }

    /// Works on several hosts one after the other.
    pub(crate) fn on_each(&mut self, nodes: &[Node], work: impl Fn(&Node, &mut Site)) -> Result<(), Stop> {
        for node in nodes {
            self.on_all(std::slice::from_ref(node), &work)?;
        }
        Ok(())
    }

    /// Puts what happened to a host's containers into the fleet.
    fn keep(&mut self, site: &Site) -> Result<(), Stop> {
        let containers = site.host.containers.clone();
        let change = |host: &mut Host| host.containers = containers;
        let kept = self.stage.fleet.change_host(&site.address, change);
        self.stage.kept(kept)
    }

    /// Marks hosts as carrying this cluster's certificates.
    pub(crate) fn brand(&mut self, nodes: &[Node]) -> Result<(), Stop> {
        for node in nodes {
            let (ca, name) = (self.ca.clone(), self.spec.name.clone());
            let kept = self.stage.fleet.change_host(&node.address, |host| {
                if !host.is_foreign_to(&ca) {
                    host.ca = Some(ca);
                    host.cluster = Some(name);
                }
            });
            self.stage.kept(kept)?;
        }
        Ok(())
    }

    /// Says which control plane answers, as every look at the kubeconfig does.
    pub(crate) fn tell_reachable_api(&mut self) -> Result<(), Stop> {
        let hosts = self.with(Role::ControlPlane);
        let answering = hosts.iter().find(|node| {
            let host = self.stage.fleet.host(&node.address);
            host.runs("kube-apiserver") && host.ca.as_deref() == Some(&self.ca)
        });
        if let Some(node) = answering {
            return self.stage.say(
                10,
                &format!(
                    "[reconcile] host [{}] is a control plane node with reachable Kubernetes API \
                     endpoint in the cluster",
                    node.address
                ),
            );
        }
        for node in &hosts {
            self.stage.line(
                2,
                Level::Warning,
                &format!(
                    "[reconcile] host [{}] is a control plane node without reachable Kubernetes \
                     API endpoint in the cluster",
                    node.address
                ),
            )?;
        }
        self.stage.warn(
            1,
            "[reconcile] no control plane node with reachable Kubernetes API endpoint in the \
             cluster found",
        )
    }
}
