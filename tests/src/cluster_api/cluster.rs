//! One cluster's API server: its objects, and the way of one request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::identity::{Token, User, now_ms, rfc3339};
use super::request::{Call, Request};
use super::status::{Refused, Reply};

/// Group, plural, namespace, name.
pub(crate) type Key = (String, String, Option<String>, String);

/// An API server.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// `v1.28.12`.
    pub(crate) version: String,
    pub(crate) objects: BTreeMap<Key, Value>,
    pub(crate) tokens: BTreeMap<String, Token>,
    /// Nodes that tests made unready.
    pub(crate) unready: BTreeSet<String>,
    /// Whether who shows no credential is let in, as a user that RBAC knows.
    pub(crate) strangers: bool,
    /// What `/livez?verbose` says of etcd.
    pub(crate) etcd_is_down: bool,
    /// Pod security level of namespaces that say none: the admission configuration.
    pub(crate) pod_security: Option<String>,
    /// Looks at a group before a new definition in it is served.
    pub(crate) definitions_take: u32,
    pub(crate) looks: BTreeMap<String, u32>,
    /// Finalizers that nobody works off, as when a controller is gone.
    pub(crate) stuck: BTreeSet<String>,
    pub(crate) revision: u64,
    pub(crate) serial: u64,
}

impl Cluster {
    /// One request.
    pub(crate) fn answer(&mut self, call: &Call, user: Refused<User>) -> Reply {
        self.respond(call, user).unwrap_or_else(|refusal| refusal)
    }

    fn respond(&mut self, call: &Call, user: Refused<User>) -> Refused<Reply> {
        let path: Vec<&str> = call.path.split('/').filter(|part| !part.is_empty()).collect();
        if let Some(reply) = self.health(&path, call) {
            return Ok(reply);
        }
        let user = user?;
        if user.name == "system:anonymous" {
            self.admit_stranger(&path)?;
        }
        if let Some(reply) = self.discovery(&path) {
            return Ok(reply);
        }
        let request = self.read_request(call, user)?;
        self.authorize(&request)?;
        if let Some(reply) = self.review(&request)? {
            return Ok(reply);
        }
        let reply = self.perform(&request)?;
        self.control();
        Ok(self.fresh(&request, reply))
    }

    /// As with `--anonymous-auth`, which `rke` turns off: a stranger is then somebody, whom RBAC lets do what
    /// was granted; what the API offers is for those who are known.
    fn admit_stranger(&self, path: &[&str]) -> Refused<()> {
        match self.strangers {
            false => Err(Reply::unauthorized()),
            true if matches!(path, ["api" | "apis"] | ["api" | "apis", _] | ["apis", _, _]) => {
                let path = path.join("/");
                let words = format!("forbidden: User \"system:anonymous\" cannot get path \"/{path}\"");
                Err(Reply::failure(403, "Forbidden", words))
            }
            true => Ok(()),
        }
    }

    fn health(&self, path: &[&str], call: &Call) -> Option<Reply> {
        let healthy = !self.etcd_is_down;
        match path {
            ["version"] => Some(Reply::ok(self.version_info())),
            ["livez" | "readyz" | "healthz"] if call.query.contains_key("verbose") || !healthy => {
                let etcd = if healthy { "[+]etcd ok" } else { "[-]etcd failed: reason withheld" };
                let word = path[0];
                let end = if healthy { format!("{word} check passed") } else { format!("{word} check failed") };
                let text = format!("[+]ping ok\n[+]log ok\n{etcd}\n[+]informer-sync ok\n{end}\n");
                Some(Reply::text(if healthy { 200 } else { 500 }, &text))
            }
            ["livez" | "readyz" | "healthz"] => Some(Reply::text(200, "ok")),
            ["livez" | "readyz", "etcd"] if healthy => Some(Reply::text(200, "ok")),
            ["livez" | "readyz", "etcd"] => {
                Some(Reply::text(500, "internal server error: etcd failed: reason withheld\n"))
            }
            _ => None,
        }
    }

    fn version_info(&self) -> Value {
        let mut parts = self.version.trim_start_matches('v').split('.');
        json!({
            "major": parts.next(), "minor": parts.next(), "gitVersion": self.version, "gitCommit": "rehearsal",
            "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.22", "compiler": "gc",
            "platform": "linux/amd64",
        })
    }

    /// What the answer shows after the controllers have acted.
    fn fresh(&self, request: &Request, reply: Reply) -> Reply {
        let name = reply.body["metadata"]["name"].as_str().unwrap_or_default();
        let is_object = reply.body["kind"] == request.kind.kind.as_str() && !name.is_empty() && !request.dry_run();
        let kind = &request.kind;
        let found = self.get(&kind.group, &kind.plural, reply.body["metadata"]["namespace"].as_str(), name);
        match found.filter(|_| is_object && reply.code < 300 && request.verb != "delete") {
            Some(object) => Reply { body: object.clone(), ..reply },
            None => reply,
        }
    }

    pub(crate) fn get(&self, group: &str, plural: &str, namespace: Option<&str>, name: &str) -> Option<&Value> {
        self.objects.get(&key(group, plural, namespace, name))
    }

    pub(crate) fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |(key, _)| key.0 == group && key.1 == plural)
            .filter(move |(key, _)| namespace.is_none() || key.2.as_deref() == namespace)
            .map(|(_, object)| object)
    }

    /// Keys of the objects that are so.
    pub(crate) fn find(&self, group: &str, plural: &str, is: impl Fn(&Value) -> bool) -> Vec<Key> {
        let of_kind = |key: &Key| key.0 == group && key.1 == plural;
        self.objects.iter().filter(|(key, object)| of_kind(key) && is(object)).map(|(key, _)| key.clone()).collect()
    }

    /// Stores an object of a known kind as it is, with what every object has.
    pub(crate) fn put(&mut self, mut object: Value) {
        let Some(kind) = self.kind_of_object(&object) else { return };
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"].as_str().filter(|_| kind.namespaced).map(ToOwned::to_owned);
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        self.stamp(&mut object);
        self.objects.insert((kind.group, kind.plural, namespace, name), object);
    }

    /// Gives an object its next resource version, and its identity when it is new.
    pub(crate) fn stamp(&mut self, object: &mut Value) {
        self.revision += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.revision.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uuid::Uuid::now_v7().to_string());
            metadata["creationTimestamp"] = json!(rfc3339(now_ms()));
            metadata["generation"] = json!(1);
        }
    }
}

pub(crate) fn key(group: &str, plural: &str, namespace: Option<&str>, name: &str) -> Key {
    (group.to_owned(), plural.to_owned(), namespace.map(ToOwned::to_owned), name.to_owned())
}
