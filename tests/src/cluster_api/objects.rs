//! Objects: create, read, list, change, delete.

use serde_json::{Map, Value, json};

use super::apply;
use super::cluster::{Cluster, Key, key};
use super::identity::{now_ms, rfc3339};
use super::request::Request;
use super::status::{Refused, Reply};

impl Cluster {
    /// Does what was asked for.
    pub(crate) fn perform(&mut self, request: &Request) -> Refused<Reply> {
        match request.verb {
            "get" => self.existing(request).cloned().map(Reply::ok),
            "list" => self.page(request),
            "create" => self.create(request),
            "update" => self.update(request),
            "patch" => self.patch(request),
            "delete" => self.delete(request),
            _ => self.delete_all(request),
        }
    }

    pub(crate) fn key_of(&self, request: &Request) -> Key {
        let kind = &request.kind;
        key(&kind.group, &kind.plural, request.namespace.as_deref(), request.name())
    }

    pub(crate) fn existing(&self, request: &Request) -> Refused<&Value> {
        self.objects.get(&self.key_of(request)).ok_or_else(|| request.not_found())
    }

    fn page(&self, request: &Request) -> Refused<Reply> {
        let kind = &request.kind;
        let all = self.list(&kind.group, &kind.plural, request.namespace.as_deref());
        let selected: Vec<&Value> = all.filter(|object| is_selected(object, &request.query)).collect();
        let number = |key: &str| request.query.get(key).and_then(|text| text.parse::<usize>().ok());
        let from = number("continue").unwrap_or(0);
        let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if selected.len() > from.saturating_add(limit) {
            metadata["continue"] = json!((from + limit).to_string());
            metadata["remainingItemCount"] = json!(selected.len() - from - limit);
        }
        let bare = |object: &&Value| {
            let mut object = (*object).clone();
            if let Some(map) =
                object.as_object_mut().filter(|_| !kind.group.contains('.') || kind.group.ends_with(".k8s.io"))
            {
                map.remove("kind");
                map.remove("apiVersion");
            }
            object
        };
        let items: Vec<Value> = selected.iter().skip(from).take(limit).map(bare).collect();
        let list = format!("{}List", kind.kind);
        Ok(Reply::ok(json!({"kind": list, "apiVersion": kind.api_version(), "metadata": metadata, "items": items})))
    }

    fn create(&mut self, request: &Request) -> Refused<Reply> {
        let mut object = self.proper(request, request.body.clone())?;
        if object["metadata"]["name"].is_null() && object["metadata"]["generateName"].is_string() {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
            object["metadata"]["name"] = json!(format!("{prefix}{:05x}", self.revision));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let request = &Request { name: Some(name.clone()).filter(|n| !n.is_empty()), ..request.clone() };
        if name.is_empty() {
            let fault = "metadata.name: Required value: name or generateName is required";
            return Err(Reply::invalid(&request.kind.kind, &request.kind.group, "", fault));
        }
        if self.existing(request).is_ok() {
            let message = format!("{} {name:?} already exists", request.kind.qualified());
            return Err(Reply::failure(409, "AlreadyExists", message));
        }
        apply::record(&Value::Null, &mut object, &request.manager, &request.kind.api_version());
        self.store(request, object).map(|reply| Reply { code: 201, ..reply })
    }

    fn update(&mut self, request: &Request) -> Refused<Reply> {
        let before = self.existing(request)?.clone();
        let mut object = self.proper(request, request.body.clone())?;
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
            return Err(modified(request));
        }
        self.keep(request, &before, &mut object);
        apply::record(&before, &mut object, &request.manager, &request.kind.api_version());
        self.store(request, object)
    }

