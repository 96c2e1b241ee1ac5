//! How a request for a kubeconfig travels to the agent, and the kubeconfig back: as JSON, in a question
//! and its answer ([`query`](super::super::query)). Who may ask for which. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::access::{AccessRole, IssuedKubeconfig, KubeconfigRequest, MAX_TTL, MIN_TTL};
use crate::domain::environment::Role;
use crate::domain::name::check_label;
use crate::domain::secret::Secret;

impl AccessRole {
    /// The role in the cluster's environment that may ask for it.
    #[must_use]
    pub fn needs(self) -> Role {
        match self {
            Self::View => Role::Viewer,
            Self::Edit | Self::Admin => Role::Operator,
            Self::ClusterAdmin => Role::Admin,
        }
    }
}

impl KubeconfigRequest {
    /// As an agent is told.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"role": self.role, "namespace": self.namespace, "ttl_s": self.ttl.as_secs()})
    }

    /// As an agent reads it.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn from_json(document: &Value) -> Result<Self, String> {
        let role: AccessRole = document["role"].as_str().ok_or("the role is missing")?.parse()?;
        let namespace = document["namespace"].as_str().unwrap_or_default().to_owned();
        let ttl = Duration::from_secs(document["ttl_s"].as_u64().ok_or("the lifetime is missing")?);
        if AccessRole::NAMESPACED.contains(&role) {
            check_label(&namespace)?;
            if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
                return Err("the lifetime is out of bounds".into());
            }
        }
        Ok(Self { role, namespace, ttl })
    }
}

impl IssuedKubeconfig {
    /// As the agent answers.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        let document = json!({"kubeconfig": self.kubeconfig.expose(), "expires_at": self.expires_at.to_string()});
        Secret::new(document.to_string())
    }

    /// As the controller reads it.
    ///
    /// # Errors
    /// What is wrong with it; never a part of it.
    pub fn from_json(document: &Secret) -> Result<Self, String> {
        let read: Value = serde_json::from_str(document.expose()).map_err(|_| "it is not JSON")?;
        let kubeconfig = read["kubeconfig"].as_str().filter(|text| !text.is_empty());
        let expires_at = read["expires_at"].as_str().and_then(|text| text.parse().ok());
        match (kubeconfig, expires_at) {
            (Some(kubeconfig), Some(expires_at)) => Ok(Self { kubeconfig: Secret::new(kubeconfig), expires_at }),
            _ => Err("it is not a kubeconfig with an end".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::access::DEFAULT_TTL;
    use crate::domain::time::Timestamp;

    fn request(role: AccessRole, namespace: &str) -> KubeconfigRequest {
        KubeconfigRequest { role, namespace: namespace.into(), ttl: DEFAULT_TTL }
    }

    #[test]
    fn a_request_comes_back_as_it_was_sent_and_one_that_makes_no_sense_does_not() {
        for good in [request(AccessRole::View, "web"), request(AccessRole::ClusterAdmin, "")] {
            assert_eq!(KubeconfigRequest::from_json(&good.to_json()), Ok(good));
        }
        assert!(KubeconfigRequest::from_json(&request(AccessRole::Edit, "").to_json()).is_err());
        for (field, value) in [
            ("ttl_s", json!(86_401)),
            ("ttl_s", json!(1)),
            ("ttl_s", json!(null)),
            ("role", json!("god")),
            ("namespace", json!("../x")),
        ] {
            let mut document = request(AccessRole::View, "web").to_json();
            document[field] = value;
            assert!(KubeconfigRequest::from_json(&document).is_err(), "{document}");
        }
    }

    #[test]
    fn hostile_row_78_a_kubeconfig_passes_through_without_being_shown() {
        let expires_at = Timestamp::from_millis(1_795_000_000_000);
        let issued = IssuedKubeconfig { kubeconfig: Secret::new("token: canary"), expires_at };
        let sent = issued.to_json();
        assert_eq!(IssuedKubeconfig::from_json(&sent), Ok(issued.clone()));
        assert!(!format!("{issued:?} {sent:?}").contains("canary"));
        for bad in ["canary", "{\"kubeconfig\": \"canary\"}", "{\"kubeconfig\": \"\", \"expires_at\": \"x\"}"] {
            let fault = IssuedKubeconfig::from_json(&Secret::new(bad)).unwrap_err();
            assert!(!fault.contains("canary"), "{fault}");
        }
    }
}
