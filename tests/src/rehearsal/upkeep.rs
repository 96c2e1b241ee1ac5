//! `rke cert rotate`, `rke etcd snapshot-save` and `rke etcd snapshot-restore`.
//!
//! Rotation keeps the CA unless told otherwise. A snapshot carries a copy of the state; restoring
//! one puts that state back, wipes the hosts and builds the cluster anew. Restoring a name that
//! does not exist empties the current half of the state before it fails, as recorded.

use std::path::Path;

use super::clock;
use super::fault::StateWrite;
use super::keys::generating;
use super::pki;
use super::remove::{self, Cleaning};
use super::run::Run;
use super::spec::{Node, Role};
use super::stage::Stop;
use super::state::{self, Half, State};

const COPYING: &str = "Waiting for file [/etc/kubernetes/cluster.rkestate] to be successfully \
                       copied to this container, retry count 1\\n";

impl Run<'_> {
    /// New leaves, and with `with_ca` a new CA too.
    pub(crate) fn rotate(&mut self, with_ca: bool) -> Result<(), Stop> {
        self.stage.say(70, "Rotating Kubernetes cluster certificates")?;
        self.state = State::read(Path::new(&self.paths.state)).unwrap_or_default();
        let Some(mut bundle) = self.state.desired_state.bundle.clone() else {
            return Err(self.stage.fatal(1, "Failed to rotate certificates: can't find old certificates"));
        };
        self.tell_rotation(with_ca)?;
        let old = pki::ca_fingerprint(&bundle);
        let minted = (|| {
            if with_ca {
                bundle = pki::mint_authorities()?;
            }
            pki::mint_leaves(&mut bundle, &self.spec, &self.paths.kubeconfig)?;
            Ok(bundle)
        })();
        self.adopt(minted)?;
        state::deploy(self.stage, self.paths, &self.state, StateWrite::Desired)?;
        self.stage.say(2, "Rebuilding Kubernetes cluster with rotated certificates")?;
        self.dial_all()?;
        if let (true, Some(old)) = (with_ca, old) {
            self.hand_over(&old)?;
        }
        self.deploy_certificates()?;
        self.save_current()?;
        self.restart_planes()?;
        if with_ca {
            self.stage.say(1, "Restarting network, ingress, and metrics pods")?;
        }
        Ok(())
    }

    fn tell_rotation(&mut self, with_ca: bool) -> Result<(), Stop> {
        if with_ca {
            self.tell_generating_authorities()?;
        }
        self.stage.say(
            1,
            "[certificates] GenerateServingCertificate is disabled, checking if there are unused \
             kubelet certificates",
        )?;
        for what in [
            "Kubernetes API server certificates",
            "Kube Controller certificates",
            "Kube Scheduler certificates",
            "Kube Proxy certificates",
            "Node certificate",
            "admin certificates and kubeconfig",
            "Kubernetes API server proxy client certificates",
        ] {
            self.stage.say(180, &generating(what))?;
        }
        for node in self.with(Role::Etcd) {
            self.tell_generating_etcd(&node)?;
        }
        Ok(())
    }

    fn restart_planes(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[etcd] Restarting up etcd plane..")?;
        self.restart(&self.with(Role::Etcd), &["etcd"])?;
        self.stage.say(1, "[etcd] Successfully restarted etcd plane..")?;
        self.stage.say(1, "[controlplane] Check if rotating a legacy cluster")?;
        self.stage.say(2, "[controlplane] Restarting the Controller Plane..")?;
        self.restart(&self.with(Role::ControlPlane), &["kube-apiserver", "kube-controller-manager", "kube-scheduler"])?;
        self.stage.say(1, "[controlplane] Successfully restarted Controller Plane..")?;
        self.stage.say(1, "[worker] Restarting Worker Plane..")?;
        self.restart(&self.spec.nodes.clone(), &["kubelet", "kube-proxy", "nginx-proxy"])?;
        self.stage.say(1, "[worker] Successfully restarted Worker Plane..")
    }

    fn restart(&mut self, nodes: &[Node], containers: &[&str]) -> Result<(), Stop> {
        self.on_all(nodes, |_, site| {
            let at = site.address.clone();
            for container in containers {
                if site.exists(container) {
                    site.script.say(3, format!("Restarting container [{container}] on host [{at}], try #1"));
                    site.script
                        .say(1500, format!("[restart/{container}] Successfully restarted container on host [{at}]"));
                }
            }
        })
    }

    /// A snapshot on every etcd host; the copy of the state goes into it.
    pub(crate) fn save_snapshot(&mut self, name: Option<&str>) -> Result<(), Stop> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => {
                let name = format!("rke_etcd_snapshot_{}", clock::rfc3339(clock::now_ns()));
                self.stage.warn(1, &format!("Name of the snapshot is not specified using [{name}]"))?;
                name
            }
        };
        self.stage.say(1, "Starting saving snapshot on etcd hosts")?;
        self.dial_all()?;
        let images = self.options.images.clone();
        self.on_each(&self.with(Role::Etcd), |node, site| {
            site.tear_down("cluster-state-deployer");
            let at = &node.address;
            site.script.say(
                130,
                format!(
                    "[state] Deploying state file to [/etc/kubernetes/{name}.rkestate] on host \
                     [{at}]"
                ),
            );
            site.image(20, &images.tools);
            site.starting(160, "cluster-state-deployer");
            site.started(300, "state", "cluster-state-deployer");
            for _ in 0..5 {
                site.waiting(1000, "cluster-state-deployer");
                site.still_running(2, "cluster-state-deployer", COPYING);
            }
            site.waiting(1000, "cluster-state-deployer");
            site.still_running(
                2,
                "cluster-state-deployer",
                &format!(
                    "Moving [/etc/kubernetes/cluster.rkestate] to \
                     [/etc/kubernetes/{name}.rkestate]\\n"
                ),
            );
            site.waiting(1000, "cluster-state-deployer");
            site.removing(6, "cluster-state-deployer");
            site.removed(38, "cluster-state-deployer");
        })?;
        self.on_each(&self.with(Role::Etcd), |node, site| {
            let at = &node.address;
            site.script.say(1, format!("[etcd] Running snapshot save once on host [{at}]"));
            site.image(4, &images.tools);
            site.starting(100, "etcd-snapshot-once");
            site.started(122, "etcd", "etcd-snapshot-once");
            site.waiting(1, "etcd-snapshot-once");
            site.waiting(1000, "etcd-snapshot-once");
            site.removing(3, "etcd-snapshot-once");
        })?;
        self.keep_snapshot(&name)?;
        self.stage.say(37, &format!("Finished saving/uploading snapshot [{name}] on all etcd hosts"))
    }

    fn keep_snapshot(&mut self, name: &str) -> Result<(), Stop> {
        let bytes = std::fs::read(&self.paths.state).unwrap_or_default();
        for node in self.with(Role::Etcd) {
            let kept = self.stage.fleet.save_snapshot(&node.address, name, &bytes);
            self.stage.kept(kept)?;
        }
        Ok(())
    }

    /// Everything up to the point where the cluster is built anew, which is `up`'s business.
    pub(crate) fn prepare_restore(&mut self, name: &str) -> Result<(), Stop> {
        self.stage.say(6, &format!("Checking if state file is included in snapshot file for [{name}]"))?;
        self.dial_all()?;
        let etcd = self.with(Role::Etcd);
        let images = self.options.images.clone();
        let found = etcd.iter().find_map(|node| self.stage.fleet.snapshot(&node.address, name));
        let is_there = found.is_some();
        self.on_all(&etcd, |node, site| {
            let at = &node.address;
            site.image(5, &images.tools);
            site.starting(110, "etcd-extract-statefile");
            site.started(260, "", "etcd-extract-statefile");
            site.waiting(1, "etcd-extract-statefile");
            site.waiting(1, "etcd-extract-statefile");
            if is_there {
                site.removing(160, "etcd-extract-statefile");
                site.removed(315, "etcd-extract-statefile");
            } else {
                site.script.say(170, format!("Could not extract state file from snapshot [{name}] on host [{at}]"));
            }
        })?;
        self.say_what_was_found(name, is_there)?;
        self.stage.say(9, &format!("Restoring etcd snapshot {name}"))?;
        self.state = found
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .or_else(|| State::read(Path::new(&self.paths.state)))
            .unwrap_or_default();
        self.state.current_state = Half::default();
        self.state.desired_state.bundle.get_or_insert_default();
        self.ca = state::ca_of(&self.state).unwrap_or_default();
        state::deploy(self.stage, self.paths, &self.state, StateWrite::Desired)?;
        self.dial_all()?;
        self.stop_etcd(name, is_there)?;
        self.wipe_hosts()?;
        self.restore_etcd(name)
    }

    fn say_what_was_found(&mut self, name: &str, is_there: bool) -> Result<(), Stop> {
        if is_there {
            return self.stage.say(10, &format!("State file is successfully extracted from snapshot [{name}]"));
        }
        self.stage.say(
            1,
            &format!(
                "Could not extract state file from snapshot [{name}] on any host, falling back \
                 to local state file: Unable to find statefile in snapshot [{name}]"
            ),
        )
    }

    fn stop_etcd(&mut self, name: &str, is_there: bool) -> Result<(), Stop> {
        let images = self.options.images.clone();
        let etcd = self.with(Role::Etcd);
        self.on_all(&etcd, |_, site| {
            site.checking(1, "cert-deployer");
            site.image(4, &images.tools);
            site.starting(115, "cert-deployer");
            site.checking(340, "cert-deployer");
            site.checking(5009, "cert-deployer");
            site.removing(4, "cert-deployer");
        })?;
        self.stage.say(
            38,
            "[etcd] etcd snapshot configuration found and no s3 backup configuration found, will \
             use local as source",
        )?;
        self.on_all(&etcd, |node, site| {
            let at = &node.address;
            site.script
                .say(1, format!("Stopping container [etcd] on host [{at}] with stopTimeoutDuration [5s], try #1"));
            site.script.say(170, format!("[etcd] starting backup server on host [{at}]"));
            site.image(6, &images.tools);
            site.starting(117, "etcd-Serve-backup");
            site.started(128, "etcd", "etcd-Serve-backup");
            site.removing(5086, "etcd-Serve-backup");
        })?;
        if is_there {
            return Ok(());
        }
        let why = format!(
            "Failed to run backup server container, container logs: time=\"{}\" level=fatal \
             msg=\"stat /backup/{name}: no such file or directory\"\n",
            clock::rfc3339(clock::now_ns())
        );
        for node in &etcd {
            let at = &node.address;
            self.stage.warn(30, &format!("failed to start backup server on host [{at}]: {why}"))?;
            self.stage.say(1, &format!("Starting container [etcd] on host [{at}], try #1"))?;
        }
        Err(self.stage.fatal(130, &format!("failed to start backup server on all etcd nodes: [{why}]")))
    }

    fn wipe_hosts(&mut self) -> Result<(), Stop> {
        self.stage.say(30, "Cleaning old kubernetes cluster")?;
        let nodes = self.spec.nodes.clone();
        remove::tear_down_workers(self.stage, &nodes)?;
        remove::tear_down_control_plane(self.stage, &self.with(Role::ControlPlane))?;
        remove::tear_down_etcd(self.stage, &self.with(Role::Etcd))?;
        remove::clean(self.stage, &nodes, &self.options.images, Cleaning::WholeCluster)?;
        for node in nodes {
            let kept = self.stage.fleet.change_host(&node.address, remove::wipe);
            self.stage.kept(kept)?;
        }
        Ok(())
    }

    fn restore_etcd(&mut self, name: &str) -> Result<(), Stop> {
        let images = self.options.images.clone();
        self.on_each(&self.with(Role::Etcd), |node, site| {
            let at = &node.address;
            site.script.say(1, format!("[etcd] Restoring [{name}] snapshot on etcd host [{at}]"));
            site.image(2, &images.etcd);
            site.starting(12, "etcd-restore");
            site.started(126, "etcd", "etcd-restore");
            site.waiting(1, "etcd-restore");
            site.still_running(2, "etcd-restore", "");
            site.waiting(1000, "etcd-restore");
            site.removing(4, "etcd-restore");
            site.script.say(12, format!("[etcd] Removing snapshot [{name}] from host [{at}]"));
            site.image(3, &images.tools);
            site.starting(104, "etcd-remove-snapshot");
            site.started(283, "etcd", "etcd-remove-snapshot");
            site.waiting(1, "etcd-remove-snapshot");
            site.still_running(13, "etcd-remove-snapshot", "");
            site.waiting(1001, "etcd-remove-snapshot");
            site.removing(3, "etcd-remove-snapshot");
        })
    }
}
