//! Access for users: which kubeconfigs can be asked for. The agent issues them, they pass through the
//! controller and are stored nowhere.

use std::time::Duration;

use crate::domain::secret::Secret;
use crate::domain::spelled;
use crate::domain::time::Timestamp;

/// Longest life of a kubeconfig.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest life of a kubeconfig: Kubernetes issues no shorter tokens.
pub const MIN_TTL: Duration = Duration::from_secs(10 * 60);
/// Life of a kubeconfig when none is asked for: a working day's half.
pub const DEFAULT_TTL: Duration = Duration::from_secs(4 * 60 * 60);

spelled! {
    /// What the holder of a kubeconfig may do.
    pub enum AccessRole {
        /// See the objects of one namespace, but not its Secrets.
        View = "view",
        /// Change the objects of one namespace.
        Edit = "edit",
        /// As edit, and grant rights within the namespace.
        Admin = "admin",
        /// Everything, for ten years: RKE's own kubeconfig, which only a new CA takes back.
        ClusterAdmin = "cluster-admin",
    }
}

impl AccessRole {
    /// Roles that hold in one namespace and are carried by a token that runs out.
    pub const NAMESPACED: [Self; 3] = [Self::View, Self::Edit, Self::Admin];

    /// Name of the service account, and of its binding, that stands for the role in each namespace.
    #[must_use]
    pub const fn service_account(self) -> &'static str {
        match self {
            Self::View => "cratekube-view",
            Self::Edit => "cratekube-edit",
            Self::Admin => "cratekube-admin",
            Self::ClusterAdmin => "cratekube-cluster-admin",
        }
    }
}

/// What kind of kubeconfig is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeconfigRequest {
    /// What its holder may do.
    pub role: AccessRole,
    /// Where; ignored for [`AccessRole::ClusterAdmin`], whose contexts have no namespace.
    pub namespace: String,
    /// How long, between [`MIN_TTL`] and [`MAX_TTL`]; ignored for [`AccessRole::ClusterAdmin`].
    pub ttl: Duration,
}

/// A kubeconfig that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedKubeconfig {
    /// The file, as YAML.
    pub kubeconfig: Secret,
    /// When what it holds runs out: the cluster may give a shorter life than was asked for.
    pub expires_at: Timestamp,
}
