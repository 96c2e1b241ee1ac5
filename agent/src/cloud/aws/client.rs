//! Calls to AWS: signed, bounded, tried again with patience.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::mint::Mint;
use cratekube_common::runtime::tls;
use http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Mutex;

use super::super::CloudFault;
use super::credentials::{Credentials, METADATA, Metadata};
use super::refusal::Refusal;
use super::sign::{FORM, Request, headers};
use super::xml::Node;

/// What requests go out by.
pub(super) type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Longest wait for an answer: lists of a thousand objects take seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// Most that is read of an answer: a thousand objects with fifty tags each are below it.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Most pages of one list: ten million objects.
const MOST_PAGES: usize = 10_000;

/// An API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Machines, volumes, networks.
    Ec2,
    /// Load balancers of the first kind.
    Classic,
    /// Load balancers of the second kind.
    Balancing,
}

impl Service {
    /// Its name in hosts, signatures and policies.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Classic | Self::Balancing => "elasticloadbalancing",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "2016-11-15",
            Self::Classic => "2012-06-01",
            Self::Balancing => "2015-12-01",
        }
    }

    /// How a page is asked for: the size, the place to go on from; and where an answer says that place.
    fn paging(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Ec2 => ("MaxResults", "NextToken", "nextToken"),
            Self::Classic | Self::Balancing => ("PageSize", "Marker", "NextMarker"),
        }
    }
}

/// How often calls are tried again that were throttled or not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Wait before the second try; it grows.
    pub first: Duration,
    /// Longest wait between two tries.
    pub cap: Duration,
    /// Tries in all.
    pub tries: u32,
}

impl Default for Retry {
    /// Two minutes in all: AWS fills its buckets within seconds.
    fn default() -> Self {
        Self { first: Duration::from_millis(500), cap: Duration::from_secs(20), tries: 12 }
    }
}

/// Where AWS is, and how it is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// The region; the agent's own when not set.
    pub region: Option<String>,
    /// One address for all APIs, in place of AWS's own: `http://127.0.0.1:5000`.
    pub endpoint: Option<String>,
    /// A file with keys; the role of the instance when not set.
    pub credentials: Option<PathBuf>,
    /// Where an instance's metadata are, in place of the usual address.
    pub metadata: Option<String>,
    /// How often calls are tried again.
    pub retry: Retry,
}

/// AWS, in one region.
pub struct Aws {
    http: Http,
    metadata: Metadata,
    region: String,
    endpoint: Option<String>,
    retry: Retry,
    clock: Clock,
    mint: Mint,
    of_file: Option<Credentials>,
    of_role: Mutex<Option<Credentials>>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aws({})", self.region)
    }
}

impl Aws {
    /// Gets ready to speak to AWS. Nothing is asked of it yet, but of the instance's metadata, for the region
    /// and for keys.
    ///
    /// # Errors
    /// When there are no keys or no region, or when hosts cannot be verified.
    pub async fn open(settings: &AwsSettings, clock: Clock, mint: Mint) -> Result<Self, CloudFault> {
        let http = http(settings.endpoint.as_deref()).map_err(CloudFault::Other)?;
        let base = settings.metadata.as_deref().unwrap_or(METADATA).trim_end_matches('/').to_owned();
        let metadata = Metadata { http: http.clone(), base };
        let (of_file, of_role) = match &settings.credentials {
            Some(file) => (Some(Credentials::read(file).map_err(CloudFault::NoCredentials)?), None),
            None => (None, Some(metadata.credentials().await.map_err(CloudFault::NoCredentials)?)),
        };
        let region = match settings.region.clone() {
            Some(region) => region,
            None => metadata
                .region()
                .await
                .map_err(|e| CloudFault::NoCredentials(format!("the region is not known, set `cloud.region`: {e}")))?,
        };
        check_region(&region).map_err(CloudFault::Other)?;
        let endpoint = settings.endpoint.clone();
        let of_role = Mutex::new(of_role);
        Ok(Self { http, metadata, region, endpoint, retry: settings.retry, clock, mint, of_file, of_role })
    }

    pub(super) fn region_name(&self) -> &str {
        &self.region
    }

    /// Calls an action, and once more as long as that can help.
    pub(super) async fn call(
        &self,
        service: Service,
        action: &str,
        params: &[(String, String)],
    ) -> Result<Node, Refusal> {
        self.call_while(service, action, params, Refusal::passes).await
    }

    /// Calls an action that must not be done twice: again only when it was turned away unheard.
    pub(super) async fn call_once(
        &self,
        service: Service,
        action: &str,
        params: &[(String, String)],
    ) -> Result<Node, Refusal> {
        self.call_while(service, action, params, Refusal::throttled).await
    }

    async fn call_while(
        &self,
        service: Service,
        action: &str,
        params: &[(String, String)],
        again: fn(&Refusal) -> bool,
    ) -> Result<Node, Refusal> {
        let mut backoff = Backoff::new(self.retry.first, self.retry.cap);
        let mut renewed = false;
        let mut tries = 1;
        loop {
            let refusal = match self.send(service, action, params).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            if refusal.ended() && self.of_file.is_none() && !renewed {
                renewed = true;
                *self.of_role.lock().await = None;
                continue;
            }
            if !again(&refusal) || tries >= self.retry.tries {
                return Err(refusal);
            }
            tries += 1;
            tokio::time::sleep(backoff.next(self.mint.chance())).await;
        }
    }

