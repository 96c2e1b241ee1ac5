//! Server-side apply: who owns which field.
//!
//! Fields are leaves of the object. A list whose items all have a name (or another key of
//! [`LIST_KEYS`]) is a map by that key, every other list is one field; real schemas say it per field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::status::{Refused, Reply};

type Path = Vec<String>;

const LIST_KEYS: &[&str] = &["name", "containerPort", "port", "type", "ip"];

/// Who manages what: manager and operation → fields.
#[derive(Default)]
struct Owners(BTreeMap<(String, String), BTreeSet<Path>>);

impl Owners {
    fn of(object: &Value) -> Owners {
        let mut owners = Owners::default();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let mut fields = BTreeSet::new();
            collect(&entry["fieldsV1"], &mut Vec::new(), &mut fields);
            owners.0.insert((text("manager"), text("operation")), fields);
        }
        owners
    }

    fn write(&self, object: &mut Value, api_version: &str) {
        let entry = |((manager, operation), fields): (&(String, String), &BTreeSet<Path>)| {
            let mut tree = json!({});
            for path in fields {
                path.iter().fold(&mut tree, |place, part| &mut place[part]);
                let leaf = path.iter().fold(&mut tree, |place, part| &mut place[part]);
                if leaf.is_null() {
                    *leaf = json!({});
                }
            }
            json!({"manager": manager, "operation": operation, "apiVersion": api_version, "fieldsType": "FieldsV1", "fieldsV1": tree})
        };
        let entries: Vec<Value> = self.0.iter().filter(|(_, fields)| !fields.is_empty()).map(entry).collect();
        object["metadata"]["managedFields"] = json!(entries);
    }
}

fn collect(tree: &Value, at: &mut Path, into: &mut BTreeSet<Path>) {
    match tree.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, below) in map {
                at.push(key.clone());
                collect(below, at, into);
                at.pop();
            }
        }
        _ if at.is_empty() => {}
        _ => {
            into.insert(at.clone());
        }
    }
}

fn list_key(list: &[Value]) -> Option<&'static str> {
    LIST_KEYS.iter().copied().find(|key| !list.is_empty() && list.iter().all(|item| !item[*key].is_null()))
}

/// The fields of an object, with their values.
fn fields(value: &Value, at: &mut Path, into: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                if at.is_empty() && matches!(key.as_str(), "apiVersion" | "kind" | "status") {
                    continue;
                }
                let in_metadata = at.len() == 1 && at[0] == "f:metadata";
                if in_metadata && !matches!(key.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences") {
                    continue;
                }
                at.push(format!("f:{key}"));
                fields(value, at, into);
                at.pop();
            }
        }
        Value::Array(list) if list_key(list).is_some() => {
            let key = list_key(list).unwrap_or_default();
            for item in list {
                at.push(format!("k:{}", json!({ key: item[key] })));
                fields(item, at, into);
                at.pop();
            }
        }
        _ if at.is_empty() => {}
        leaf => {
            into.insert(at.clone(), leaf.clone());
        }
    }
}

fn fields_of(object: &Value) -> BTreeMap<Path, Value> {
    let mut all = BTreeMap::new();
    fields(object, &mut Vec::new(), &mut all);
    all.remove(&vec!["f:metadata".to_owned()]);
    all
}

/// Notes who changed what by an ordinary write.
pub(crate) fn record(before: &Value, object: &mut Value, manager: &str, api_version: &str) {
    let (old, new) = (fields_of(before), fields_of(object));
    let mut owners = Owners::of(before);
    for fields in owners.0.values_mut() {
        fields.retain(|path| new.contains_key(path) && (old.get(path) == new.get(path)));
    }
    let changed = new.iter().filter(|(path, value)| old.get(*path) != Some(value)).map(|(path, _)| path.clone());
    owners.0.entry((manager.to_owned(), "Update".to_owned())).or_default().extend(changed);
    owners.write(object, api_version);
}

