//! Reads the logins to registries back out of `cluster.yml`, as [`super::render`] wrote it.
//!
//! Whoever supervises `rke` knows by this which secrets it was given, without being handed them: they are
//! where `rke` itself finds them, and nowhere else. This is no reader of YAML: it knows one writer's hand.

use super::lines::unescape;
use crate::domain::secret::Secret;
use crate::redact::Login;

/// The logins in a `cluster.yml` of ours.
#[must_use]
pub fn in_cluster_yml(text: &str) -> Vec<Login> {
    let section = text.lines().skip_while(|line| *line != "private_registries:").skip(1);
    let mut logins: Vec<(Option<String>, Option<Secret>)> = Vec::new();
    for line in section.take_while(|line| line.starts_with(' ')) {
        let line = line.trim_start();
        if line.starts_with("- ") {
            logins.push((None, None));
        }
        let field = line.trim_start_matches("- ").split_once(": \"");
        match (field, logins.last_mut()) {
            (Some(("user", value)), Some((user, _))) => *user = Some(unescape(value.as_bytes())),
            (Some(("password", value)), Some((_, password))) => {
                *password = Some(Secret::new(unescape(value.as_bytes())));
            }
            _ => {}
        }
    }
    logins.into_iter().filter_map(|(user, password)| Some(Login { user, password: password? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::intake;
    use crate::rke::render::{SshAccess, cluster_yml};
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn whatever_a_password_is_it_is_read_as_it_was_written(passwords in prop::collection::vec(".{1,40}", 0..4), user in "[ -~]{1,12}") {
            let registry = |(n, password): (usize, &String)| {
                json!({"url": format!("r{n}.example"), "user": user, "password": password})
            };
            let spec = intake::read(&json!({
                "kubernetes_version": "v1.28.12-rancher1-1",
                "nodes": [{"address": "192.0.2.1", "roles": ["controlplane", "etcd", "worker"], "labels": {"password": "x"}}],
                "private_registries": passwords.iter().enumerate().map(registry).collect::<Vec<_>>(),
            }));
            prop_assume!(spec.is_ok());
            let yml = cluster_yml(&spec.unwrap().0, "web", &SshAccess::Agent);
            let expected: Vec<Login> = passwords
                .iter()
                .map(|password| Login { user: Some(user.clone()), password: Secret::new(password) })
                .collect();
            prop_assert_eq!(in_cluster_yml(&yml), expected);
        }
    }

    #[test]
    fn a_cluster_without_logins_has_none() {
        assert!(in_cluster_yml("nodes:\n  - password: \"x\"\n").is_empty());
        assert!(in_cluster_yml("private_registries:\n  - url: \"r\"\nservices:\n  password: \"x\"\n").is_empty());
    }
}
