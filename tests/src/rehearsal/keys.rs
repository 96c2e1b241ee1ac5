//! Which key material a run makes anew, and what it says while it does.
//!
//! A new cluster gets everything. An existing one keeps its CA, and gets a new administrator in
//! every run, plus what new hosts need. How certificates are made is in `pki`.

use super::fault::Kind;
use super::fleet::LiveCluster;
use super::pki::{self, Bundle, PkiError};
use super::run::Run;
use super::spec::{Node, Role};
use super::stage::Stop;

const UNUSED_KUBELET: &str = "[certificates] GenerateServingCertificate is disabled, checking if \
                              there are unused kubelet certificates";

pub(crate) fn generating(what: &str) -> String {
    format!("[certificates] Generating {what}")
}

impl Run<'_> {
    /// All key material of a new cluster.
    pub(crate) fn mint(&mut self) -> Result<(), Stop> {
        self.tell_generating_authorities()?;
        self.stage.say(156, UNUSED_KUBELET)?;
        for what in [
            "Kubernetes API server certificates",
            "Service account token key",
            "Kube Controller certificates",
            "Kube Scheduler certificates",
            "Kube Proxy certificates",
            "Node certificate",
            "admin certificates and kubeconfig",
            "Kubernetes API server proxy client certificates",
        ] {
            self.stage.say(90, &generating(what))?;
        }
        for node in self.with(Role::Etcd) {
            self.tell_generating_etcd(&node)?;
        }
        let bundle = pki::mint_authorities().and_then(|mut bundle| {
            pki::mint_leaves(&mut bundle, &self.spec, &self.paths.kubeconfig)?;
            Ok(bundle)
        });
        self.adopt(bundle)
    }

    /// Key material of a cluster that exists: the CA stays, the admin is always made anew.
    pub(crate) fn renew(&mut self) -> Result<(), Stop> {
        let mut bundle = self.bundle();
        if pki::ca_fingerprint(&bundle).is_none() {
            return Err(self.without_ca());
        }
        self.stage.say(66, UNUSED_KUBELET)?;
        let uncovered =
            self.with(Role::ControlPlane).iter().any(|node| !pki::api_server_covers(&bundle, &node.address));
        let new_etcd: Vec<Node> =
            self.with(Role::Etcd).into_iter().filter(|node| !bundle.contains_key(&pki::etcd_name(node))).collect();
        if uncovered {
            self.stage.say(1, &generating("Kubernetes API server certificates"))?;
        }
        self.stage.say(2, &generating("admin certificates and kubeconfig"))?;
        for node in &new_etcd {
            self.tell_generating_etcd(node)?;
        }
        let changed_ca = self.stage.take_fault(|kind| *kind == Kind::ChangeCa);
        let renewed = (|| -> Result<(), PkiError> {
            if changed_ca.is_some() {
                bundle = pki::mint_authorities()?;
                return pki::mint_leaves(&mut bundle, &self.spec, &self.paths.kubeconfig);
            }
            if uncovered {
                pki::renew_api_server(&mut bundle, &self.spec)?;
            }
            pki::renew_admin(&mut bundle, &self.spec, &self.paths.kubeconfig)?;
            for node in &new_etcd {
                pki::mint_etcd(&mut bundle, &self.spec, node)?;
            }
            Ok(())
        })();
        let old = pki::ca_fingerprint(&self.bundle());
        self.adopt(renewed.map(|()| bundle))?;
        if let (Some(_), Some(old)) = (changed_ca, old) {
            self.hand_over(&old)?;
        }
        Ok(())
    }

    /// A CA that changed unasked takes the hosts along, so that the run succeeds all the same.
    pub(crate) fn hand_over(&mut self, old: &str) -> Result<(), Stop> {
        for node in self.spec.nodes.clone() {
            let new = self.ca.clone();
            let kept = self.stage.fleet.change_host(&node.address, |host| {
                if host.ca.as_deref() == Some(old) {
                    host.ca = Some(new);
                }
            });
            self.stage.kept(kept)?;
        }
        let Some(before) = self.stage.fleet.cluster(old) else { return Ok(()) };
        let kept = self.stage.fleet.change_cluster(&self.ca, |cluster| {
            *cluster = LiveCluster { formerly: Some(old.to_owned()), ..before };
        });
        self.stage.kept(kept)
    }

    fn without_ca(&mut self) -> Stop {
        let told = self
            .stage
            .say(117, &generating("Kubernetes API server aggregation layer requestheader client CA certificates"))
            .and_then(|()| self.stage.say(195, UNUSED_KUBELET));
        match told {
            Ok(()) => self.stage.fatal(1, "CA Certificate or Key is empty"),
            Err(stop) => stop,
        }
    }

    pub(crate) fn tell_generating_authorities(&mut self) -> Result<(), Stop> {
        self.stage.say(115, &generating("CA kubernetes certificates"))?;
        self.stage.say(145, &generating("Kubernetes API server aggregation layer requestheader client CA certificates"))
    }

    pub(crate) fn tell_generating_etcd(&mut self, node: &Node) -> Result<(), Stop> {
        let name = pki::etcd_name(node);
        self.stage.say(120, &format!("[certificates] Generating {name} certificate and key"))
    }

    pub(crate) fn adopt(&mut self, bundle: Result<Bundle, PkiError>) -> Result<(), Stop> {
        let bundle =
            bundle.map_err(|error| self.stage.fatal(0, &format!("Failed to generate certificates: {error}")))?;
        self.ca = pki::ca_fingerprint(&bundle).unwrap_or_default();
        self.state.desired_state.bundle = Some(bundle);
        Ok(())
    }
}
