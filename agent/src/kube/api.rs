//! Requests to one cluster's API: JSON in, JSON out, tried again while a fault is passing.

use std::time::Duration;

use cratekube_common::domain::failure::Failure;
use cratekube_common::runtime::backoff::Backoff;
use http::{Method, Request, Uri};
use kube::config::AuthInfo;
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::admin::AdminConfig;
use super::fault::ApiFault;
use crate::config::KubernetesSection;

/// Tries of one request: with the delays below, half a minute in all.
const TRIES: u32 = 8;
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MOST_DELAY: Duration = Duration::from_secs(8);
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Most pages of one list: more is not read, and said.
const MAX_PAGES: usize = 200;

/// A cluster's API, as its administrator.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    patience: Duration,
    tries: u32,
    manager: &'static str,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Body<'a> {
    None,
    Json(&'a Value),
    Apply(&'a Value),
}

impl Api {
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// When certificates cannot be used.
    pub(super) fn new(admin: &AdminConfig, settings: &KubernetesSection) -> Result<Self, Failure> {
        let client = config(admin, settings).and_then(|config| Client::try_from(config).map_err(|e| e.to_string()));
        let client = client.map_err(|why| ApiFault::Silent(why).failure("use the cluster's kubeconfig"))?;
        Ok(Self { client, patience: settings.request_timeout, tries: TRIES, manager: FIELD_MANAGER })
    }

    /// The same, which sets fields under another manager's name.
    pub(super) fn under(self, manager: &'static str) -> Self {
        Self { manager, ..self }
    }

    /// The same, which asks once only.
    pub(super) fn once(&self) -> Self {
        Self { tries: 1, ..self.clone() }
    }

    /// The text at a path.
    pub(super) async fn text(&self, path: &str) -> Result<String, ApiFault> {
        self.send(&Method::GET, path, Body::None).await
    }

    /// The object at a path; none when it is not there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, ApiFault> {
        match self.exchange(&Method::GET, path, Body::None).await {
            Ok(object) => Ok(Some(object)),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// All objects of a collection, page by page.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, ApiFault> {
        let (mut items, mut next) = (Vec::new(), String::new());
        let join = if path.contains('?') { '&' } else { '?' };
        for _ in 0..MAX_PAGES {
            let from = if next.is_empty() { String::new() } else { format!("&continue={}", escape(&next)) };
            let mut page = self.exchange(&Method::GET, &format!("{path}{join}limit={PAGE}{from}"), Body::None).await?;
            if let Value::Array(more) = page["items"].take() {
                items.extend(more);
            }
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => token.clone_into(&mut next),
                None => return Ok(items),
            }
        }
        Err(ApiFault::Silent(format!("{path} has more than {} objects", MAX_PAGES * PAGE as usize)))
    }

    /// Creates an object, or asks for a review.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiFault> {
        self.exchange(&Method::POST, path, Body::Json(object)).await
    }

    /// Applies an object; with `force`, fields of others are taken over.
    pub(super) async fn apply(&self, path: &str, object: &Value, force: bool) -> Result<Value, ApiFault> {
        let path = format!("{path}?fieldManager={}&force={force}", self.manager);
        self.exchange(&Method::PATCH, &path, Body::Apply(object)).await
    }

    /// Deletes the object that has this uid; true when it is gone at once.
    pub(super) async fn delete(&self, path: &str, uid: &str) -> Result<bool, ApiFault> {
        let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": uid}});
        match self.exchange(&Method::DELETE, path, Body::Json(&options)).await {
            Ok(answer) => Ok(answer["kind"] == "Status"),
            Err(fault) if fault.is_not_found() => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    async fn exchange(&self, method: &Method, path: &str, body: Body<'_>) -> Result<Value, ApiFault> {
        let text = self.send(method, path, body).await?;
        serde_json::from_str(&text)
            .map_err(|_| ApiFault::Silent(format!("{path} was answered with something that is not JSON")))
    }

    async fn send(&self, method: &Method, path: &str, body: Body<'_>) -> Result<String, ApiFault> {
        let mut backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
        let mut tried = 1;
        loop {
            match self.send_once(method, path, body).await {
                Err(fault) if fault.is_passing() && tried < self.tries => {
                    tracing::debug!(%method, path, reason = fault.reason(), tried, "asked again");
                    tokio::time::sleep(backoff.next(1.0)).await;
                    tried += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn send_once(&self, method: &Method, path: &str, body: Body<'_>) -> Result<String, ApiFault> {
        let (kind, bytes) = match body {
            Body::None => ("application/json", Vec::new()),
            Body::Json(value) => ("application/json", value.to_string().into_bytes()),
            // JSON is YAML, and quotes everything.
            Body::Apply(value) => ("application/apply-patch+yaml", value.to_string().into_bytes()),
        };
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, kind).body(bytes);
        let request = request.map_err(|error| ApiFault::Silent(format!("{path} cannot be asked for: {error}")))?;
        let late = || ApiFault::Silent(format!("no answer within {} s", self.patience.as_secs()));
        let answer = tokio::time::timeout(self.patience, self.client.request_text(request)).await;
        answer.map_err(|_| late())?.map_err(ApiFault::of)
    }
}

fn config(admin: &AdminConfig, settings: &KubernetesSection) -> Result<Config, String> {
    let server: Uri = admin.server.parse().map_err(|_| "the server's address is no URL")?;
    let authority = CertificateDer::from_pem_slice(&admin.authority).map_err(|_| "the CA's certificate is no PEM")?;
    let mut config = Config::new(server);
    config.root_cert = Some(vec![authority.to_vec()]);
    config.auth_info = AuthInfo {
        client_certificate_data: Some(data_encoding::BASE64.encode(&admin.certificate)),
        client_key_data: Some(admin.key.expose().to_owned().into()),
        ..AuthInfo::default()
    };
    config.proxy_url = settings.proxy.as_deref().map(str::parse).transpose().map_err(|_| "the proxy is no URL")?;
    config.connect_timeout = Some(settings.request_timeout);
    config.default_retry = false;
    Ok(config)
}

/// A part of a path or query, with everything else than plain characters encoded.
pub(super) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_cannot_leave_their_place() {
        assert_eq!(escape("system:node-1.a_b~c"), "system%3Anode-1.a_b~c");
        assert_eq!(escape("../x?y=z&ä"), "..%2Fx%3Fy%3Dz%26%C3%A4");
    }
}
