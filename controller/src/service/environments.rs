//! Environments as one actor sees them.

use std::collections::BTreeMap;

use cratekube_common::domain::environment::{Role, role_in};
use cratekube_common::domain::name::EnvironmentName;

use super::{Actor, Service, ServiceError};

/// An environment that an actor may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleEnvironment {
    /// Its name.
    pub name: EnvironmentName,
    /// Clusters that are not removed.
    pub clusters: u64,
    /// The actor's strongest role in it.
    pub role: Role,
}

impl Service {
    /// Environments that have clusters or are granted by name, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn environments(&self, actor: &Actor) -> Result<Vec<VisibleEnvironment>, ServiceError> {
        let used = self.store.environments().await?;
        let granted = actor.grants.iter().filter_map(|grant| grant.environments.as_str().parse().ok());
        let mut counts: BTreeMap<EnvironmentName, u64> = granted.map(|name| (name, 0)).collect();
        counts.extend(used.into_iter().map(|summary| (summary.name, summary.clusters)));
        let visible = |(name, clusters)| {
            let role = role_in(&actor.grants, &name)?;
            Some(VisibleEnvironment { name, clusters, role })
        };
        Ok(counts.into_iter().filter_map(visible).collect())
    }
}
