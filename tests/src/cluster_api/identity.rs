//! Who asks: a certificate of the cluster's CA, or a token that it issued.

use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::cluster::Cluster;
use super::status::{Refused, Reply};
use crate::rehearsal::clock;

/// A user with groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) uid: String,
    pub(crate) expires_ms: i64,
}

impl User {
    /// Common name and organisations of a certificate that TLS has verified.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<User> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(ToOwned::to_owned);
        Some(User { name, groups: groups.chain(["system:authenticated".to_owned()]).collect() })
    }

    pub(crate) fn of_account(namespace: &str, account: &str) -> User {
        User {
            name: format!("system:serviceaccount:{namespace}:{account}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        }
    }

    pub(crate) fn anonymous() -> User {
        User { name: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }
}

impl Cluster {
    /// The token's account, if it still is what it was and the token has not run out.
    pub(crate) fn user_of_token(&self, token: &str) -> Refused<User> {
        let known = self.tokens.get(token).ok_or_else(Reply::unauthorized)?;
        let account = self.get("", "serviceaccounts", Some(&known.namespace), &known.account);
        let same = account.is_some_and(|account| account["metadata"]["uid"] == known.uid.as_str());
        if !same || known.expires_ms <= now_ms() {
            return Err(Reply::unauthorized());
        }
        Ok(User::of_account(&known.namespace, &known.account))
    }

    /// A token in the form that real ones have.
    pub(crate) fn issue_token(&mut self, namespace: &str, account: &str, uid: &str, seconds: i64) -> (String, i64) {
        let expires_ms = now_ms() + seconds * 1000;
        self.serial += 1;
        let part = |value: &serde_json::Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let head = part(&json!({"alg": "RS256", "kid": "rehearsal"}));
        let claims = part(&json!({
            "aud": ["https://kubernetes.default.svc"], "exp": expires_ms / 1000, "jti": self.serial,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
        }));
        let signature = data_encoding::BASE64URL_NOPAD.encode(uuid::Uuid::now_v7().as_bytes());
        let token = format!("{head}.{claims}.{signature}");
        let known =
            Token { namespace: namespace.to_owned(), account: account.to_owned(), uid: uid.to_owned(), expires_ms };
        self.tokens.insert(token.clone(), known);
        (token, expires_ms)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(clock::now_ns() / 1_000_000).unwrap_or(i64::MAX)
}

/// Now, as Kubernetes writes it.
pub(crate) fn rfc3339(ms: i64) -> String {
    let text = cratekube_common::domain::time::Timestamp::from_millis(ms / 1000 * 1000).to_string();
    text.replace(".000", "")
}
