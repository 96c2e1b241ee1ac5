//! `rke remove`: tears the planes down, cleans the hosts, deletes kubeconfig and state.
//!
//! A host that does not answer is left out with a warning, and the run still ends with exit 0 and
//! without a state: its containers run on. Only when no etcd host is left does rke refuse. The
//! state file is not needed.

use std::io::BufRead;

use super::catalogue::Images;
use super::container::Site;
use super::dial;
use super::fleet::Host;
use super::pull;
use super::spec::{Node, Role, Spec};
use super::stage::{Options, Stage, Stop};
use super::state::{Paths, go_error};

const COMPONENTS: [&str; 8] = [
    "kubelet",
    "kube-proxy",
    "nginx-proxy",
    "service-sidekick",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "etcd",
];

/// Asks on standard input; the answer stands on the prompt's line.
pub(crate) fn confirm(stage: &mut Stage) -> Result<(), Stop> {
    stage.raw(b"Are you sure you want to remove Kubernetes cluster [y/n]: ")?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if !answer.ends_with('\n') || read.is_err() {
        return Err(stage.fatal(0, "EOF"));
    }
    if answer.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(Stop(0)) }
}

/// Runs the command.
pub(crate) fn remove(stage: &mut Stage, spec: &Spec, options: &Options, paths: &Paths) -> Result<(), Stop> {
    let mut nodes = spec.nodes.clone();
    let skipped = dial::skipped(stage, &nodes);
    let mut lost = dial::dial(stage, &nodes)?;
    for node in skipped {
        if !lost.contains(&node) {
            stage.warn(1, &format!("Removing host [{}] from node lists", node.address))?;
            lost.push(node);
        }
    }
    nodes.retain(|node| !lost.contains(node));
    if !nodes.iter().any(|node| node.is(Role::Etcd)) {
        return Err(stage.fatal(1, &dial::no_etcd(&lost)));
    }
    if let Some(refusal) = dial::docker_refusal(stage, &nodes, options) {
        return Err(stage.fatal(1, &refusal));
    }
    tear_down_workers(stage, &nodes)?;
    tear_down_control_plane(stage, &of(&nodes, Role::ControlPlane))?;
    tear_down_etcd(stage, &of(&nodes, Role::Etcd))?;
    if let Some(node) = pull::bare_host(stage, &nodes).cloned() {
        return Err(stop_without_cleaner(stage, &node, options));
    }
    clean(stage, &nodes, &options.images, Cleaning::WholeCluster)?;
    for node in &nodes {
        let kept = stage.fleet.change_host(&node.address, wipe);
        stage.kept(kept)?;
    }
    delete(stage, "local admin Kubeconfig", "local admin Kubeconfig file", &paths.kubeconfig)?;
    delete(stage, "state file", "state file", &paths.state)?;
    stage.say(1, "Cluster removed successfully")
}

fn of(nodes: &[Node], role: Role) -> Vec<Node> {
    nodes.iter().filter(|node| node.is(role)).cloned().collect()
}

fn stop_without_cleaner(stage: &mut Stage, node: &Node, options: &Options) -> Stop {
    let at = &node.address;
    let told = [
        format!("[hosts] Cleaning up host [{at}]"),
        format!("[hosts] Cleaning up host [{at}]"),
        format!("[hosts] Running cleaner container on host [{at}]"),
    ]
    .iter()
    .try_for_each(|line| stage.say(1, line))
    .and_then(|()| pull::fruitless(stage, node, options, "kube-cleaner"));
    match told {
        Ok(()) => stage.fatal(1, &pull::fatal(node, options)),
        Err(stop) => stop,
    }
}

fn delete(stage: &mut Stage, what: &str, what_failed: &str, path: &str) -> Result<(), Stop> {
    stage.say(1, &format!("Removing {what}: {path}"))?;
    match std::fs::remove_file(path) {
        Ok(()) => {
            let mut done = what.to_owned();
            if let Some(first) = done.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            stage.say(1, &format!("{done} removed successfully"))
        }
        Err(error) => stage.warn(1, &format!("Failed to remove {what_failed}: remove {path}: {}", go_error(&error))),
    }
}

