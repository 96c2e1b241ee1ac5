//! The last leg: labels, network, DNS, metrics, ingress and the user's own add-ons.
//!
//! A failing user add-on is a warning and nothing more: exit 0, as recorded.

use super::fault::Kind;
use super::run::Run;
use super::stage::{Script, Stop};

const ADDON_FAILED: &str = "Failed to deploy addon execute job [rke-user-includes-addons]: Failed \
    to get job complete status for job rke-user-addon-deploy-job in namespace kube-system";

impl Run<'_> {
    /// Everything after the planes.
    pub(crate) fn finish(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[sync] Syncing nodes Labels and Taints")?;
        self.stage.say(22, "[sync] Successfully synced nodes Labels and Taints")?;
        let providers = self.providers();
        self.stage.play(providers)?;
        self.user_addons()?;
        self.stage.say(1, "Finished building Kubernetes cluster successfully")
    }

    fn providers(&self) -> Script {
        let mut script = Script::new();
        script.say(19, format!("[network] Setting up network plugin: {}", self.spec.network));
        if self.spec.network == "none" {
            script.say(1, "[network] Not deploying a cluster network, expecting custom CNI");
        } else {
            deploy(&mut script, "rke-network-plugin");
        }
        if self.spec.dns != "none" {
            script.say(5000, "[addons] Setting up coredns");
            deploy(&mut script, "rke-coredns-addon");
            script.say(5026, "[addons] CoreDNS deployed successfully");
            script.say(1, "[dns] DNS provider coredns deployed successfully");
        }
        if self.spec.monitoring == "none" {
            script.say(1, "[ingress] Metrics Server is disabled, skipping Metrics server installation");
        } else {
            script.say(3, "[addons] Setting up Metrics Server");
            deploy(&mut script, "rke-metrics-addon");
            script.say(5029, "[addons] Metrics Server deployed successfully");
        }
        if self.spec.ingress == "none" {
            script.say(1, "[ingress] ingress controller is disabled, skipping ingress controller");
        } else {
            script.say(1, "[ingress] Setting up nginx ingress controller");
            script.say(1, "[ingress] removing admission batch jobs if they exist");
            deploy(&mut script, "rke-ingress-controller");
            script.say(5024, "[ingress] ingress controller nginx deployed successfully");
        }
        script
    }

    fn user_addons(&mut self) -> Result<(), Stop> {
        self.stage.say(1, "[addons] Setting up user addons")?;
        let fails = self.stage.take_fault(|kind| matches!(kind, Kind::AddonTimeout | Kind::AddonBad)).is_some();
        if !self.spec.has_addons && !fails {
            return self.stage.say(8, "[addons] no user addons defined");
        }
        let mut script = Script::new();
        deploy(&mut script, "rke-user-addon");
        self.stage.play(script)?;
        if fails {
            self.stage.warn(45_095, ADDON_FAILED)
        } else {
            self.stage.say(10_090, "[addons] User addons deployed successfully")
        }
    }
}

fn deploy(script: &mut Script, addon: &str) {
    script.say(1, format!("[addons] Saving ConfigMap for addon {addon} to Kubernetes"));
    script.say(10, format!("[addons] Successfully saved ConfigMap for addon {addon} to Kubernetes"));
    script.say(1, format!("[addons] Executing deploy job {addon}"));
}
