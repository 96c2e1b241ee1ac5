//! Can the hosts reach each other? Listeners up, checks from everywhere, listeners down.
//!
//! A listener on a host whose port is already taken by the real component is created but does not
//! start, and rke says nothing about it. A listener left behind by a failed run is reused.

use super::catalogue::Images;
use super::console::Level;
use super::container::Site;
use super::fleet::{Container, HostFault};
use super::run::Run;
use super::spec::{Node, Role};
use super::stage::Stop;

/// Role, its listener, the component that owns the port.
const LISTENERS: [(Role, &str, &str); 3] = [
    (Role::Etcd, "rke-etcd-port-listener", "etcd"),
    (Role::ControlPlane, "rke-cp-port-listener", "kube-apiserver"),
    (Role::Worker, "rke-worker-port-listener", "kubelet"),
];

impl Run<'_> {
    /// The whole check; left out when no host is new.
    pub(crate) fn check_ports(&mut self) -> Result<(), Stop> {
        if self.options.disable_port_check {
            return Ok(());
        }
        if !self.spec.nodes.iter().any(|node| self.is_added(node)) {
            return self.stage.say(1, "[network] No hosts added existing cluster, skipping port check");
        }
        self.deploy_listeners()?;
        let [etcd, control, workers] = [Role::Etcd, Role::ControlPlane, Role::Worker].map(|role| self.with(role));
        if etcd.len() > 1 {
            self.check("etcd <-> etcd", &etcd, &etcd, "2379 2380")?;
        }
        self.check("control plane -> etcd", &control, &etcd, "2379")?;
        self.check("control plane -> worker", &control, &workers, "10250")?;
        self.check("workers -> control plane", &workers, &control, "6443")?;
        self.stage.say(40, "[network] Checking KubeAPI port Control Plane hosts")?;
        self.remove_listeners()
    }

    fn deploy_listeners(&mut self) -> Result<(), Stop> {
        self.stage.say(2, "[network] Deploying port listener containers")?;
        self.need_tools("network")?;
        for (role, listener, owner) in LISTENERS {
            let images = self.options.images.clone();
            self.on_all(&self.with(role), |_, site| {
                listen(site, &images, listener, owner);
            })?;
        }
        self.stage.say(1, "[network] Port listener containers deployed successfully")
    }

    fn check(&mut self, what: &str, from: &[Node], to: &[Node], ports: &str) -> Result<(), Stop> {
        self.stage.say(1, &format!("[network] Running {what} port checks"))?;
        let targets: Vec<&str> = to.iter().map(|node| node.address.as_str()).collect();
        let targets = targets.join(" ");
        let blocked = (ports == "10250").then(|| self.blocked(to)).flatten();
        let images = self.options.images.clone();
        let tries = if blocked.is_some() { 3 } else { 1 };
        for attempt in 1..=tries {
            let blocked = blocked.is_some();
            self.on_all(from, |node, site| {
                site.script.say(
                    1,
                    format!(
                        "[network] Checking if host [{}] can connect to host(s) [{targets}] on \
                         port(s) [{ports}], try #{attempt}",
                        node.address
                    ),
                );
                site.image(5, &images.tools);
                site.starting(120, "rke-port-checker");
                site.started(240, "network", "rke-port-checker");
                site.removing(if blocked { 5080 } else { 50 }, "rke-port-checker");
            })?;
            if blocked {
                self.stage.wait(5050);
            }
        }
        match (blocked, from.first()) {
            (Some(blocked), Some(host)) => Err(self.stage.fatal(
                1,
                &format!(
                    "[[network] Host [{}] is not able to connect to the following ports: \
                     [{}:{ports}]. Please check network policies and firewall rules]",
                    host.address, blocked.address
                ),
            )),
            _ => Ok(()),
        }
    }

    fn blocked(&self, to: &[Node]) -> Option<Node> {
        to.iter().find(|node| self.stage.fleet.host(&node.address).fault == Some(HostFault::PortBlocked)).cloned()
    }

    fn remove_listeners(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[network] Removing port listener containers")?;
        for (role, listener, _) in LISTENERS {
            self.on_all(&self.with(role), |_, site| {
                site.removing(5, listener);
                site.removed(130, listener);
            })?;
        }
        self.stage.say(1, "[network] Port listener containers removed successfully")
    }
}

fn listen(site: &mut Site, images: &Images, listener: &str, owner: &str) {
    if site.host.runs(listener) {
        return;
    }
    let at = site.address.clone();
    let was_there = site.exists(listener);
    if was_there {
        site.script.line(3, Level::Info, format!("[network] Starting stopped container [{listener}] on host [{at}]"));
    } else {
        site.image(100, &images.tools);
    }
    site.starting(120, listener);
    if site.host.runs(owner) {
        site.put(listener, Container::Stopped);
        return;
    }
    site.put(listener, Container::Running);
    if !was_there {
        site.started(330, "network", listener);
    }
}