/// A host without RKE's containers and certificates.
pub(crate) fn wipe(host: &mut Host) {
    host.containers.retain(|name, _| !COMPONENTS.contains(&name.as_str()));
    host.ca = None;
    host.cluster = None;
}

/// Plays one script per host; containers are gone only once the lines are out.
fn on_all(stage: &mut Stage, nodes: &[Node], work: impl Fn(&mut Site)) -> Result<(), Stop> {
    let mut sites: Vec<Site> =
        nodes.iter().map(|node| Site::new(&node.address, stage.fleet.host(&node.address))).collect();
    sites.iter_mut().for_each(work);
    let scripts = sites.iter_mut().map(|site| std::mem::take(&mut site.script)).collect();
    stage.parallel(scripts)?;
    for site in sites {
        let containers = site.host.containers;
        let kept = stage.fleet.change_host(&site.address, |host| host.containers = containers);
        stage.kept(kept)?;
    }
    Ok(())
}

fn tear_down(stage: &mut Stage, nodes: &[Node], containers: &[&str]) -> Result<(), Stop> {
    on_all(stage, nodes, |site| {
        for container in containers {
            site.tear_down(container);
        }
    })
}

/// kubelet and its companions. Keeps what other planes need only in so far as rke does.
pub(crate) fn tear_down_workers(stage: &mut Stage, nodes: &[Node]) -> Result<(), Stop> {
    stage.say(1, "[worker] Tearing down Worker Plane..")?;
    tear_down(stage, nodes, &COMPONENTS[..4])?;
    stage.say(1, "[worker] Successfully tore down Worker Plane..")
}

/// API server, controller manager, scheduler.
pub(crate) fn tear_down_control_plane(stage: &mut Stage, nodes: &[Node]) -> Result<(), Stop> {
    stage.say(1, "[controlplane] Tearing down the Controller Plane..")?;
    tear_down(stage, nodes, &COMPONENTS[4..7])?;
    stage.say(3, "[controlplane] Successfully tore down Controller Plane..")
}

/// etcd.
pub(crate) fn tear_down_etcd(stage: &mut Stage, nodes: &[Node]) -> Result<(), Stop> {
    stage.say(1, "[etcd] Tearing down etcd plane..")?;
    tear_down(stage, nodes, &COMPONENTS[7..])?;
    stage.say(3, "[etcd] Successfully tore down etcd plane..")
}

/// A whole cluster is announced twice per host, a single host once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleaning {
    WholeCluster,
    OneHost,
}

/// The cleaner, and the logs of dead containers.
pub(crate) fn clean(stage: &mut Stage, nodes: &[Node], images: &Images, cleaning: Cleaning) -> Result<(), Stop> {
    on_all(stage, nodes, |site| {
        let at = site.address.clone();
        if cleaning == Cleaning::WholeCluster {
            site.script.say(1, format!("[hosts] Cleaning up host [{at}]"));
        }
        site.script.say(1, format!("[hosts] Cleaning up host [{at}]"));
        site.script.say(1, format!("[hosts] Running cleaner container on host [{at}]"));
        site.image(3, &images.tools);
        site.starting(176, "kube-cleaner");
        site.started(327, "kube-cleaner", "kube-cleaner");
        site.waiting(1, "kube-cleaner");
        site.still_running(3, "kube-cleaner", "");
        site.waiting(1001, "kube-cleaner");
        site.script.say(2, format!("[hosts] Removing cleaner container on host [{at}]"));
        site.removing(1, "kube-cleaner");
        site.script.say(33, format!("[hosts] Removing dead container logs on host [{at}]"));
        site.helper(images, "cleanup", "rke-log-cleaner");
        site.script.say(1, format!("[hosts] Successfully cleaned up host [{at}]"));
    })
}
