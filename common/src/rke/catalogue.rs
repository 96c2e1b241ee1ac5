//! Which releases of `rke` there are: what each line offers, from where the images come, the floor of
//! security, and the end of life. A data file, `common/data/catalogue.toml`; the rest is looking up.
//!
//! What follows from it for an environment is a matter of policy and is decided by the controller. What
//! an agent's `rke` really offers it says itself; that counts more than what is written here.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::domain::cluster::spec::{ClusterSpec, KubernetesVersion};
use crate::domain::spelled;
use crate::domain::time::Timestamp;

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| toml::from_str(include_str!("../../data/catalogue.toml")).unwrap_or_default());

/// What is known of RKE.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Last day on which anything of it was mended.
    pub end_of_life: Day,
    /// Day on which its repository was closed.
    pub archived: Day,
    /// Its last release.
    pub last_release: RkeVersion,
    /// What the floors of the lines are about.
    pub advisory: String,
    /// Its lines.
    pub lines: Vec<Series>,
    /// Releases worth naming, newest first.
    pub releases: Vec<Release>,
    /// Minor versions of Kubernetes whose newer images are not public.
    pub extended: Vec<Extended>,
}

/// Releases that share their first two numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The two numbers.
    pub series: String,
    /// First release without the known hole; none when the whole line has it.
    #[serde(default)]
    pub floor: Option<RkeVersion>,
    /// Minor versions of Kubernetes that its releases offer.
    pub kubernetes: Vec<String>,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its version.
    pub version: RkeVersion,
    /// When it came out.
    pub released: Day,
    /// The newest version of each minor version of Kubernetes that it offers.
    pub kubernetes: Vec<String>,
}

/// A minor version of Kubernetes whose newer images need a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extended {
    /// The minor version.
    pub minor: String,
    /// The last one whose images are public.
    pub public_up_to: RkeVersion,
}

spelled! {
    /// From where a cluster's images come.
    pub enum Images {
        /// From the public registry; anyone can pull them.
        Public = "public",
        /// From the registry of RKE's Extended Life; only subscribers can pull them.
        Extended = "extended",
        /// From the registry that the spec names as its default.
        Mirror = "mirror",
    }
}

spelled! {
    /// What is wrong with a release.
    pub enum Flaw {
        /// It has a known hole.
        BelowFloor = "below-floor",
        /// Nobody mends it any more.
        EndOfLife = "end-of-life",
        /// The catalogue does not have it.
        Unknown = "unknown",
    }
}

/// Something to know of an agent's `rke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// For programs.
    pub flaw: Flaw,
    /// For people.
    pub message: String,
}

impl Catalogue {
    /// The catalogue of this release.
    #[must_use]
    pub fn get() -> &'static Self {
        &CATALOGUE
    }

    /// What is to be known of an `rke` that says it is of this version.
    #[must_use]
    pub fn findings(&self, said: &str, now: Timestamp) -> Vec<Finding> {
        let Ok(version) = said.parse::<RkeVersion>() else {
            let message =
                format!("{said:?} is not a version of rke that the catalogue has; what it can do is not known");
            return vec![Finding { flaw: Flaw::Unknown, message }];
        };
        let mut findings = Vec::new();
        findings.extend(self.below_floor(version));
        if self.end_of_life.is_over(now) {
            let message = format!(
                "rke {version} is past the end of life of RKE v1 ({}): nothing in it is mended any more; plan the move to another distribution",
                self.end_of_life
            );
            findings.push(Finding { flaw: Flaw::EndOfLife, message });
        }
        findings
    }

    fn below_floor(&self, version: RkeVersion) -> Option<Finding> {
        let series = self.lines.iter().find(|line| line.series == version.series());
        let safest = || self.lines.iter().filter_map(|line| line.floor).max().unwrap_or(self.last_release);
        let message = match series.map(|line| line.floor) {
            Some(Some(floor)) if version >= floor => return None,
            Some(Some(floor)) => {
                format!(
                    "rke {version} is below {floor} and has a known hole ({}): install {floor} or newer",
                    self.advisory
                )
            }
            Some(None) => format!(
                "rke {version} is of a line that was never mended ({}): install {} or newer",
                self.advisory,
                safest()
            ),
            None => {
                let message = format!("rke {version} is not in the catalogue; what it can do is not known");
                return Some(Finding { flaw: Flaw::Unknown, message });
            }
        };
        Some(Finding { flaw: Flaw::BelowFloor, message })
    }

    /// From where the images of a spec come.
    #[must_use]
    pub fn images(&self, spec: &ClusterSpec) -> Images {
        if spec.private_registries.iter().any(|registry| registry.is_default) {
            return Images::Mirror;
        }
        if self.is_extended(&spec.kubernetes_version) { Images::Extended } else { Images::Public }
    }

    fn is_extended(&self, version: &KubernetesVersion) -> bool {
        let (major, minor, patch) = version.numbers();
        let version = RkeVersion(major, minor, patch);
        self.extended.iter().any(|line| line.minor == version.series() && version > line.public_up_to)
    }
}

