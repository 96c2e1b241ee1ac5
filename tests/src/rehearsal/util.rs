//! The small commands: fetching the state or the kubeconfig, versions, image lists.
//!
//! `get-state-file` gives back, byte for byte, the copy that the cluster keeps. It asks the API
//! that the kubeconfig names, and without one the control plane hosts.

use std::path::Path;

use super::catalogue::{self, Images};
use super::clock;
use super::pki;
use super::run::Run;
use super::spec::{Node, Role};
use super::stage::{Stage, Stop};
use super::state::{self, State, careless_write, go_error};

const SERVER: &str = "version.Info{Major:\"\", Minor:\"\", \
    GitVersion:\"v0.0.0-master+faecb196815e2\", \
    GitCommit:\"faecb196815e248d3ecfb03c680a4507229c2a56\", GitTreeState:\"\", \
    BuildDate:\"1970-01-01T00:00:00Z\", GoVersion:\"go1.19.8\", Compiler:\"gc\", \
    Platform:\"linux/amd64\"}";

impl Run<'_> {
    /// `util get-state-file`.
    pub(crate) fn get_state_file(&mut self) -> Result<(), Stop> {
        self.stage.say(80, "Retrieving state file from cluster")?;
        match self.live_ca() {
            Ok(ca) => {
                self.stage.say(
                    10,
                    &format!(
                        "Successfully connected to server using kubeconfig, retrieved server \
                         version [{SERVER}]"
                    ),
                )?;
                let Some(copy) = self.stage.fleet.saved_state(&ca) else {
                    return Err(self.stage.fatal(
                        20,
                        "Failed to get ConfigMap with cluster state: configmaps \
                         \"full-cluster-state\" not found",
                    ));
                };
                self.put_state(&copy)
            }
            Err(why) => {
                self.stage.say(
                    1,
                    &format!(
                        "Unable to connect to server using kubeconfig, trying to get state from \
                         Control Plane node(s), error: {why}"
                    ),
                )?;
                self.get_state_from_hosts()
            }
        }
    }

    fn get_state_from_hosts(&mut self) -> Result<(), Stop> {
        self.dial_all()?;
        for node in self.with(Role::ControlPlane) {
            if let Some(copy) = self.copy_on(&node) {
                self.extract_on(&node)?;
                self.put_state(&copy)?;
                let state: State = serde_json::from_slice(&copy).unwrap_or_default();
                self.ca = state::ca_of(&state).unwrap_or_default();
                let bundle = state.desired_state.bundle.unwrap_or_default();
                state::deploy_kubeconfig(self.stage, self.paths, &bundle)?;
                return self.tell_reachable_api();
            }
            self.stage
                .say(3200, &format!("Could not get ConfigMap with cluster state from host [{}]", node.address))?;
        }
        Err(self.stage.fatal(1, "Unable to get ConfigMap with cluster state from any Control Plane host"))
    }

    fn copy_on(&self, node: &Node) -> Option<Vec<u8>> {
        let host = self.stage.fleet.host(&node.address);
        if !host.runs("kube-apiserver") {
            return None;
        }
        self.stage.fleet.saved_state(&host.ca?)
    }

    fn extract_on(&mut self, node: &Node) -> Result<(), Stop> {
        const EXTRACT: &str = "extract-statefile-configmap";
        let images = self.options.images.clone();
        self.on_all(std::slice::from_ref(node), |_, site| {
            site.image(110, &images.kubernetes);
            site.starting(35, EXTRACT);
            site.started(154, "", EXTRACT);
            site.waiting(1, EXTRACT);
            site.waiting(1, EXTRACT);
            site.still_running(1, EXTRACT, "");
            site.waiting(1002, EXTRACT);
            site.removing(140, EXTRACT);
            site.removed(82, EXTRACT);
        })
    }

    /// An existing state file is moved aside first.
    fn put_state(&mut self, copy: &[u8]) -> Result<(), Stop> {
        let path = self.paths.state.clone();
        if Path::new(&path).exists() {
            let aside = format!("{}/rkestate{}", self.paths.dir, random_suffix());
            if std::fs::rename(&path, &aside).is_ok() {
                self.stage.say(20, &format!("Moved file [{path}] to new location [{aside}] as back-up"))?;
            }
        }
        if let Err(error) = careless_write(Path::new(&path), copy) {
            let why = go_error(&error);
            return Err(self.stage.fatal(0, &format!("Failed to write state file: open {path}: {why}")));
        }
        self.stage.say(1, &format!("Successfully Deployed state file at [{path}]"))
    }

    /// The CA of the cluster that the kubeconfig reaches, or why it reaches none.
    fn live_ca(&self) -> Result<String, String> {
        let path = &self.paths.kubeconfig;
        let kubeconfig = std::fs::read_to_string(path)
            .map_err(|error| format!("Failed to create Kubernetes Client: stat {path}: {}", go_error(&error)))?;
        let ca = pki::ca_of_kubeconfig(&kubeconfig).and_then(|pem| pki::fingerprint(&pem));
        let server =
            kubeconfig.split_once("server: \"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        self.spec
            .nodes
            .iter()
            .filter(|node| node.is(Role::ControlPlane))
            .map(|node| self.stage.fleet.host(&node.address))
            .filter(|host| !host.fault.is_some_and(super::fleet::HostFault::cuts_off))
            .find_map(|host| ca.clone().filter(|ca| host.runs("kube-apiserver") && host.ca.as_ref() == Some(ca)))
            .ok_or_else(|| format!("Get \"{server}/version\": dial tcp: connect: connection refused"))
    }

    /// `util get-kubeconfig`.
    pub(crate) fn get_kubeconfig(&mut self) -> Result<(), Stop> {
        self.stage.say(80, "Creating new kubeconfig file")?;
        self.state = State::read(Path::new(&self.paths.state)).unwrap_or_default();
        self.ca = state::ca_of(&self.state).unwrap_or_default();
        let path = self.paths.kubeconfig.clone();
        if Path::new(&path).exists() {
            let aside = format!("{}/kube_config{}", self.paths.dir, random_suffix());
            if std::fs::copy(&path, &aside).is_ok() {
                self.stage.say(80, &format!("Copied file [{path}] to new location [{aside}] as back-up"))?;
            }
        }
        state::deploy_kubeconfig(self.stage, self.paths, &self.bundle())?;
        self.tell_reachable_api()
    }

    /// `version`.
    pub(crate) fn server_version(&mut self) -> Result<(), Stop> {
        match self.live_ca() {
            Ok(_) => self.stage.raw(format!("Server Version: {SERVER}\n").as_bytes()),
            Err(why) => Err(self.stage.fatal(1, &why)),
        }
    }
}

