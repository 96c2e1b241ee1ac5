//! The administrator's kubeconfig that `rke` writes.
//!
//! Only what `rke` puts there is taken: address, authority, certificate and key. A kubeconfig can also
//! name programs to run and files to read; those are not looked at.

use std::path::Path;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::secret::Secret;
use cratekube_common::runtime::tls;
use cratekube_common::yaml;
use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use super::KUBECONFIG;

/// How an administrator reaches a cluster.
#[derive(Debug, Clone)]
pub(super) struct AdminConfig {
    /// `https://10.0.0.1:6443`.
    pub(super) server: String,
    /// Certificate of the cluster's CA, as PEM.
    pub(super) authority: Vec<u8>,
    /// The administrator's certificate, as PEM.
    pub(super) certificate: Vec<u8>,
    /// Its key, as PEM in base64.
    pub(super) key: Secret,
    /// The whole file.
    pub(super) text: Secret,
}

impl AdminConfig {
    /// Reads it from a cluster's working directory.
    ///
    /// # Errors
    /// When it is not there or not what `rke` writes. Nothing of it is in the failure.
    pub(super) fn read(working: &Path) -> Result<Self, Failure> {
        let path = working.join(KUBECONFIG);
        let text = std::fs::read_to_string(&path).map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(|why| unusable(&why))
    }

    /// SHA-256 of the CA's certificate, in hex; none when it is no certificate.
    pub(super) fn ca_sha256(&self) -> Option<String> {
        CertificateDer::from_pem_slice(&self.authority).ok().map(|der| tls::fingerprint(&der))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let documents = yaml::read(text).map_err(|_| "is not plain YAML")?;
        let config = &documents.first().ok_or("is empty")?.value;
        let named = |list: &str, name: &Value, field: &str| {
            let entries = config[list].as_array().into_iter().flatten();
            entries.into_iter().find(|entry| entry["name"] == *name).map(|entry| entry[field].clone())
        };
        let context = named("contexts", &config["current-context"], "context").ok_or("has no current context")?;
        let cluster = named("clusters", &context["cluster"], "cluster").ok_or("names no cluster")?;
        let user = named("users", &context["user"], "user").ok_or("names no user")?;
        let text_of = |value: &Value, what: &str| value.as_str().map(ToOwned::to_owned).ok_or(format!("has no {what}"));
        let decoded = |value: &Value, what: &str| {
            BASE64.decode(text_of(value, what)?.as_bytes()).map_err(|_| format!("has a {what} that is not base64"))
        };
        let server = text_of(&cluster["server"], "server")?;
        if !server.starts_with("https://") {
            return Err("names a server without TLS".into());
        }
        Ok(Self {
            server,
            authority: decoded(&cluster["certificate-authority-data"], "certificate authority")?,
            certificate: decoded(&user["client-certificate-data"], "client certificate")?,
            key: Secret::new(text_of(&user["client-key-data"], "client key")?),
            text: Secret::new(text),
        })
    }
}

fn unusable(why: &str) -> Failure {
    Failure {
        class: FailureClass::State,
        message: format!("the cluster's kubeconfig {KUBECONFIG} {why}"),
        line: None,
        retryable: false,
        remedy: "Provision the cluster again: rke writes its kubeconfig anew in every run.".into(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As `rke` writes it.
    pub(in super::super) fn kubeconfig(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    api-version: v1\n    certificate-authority-data: \"Y2E=\"\n    server: \"{server}\"\n  name: \"local\"\ncontexts:\n- context:\n    cluster: \"local\"\n    user: \"kube-admin-local\"\n  name: \"local\"\ncurrent-context: \"local\"\nusers:\n- name: \"kube-admin-local\"\n  user:\n    client-certificate-data: \"Y2VydA==\"\n    client-key-data: \"a2V5LWNhbmFyeQ==\"\n"
        )
    }

    #[test]
    fn what_rke_writes_is_read_and_not_shown() {
        let config = AdminConfig::parse(&kubeconfig("https://10.0.0.1:6443")).unwrap();
        assert_eq!((config.server.as_str(), config.authority.as_slice()), ("https://10.0.0.1:6443", b"ca".as_slice()));
        assert!(!format!("{config:?}").contains("a2V5"));
    }

    #[test]
    fn what_is_no_kubeconfig_of_rke_is_refused_without_repeating_it() {
        let good = kubeconfig("https://10.0.0.1:6443");
        for (bad, why) in [
            (kubeconfig("http://10.0.0.1:8080"), "without TLS"),
            (good.replace("client-key-data", "exec"), "no client key"),
            (good.replace("\"Y2E=\"", "\"%%\""), "not base64"),
            (good.replace("current-context: \"local\"", "current-context: x"), "no current context"),
            (String::new(), "is empty"),
            ("a: &b c".to_owned(), "plain YAML"),
        ] {
            let fault = AdminConfig::parse(&bad).unwrap_err();
            assert!(fault.contains(why) && !fault.contains("canary"), "{fault}");
        }
    }
}
