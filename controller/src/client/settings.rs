//! What a command finds around itself: environment variables and folders.
//!
//! The variables begin with `CK_`, not with `CRATEKUBE_`: those are the controller's and the agent's
//! settings, and both refuse what they do not know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cratekube_common::domain::secret::Secret;

use super::fault::Fault;

/// Variables that are read.
pub(super) const ADDRESS: &str = "CK_ADDRESS";
pub(super) const CA: &str = "CK_CA";
pub(super) const API_KEY: &str = "CK_API_KEY";
pub(super) const TOKEN: &str = "CK_TOKEN";
pub(super) const ENVIRONMENT: &str = "CK_ENVIRONMENT";

/// What `--help` says about them.
pub(super) const HELP: &str = "\
Environment variables:
  CK_PROFILE       the profile, instead of `default`
  CK_ENVIRONMENT   the environment when none is named, instead of the profile's
  CK_API_KEY       an API key, instead of the profile's; used, never stored
  CK_TOKEN         a token, likewise
  CK_ADDRESS       where the controller is; with CK_CA and a credential it stands for a profile
  CK_CA            file with the certificate authority that this controller is trusted under
  NO_COLOR         no colours, whatever the terminal can do";

/// The environment of the process, or a test's.
#[derive(Clone, Default)]
pub(super) struct Surroundings(BTreeMap<String, String>);

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Surroundings {
    /// The process's own.
    pub(super) fn system() -> Self {
        let named = |key: &str| key.starts_with("CK_") || key == "HOME" || key == "XDG_CONFIG_HOME";
        let read = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(read).filter(|(key, _)| named(key)).collect())
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    /// A variable; an empty one is as good as none.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable that holds a secret.
    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        self.get(key).map(str::trim).map(Secret::new)
    }

    /// The folder of profiles: `$XDG_CONFIG_HOME/cratekube`, else `~/.config/cratekube`.
    ///
    /// # Errors
    /// When neither variable is set.
    pub(super) fn folder(&self) -> Result<PathBuf, Fault> {
        let absolute = |key| self.get(key).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        base.map(|base| base.join("cratekube")).ok_or_else(|| {
            Fault::usage("there is no folder for profiles", "Set HOME or XDG_CONFIG_HOME to an absolute path.")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_profiles_follows_xdg_and_empty_variables_count_as_unset() {
        let folder = |pairs: &[(&str, &str)]| Surroundings::of(pairs).folder().ok();
        assert_eq!(folder(&[("XDG_CONFIG_HOME", "/c"), ("HOME", "/h")]), Some("/c/cratekube".into()));
        assert_eq!(folder(&[("XDG_CONFIG_HOME", ""), ("HOME", "/h")]), Some("/h/.config/cratekube".into()));
        assert_eq!(folder(&[("XDG_CONFIG_HOME", "relative")]), None);
        let around = Surroundings::of(&[(TOKEN, "hunter2")]);
        assert!(!format!("{around:?}").contains("hunter2"));
    }
}
