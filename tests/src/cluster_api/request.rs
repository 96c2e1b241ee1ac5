//! Requests: what a path asks of which object.

use serde_json::Value;

use super::cluster::Cluster;
use super::identity::User;
use super::kinds::{Kind, Query};
use super::status::{Refused, Reply};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    pub(crate) body: Vec<u8>,
}

/// What it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) verb: &'static str,
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    pub(crate) query: Query,
    pub(crate) content_type: String,
    pub(crate) manager: String,
    pub(crate) body: Value,
    pub(crate) user: User,
}

impl Request {
    pub(crate) fn dry_run(&self) -> bool {
        self.query.contains_key("dryRun")
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// `configmaps "a" not found`.
    pub(crate) fn not_found(&self) -> Reply {
        Reply::failure(404, "NotFound", format!("{} {:?} not found", self.kind.qualified(), self.name()))
    }

    pub(crate) fn forbidden(&self, why: &str) -> Reply {
        let subject = match &self.name {
            Some(name) => format!("{} {name:?} is forbidden", self.kind.qualified()),
            None => format!("{} is forbidden", self.kind.qualified()),
        };
        Reply::failure(403, "Forbidden", format!("{subject}: {why}"))
    }
}

impl Cluster {
    pub(crate) fn read_request(&self, call: &Call, user: User) -> Refused<Request> {
        let path: Vec<&str> = call.path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Reply::no_route()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] if !matches!(*plural, "status" | "finalize") => {
                (Some((*namespace).to_owned()), [&[*plural], rest].concat())
            }
            rest => (None, rest.to_vec()),
        };
        let (plural, name, subresource) = match rest.as_slice() {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some((*name).to_owned()), None),
            [plural, name, sub] => (*plural, Some((*name).to_owned()), Some((*sub).to_owned())),
            _ => return Err(Reply::no_route()),
        };
        let kind = self.kind_of_plural(group, version, plural).ok_or_else(Reply::no_route)?;
        if namespace.is_some() && !kind.namespaced {
            return Err(Reply::no_route());
        }
        let body = read_body(call)?;
        let manager = call.query.get("fieldManager").cloned().unwrap_or_else(|| {
            call.user_agent.split('/').next().filter(|agent| !agent.is_empty()).unwrap_or("unknown").to_owned()
        });
        Ok(Request {
            verb: verb(&call.method, name.is_some())?,
            kind,
            namespace,
            name,
            subresource,
            query: call.query.clone(),
            content_type: call.content_type.split(';').next().unwrap_or_default().trim().to_owned(),
            manager,
            body,
            user,
        })
    }
}

fn read_body(call: &Call) -> Refused<Value> {
    if call.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    let text = String::from_utf8_lossy(&call.body);
    let read = if call.content_type.contains("yaml") {
        serde_json::from_slice(&call.body).or_else(|_| serde_saphyr::from_str(&text).map_err(|error| error.to_string()))
    } else {
        serde_json::from_slice(&call.body).map_err(|error| error.to_string())
    };
    read.map_err(|error| Reply::bad_request(format!("error decoding: {error}")))
}

fn verb(method: &str, named: bool) -> Refused<&'static str> {
    match (method, named) {
        ("GET", true) => Ok("get"),
        ("GET", false) => Ok("list"),
        ("POST", _) => Ok("create"),
        ("PUT", true) => Ok("update"),
        ("PATCH", true) => Ok("patch"),
        ("DELETE", true) => Ok("delete"),
        ("DELETE", false) => Ok("deletecollection"),
        _ => Err(Reply::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    }
}
