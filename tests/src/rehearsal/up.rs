//! `rke up`: builds a cluster, or brings one in line with its specification.
//!
//! What rke does depends on the state file alone, and that is its weakness: a state that is
//! there but unusable means *new cluster*, silently. A state that is missing beside a kubeconfig
//! makes it look for a cluster of the old kind and give up, which is safe.

use std::path::Path;

use super::dial;
use super::fault::StateWrite;
use super::fleet::Container;
use super::pki;
use super::pull;
use super::run::Run;
use super::spec::{Node, Role, Spec};
use super::stage::{Options, Stage, Stop};
use super::state::{self, Half, Paths, State};

/// Runs the command.
pub(crate) fn up(stage: &mut Stage, spec: Spec, options: &Options, paths: &Paths) -> Result<(), Stop> {
    let file_exists = Path::new(&paths.state).exists();
    if !file_exists && Path::new(&paths.kubeconfig).exists() {
        return Err(legacy(stage, &spec, options, paths));
    }
    let found = State::read(Path::new(&paths.state)).unwrap_or_default();
    let known = found.current_nodes();
    let mut run = Run::new(stage, spec, options, paths);
    run.state = found;
    run.known = known;
    if run.state.desired_state.bundle.is_none() {
        run.state = State::default();
        run.known.clear();
        if !file_exists {
            run.look_for_state_on_hosts()?;
        }
        run.mint()?;
    } else {
        run.renew()?;
    }
    run.build()
}

/// No state, but a kubeconfig: rke takes it for a cluster of before v0.2 and fails.
fn legacy(stage: &mut Stage, spec: &Spec, options: &Options, paths: &Paths) -> Stop {
    let kubeconfig = std::fs::read_to_string(&paths.kubeconfig).unwrap_or_default();
    let mut run = Run::new(stage, spec.clone(), options, paths);
    run.ca = pki::ca_of_kubeconfig(&kubeconfig).and_then(|pem| pki::fingerprint(&pem)).unwrap_or_default();
    match run.look_for_old_cluster() {
        Ok(()) => Stop(1),
        Err(stop) => stop,
    }
}

