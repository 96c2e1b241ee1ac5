//! Manifests of managed resources on their way to rest, back, and to the agent: always encrypted at rest,
//! under the environment and the name that they are for.

use cratekube_common::domain::cluster::manifest::Scope;
use cratekube_common::domain::cluster::resource::{ConfigureInput, ManagedResource, RemovedResource, ResourceName};
use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::domain::secret::Secret;
use zeroize::Zeroizing;

use super::spec_secrets::{SpecVault, VaultError};
use crate::store::SealedResource;

/// What a manifest is sealed for: it cannot be moved to another environment or name. A cluster of the
/// environment may have it from the environment's set.
pub(crate) fn context(environment: &EnvironmentName, name: &str) -> Vec<u8> {
    format!("cratekube/manifest/v1/{environment}/{name}").into_bytes()
}

/// Encrypts a manifest.
pub(super) fn seal(
    vault: &dyn SpecVault,
    environment: &EnvironmentName,
    name: &ResourceName,
    manifest: &Secret,
) -> Vec<u8> {
    vault.seal(&context(environment, name.as_str()), manifest.expose().as_bytes())
}

/// Decrypts a manifest.
///
/// # Errors
/// When it does not open.
pub(super) fn open(vault: &dyn SpecVault, resource: &SealedResource) -> Result<Secret, VaultError> {
    let context = context(&resource.environment, resource.resource.name.as_str());
    let plain = Zeroizing::new(vault.open(&context, &resource.sealed)?);
    std::str::from_utf8(&plain).map(Secret::new).map_err(|_| VaultError::Malformed)
}

/// What a configuration is given: what is wanted, and what is to go.
///
/// # Errors
/// When a manifest does not open.
pub(super) fn input(
    vault: &dyn SpecVault,
    scope: &Scope,
    resources: &[SealedResource],
) -> Result<ConfigureInput, VaultError> {
    let mut input = ConfigureInput { scope: scope.clone(), ..ConfigureInput::default() };
    for sealed in resources {
        let resource = &sealed.resource;
        let (name, mode, objects) = (resource.name.clone(), resource.mode, resource.status.objects.clone());
        if resource.status.withdrawn {
            input.remove.push(RemovedResource { name, mode, objects });
        } else {
            let manifest = open(vault, sealed)?;
            input.resources.push(ManagedResource { name, mode, manifest, previous: objects });
        }
    }
    Ok(input)
}