/// What becomes of a live object when a manager applies what it wants.
pub(crate) fn merge(live: &Value, wanted: &Value, manager: &str, api_version: &str, force: bool) -> Refused<Value> {
    let (have, want) = (fields_of(live), fields_of(wanted));
    let mut owners = Owners::of(live);
    let me = (manager.to_owned(), "Apply".to_owned());
    let differs = |path: &Path| have.get(path).is_some_and(|value| Some(value) != want.get(path));
    let mut conflicts = Vec::new();
    for (owner, fields) in owners.0.iter().filter(|(owner, _)| **owner != me) {
        conflicts.extend(
            fields
                .iter()
                .filter(|path| want.contains_key(*path) && differs(path))
                .map(|p| (owner.0.clone(), p.clone())),
        );
    }
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts, api_version));
    }
    for (owner, path) in &conflicts {
        for ((name, _), fields) in &mut owners.0 {
            if name == owner {
                fields.remove(path);
            }
        }
    }
    let before = owners.0.remove(&me).unwrap_or_default();
    let mut object = if live.is_null() { bare(wanted) } else { live.clone() };
    for path in before.iter().filter(|path| !want.contains_key(*path)) {
        if !owners.0.values().any(|fields| fields.contains(path)) {
            take(&mut object, path);
        }
    }
    for (path, value) in &want {
        set(&mut object, path, value.clone());
    }
    owners.0.insert(me, want.keys().cloned().collect());
    owners.write(&mut object, api_version);
    Ok(object)
}

/// What names the object, with nothing in it.
fn bare(wanted: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace"] {
        if !wanted["metadata"][field].is_null() {
            metadata.insert(field.to_owned(), wanted["metadata"][field].clone());
        }
    }
    json!({"apiVersion": wanted["apiVersion"], "kind": wanted["kind"], "metadata": metadata})
}

fn conflict(conflicts: &[(String, Path)], api_version: &str) -> Reply {
    let words: Vec<(String, String)> = conflicts
        .iter()
        .map(|(owner, path)| (format!("conflict with {owner:?} using {api_version}"), shown(path)))
        .collect();
    let count = words.len();
    let message = match words.as_slice() {
        [(with, field)] => format!("Apply failed with 1 conflict: {with}: {field}"),
        _ => {
            let lines: Vec<String> = words.iter().map(|(with, field)| format!("{with}: {field}")).collect();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let causes: Vec<Value> = words
        .iter()
        .map(|(message, field)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
        .collect();
    Reply::failure(409, "Conflict", message).with_details(json!({ "causes": causes }))
}

fn shown(path: &Path) -> String {
    path.iter()
        .map(|part| match part.split_once(':') {
            Some(("f", field)) => format!(".{field}"),
            Some((_, key)) => {
                format!("[{}]", key.trim_matches(['{', '}']).replacen("\":", "\"=", 1).replacen('"', "", 2))
            }
            None => part.clone(),
        })
        .collect()
}

fn step<'a>(place: &'a mut Value, part: &str, make: bool) -> Option<&'a mut Value> {
    match part.split_once(':') {
        Some(("f", field)) if make || !place[field].is_null() => Some(&mut place[field]),
        Some(("k", key)) => {
            let key: Map<String, Value> = serde_json::from_str(key).ok()?;
            let (name, value) = key.iter().next()?;
            if !place.is_array() && make {
                *place = json!([]);
            }
            let list = place.as_array_mut()?;
            let found = list.iter().position(|item| item[name] == *value);
            if found.is_none() && make {
                list.push(json!({ name: value }));
                return list.last_mut();
            }
            list.get_mut(found?)
        }
        _ => None,
    }
}

fn set(object: &mut Value, path: &Path, value: Value) {
    let place = path.iter().try_fold(object, |place, part| step(place, part, true));
    if let Some(place) = place {
        *place = value;
    }
}

fn take(object: &mut Value, path: &Path) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(object, |place, part| step(place, part, false));
    let (Some(parent), Some((_, field))) = (parent, last.split_once(':')) else { return };
    if let Some(map) = parent.as_object_mut() {
        map.remove(field);
    }
}