/// Go's temporary names end in ten digits or so.
fn random_suffix() -> u128 {
    clock::now_ns() % 10_000_000_000
}

/// `config --list-version`.
pub(crate) fn list_versions(stage: &mut Stage, all: bool) -> Result<(), Stop> {
    if !all {
        return stage.raw(format!("{}\n", catalogue::DEFAULT_KUBERNETES).as_bytes());
    }
    for version in catalogue::KUBERNETES {
        stage.raw(format!("{version}\n").as_bytes())?;
    }
    Ok(())
}

/// `config --system-images`.
pub(crate) fn system_images(stage: &mut Stage, version: Option<&str>) -> Result<(), Stop> {
    let version = version.unwrap_or(catalogue::DEFAULT_KUBERNETES);
    let Some(images) = catalogue::images(version) else {
        let supported = catalogue::KUBERNETES.join(" ");
        return Err(stage.fatal(100, &format!("k8s version is not supported, supported versions are: [{supported}]")));
    };
    stage.say(150, &format!("Generating images list for version [{version}]:"))?;
    let Images { tools, kubernetes, etcd } = images;
    for image in [etcd, tools, kubernetes, "rancher/mirrored-pause:3.6".to_owned()] {
        stage.raw(format!("{image}\n").as_bytes())?;
    }
    Ok(())
}
