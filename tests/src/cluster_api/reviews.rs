//! Requests that store nothing: access reviews, tokens.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::identity::{User, rfc3339};
use super::rbac::Deed;
use super::request::Request;
use super::status::{Refused, Reply};

impl Cluster {
    /// The answer, when the request is one of these.
    pub(crate) fn review(&mut self, request: &Request) -> Refused<Option<Reply>> {
        if request.kind.plural == "serviceaccounts" && request.subresource.as_deref() == Some("token") {
            return self.token(request).map(Some);
        }
        let spec = &request.body["spec"];
        let status = match request.kind.plural.as_str() {
            "selfsubjectaccessreviews" => self.access(&request.user, spec),
            "subjectaccessreviews" | "localsubjectaccessreviews" => self.access(&named(spec), spec),
            "selfsubjectrulesreviews" => {
                let rules = self.rules_of(&request.user, spec["namespace"].as_str());
                json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": false})
            }
            "selfsubjectreviews" => {
                json!({"userInfo": {"username": request.user.name, "groups": request.user.groups}})
            }
            _ => return Ok(None),
        };
        let mut answer = request.body.clone();
        answer["status"] = status;
        Ok(Some(Reply::created(answer)))
    }

    fn access(&self, user: &User, spec: &Value) -> Value {
        let about = &spec["resourceAttributes"];
        let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
        let some = |key: &str| Some(text(key)).filter(|text| !text.is_empty());
        let resource = match some("subresource") {
            Some(sub) => format!("{}/{sub}", text("resource")),
            None => text("resource"),
        };
        let deed = Deed {
            verb: text("verb"),
            group: text("group"),
            resource,
            namespace: some("namespace"),
            name: some("name"),
        };
        json!({"allowed": self.allows(user, &deed)})
    }

    fn token(&mut self, request: &Request) -> Refused<Reply> {
        let account = self.existing(request)?;
        let uid = account["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let seconds = request.body["spec"]["expirationSeconds"].as_i64().unwrap_or(3_600);
        if seconds < 600 {
            let fault = format!(
                "spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less than 10 minutes"
            );
            return Err(Reply::invalid("TokenRequest", "authentication.k8s.io", request.name(), &fault));
        }
        let namespace = request.namespace.clone().unwrap_or_default();
        let (token, expires_ms) = self.issue_token(&namespace, request.name(), &uid, seconds);
        let mut answer = request.body.clone();
        answer["status"] = json!({"token": token, "expirationTimestamp": rfc3339(expires_ms)});
        Ok(Reply::created(answer))
    }
}

fn named(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned);
    let user = spec["user"].as_str().unwrap_or_default();
    let mut groups: Vec<String> = groups.collect();
    // Real clusters too know the groups of a service account only when they are named.
    groups.push("system:authenticated".to_owned());
    User { name: user.to_owned(), groups }
}