/// Three numbers: the version of a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RkeVersion(u32, u32, u32);

impl RkeVersion {
    fn series(self) -> String {
        format!("{}.{}", self.0, self.1)
    }
}

impl fmt::Display for RkeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for RkeVersion {
    type Err = String;
    /// Reads `v1.8.4` and `1.8.4`; a release candidate (`v1.8.4-rc1`) counts as its release.
    fn from_str(text: &str) -> Result<Self, String> {
        let core = text.strip_prefix('v').unwrap_or(text).split('-').next().unwrap_or_default();
        let numbers: Vec<u32> = core.split('.').map_while(|n| n.parse().ok()).collect();
        match (numbers.as_slice(), core.split('.').count()) {
            ([major, minor, patch], 3) => Ok(Self(*major, *minor, *patch)),
            _ => Err(format!("{text:?} is not a version: write it as `1.8.4`")),
        }
    }
}

impl TryFrom<String> for RkeVersion {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RkeVersion> for String {
    fn from(version: RkeVersion) -> String {
        version.to_string()
    }
}

/// A day, as `2025-07-31`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day {
    text: String,
    /// The first moment of the day after.
    ends: Timestamp,
}

impl Day {
    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.ends
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for Day {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
        let begins: Timestamp = format!("{text}T00:00:00Z").parse()?;
        Ok(Self { text, ends: begins.after(DAY) })
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::intake;
    use serde_json::json;

    fn flaws(version: &str, day: &str) -> Vec<Flaw> {
        let now = format!("{day}T12:00:00Z").parse().unwrap();
        Catalogue::get().findings(version, now).into_iter().map(|finding| finding.flaw).collect()
    }

    #[test]
    fn the_data_file_is_read_and_every_line_has_releases_of_its_own() {
        let read: Catalogue = toml::from_str(include_str!("../../data/catalogue.toml")).unwrap();
        assert_eq!(Catalogue::get(), &read);
        for release in &read.releases {
            let line = read.lines.iter().find(|line| line.series == release.version.series()).unwrap();
            for kubernetes in &release.kubernetes {
                let minor = kubernetes.parse::<RkeVersion>().unwrap().series();
                assert!(line.kubernetes.contains(&minor), "{} offers {kubernetes}", release.version);
            }
        }
        assert_eq!(read.releases[0].version, read.last_release);
        for line in &read.lines {
            assert!(line.floor.is_none_or(|floor| floor.series() == line.series), "{line:?}");
        }
    }

    #[test]
    fn releases_below_the_floor_or_past_the_end_are_named() {
        for (version, before, after) in [
            ("v1.4.18", vec![Flaw::BelowFloor], vec![Flaw::BelowFloor, Flaw::EndOfLife]),
            ("v1.4.19", vec![], vec![Flaw::EndOfLife]),
            ("1.5.9", vec![Flaw::BelowFloor], vec![Flaw::BelowFloor, Flaw::EndOfLife]),
            ("v1.5.10", vec![], vec![Flaw::EndOfLife]),
            ("v1.6.0", vec![], vec![Flaw::EndOfLife]),
            ("v1.2.23", vec![Flaw::BelowFloor], vec![Flaw::BelowFloor, Flaw::EndOfLife]),
            ("v1.8.14-rc1", vec![], vec![Flaw::EndOfLife]),
            ("v1.9.0", vec![Flaw::Unknown], vec![Flaw::Unknown, Flaw::EndOfLife]),
            ("dev", vec![Flaw::Unknown], vec![Flaw::Unknown]),
            ("v1.8", vec![Flaw::Unknown], vec![Flaw::Unknown]),
        ] {
            assert_eq!(flaws(version, "2025-07-31"), before, "{version}");
            assert_eq!(flaws(version, "2025-08-01"), after, "{version}");
        }
    }

    #[test]
    fn images_that_need_a_subscription_are_known_unless_a_registry_stands_in() {
        let images = |version: &str, registries: serde_json::Value| {
            let document = json!({
                "kubernetes_version": version,
                "nodes": [{"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]}],
                "private_registries": registries,
            });
            Catalogue::get().images(&intake::read(&document).unwrap().0)
        };
        let mirror = json!([{"url": "mirror.example", "is_default": true}]);
        let other = json!([{"url": "other.example"}]);
        for (version, none, with_other) in [
            ("v1.30.14-rancher1-1", Images::Public, Images::Public),
            ("v1.31.9-rancher1-1", Images::Public, Images::Public),
            ("v1.31.14-rancher1-1", Images::Extended, Images::Extended),
            ("v1.32.5-rancher1-1", Images::Public, Images::Public),
            ("v1.32.13-rancher1-2", Images::Extended, Images::Extended),
            ("v1.28.12-rancher1-1", Images::Public, Images::Public),
        ] {
            assert_eq!(images(version, json!([])), none, "{version}");
            assert_eq!(images(version, other.clone()), with_other, "{version}");
            assert_eq!(images(version, mirror.clone()), Images::Mirror, "{version}");
        }
    }
}
