//! Bringing certificates and files to the hosts, and looking for the API that they open.

use super::pull;
use super::run::Run;
use super::spec::Role;
use super::stage::Stop;
use super::state;

impl Run<'_> {
    /// Certificates, kubeconfig, audit policy.
    pub(crate) fn deploy_certificates(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[certificates] Deploying kubernetes certificates to Cluster nodes")?;
        self.need_tools("certificates")?;
        let nodes = self.spec.nodes.clone();
        let images = self.options.images.clone();
        self.on_all(&nodes, |_, site| {
            site.checking(1, "cert-deployer");
            site.image(5, &images.tools);
            site.starting(150, "cert-deployer");
            site.checking(400, "cert-deployer");
            site.checking(5001, "cert-deployer");
            site.removing(1, "cert-deployer");
        })?;
        self.brand(&nodes)?;
        state::deploy_kubeconfig(self.stage, self.paths, &self.bundle())?;
        self.tell_reachable_api()?;
        self.stage.say(1, "[certificates] Successfully deployed kubernetes certificates to Cluster nodes")?;
        self.deploy_audit_policy()
    }

    /// Needed on every control plane host; one after the other.
    fn deploy_audit_policy(&mut self) -> Result<(), Stop> {
        let images = self.options.images.clone();
        self.on_each(&self.with(Role::ControlPlane), |node, site| {
            site.script.say(
                1,
                format!("[file-deploy] Deploying file [/etc/kubernetes/audit-policy.yaml] to node [{}]", node.address),
            );
            site.image(20, &images.tools);
            site.starting(200, "file-deployer");
            site.started(400, "", "file-deployer");
            site.waiting(1, "file-deployer");
            site.waiting(1, "file-deployer");
            site.still_running(1, "file-deployer", "");
            site.waiting(1001, "file-deployer");
            site.removing(2, "file-deployer");
            site.removed(150, "file-deployer");
        })?;
        self.stage.say(
            1,
            "[/etc/kubernetes/audit-policy.yaml] Successfully deployed audit policy file to \
             Cluster control nodes",
        )
    }

    /// The images of the Kubernetes components, on every host.
    pub(crate) fn pull_images(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "Pre-pulling kubernetes images")?;
        let nodes = self.spec.nodes.clone();
        let images = self.options.images.clone();
        self.on_all(&nodes, |_, site| site.image(1, &images.kubernetes))?;
        self.stage.say(1, "Kubernetes images pulled successfully")
    }

    /// Ends the run if a host has not the one image that everything needs.
    pub(crate) fn need_tools(&mut self, phase: &str) -> Result<(), Stop> {
        let Some(node) = pull::bare_host(self.stage, &self.spec.nodes).cloned() else {
            return Ok(());
        };
        pull::fruitless(self.stage, &node, self.options, phase)?;
        let end = pull::fatal(&node, self.options);
        Err(self.stage.fatal(1, &end))
    }
}
