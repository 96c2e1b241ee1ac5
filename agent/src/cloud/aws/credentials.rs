//! Who the agent is to AWS: keys from a file, or the role of the instance it runs on.
//!
//! The instance's metadata are asked in their second version only (a token first), so that nobody can make
//! the agent fetch them by accident.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use http::Method;
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;

use super::client::Http;

/// Where an instance finds its metadata.
pub(super) const METADATA: &str = "http://169.254.169.254";
/// They are next door: who does not answer within this is not there.
const METADATA_PATIENCE: Duration = Duration::from_secs(2);
/// Most that is read of them.
const METADATA_BYTES: usize = 64 * 1024;
/// Keys of a role are fetched anew so long before they end.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// Keys.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    /// The key's id.
    pub(super) id: String,
    /// The key.
    pub(super) secret: Secret,
    /// Comes with keys that end.
    pub(super) session: Option<Secret>,
    /// When they end; never where nothing is said.
    pub(super) until: Option<Timestamp>,
}

impl Credentials {
    /// Keys in a file in the form that every tool for AWS reads; those of its profile `default`.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {shown}: {e}"))?;
        Self::parse(&text).ok_or_else(|| format!("{shown} has no `aws_access_key_id` and `aws_secret_access_key`"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut profile = "default";
        let mut set = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                profile = name.trim();
            } else if let Some((key, value)) = line.split_once('=').filter(|_| profile == "default") {
                set.insert(key.trim(), value.trim());
            }
        }
        let get = |key: &str| set.get(key).filter(|value| !value.is_empty()).map(|&value| value.to_owned());
        Some(Self {
            id: get("aws_access_key_id")?,
            secret: Secret::new(get("aws_secret_access_key")?),
            session: get("aws_session_token").map(Secret::new),
            until: None,
        })
    }

    /// True while they can be used without hurry.
    pub(super) fn fresh(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now.after(FRESH) < until)
    }
}

/// The metadata of the instance that the agent runs on.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) http: Http,
    /// Where they are.
    pub(super) base: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

impl Metadata {
    /// Keys of the instance's role.
    pub(super) async fn credentials(&self) -> Result<Credentials, String> {
        let token = self.token().await?;
        let roles = "/latest/meta-data/iam/security-credentials/";
        let names = self.read(roles, &token).await.map_err(|e| format!("the instance has no role: {e}"))?;
        let name = names.lines().next().map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or("the instance has no role")?;
        let answer = self.read(&format!("{roles}{name}"), &token).await?;
        // The answer holds keys: what is wrong with it is not quoted.
        let role: Role = serde_json::from_str(&answer).map_err(|_| format!("the role {name} has no keys"))?;
        Ok(Credentials {
            id: role.access_key_id,
            secret: Secret::new(role.secret_access_key),
            session: Some(Secret::new(role.token)),
            until: role.expiration.parse().ok(),
        })
    }

    /// The region of the instance.
    pub(super) async fn region(&self) -> Result<String, String> {
        let token = self.token().await?;
        self.read("/latest/meta-data/placement/region", &token).await.map(|text| text.trim().to_owned())
    }

    async fn token(&self) -> Result<String, String> {
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        let token = self.ask(Method::PUT, "/latest/api/token", lifetime).await;
        token.map_err(|e| format!("no file with keys is set, and this is no instance of EC2: {e}"))
    }

    async fn read(&self, path: &str, token: &str) -> Result<String, String> {
        self.ask(Method::GET, path, ("x-aws-ec2-metadata-token", token)).await
    }

    async fn ask(&self, method: Method, path: &str, header: (&str, &str)) -> Result<String, String> {
        let fault = |what: &dyn fmt::Display| format!("{path}: {what}");
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header(header.0, header.1).body(Full::new(Bytes::new())).map_err(|e| fault(&e))?;
        let answer = async {
            let answer = self.http.request(request).await.map_err(|e| fault(&e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), METADATA_BYTES).collect().await.map_err(|e| fault(&e))?;
            if !status.is_success() {
                return Err(fault(&status));
            }
            String::from_utf8(body.to_bytes().to_vec()).map_err(|e| fault(&e))
        };
        let within = tokio::time::timeout(METADATA_PATIENCE, answer).await;
        within.unwrap_or_else(|_| Err(fault(&"no answer")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_file_are_those_of_its_default_profile() {
        let text =
            "[other]\naws_access_key_id = no\n[default]\n# a = b\naws_access_key_id=id\naws_secret_access_key = s/=x\n";
        let found = Credentials::parse(text).unwrap();
        assert_eq!((found.id.as_str(), found.secret.expose(), found.session.is_none()), ("id", "s/=x", true));
        assert!(!format!("{found:?}").contains("s/=x"), "a key is never shown");
        for bad in ["", "[default]\naws_access_key_id=id", "[x]\naws_access_key_id=id\naws_secret_access_key=s"] {
            assert!(Credentials::parse(bad).is_none(), "{bad}");
        }
        assert!(Credentials::read(Path::new("/nowhere/keys")).unwrap_err().starts_with("cannot read"));
    }

    #[test]
    fn keys_that_end_soon_are_fetched_anew() {
        let now = Timestamp::from_millis(0);
        let until = |minutes: u64| Credentials {
            id: String::new(),
            secret: Secret::new(""),
            session: None,
            until: Some(now.after(Duration::from_secs(60 * minutes))),
        };
        assert!(until(6).fresh(now));
        assert!(!until(5).fresh(now));
    }
}
