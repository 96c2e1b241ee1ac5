//! Examples in the API's description: one for each request, answer and parameter.
//!
//! They are made of the schemas themselves, so that they cannot say something else than those: what a
//! schema gives as example, default or choice is taken, and otherwise a word that suits the name of the
//! property. Only what is no JSON is written here in full.

use serde_json::{Map, Value, json};

const JSON: [&str; 2] = ["application/json", "application/problem+json"];
/// Deeper than any schema is; bounds what refers to itself.
const DEPTH: usize = 12;
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Words by the name of a property or parameter; an ending that begins with `_` suits every name with it.
const WORDS: &[(&str, &str)] = &[
    ("_at", "2026-11-25T20:00:00.000Z"),
    ("at", "2026-11-25T20:00:00.000Z"),
    ("_sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("hash", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("plan_digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("id", ID),
    ("operation", ID),
    ("retry_of", ID),
    ("agent", ID),
    ("volume", ID),
    ("attempt", ID),
    ("request_id", ID),
    ("used_by", ID),
    ("env", "prod"),
    ("environment", "prod"),
    ("environments", "team-*"),
    ("name", "web"),
    ("cluster", "web"),
    ("kind", "provision"),
    ("state", "succeeded"),
    ("phase", "ready"),
    ("outcome", "succeeded"),
    ("class", "unreachable"),
    ("role", "operator"),
    ("roles", "worker"),
    ("subject", "alice"),
    ("actor", "alice"),
    ("created_by", "alice"),
    ("kubernetes_version", "v1.30.14-rancher1-1"),
    ("kubernetes_versions", "v1.30.14-rancher1-1"),
    ("version", "v1.8.14"),
    ("address", "10.0.0.11"),
    ("host", "10.0.0.11"),
    ("hosts", "10.0.0.11"),
    ("origin", "10.1.2.3"),
    ("hostname", "node-1"),
    ("internal_address", "10.0.0.11"),
    ("pod_cidr", "10.42.0.0/16"),
    ("service_cidr", "10.43.0.0/16"),
    ("url", "registry.example"),
    ("user", "ubuntu"),
    ("ssh_user", "ubuntu"),
    ("password", "***"),
    ("path", "/mnt/state"),
    ("pointer", "/spec/nodes/0/address"),
    ("file", "x86_64"),
    ("reason", "moved to another region"),
    ("data_policy", "retain"),
    ("blocker", "10.0.0.12 does not answer on port 22. See that the host is up, and retry."),
    ("jws", "eyJ0eXAiOiJjcmF0ZWt1YmUtcmVzaWR1ZStqd3MiLCJhbGciOiJFZERTQSJ9.…"),
    ("message", "10.0.0.12 does not answer on port 22"),
    ("line", "Failed to set up SSH tunneling for host [10.0.0.12]"),
    ("remedy", "See that the host is up, and retry."),
    ("title", "The request is understood but not acceptable"),
    ("detail", "the request has 1 mistake(s)"),
    ("instance", "/v1/environments/prod/clusters"),
    ("lifetime", "15m"),
    ("wait", "30s"),
    ("token", "eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9.…"),
    ("cursor", "p8Xk…"),
    ("next", "p8Xk…"),
    ("If-Match", "\"3\""),
    ("Idempotency-Key", "deploy-2026-11-25"),
    ("Last-Event-ID", "42"),
    ("Range", "bytes=0-1023"),
];

const ID: &str = "01900000-0000-7000-8000-000000000007";

/// What is not JSON, by path and media type.
const TEXTS: &[(&str, &str, &str)] = &[
    ("/healthz", "text/plain", "ok"),
    ("/ca.pem", "application/x-pem-file", "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"),
    ("/install.sh", "text/x-shellscript", "#!/bin/sh\n# Makes this host a bastion …"),
    (
        "/install/agent/{file}",
        "text/plain",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  cratekube-agent-x86_64\n",
    ),
];
/// The same for every other path.
const OTHER_TEXTS: &[(&str, &str)] = &[
    ("text/html", "<!DOCTYPE html>…"),
    ("text/javascript", "import { el } from \"./dom.js\";"),
    ("text/css", "body { margin: 0; }"),
    ("image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
    ("text/plain", "INFO[0000] Building Kubernetes cluster\n"),
    (
        "text/event-stream",
        "retry: 2000\n\nevent: output\nid: 39\ndata: {\"offset\":0,\"text\":\"INFO[0000] Building Kubernetes cluster\\n\"}\n\n",
    ),
    ("application/x-ndjson", "{\"number\":1,\"at\":\"2026-11-25T20:00:00.000Z\",\"actor\":\"alice\"}\n"),
    ("application/yaml", "apiVersion: v1\nkind: Config\n"),
];

/// Adds an example wherever there is none.
pub(super) fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        for method in METHODS {
            let Some(operation) = item.get_mut(method) else { continue };
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default().to_owned();
                if name == "limit" {
                    forget_width(parameter);
                }
                let example = of(&parameter["schema"], &name, &schemas, DEPTH);
                put(parameter, example);
            }
            contents(path, operation.get_mut("requestBody"), &schemas);
            for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                contents(path, Some(response), &schemas);
            }
        }
    }
}

/// A page is as long as may be, whatever number asks for more: how wide our own is concerns nobody.
fn forget_width(parameter: &mut Value) {
    if let Some(schema) = parameter.get_mut("schema").and_then(Value::as_object_mut) {
        schema.remove("format");
        schema.remove("maximum");
    }
}

fn contents(path: &str, holder: Option<&mut Value>, schemas: &Value) {
    let Some(contents) = holder.and_then(|holder| holder.get_mut("content")).and_then(Value::as_object_mut) else {
        return;
    };
    for (media_type, content) in contents {
        if JSON.contains(&media_type.as_str()) {
            let example = of(&content["schema"], "", schemas, DEPTH);
            put(content, example);
        } else if let Some(text) = text(path, media_type) {
            put(content, json!(text));
        }
    }
}

