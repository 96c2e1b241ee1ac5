//! Kubernetes versions that the rehearsal offers, and the images that go with them.
//!
//! Versions and images of 1.20 are those of the recordings; newer ones are plausible, so that
//! specifications for today's clusters can be rehearsed. Nothing is ever pulled.

/// What the rehearsal calls itself.
pub(crate) const VERSION: &str = "v1.2.23-rehearsal";

/// The version in the recordings.
pub(crate) const RECORDED_VERSION: &str = "v1.2.23";

/// What a cluster.yml without `kubernetes_version` gets.
pub(crate) const DEFAULT_KUBERNETES: &str = "v1.20.15-rancher2-1";

/// Everything `config --list-version --all` prints.
pub(crate) const KUBERNETES: [&str; 8] = [
    "v1.17.17-rancher2-4",
    "v1.18.20-rancher1-3",
    "v1.19.16-rancher2-1",
    DEFAULT_KUBERNETES,
    "v1.26.15-rancher1-1",
    "v1.27.16-rancher1-1",
    "v1.28.12-rancher1-1",
    "v1.30.14-rancher1-1",
];

/// The images that show in the output.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// Everything rke does on a host apart from Kubernetes.
    pub(crate) tools: String,
    /// All Kubernetes components.
    pub(crate) kubernetes: String,
    /// etcd.
    pub(crate) etcd: String,
}

/// The images of a version; `None` when it is not offered.
pub(crate) fn images(version: &str) -> Option<Images> {
    if !KUBERNETES.contains(&version) {
        return None;
    }
    let minor: u32 = version.split('.').nth(1)?.parse().ok()?;
    let (tools, etcd) = match minor {
        ..=19 => ("v0.1.69", "v3.4.14-rancher1"),
        20 => ("v0.1.80", "v3.4.15-rancher1"),
        21..=29 => ("v0.1.96", "v3.5.9-rancher1"),
        _ => ("v0.1.108", "v3.5.12-rancher1"),
    };
    let (tag, _) = version.rsplit_once('-')?;
    Some(Images {
        tools: format!("rancher/rke-tools:{tools}"),
        kubernetes: format!("rancher/hyperkube:{tag}"),
        etcd: format!("rancher/mirrored-coreos-etcd:{etcd}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offered_version_has_images() {
        for version in KUBERNETES {
            assert!(images(version).is_some(), "{version}");
        }
        let recorded = images(DEFAULT_KUBERNETES).unwrap();
        assert_eq!(recorded.kubernetes, "rancher/hyperkube:v1.20.15-rancher2");
        assert_eq!(recorded.tools, "rancher/rke-tools:v0.1.80");
        assert!(images("v9.9.9").is_none());
    }
}
