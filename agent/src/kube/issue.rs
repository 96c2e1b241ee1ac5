//! Kubeconfigs for users: a token of a role's account in one namespace, or the administrator's own.
//!
//! Nothing is kept: the token is asked of the cluster for every request, and runs out by itself.

use std::path::Path;

use cratekube_common::domain::cluster::access::{AccessRole, IssuedKubeconfig, KubeconfigRequest};
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use serde_json::{Value, json};

use super::admin::AdminConfig;
use super::api::{Api, escape};
use super::certificates;
use super::fault::ApiFault;
use crate::config::KubernetesSection;

/// Issues a kubeconfig for the cluster whose files are in `working`. `context` names it for its holder;
/// `ca_sha256` is the CA that the cluster is known to have.
///
/// # Errors
/// When the cluster does not answer, was not configured for that namespace, or its kubeconfig is of another
/// CA. A failure holds no secret.
pub async fn issue(
    working: &Path,
    settings: &KubernetesSection,
    request: &KubeconfigRequest,
    context: &str,
    ca_sha256: Option<&str>,
) -> Result<IssuedKubeconfig, Failure> {
    let admin = AdminConfig::read(working)?;
    if ca_sha256.is_some_and(|known| admin.ca_sha256().as_deref() != Some(known)) {
        return Err(foreign());
    }
    if request.role == AccessRole::ClusterAdmin {
        let expires_at = certificates::not_after_pem(&admin.certificate).ok_or_else(unreadable)?;
        return Ok(IssuedKubeconfig { kubeconfig: admin.text, expires_at });
    }
    let api = Api::new(&admin, settings)?;
    let (namespace, account) = (&request.namespace, request.role.service_account());
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", escape(namespace));
    let ask = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": request.ttl.as_secs()},
    });
    let issued = api.create(&path, &ask).await.map_err(|fault| refused(&fault, request))?;
    let (token, expires_at) = read(&issued).ok_or_else(unreadable)?;
    Ok(IssuedKubeconfig { kubeconfig: render(&admin, context, namespace, account, token), expires_at })
}

fn read(issued: &Value) -> Option<(&str, Timestamp)> {
    let status = &issued["status"];
    Some((
        status["token"].as_str().filter(|token| !token.is_empty())?,
        status["expirationTimestamp"].as_str()?.parse().ok()?,
    ))
}

/// The file. Every value is a JSON string, which is a quoted string of YAML.
fn render(admin: &AdminConfig, context: &str, namespace: &str, account: &str, token: &str) -> Secret {
    let quoted = |text: &str| json!(text).to_string();
    let (name, user) = (quoted(context), quoted(&format!("{context}-{account}")));
    let authority = data_encoding::BASE64.encode(&admin.authority);
    Secret::new(format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {authority}\nusers:\n- name: {user}\n  user:\n    token: {token}\ncontexts:\n\
         - name: {name}\n  context:\n    cluster: {name}\n    user: {user}\n    namespace: {namespace}\n\
         current-context: {name}\n",
        server = quoted(&admin.server),
        authority = quoted(&authority),
        token = quoted(token),
        namespace = quoted(namespace),
    ))
}

fn refused(fault: &ApiFault, request: &KubeconfigRequest) -> Failure {
    if !fault.is_not_found() {
        return fault.failure("get a token");
    }
    Failure {
        class: FailureClass::Config,
        message: format!("the cluster has no account for {} in the namespace {:?}", request.role, request.namespace),
        line: None,
        retryable: false,
        remedy:
            "Name a namespace that the cluster was configured with; its configuration is a part of every provisioning."
                .into(),
    }
}

fn foreign() -> Failure {
    Failure {
        class: FailureClass::State,
        message: "the cluster's kubeconfig is of another CA than the one on record".into(),
        line: None,
        retryable: false,
        remedy: "Recover the cluster's state; look who changed the files on the state volume.".into(),
    }
}

fn unreadable() -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: "the cluster's answer is not a token with an end".into(),
        line: None,
        retryable: true,
        remedy: "Ask again; if it stays so, ask an operator of the service.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::yaml;

    #[test]
    fn the_file_is_plain_yaml_with_one_context_and_is_not_shown() {
        let admin = AdminConfig {
            server: "https://10.0.0.1:6443".into(),
            authority: b"ca".to_vec(),
            certificate: Vec::new(),
            key: Secret::new("canary"),
            text: Secret::new("canary"),
        };
        let made = render(&admin, "prod-blue", "shop", "cratekube-view", "to.ke.n");
        let read = yaml::read(made.expose()).unwrap().remove(0).value;
        assert_eq!(read["users"][0]["user"]["token"], "to.ke.n");
        assert_eq!(
            read["contexts"][0]["context"],
            json!({"cluster": "prod-blue", "user": "prod-blue-cratekube-view", "namespace": "shop"})
        );
        assert_eq!(read["current-context"], "prod-blue");
        assert!(!made.expose().contains("canary") && !format!("{made:?}").contains("to.ke.n"));
    }
}