fn text(path: &str, media_type: &str) -> Option<&'static str> {
    let here = TEXTS.iter().find(|(at, kind, _)| *at == path && *kind == media_type).map(|(_, _, text)| *text);
    here.or_else(|| OTHER_TEXTS.iter().find(|(kind, _)| *kind == media_type).map(|(_, text)| *text))
}

fn put(holder: &mut Value, example: Value) {
    if holder.get("example").is_none() && holder.get("examples").is_none() {
        holder["example"] = example;
    }
}

/// An example of a schema for something of this name.
fn of(schema: &Value, name: &str, schemas: &Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    if let Some(at) = schema["$ref"].as_str() {
        let target = at.rsplit('/').next().unwrap_or_default();
        return of(&schemas[target], name, schemas, depth);
    }
    let given = [schema.get("example"), schema["examples"].get(0), schema.get("const"), schema["enum"].get(0)];
    if let Some(given) = given.into_iter().flatten().next().or(schema.get("default").filter(|d| !d.is_null())) {
        return given.clone();
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let one = choices.iter().find(|choice| choice["type"] != "null");
            return one.map_or(Value::Null, |one| of(one, name, schemas, depth));
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let made = parts.iter().map(|part| of(part, name, schemas, depth));
        return Value::Object(made.filter_map(|part| part.as_object().cloned()).flatten().collect());
    }
    let kind = schema["type"]
        .as_str()
        .or_else(|| schema["type"].as_array()?.iter().find_map(|t| t.as_str().filter(|t| *t != "null")));
    match kind {
        Some("object") => object(schema, schemas, depth),
        Some("array") => json!([of(&schema["items"], name, schemas, depth)]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(number(name))),
        Some("boolean") => json!(true),
        Some("string") => json!(word(name)),
        _ => json!({}),
    }
}

fn object(schema: &Value, schemas: &Value, depth: usize) -> Value {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut made: Map<_, _> = properties.map(|(name, of_it)| (name.clone(), of(of_it, name, schemas, depth))).collect();
    if let Some(more) = schema.get("additionalProperties").filter(|more| more.is_object()) {
        made.insert("disk".to_owned(), of(more, "ssd", schemas, depth));
    }
    Value::Object(made)
}

fn word(name: &str) -> &str {
    let exact = WORDS.iter().find(|(known, _)| *known == name);
    let ending = || WORDS.iter().find(|(known, _)| known.starts_with('_') && name.ends_with(known));
    exact.or_else(ending).map_or(if name.is_empty() { "text" } else { name }, |(_, word)| word)
}

fn number(name: &str) -> u64 {
    match name {
        "port" => 22,
        "status" => 422,
        name if name.ends_with("bytes") => 1_073_741_824,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::openapi::document;

    /// What of a schema an example does not keep, each in words.
    fn breaches(example: &Value, schema: &Value, schemas: &Value, at: &str, out: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            return breaches(example, &schemas[reference.rsplit('/').next().unwrap()], schemas, at, out);
        }
        let kinds = match &schema["type"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(some) => some.iter().filter_map(|t| t.as_str().map(ToOwned::to_owned)).collect(),
            _ => return,
        };
        let fits = kinds.iter().any(|kind| match kind.as_str() {
            "object" => example.is_object(),
            "array" => example.is_array(),
            "string" => example.is_string(),
            "integer" | "number" => example.is_number(),
            "boolean" => example.is_boolean(),
            _ => example.is_null(),
        });
        if !fits {
            out.push(format!("{at}: {example} is no {kinds:?}"));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if example.is_object() && example.get(name).is_none() {
                out.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = example.get(name) {
                breaches(value, property, schemas, &format!("{at}/{name}"), out);
            }
        }
    }

    #[test]
    fn every_route_has_examples_of_what_it_takes_and_answers_and_they_keep_their_schemas() {
        let document: Value = serde_json::from_slice(&document()).unwrap();
        let (schemas, mut out) = (&document["components"]["schemas"], Vec::new());
        let mut check = |at: String, holder: &Value| match holder.get("example") {
            Some(example) => breaches(example, &holder["schema"], schemas, &at, &mut out),
            None if at.ends_with("application/octet-stream") => {}
            None => out.push(format!("{at} has no example: give its media type one in openapi/examples.rs")),
        };
        for (path, item) in document["paths"].as_object().unwrap() {
            let has_none = |operation: &Value| operation.get("parameters").is_some_and(Value::is_null);
            assert!(!item.as_object().unwrap().values().any(has_none), "{path}: a list of parameters that is none");
            for (method, operation) in item.as_object().unwrap() {
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    check(format!("{method} {path} {}", parameter["name"]), parameter);
                }
                let responses = operation["responses"].as_object().unwrap().iter();
                for (what, holder) in responses.chain([(&"body".to_owned(), &operation["requestBody"])]) {
                    for (media_type, content) in holder["content"].as_object().into_iter().flatten() {
                        check(format!("{method} {path} {what} {media_type}"), content);
                    }
                }
            }
        }
        assert!(out.is_empty(), "{out:#?}");
    }

    #[test]
    fn a_word_suits_the_name() {
        assert_eq!(
            (word("name"), word("sealed_at"), word("unheard-of")),
            ("web", "2026-11-25T20:00:00.000Z", "unheard-of")
        );
        let schemas =
            json!({"Self": {"type": "object", "properties": {"more": {"$ref": "#/components/schemas/Self"}}}});
        assert!(of(&schemas["Self"], "", &schemas, DEPTH).is_object(), "what refers to itself ends");
    }
}
