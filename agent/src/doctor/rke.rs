//! The `rke` that would run, found and asked exactly as the engine does it.

use super::Check;
use crate::config::RkeSection;
use crate::run::rke::{Finder, Rke, RkeError};

const SUBJECT: &str = "rke";

/// Finds `rke`, asks its version, and says which one it is.
pub async fn check(settings: &RkeSection) -> Check {
    match Finder::new(settings.path.clone(), settings.allowed_sha256.clone()).find().await {
        Ok(rke) => judge(&rke),
        Err(error @ RkeError::NotAllowed { .. }) => {
            let remedy = "install an rke whose checksum is in `rke.allowed_sha256`, or add this one's if you trust it";
            Check::fail(SUBJECT, error.to_string(), remedy)
        }
        Err(error) => {
            let remedy = "install rke (https://github.com/rancher/rke/releases), or set `rke.path`";
            Check::fail(SUBJECT, error.to_string(), remedy)
        }
    }
}

fn judge(rke: &Rke) -> Check {
    let Rke { path, binary, kubernetes_versions, .. } = rke;
    let versions = kubernetes_versions.len();
    let finding =
        format!("{} {}, {versions} Kubernetes versions, SHA-256 {}", path.display(), binary.version, binary.sha256);
    if binary.rehearsal {
        let remedy = "install the real rke before clusters matter; this one contacts no host and builds nothing";
        return Check::warn(SUBJECT, format!("{finding}: a REHEARSAL, not rke"), remedy);
    }
    Check::ok(SUBJECT, finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentConfig;
    use crate::doctor::Level;
    use cratekube_common::domain::run::RkeBinary;

    #[tokio::test]
    async fn an_absent_rke_fails_and_a_rehearsal_warns() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &std::path::Path| {
            let document = serde_json::json!({
                "controller": {"address": "c:1"}, "volumes": {"paths": ["/v"]},
                "rke": {"path": path, "allowed_sha256": ["ab".repeat(32)]},
            });
            AgentConfig::from_value(&document).unwrap().rke
        };
        let absent = check(&at(&dir.path().join("rke"))).await;
        assert_eq!(absent.level, Level::Fail);
        assert!(absent.remedy.contains("rke.path"));
        let swapped = check(&at("/bin/true".as_ref())).await;
        assert_eq!(swapped.level, Level::Fail);
        assert!(swapped.finding.contains("not in `rke.allowed_sha256`"), "{swapped:?}");
        let found = |rehearsal| Rke {
            path: "/usr/local/bin/rke".into(),
            mark: None,
            binary: RkeBinary { version: "v1.2.23".into(), sha256: "ab".repeat(32), rehearsal },
            kubernetes_versions: Vec::new(),
        };
        assert_eq!(judge(&found(false)).level, Level::Ok);
        assert_eq!(judge(&found(true)).level, Level::Warn);
        assert!(judge(&found(true)).finding.contains("REHEARSAL"));
    }
}