    /// All pages of a list, each as its answer's outermost element, or the result in it.
    pub(super) async fn pages(
        &self,
        service: Service,
        action: &str,
        params: &[(&str, &str)],
        size: usize,
    ) -> Result<Vec<Node>, CloudFault> {
        let (asked_size, asked_from, said) = service.paging();
        let mut pages = Vec::new();
        let mut from: Option<String> = None;
        while pages.len() < MOST_PAGES {
            let mut params: Vec<_> = params.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
            if size > 0 {
                params.push((asked_size.to_owned(), size.to_string()));
            }
            params.extend(from.clone().map(|from| (asked_from.to_owned(), from)));
            let answer = self.call(service, action, &params).await.map_err(|r| r.fault(service, action))?;
            let next = answer.at(&[said]).map(str::to_owned);
            pages.push(answer);
            match next {
                None => return Ok(pages),
                Some(same) if from.as_ref() == Some(&same) => break,
                next => from = next,
            }
        }
        Err(CloudFault::Other(format!("{action}: the list does not end")))
    }

    async fn keys(&self) -> Result<Credentials, Refusal> {
        if let Some(keys) = &self.of_file {
            return Ok(keys.clone());
        }
        let mut held = self.of_role.lock().await;
        match &*held {
            Some(keys) if keys.fresh(self.clock.now()) => Ok(keys.clone()),
            _ => {
                let keys = self.metadata.credentials().await.map_err(Refusal::NoCredentials)?;
                *held = Some(keys.clone());
                Ok(keys)
            }
        }
    }

    async fn send(&self, service: Service, action: &str, params: &[(String, String)]) -> Result<Node, Refusal> {
        let keys = self.keys().await?;
        let fixed = [("Action", action), ("Version", service.version())].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let body = form(fixed.iter().chain(params));
        let unanswered = |what: &dyn fmt::Display| Refusal::Unanswered(what.to_string());
        let uri: Uri = self.address(service).parse().map_err(|e| unanswered(&e))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let request =
            Request { service: service.name(), region: &self.region, host: &host, content_type: FORM, body: &body };
        let mut built = http::Request::post(&uri).header("host", &host).header("content-type", FORM);
        for (name, value) in headers(request, &keys, self.clock.now()) {
            built = built.header(name, value);
        }
        let built = built.body(Full::new(Bytes::from(body))).map_err(|e| unanswered(&e))?;
        let exchange = async {
            let answer = self.http.request(built).await.map_err(|e| unanswered(&e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|e| unanswered(&e))?;
            let body = String::from_utf8(body.to_bytes().to_vec()).map_err(|e| unanswered(&e))?;
            if !status.is_success() {
                return Err(Refusal::read(status.as_u16(), &body));
            }
            let answer = Node::read(&body).map_err(|e| unanswered(&e))?;
            // Elastic Load Balancing puts the result into an element of its own.
            let result = answer.children.iter().find(|child| child.name.ends_with("Result")).cloned();
            Ok(result.unwrap_or(answer))
        };
        let within = tokio::time::timeout(ANSWER, exchange).await;
        within.unwrap_or_else(|_| Err(Refusal::Unanswered("no answer in time".into())))
    }

    fn address(&self, service: Service) -> String {
        let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match &self.endpoint {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://{}.{}.{suffix}/", service.name(), self.region),
        }
    }
}

/// A region's name becomes a part of host names.
fn check_region(region: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !region.is_empty() && region.len() <= 32 && region.bytes().all(fine) {
        return Ok(());
    }
    Err(format!("{region:?} is no region of AWS: write it as `eu-central-1`"))
}

/// The client. Where no endpoint without TLS is set, hosts are verified against the system's certificates.
fn http(endpoint: Option<&str>) -> Result<Http, String> {
    let tls = rustls::ClientConfig::builder_with_provider(tls::provider());
    let tls = tls.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let tls = match tls.clone().with_native_roots() {
        Ok(tls) => tls,
        Err(_) if plain => tls.with_root_certificates(rustls::RootCertStore::empty()),
        Err(e) => return Err(format!("this host has no certificates to verify AWS with (`ca-certificates`): {e}")),
    };
    let tls = tls.with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Parameters as a form's body.
fn form<'a>(params: impl Iterator<Item = &'a (String, String)>) -> String {
    params.map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped_so_that_none_can_be_two() {
        let params = [("Value", "a=b&c d/ü"), ("x", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(form(params.iter()), "Value=a%3Db%26c%20d%2F%C3%BC&x=");
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        for bad in ["", "eu-central-1.evil.org", "a/b", "a@b", "EU", &"a".repeat(40)] {
            assert!(check_region(bad).is_err(), "{bad:?}");
        }
        check_region("eu-central-1").unwrap();
    }
}
