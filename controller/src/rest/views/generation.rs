//! Generations as clients read them.

use cratekube_common::domain::generation::Manifest;
use serde::Serialize;
use utoipa::ToSchema;

use super::shown;

/// An immutable, numbered snapshot of a cluster's state files.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Generation)]
pub(in super::super) struct GenerationView {
    /// From 1.
    number: u64,
    /// The operation whose run left these files.
    operation: String,
    /// When it was sealed.
    sealed_at: String,
    /// SHA-256 fingerprint of the cluster's CA in it.
    ca_sha256: Option<String>,
    /// Whether the state in it is complete: safe to run `rke` on.
    good: bool,
    /// Why it is not good.
    fault: Option<String>,
    files: Vec<FileView>,
}

/// A sealed file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SealedFile)]
pub(super) struct FileView {
    name: String,
    bytes: u64,
    sha256: String,
}

impl From<&Manifest> for GenerationView {
    fn from(manifest: &Manifest) -> Self {
        let file = |file: &cratekube_common::domain::generation::SealedFile| FileView {
            name: shown(&file.name),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        };
        Self {
            number: manifest.number,
            operation: manifest.operation.to_string(),
            sealed_at: manifest.sealed_at.to_string(),
            ca_sha256: manifest.ca_sha256.clone(),
            good: manifest.good,
            fault: manifest.fault.as_deref().map(shown),
            files: manifest.files.iter().map(file).collect(),
        }
    }
}
