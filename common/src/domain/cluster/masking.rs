//! What is shown of a manifest: everything but the values of Secrets.
//!
//! A manifest without a Secret is shown as it was written. One with a Secret is written anew, its values
//! masked; whoever sends that back would overwrite them with the mask, so that this is a fault
//! ([`sent_back`]). Other places where people put secrets (a ConfigMap, a container's environment) are not
//! known to be such. Pure.

use serde_json::{Map, Value};

use crate::domain::secret::MASK;
use crate::rke::yaml::emit;
use crate::yaml;

/// Fields of a Secret whose values are secret.
const FIELDS: [&str; 2] = ["data", "stringData"];
/// Annotation in which `kubectl` keeps the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A manifest as it is shown. One that cannot be read is not shown at all.
#[must_use]
pub fn masked(manifest: &str) -> String {
    let Ok(mut documents) = yaml::read(manifest) else { return MASK.to_owned() };
    let mut any = false;
    for document in &mut documents {
        secrets(&mut document.value, &mut |secret| {
            any = true;
            mask(secret);
        });
    }
    if !any {
        return manifest.to_owned();
    }
    let written = documents.iter().map(|document| emit(&document.value));
    written.collect::<Vec<_>>().join("---\n")
}

/// Whether a manifest has a Secret with a masked value: it was shown, and sent back.
#[must_use]
pub fn sent_back(objects: &[Value]) -> bool {
    let masked = |secret: &Value| {
        let values = FIELDS.iter().filter_map(|field| secret[*field].as_object()).flat_map(Map::values);
        values.into_iter().any(|value| value == MASK)
    };
    objects.iter().any(|object| is_secret(object) && masked(object))
}

/// Does something with every Secret of a document, also of those in a List.
fn secrets(value: &mut Value, with: &mut impl FnMut(&mut Value)) {
    if is_secret(value) {
        with(value);
    } else if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(|item| secrets(item, with));
    }
}

fn is_secret(value: &Value) -> bool {
    value["kind"] == "Secret"
}

fn mask(secret: &mut Value) {
    for field in FIELDS {
        match secret.get_mut(field) {
            Some(Value::Object(values)) => values.values_mut().for_each(|value| *value = Value::from(MASK)),
            Some(Value::Null) | None => {}
            Some(odd) => *odd = Value::from(MASK),
        }
    }
    let annotation = secret.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(LAST_APPLIED));
    if let Some(annotation) = annotation {
        *annotation = Value::from(MASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{\"data\":\"canary-3\"}'
data:
  password: Y2FuYXJ5LTE=
stringData:
  user: canary-2
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {title: \"shown: yes\"}
";

    #[test]
    fn hostile_row_07_values_of_secrets_are_masked_and_the_rest_is_shown() {
        let shown = masked(SECRET);
        for secret in ["Y2FuYXJ5LTE", "canary"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let read = yaml::read(&shown).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (&read[0].value["data"]["password"], &read[0].value["stringData"]["user"]),
            (&MASK.into(), &MASK.into())
        );
        assert_eq!(read[1].value["data"]["title"], "shown: yes");
        let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}, data: {x: canary}}\n";
        assert!(!masked(list).contains("canary"));
        let odd = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: canary\n";
        assert!(!masked(odd).contains("canary"));
        assert_eq!(masked("a: [b"), MASK);
    }

    #[test]
    fn a_manifest_without_a_secret_is_shown_as_it_was_written() {
        let plain = "# ours\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: page}\n";
        assert_eq!(masked(plain), plain);
    }

    #[test]
    fn what_was_shown_and_is_sent_back_is_noticed() {
        let values = |text: &str| yaml::read(text).unwrap().into_iter().map(|d| d.value).collect::<Vec<_>>();
        assert!(sent_back(&values(&masked(SECRET))));
        assert!(!sent_back(&values(SECRET)));
    }
}
