//! etcd, control plane and workers: built for a new cluster, upgraded for one that exists.
//!
//! Hosts that still carry another cluster (another CA) make a plane fail after a long silence, as
//! recorded. What an upgrade replaces follows from comparing the configuration with the current
//! state: the real rke compares container options, which comes to the same.

use super::container::Site;
use super::fleet::Container;
use super::run::Run;
use super::spec::{Node, Role};
use super::stage::Stop;

/// Service in the state, component on the host, time until it is healthy.
const CONTROL: [(&str, &str, u64); 3] = [
    ("kubeApi", "kube-apiserver", 10_289),
    ("kubeController", "kube-controller-manager", 5276),
    ("scheduler", "kube-scheduler", 5173),
];
const WORKER: [(&str, &str, u64); 2] = [("kubelet", "kubelet", 5197), ("kubeproxy", "kube-proxy", 5294)];

/// Components whose configuration differs from what runs.
pub(crate) type Changes = Vec<&'static str>;

impl Run<'_> {
    /// etcd on every etcd host, one after the other, and its health.
    pub(crate) fn build_etcd(&mut self) -> Result<(), Stop> {
        self.stage.say(2, "[etcd] Building up etcd plane..")?;
        let images = self.options.images.clone();
        let hosts = self.with(Role::Etcd);
        self.on_each(&hosts, |_, site| {
            site.image(2, &images.tools);
            site.starting(150, "etcd-fix-perm");
            site.started(360, "", "etcd-fix-perm");
            site.waiting(1, "etcd-fix-perm");
            site.waiting(1, "etcd-fix-perm");
            site.removing(135, "etcd-fix-perm");
            site.removed(70, "etcd-fix-perm");
            if !site.host.runs("etcd") {
                site.image(9, &images.etcd);
                site.starting(30, "etcd");
                site.started(170, "etcd", "etcd");
                site.put("etcd", Container::Running);
            }
            site.helper(&images, "etcd", "rke-log-linker");
        })?;
        self.stage.say(1, "[etcd] Successfully started etcd plane.. Checking etcd cluster health")?;
        let healthy = hosts.iter().find(|node| !self.is_foreign(node));
        match healthy {
            Some(node) => self.stage.say(1654, &format!("[etcd] etcd host [{}] reported healthy=true", node.address)),
            None => Err(self.etcd_is_foreign(&hosts)),
        }
    }

    fn is_foreign(&self, node: &Node) -> bool {
        self.stage.fleet.host(&node.address).is_foreign_to(&self.ca)
    }

    fn etcd_is_foreign(&mut self, hosts: &[Node]) -> Stop {
        for node in hosts {
            let at = &node.address;
            let told = self.stage.warn(
                92_000 / hosts.len().max(1) as u64,
                &format!(
                    "[etcd] host [{at}] failed to check etcd health: failed to get /health for \
                     host [{at}]: Get \"https://{at}:2379/health\": remote error: tls: bad \
                     certificate"
                ),
            );
            if let Err(stop) = told {
                return stop;
            }
        }
        let names: Vec<&str> = hosts.iter().map(|node| node.address.as_str()).collect();
        self.stage.fatal(
            1,
            &format!(
                "[etcd] Failed to bring up Etcd Plane: etcd cluster is unhealthy: hosts [{}] \
                 failed to report healthy. Check etcd container logs on each host for more \
                 information",
                names.join(",")
            ),
        )
    }

    /// The control plane of a new cluster.
    pub(crate) fn build_control_plane(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[controlplane] Building up Controller Plane..")?;
        let images = self.options.images.clone();
        let (foreign, own): (Vec<Node>, Vec<Node>) =
            self.with(Role::ControlPlane).into_iter().partition(|node| self.is_foreign(node));
        self.on_all(&own, |_, site| {
            site.sidekick(&images);
            for (_, component, healthy_ms) in CONTROL {
                site.component(&images, "controlplane", component, healthy_ms);
            }
        })?;
        if let Some(node) = foreign.first() {
            return Err(self.never_healthy(
                "[controlPlane] Failed to bring up Control Plane",
                "https://localhost:6443/healthz",
                "kube-apiserver",
                node,
            ));
        }
        self.stage.say(1, "[controlplane] Successfully started Controller Plane..")
    }

    /// The end of a plane on a host that still carries another cluster.
    fn never_healthy(&mut self, what: &str, url: &str, service: &str, node: &Node) -> Stop {
        let at = &node.address;
        self.stage.fatal(
            158_700,
            &format!(
                "{what}: [Failed to verify healthcheck: Failed to check {url} for service \
                 [{service}] on host [{at}]: Get \"{url}\": EOF, log: W1123 17:50:29.689709       \
                 1 clientconn.go:1223] grpc: addrConn.createTransport failed to connect to \
                 {{https://{at}:2379  <nil> 0 <nil>}}. Err :connection error: desc = \"transport: \
                 authentication handshake failed: x509: certificate signed by unknown authority \
                 (possibly because of \\\"crypto/rsa: verification error\\\" while trying to \
                 verify candidate authority certificate \\\"kube-ca\\\")\". Reconnecting...]"
            ),
        )
    }

    /// The control plane of a cluster that exists: node by node, and only what changed.
    pub(crate) fn upgrade_control_plane(&mut self, changes: &Changes) -> Result<(), Stop> {
        self.refuse_if_lost(Role::ControlPlane, "controlplane")?;
        let (added, present): (Vec<Node>, Vec<Node>) =
            self.with(Role::ControlPlane).into_iter().partition(|node| self.is_added(node));
        for node in &present {
            self.stage.say(1, &now_checking(node))?;
        }
        self.revive_control_plane(&present)?;
        let images = self.options.images.clone();
        if !added.is_empty() {
            let names: Vec<&str> = added.iter().map(|node| node.name.as_str()).collect();
            self.stage
                .say(1, &format!("[controlplane] Adding controlplane nodes {} to the cluster", names.join(",")))?;
            self.on_all(&added, |_, site| {
                site.sidekick(&images);
                for (_, component, healthy_ms) in CONTROL {
                    site.component(&images, "controlplane", component, healthy_ms);
                }
            })?;
        }
        self.stage.say(6, "[controlplane] Processing controlplane hosts for upgrade 1 at a time")?;
        for node in &present {
            self.upgrade_control_host(node, changes)?;
        }
        self.stage.say(4, "[controlplane] Successfully upgraded Controller Plane..")
    }

    /// Nodes that are not ready, because somebody took their containers away, are built again before any other.
    fn revive_control_plane(&mut self, present: &[Node]) -> Result<(), Stop> {
        let down = self.down(present, &["kube-apiserver", "kubelet"]);
        if down.is_empty() {
            return Ok(());
        }
        self.stage.say(25_000, &attempting("controlplane", &down))?;
        self.stage.say(1, "[controlplane] Building up Controller Plane..")?;
        let images = self.options.images.clone();
        self.on_all(&down, |_, site| {
            site.sidekick(&images);
            for (_, component, healthy_ms) in CONTROL {
                site.component(&images, "controlplane", component, healthy_ms);
            }
        })?;
        self.stage.say(1, "[controlplane] Successfully started Controller Plane..")?;
        self.revive_workers(&down)?;
        down.iter().try_for_each(|node| self.stage.say(1, &now_checking(node)))
    }

    fn revive_workers(&mut self, down: &[Node]) -> Result<(), Stop> {
        self.stage.say(3, "[worker] Building up Worker Plane..")?;
        self.start_workers(down)?;
        self.stage.say(1, "[worker] Successfully started Worker Plane..")
    }

    /// Those of the nodes that lack one of these containers.
    fn down(&self, nodes: &[Node], containers: &[&str]) -> Vec<Node> {
        let stands = |node: &Node| {
            let host = self.stage.fleet.host(&node.address);
            containers.iter().all(|container| host.runs(container))
        };
        nodes.iter().filter(|node| !stands(node)).cloned().collect()
    }

    fn upgrade_control_host(&mut self, node: &Node, changes: &Changes) -> Result<(), Stop> {
        let images = self.options.images.clone();
        let name = &node.name;
        self.stage.say(1, &format!("Processing controlplane host {name}"))?;
        self.stage.say(1, &now_checking(node))?;
        self.stage.say(8, "[controlplane] Getting list of nodes for upgrade")?;
        if changes.is_empty() {
            return self
                .stage
                .say(18, &format!("Upgrade not required for controlplane and worker components of host {name}"));
        }
        if touches(&CONTROL, changes) {
            self.stage.say(49, &format!("Upgrading controlplane components for control host {name}"))?;
            self.on_all(std::slice::from_ref(node), |_, site| {
                site.sidekick(&images);
                renew(site, &images, "controlplane", &CONTROL, changes);
            })?;
        }
        if touches(&WORKER, changes) {
            self.stage.say(30, &format!("Upgrading workerplane components for control host {name}"))?;
            self.on_all(std::slice::from_ref(node), |_, site| {
                site.sidekick(&images);
                renew(site, &images, "worker", &WORKER, changes);
            })?;
        }
        self.stage.say(1, &now_checking(node))
    }

    /// The workers of a new cluster: every host, for every host runs a kubelet.
    pub(crate) fn build_workers(&mut self) -> Result<(), Stop> {
        self.stage.say(3, "[worker] Building up Worker Plane..")?;
        let (foreign, own): (Vec<Node>, Vec<Node>) =
            self.spec.nodes.clone().into_iter().partition(|node| self.is_foreign(node));
        self.start_workers(&own)?;
        if let Some(node) = foreign.first() {
            return Err(self.foreign_worker(node));
        }
        self.stage.say(1, "[worker] Successfully started Worker Plane..")
    }

    fn foreign_worker(&mut self, node: &Node) -> Stop {
        self.never_healthy(
            "[workerPlane] Failed to bring up Worker Plane",
            "http://localhost:10248/healthz",
            "kubelet",
            node,
        )
    }

    fn start_workers(&mut self, nodes: &[Node]) -> Result<(), Stop> {
        let images = self.options.images.clone();
        self.on_all(nodes, |node, site| {
            if !node.is(Role::ControlPlane) {
                if !site.host.runs("nginx-proxy") {
                    site.image(3, &images.tools);
                    site.starting(100, "nginx-proxy");
                    site.started(137, "worker", "nginx-proxy");
                    site.put("nginx-proxy", Container::Running);
                }
                site.helper(&images, "worker", "rke-log-linker");
            }
            site.sidekick(&images);
            for (_, component, healthy_ms) in WORKER {
                site.component(&images, "worker", component, healthy_ms);
            }
        })
    }

    /// The workers of a cluster that exists: new ones are added, changed ones renewed.
    pub(crate) fn upgrade_workers(&mut self, changes: &Changes) -> Result<(), Stop> {
        self.refuse_if_lost(Role::Worker, "worker")?;
        self.stage.say(1, "[worker] Upgrading Worker Plane..")?;
        let only_workers: Vec<Node> =
            self.spec.nodes.iter().filter(|node| !node.is(Role::ControlPlane)).cloned().collect();
        let late: Vec<Node> =
            self.spec.nodes.iter().filter(|node| node.is(Role::ControlPlane) && self.is_added(node)).cloned().collect();
        self.start_workers(&late)?;
        let present: Vec<Node> = only_workers.iter().filter(|node| !self.is_added(node)).cloned().collect();
        let down = self.down(&present, &["kubelet"]);
        if !down.is_empty() {
            self.stage.say(25_000, &attempting("worker", &down))?;
            self.revive_workers(&down)?;
        }
        let changed = touches(&WORKER, changes);
        if only_workers.iter().any(|node| changed || self.is_added(node)) {
            self.stage.say(
                25_000,
                "Now checking and upgrading worker components on nodes with only worker role 1 \
                 at a time",
            )?;
            for node in &only_workers {
                self.upgrade_worker(node, changes)?;
            }
        }
        self.stage.say(1, "[worker] Successfully upgraded Worker Plane..")
    }

    fn upgrade_worker(&mut self, node: &Node, changes: &Changes) -> Result<(), Stop> {
        if self.is_foreign(node) {
            return Err(self.foreign_worker(node));
        }
        let images = self.options.images.clone();
        if self.is_added(node) {
            self.stage.say(1, &format!("[workerplane] Processing host {}", node.name))?;
            return self.start_workers(std::slice::from_ref(node));
        }
        if !touches(&WORKER, changes) {
            return Ok(());
        }
        self.stage.say(1, &format!("[workerplane] Processing host {}", node.name))?;
        self.on_all(std::slice::from_ref(node), |_, site| {
            site.sidekick(&images);
            renew(site, &images, "worker", &WORKER, changes);
        })
    }

    /// A host of this role that was part of the plan and does not answer stops an upgrade.
    fn refuse_if_lost(&mut self, role: Role, word: &str) -> Result<(), Stop> {
        let lost = self.lost.iter().filter(|node| node.is(role)).count();
        if lost == 0 {
            return Ok(());
        }
        Err(self.stage.fatal(
            1,
            &format!(
                "cannot proceed with upgrade of {word} since {lost} host(s) cannot be reached \
                 prior to upgrade"
            ),
        ))
    }

    /// Logs of dead containers, on all hosts.
    pub(crate) fn clean_logs(&mut self) -> Result<(), Stop> {
        let nodes = self.spec.nodes.clone();
        let images = self.options.images.clone();
        self.on_all(&nodes, |_, site| {
            site.helper(&images, "cleanup", "rke-log-cleaner");
        })
    }

    /// Which components the new configuration changes.
    pub(crate) fn changes(&self, wanted: &serde_json::Value) -> Changes {
        let current = &self.state.current_state.config["services"];
        CONTROL
            .iter()
            .chain(&WORKER)
            .filter(|(service, _, _)| wanted["services"][*service] != current[*service])
            .map(|(_, component, _)| *component)
            .collect()
    }
}

fn now_checking(node: &Node) -> String {
    format!("[controlplane] Now checking status of node {}, try #1", node.name)
}

fn attempting(plane: &str, down: &[Node]) -> String {
    let names: Vec<&str> = down.iter().map(|node| node.name.as_str()).collect();
    format!("Attempting upgrade of {plane} components on following hosts in NotReady status: {}", names.join(","))
}

fn touches(plane: &[(&str, &'static str, u64)], changes: &Changes) -> bool {
    plane.iter().any(|(_, component, _)| changes.contains(component))
}

fn renew(
    site: &mut Site,
    images: &super::catalogue::Images,
    plane: &str,
    components: &[(&str, &'static str, u64)],
    changes: &Changes,
) {
    for (_, component, healthy_ms) in components {
        if changes.contains(component) {
            site.replace(images, plane, component, *healthy_ms);
        } else {
            site.component(images, plane, component, *healthy_ms);
        }
    }
}
