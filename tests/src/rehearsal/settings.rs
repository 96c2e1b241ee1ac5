//! What the rehearsal is told before it starts: `rke.rehearsal.json` beside its own name.
//!
//! The agent starts rke with an empty environment, so everything comes from a file beside
//! `argv[0]`. Symbolic links are *not* followed: every test world links the same binary into its
//! own `bin/` and has its own settings there. A missing file means the defaults; a malformed one
//! is an error, never a silent default.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// A 58-second `up` takes about 1.2 s: fast enough for a quickstart, slow enough to be watched.
const DEFAULT_SCALE: f64 = 0.02;

/// The settings file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Directory of the model of the hosts; relative paths start beside the settings file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PathBuf>,
    /// Factor on the recorded times: 1.0 is real time, 0 never waits.
    #[serde(default = "default_scale")]
    pub scale: f64,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { fleet: None, scale: DEFAULT_SCALE, faults: Vec::new() }
    }
}

fn default_scale() -> f64 {
    DEFAULT_SCALE
}

/// Why the settings could not be used.
#[derive(Debug)]
pub enum SettingsError {
    /// The file is there and cannot be read.
    Read(PathBuf, std::io::Error),
    /// The file is not what it should be.
    Malformed(PathBuf, serde_json::Error),
    /// A value makes no sense.
    Senseless(PathBuf, &'static str),
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SettingsError::Read(path, error) => {
                write!(f, "cannot read {}: {error}", path.display())
            }
            SettingsError::Malformed(path, error) => {
                write!(f, "{} is malformed: {error}", path.display())
            }
            SettingsError::Senseless(path, why) => {
                write!(f, "{} is malformed: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// Where the settings of a rehearsal called `program` are.
#[must_use]
pub fn settings_path(program: &Path) -> PathBuf {
    let mut name = program.file_name().unwrap_or_default().to_os_string();
    name.push(".rehearsal.json");
    program.with_file_name(name)
}

impl Settings {
    /// Reads the settings of a rehearsal called `program`, and fixes the fleet's place.
    ///
    /// # Errors
    /// When the file exists and is unusable.
    pub fn beside(program: &Path) -> Result<(Settings, PathBuf), SettingsError> {
        let path = settings_path(program);
        let settings = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Settings>(&bytes)
                .map_err(|error| SettingsError::Malformed(path.clone(), error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Settings::default(),
            Err(error) => return Err(SettingsError::Read(path, error)),
        };
        if !settings.scale.is_finite() || settings.scale < 0.0 {
            return Err(SettingsError::Senseless(path, "scale must be nought or more"));
        }
        let fleet = program.with_file_name(match &settings.fleet {
            Some(fleet) => fleet.clone().into_os_string(),
            None => {
                let mut name = program.file_name().unwrap_or_default().to_os_string();
                name.push(".fleet");
                name
            }
        });
        Ok((settings, fleet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_beside_the_name_not_the_file() {
        assert_eq!(settings_path(Path::new("/x/y/rke")), Path::new("/x/y/rke.rehearsal.json"));
    }

    #[test]
    fn a_missing_file_means_the_defaults() {
        let (settings, fleet) = Settings::beside(Path::new("/nowhere/at/all/rke")).unwrap();
        assert!((settings.scale - DEFAULT_SCALE).abs() < f64::EPSILON);
        assert_eq!(fleet, Path::new("/nowhere/at/all/rke.fleet"));
    }
}