impl Run<'_> {
    fn look_for_old_cluster(&mut self) -> Result<(), Stop> {
        let stage = &mut *self.stage;
        stage.say(69, "[state] Possible legacy cluster detected, trying to upgrade")?;
        stage.say(1, "[reconcile] Rebuilding and updating local kube config")?;
        stage.say(2, &format!("Successfully Deployed local admin kubeconfig at [{}]", self.paths.kubeconfig))?;
        self.tell_reachable_api()?;
        let stage = &mut *self.stage;
        stage.say(1, "[state] Fetching cluster state from Kubernetes")?;
        stage.say(30_002, "Timed out waiting for kubernetes cluster to get state")?;
        stage.warn(
            1,
            "Failed to fetch state from kubernetes: Timeout waiting for kubernetes cluster to get \
             state",
        )?;
        self.dial_all()?;
        self.stage.say(1, "[state] Fetching cluster state from Nodes")?;
        let images = self.options.images.clone();
        let etcd = self.with(Role::Etcd);
        self.on_all(&etcd, |_, site| site.checking(1, "cluster-state-deployer"))?;
        self.stage.say(14, "[certificates] Getting Cluster certificates from Kubernetes")?;
        self.stage.warn(9, "Failed to fetch certs from kubernetes: secrets \"kube-ca\" not found")?;
        self.stage.say(1, "[certificates] Fetching kubernetes certificates from nodes")?;
        self.on_all(&etcd, |_, site| {
            site.checking(1, "cert-fetcher");
            site.image(6, &images.tools);
            site.starting(124, "cert-fetcher");
            site.started(302, "certificates", "cert-fetcher");
        })?;
        Err(self.stage.fatal(
            103,
            "Failed to fetch cluster certs from nodes, aborting upgrade: Certificate \
             /etc/kubernetes/.tmp/kube-apiserver.pem is not found",
        ))
    }

    /// Dials everything; lost hosts leave rke's lists. Fails when no etcd host is left.
    pub(crate) fn dial_all(&mut self) -> Result<(), Stop> {
        let lost = self.dial_and_strike()?;
        let refusal = dial::no_etcd(&lost);
        self.lost.extend(lost);
        if self.with(Role::Etcd).is_empty() {
            return Err(self.stage.fatal(1, &refusal));
        }
        match dial::docker_refusal(self.stage, &self.spec.nodes, self.options) {
            Some(refusal) => Err(self.stage.fatal(1, &refusal)),
            None => Ok(()),
        }
    }

    fn dial_and_strike(&mut self) -> Result<Vec<Node>, Stop> {
        let lost = dial::dial(self.stage, &self.spec.nodes)?;
        self.spec.nodes.retain(|node| !lost.contains(node));
        Ok(lost)
    }

    /// A first run asks the hosts for a state of old. Hosts that do not answer are forgotten
    /// here, for good: later phases never miss them.
    fn look_for_state_on_hosts(&mut self) -> Result<(), Stop> {
        let lost = self.dial_and_strike()?;
        let problem = if self.with(Role::Etcd).is_empty() {
            Some(dial::no_etcd(&lost))
        } else {
            dial::docker_refusal(self.stage, &self.spec.nodes, self.options)
        };
        if let Some(problem) = problem {
            return self.stage.warn(1, &format!("[state] can't fetch legacy cluster state from Kubernetes: {problem}"));
        }
        if let Some(node) = pull::bare_host(self.stage, &self.spec.nodes).cloned() {
            let at = &node.address;
            self.stage.say(
                150,
                &format!(
                    "Checking if container [cluster-state-deployer] is running on host [{at}], \
                     try #1"
                ),
            )?;
            return pull::fruitless(self.stage, &node, self.options, "state");
        }
        let images = self.options.images.clone();
        self.on_each(&self.with(Role::Etcd), |_, site| {
            site.checking(125, "cluster-state-deployer");
            if !site.exists("cluster-state-deployer") {
                site.image(5, &images.tools);
                site.starting(190, "cluster-state-deployer");
                site.started(320, "state", "cluster-state-deployer");
                site.put("cluster-state-deployer", Container::Stopped);
            }
        })
    }

    /// From the first write of the state to the end.
    fn build(&mut self) -> Result<(), Stop> {
        let all: Vec<&Node> = self.specified.iter().collect();
        let config = state::rke_config(&self.spec, &self.options.images, &all);
        let changes = self.changes(&config);
        self.state.desired_state.config = config;
        state::deploy(self.stage, self.paths, &self.state, StateWrite::Desired)?;
        self.stage.say(1, "Building Kubernetes cluster")?;
        self.dial_all_again()?;
        self.check_ports()?;
        self.deploy_certificates()?;
        self.reconcile()?;
        self.pull_images()?;
        self.build_etcd()?;
        if self.is_new() {
            self.build_control_plane()?;
        } else {
            self.upgrade_control_plane(&changes)?;
        }
        self.authorize()?;
        self.save_current()?;
        if self.is_new() {
            self.build_workers()?;
        } else {
            self.upgrade_workers(&changes)?;
        }
        self.join_nodes()?;
        self.clean_logs()?;
        self.finish()
    }

    /// Nothing is dialled when no host is left on the lists.
    fn dial_all_again(&mut self) -> Result<(), Stop> {
        if self.spec.nodes.is_empty() {
            return Err(self.stage.fatal(1, &dial::no_etcd(&[])));
        }
        self.dial_all()
    }

    fn authorize(&mut self) -> Result<(), Stop> {
        for (doing, done) in [
            ("Creating rke-job-deployer ServiceAccount", "rke-job-deployer ServiceAccount created successfully"),
            ("Creating system:node ClusterRoleBinding", "system:node ClusterRoleBinding created successfully"),
            (
                "Creating kube-apiserver proxy ClusterRole and ClusterRoleBinding",
                "kube-apiserver proxy ClusterRole and ClusterRoleBinding created successfully",
            ),
        ] {
            self.stage.say(1, &format!("[authz] {doing}"))?;
            self.stage.say(26, &format!("[authz] {done}"))?;
        }
        Ok(())
    }

    /// The second write: only hosts that answered are in it.
    pub(crate) fn save_current(&mut self) -> Result<(), Stop> {
        let reached: Vec<&Node> = self.spec.nodes.iter().collect();
        self.state.current_state = Half {
            config: state::rke_config(&self.spec, &self.options.images, &reached),
            bundle: self.state.desired_state.bundle.clone(),
        };
        state::deploy(self.stage, self.paths, &self.state, StateWrite::Current)?;
        self.stage.say(1, "[state] Saving full cluster state to Kubernetes")?;
        let kept = self.stage.fleet.save_state(&self.ca, &self.state.bytes());
        self.stage.kept(kept)?;
        self.stage.say(
            24,
            "[state] Successfully Saved full cluster state to Kubernetes ConfigMap: \
             full-cluster-state",
        )
    }

    /// The cluster's own view, for those who ask the fleet.
    fn join_nodes(&mut self) -> Result<(), Stop> {
        let name = self.spec.name.clone();
        let nodes = self.spec.nodes.clone();
        let kept = self.stage.fleet.change_cluster(&self.ca, |cluster| {
            cluster.name = name;
            for node in nodes {
                cluster.nodes.insert(node.name, node.address);
            }
        });
        self.stage.kept(kept)
    }
}
