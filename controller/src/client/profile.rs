//! Profiles: where a controller is, whom it is trusted by, and the credential, in one private file.
//!
//! `$XDG_CONFIG_HOME/cratekube/profiles/<name>.toml`, 0600 in folders of 0700. One that others may
//! read is refused: it holds secrets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::credential::Credential;
use super::fault::Fault;
use super::settings::Surroundings;

/// What one controller is driven with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    /// Where the controller is.
    pub(super) address: Address,
    /// The authority that it is trusted under, PEM.
    pub(super) ca: String,
    /// The environment when none is named.
    pub(super) environment: Option<EnvironmentName>,
    /// What requests carry.
    pub(super) credential: Credential,
}

/// A profile's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProfileFile(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<EnvironmentName>,
    ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<Timestamp>,
}

impl ProfileFile {
    /// The file of the profile with this name, which was checked to be a label.
    pub(super) fn named(name: &str, around: &Surroundings) -> Result<Self, Fault> {
        Ok(Self(around.folder()?.join("profiles").join(format!("{name}.toml"))))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it; none when it is not there.
    ///
    /// # Errors
    /// When it cannot be read, others may read it too, or it is not a profile.
    pub(super) fn read(&self) -> Result<Option<Profile>, Fault> {
        let shown = self.0.display();
        let bytes = files::read_optional(&self.0).map_err(|error| Fault::local(format!("read {shown}"), error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let mode = std::fs::metadata(&self.0).map_err(|error| Fault::local(format!("look at {shown}"), error))?;
        if mode.permissions().mode() & 0o077 != 0 {
            let message = format!("the profile {shown} may be read by others, and it holds a secret");
            return Err(Fault::usage(
                message,
                format!("Run `chmod 600 {shown}`, and replace the credential if they did."),
            ));
        }
        let broken = |why: String| {
            Fault::usage(format!("the profile {shown} cannot be read: {why}"), "Log in again, or mend the file.")
        };
        // The error of the parser would show the line, and in it perhaps the secret.
        let document = std::str::from_utf8(&bytes).ok().and_then(|text| toml::from_str::<Document>(text).ok());
        let document = document.ok_or_else(|| broken("it is not TOML, or has other keys than a profile".into()))?;
        document.into_profile().map(Some).map_err(broken)
    }

    /// Writes it, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, profile: &Profile) -> Result<(), Fault> {
        let fault = |error| Fault::local(format!("write {}", self.0.display()), error);
        let text = toml::to_string(&Document::of(profile)).map_err(|error| fault(std::io::Error::other(error)))?;
        self.0.parent().map_or(Ok(()), files::make_dir).map_err(fault)?;
        files::write_atomic(&self.0, text.as_bytes()).map_err(fault)
    }
}

impl Document {
    fn of(profile: &Profile) -> Self {
        let credential = &profile.credential;
        let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        Self {
            address: profile.address.to_string(),
            environment: profile.environment.clone(),
            ca: profile.ca.clone(),
            api_key: text(&credential.api_key),
            token: text(&credential.token),
            token_expires_at: credential.expires_at,
        }
    }

    fn into_profile(self) -> Result<Profile, String> {
        Ok(Profile {
            address: self.address.parse()?,
            ca: self.ca,
            environment: self.environment,
            credential: Credential {
                api_key: self.api_key.map(Secret::new),
                token: self.token.map(Secret::new),
                expires_at: self.token_expires_at,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            address: "https://ck:8443".parse().unwrap(),
            ca: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into(),
            environment: Some("prod".parse().unwrap()),
            credential: Credential {
                api_key: Some(Secret::new("ckk1_hunter2")),
                token: Some(Secret::new("a.b.c")),
                expires_at: Some(Timestamp::from_millis(1_000)),
            },
        }
    }

    #[test]
    fn a_profile_is_private_comes_back_as_it_was_and_prints_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let around = Surroundings::of(&[("XDG_CONFIG_HOME", dir.path().to_str().unwrap())]);
        let file = ProfileFile::named("default", &around).unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.write(&profile()).unwrap();
        assert_eq!(file.read().unwrap(), Some(profile()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
        assert!(!format!("{:?}", profile()).contains("hunter2"));
    }

    #[test]
    fn a_profile_that_others_may_read_or_that_is_none_is_refused_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = ProfileFile(dir.path().join("p.toml"));
        file.write(&profile()).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let shown = file.read().unwrap_err().lines().join("\n");
        assert!(shown.contains("chmod 600"), "{shown}");
        files::write_atomic(file.path(), b"api_key = hunter2").unwrap();
        let shown = file.read().unwrap_err().lines().join("\n");
        assert!(shown.contains("Log in again") && !shown.contains("hunter2"), "{shown}");
    }
}