    fn patch(&mut self, request: &Request) -> Refused<Reply> {
        let before = self.existing(request).cloned();
        if request.content_type == "application/apply-patch+yaml" {
            return self.apply(request, before.ok());
        }
        let before = before?;
        let mut object = before.clone();
        match request.content_type.as_str() {
            "application/json-patch+json" => json_patch(&mut object, &request.body)?,
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                merge_patch(&mut object, &request.body);
            }
            other => {
                return Err(Reply::failure(
                    415,
                    "UnsupportedMediaType",
                    format!("the body of the request was in an unknown format - {other}"),
                ));
            }
        }
        if object["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
            return Err(modified(request));
        }
        self.keep(request, &before, &mut object);
        apply::record(&before, &mut object, &request.manager, &request.kind.api_version());
        self.store(request, object)
    }

    fn apply(&mut self, request: &Request, before: Option<Value>) -> Refused<Reply> {
        if !request.query.contains_key("fieldManager") {
            return Err(Reply::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
        let wanted = self.proper(request, request.body.clone())?;
        if !wanted["metadata"]["managedFields"].is_null() {
            return Err(Reply::bad_request("metadata.managedFields must be nil"));
        }
        let force = request.query.get("force").is_some_and(|force| force == "true");
        let api_version = request.kind.api_version();
        let created = before.is_none();
        let live = before.unwrap_or(Value::Null);
        let object = apply::merge(&live, &wanted, &request.manager, &api_version, force)?;
        if object == live {
            return Ok(Reply::ok(object));
        }
        let reply = self.store(request, object)?;
        Ok(if created { Reply::created(reply.body) } else { reply })
    }

    /// The object that was sent, for the place that the path names.
    fn proper(&self, request: &Request, mut object: Value) -> Refused<Value> {
        let kind = &request.kind;
        if object["kind"] != kind.kind.as_str() || object["apiVersion"] != kind.api_version().as_str() {
            return Err(Reply::bad_request(format!(
                "the object provided is unrecognized (must be of type {})",
                kind.kind
            )));
        }
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let metadata = &mut object["metadata"];
        if let Some(name) = &request.name {
            if metadata["name"].is_null() {
                metadata["name"] = json!(name);
            }
            if metadata["name"] != name.as_str() {
                return Err(Reply::bad_request("the name of the object does not match the name on the URL"));
            }
        }
        match &request.namespace {
            Some(namespace) if metadata["namespace"].is_null() => metadata["namespace"] = json!(namespace),
            Some(namespace) if metadata["namespace"] != namespace.as_str() => {
                return Err(Reply::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            None if kind.namespaced => return Err(Reply::no_route()),
            _ => {}
        }
        Ok(object)
    }

    /// What a change cannot change: identity, and status or all else, by the path.
    fn keep(&self, request: &Request, before: &Value, object: &mut Value) {
        for field in ["uid", "creationTimestamp", "deletionTimestamp", "generation"] {
            object["metadata"][field] = before["metadata"][field].clone();
        }
        match request.subresource.as_deref() {
            Some("status") => {
                let status = object["status"].take();
                *object = before.clone();
                object["status"] = status;
            }
            _ if !before["status"].is_null() => object["status"] = before["status"].clone(),
            _ => {}
        }
        prune_nulls(&mut object["metadata"]);
        if before["spec"] != object["spec"] {
            object["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        }
    }

    /// Admits and stores.
    fn store(&mut self, request: &Request, mut object: Value) -> Refused<Reply> {
        prune_nulls(&mut object["metadata"]);
        self.admit(request, &object)?;
        if request.dry_run() {
            return Ok(Reply::ok(object));
        }
        self.stamp(&mut object);
        let finished = !object["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = key(&request.kind.group, &request.kind.plural, request.namespace.as_deref(), name);
        if finished {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key, object.clone());
        }
        Ok(Reply::ok(object))
    }

    fn delete(&mut self, request: &Request) -> Refused<Reply> {
        let object = self.existing(request)?.clone();
        for (precondition, field) in [("uid", "uid"), ("resourceVersion", "resourceVersion")] {
            let wanted = &request.body["preconditions"][precondition];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                return Err(modified(request));
            }
        }
        self.admit_deletion(request, &object)?;
        if request.dry_run() {
            return Ok(Reply::success());
        }
        Ok(match self.remove(&self.key_of(request)) {
            Some(waiting) => Reply::ok(waiting),
            None => Reply::success(),
        })
    }

    /// Removes an object, or marks it when somebody must still clean up after it.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Value> {
        let mut object = self.objects.get(key)?.clone();
        let is_namespace = key.0.is_empty() && key.1 == "namespaces";
        if !has_finalizers(&object) && !is_namespace {
            self.objects.remove(key);
            return None;
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(rfc3339(now_ms()));
            if is_namespace {
                object["status"] = json!({"phase": "Terminating"});
            }
            self.stamp(&mut object);
            self.objects.insert(key.clone(), object.clone());
        }
        Some(object)
    }

    fn delete_all(&mut self, request: &Request) -> Refused<Reply> {
        let kind = &request.kind;
        let keys = self.find(&kind.group, &kind.plural, |object| {
            let here =
                request.namespace.is_none() || object["metadata"]["namespace"].as_str() == request.namespace.as_deref();
            here && is_selected(object, &request.query)
        });
        for key in keys.iter().filter(|_| !request.dry_run()) {
            self.remove(key);
        }
        Ok(Reply::success())
    }
}

pub(crate) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

fn modified(request: &Request) -> Reply {
    let (kind, name) = (request.kind.qualified(), request.name());
    let message = format!(
        "Operation cannot be fulfilled on {kind} {name:?}: the object has been modified; please apply your changes to the latest version and try again"
    );
    Reply::failure(409, "Conflict", message)
}

fn is_selected(object: &Value, query: &super::kinds::Query) -> bool {
    let pairs = |key: &str| -> Vec<(String, String)> {
        let text = query.get(key).cloned().unwrap_or_default();
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.trim_start_matches('=').to_owned()))
            .collect()
    };
    let labels = pairs("labelSelector").into_iter().all(|(k, v)| object["metadata"]["labels"][&k] == v.as_str());
    let field = |path: &str| path.split('.').fold(object, |value, part| &value[part]);
    labels && pairs("fieldSelector").into_iter().all(|(path, v)| *field(&path) == v.as_str())
}

/// RFC 7396.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(map) = target.as_object_mut() {
                map.remove(key);
            }
        } else {
            merge_patch(&mut target[key], value);
        }
    }
}

/// RFC 6902, as far as finalizers and annotations need it.
fn json_patch(target: &mut Value, patch: &Value) -> Refused<()> {
    for step in patch.as_array().into_iter().flatten() {
        let path = step["path"].as_str().unwrap_or_default();
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
        let last = last.replace("~1", "/").replace("~0", "~");
        let Some(place) = target.pointer_mut(parent) else {
            return Err(Reply::failure(422, "Invalid", format!("the path {path:?} does not exist")));
        };
        match (step["op"].as_str(), place) {
            (Some("remove"), Value::Object(map)) => {
                map.remove(&last);
            }
            (Some("remove"), Value::Array(list)) => {
                list.remove(last.parse().unwrap_or(0));
            }
            (Some("add" | "replace"), Value::Object(map)) => {
                map.insert(last, step["value"].clone());
            }
            (Some("add"), Value::Array(list)) => list.push(step["value"].clone()),
            (Some("test"), place) if place[&last] == step["value"] => {}
            _ => return Err(Reply::failure(422, "Invalid", "the patch cannot be applied")),
        }
    }
    Ok(())
}

/// Takes out members that are null.
fn prune_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}
