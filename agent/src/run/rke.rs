//! Which `rke` there is: where, which version, with which checksum, and what it offers.
//!
//! Asking it is dear (a process and 60 MB to hash), so that what was learned is kept for as long as
//! the file is the same: device, inode, size and both times. An answer that is missing is not kept.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::run::RkeBinary;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::process::PATH;
use crate::volume::digest;

/// Longest that `rke` may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What was learned of an `rke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rke {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub binary: RkeBinary,
    /// What it offers.
    pub kubernetes_versions: Vec<String>,
}

/// Why there is no `rke` to run.
#[derive(Debug, thiserror::Error)]
pub enum RkeError {
    /// None anywhere.
    #[error("no rke was found on PATH")]
    NotFound,
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say what it is.
    #[error("{} --version failed: {why}", path.display())]
    Mute {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Finds `rke` and remembers what it is.
#[derive(Debug)]
pub struct Finder {
    configured: Option<PathBuf>,
    known: Mutex<Option<(FileKey, Arc<Rke>)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileKey {
    path: PathBuf,
    dev: u64,
    ino: u64,
    size: u64,
    changed: (i64, i64, i64, i64),
}

impl Finder {
    /// Looks at the configured place, or else on `PATH`.
    #[must_use]
    pub fn new(configured: Option<PathBuf>) -> Self {
        Self { configured, known: Mutex::new(None) }
    }

    /// The `rke` that would be run now.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub async fn find(&self) -> Result<Arc<Rke>, RkeError> {
        let path = self.locate()?;
        let key = key(&path).map_err(|source| RkeError::Unreadable { path: path.clone(), source })?;
        let mut known = self.known.lock().await;
        if let Some((_, rke)) = known.as_ref().filter(|(found, _)| *found == key) {
            return Ok(rke.clone());
        }
        let (rke, whole) = learn(path).await?;
        let rke = Arc::new(rke);
        *known = whole.then(|| (key, rke.clone()));
        Ok(rke)
    }

    fn locate(&self) -> Result<PathBuf, RkeError> {
        if let Some(path) = &self.configured {
            return std::path::absolute(path).map_err(|source| RkeError::Unreadable { path: path.clone(), source });
        }
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let candidates = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("rke"));
        candidates.into_iter().find(|candidate| is_executable(candidate)).ok_or(RkeError::NotFound)
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0)
}

fn key(path: &Path) -> io::Result<FileKey> {
    let m = fs::metadata(path)?;
    let changed = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    Ok(FileKey { path: path.to_owned(), dev: m.dev(), ino: m.ino(), size: m.size(), changed })
}

/// What there is to learn, and whether that is all: what was not said is asked for again.
async fn learn(path: PathBuf) -> Result<(Rke, bool), RkeError> {
    let said = ask(&path, &["--version"]).await.map_err(|why| RkeError::Mute { path: path.clone(), why })?;
    let version = said.lines().next().unwrap_or_default();
    let version: String = version.strip_prefix("rke version ").unwrap_or(version).trim().chars().take(200).collect();
    let offered = ask(&path, &["config", "--list-version", "--all"]).await;
    let whole = offered.is_ok();
    let kubernetes_versions = offered.map_or_else(
        |why| {
            tracing::warn!(path = %path.display(), why, "rke does not say which Kubernetes versions it offers");
            Vec::new()
        },
        |said| said.lines().map(str::trim).filter(|l| l.starts_with('v')).take(1_000).map(str::to_owned).collect(),
    );
    let hashed = path.clone();
    let sha256 = tokio::task::spawn_blocking(move || digest::file(&hashed)).await.map_err(io::Error::other);
    let (_, sha256) = sha256
        .and_then(std::convert::identity)
        .map_err(|source| RkeError::Unreadable { path: path.clone(), source })?;
    let rehearsal = version.to_ascii_lowercase().contains("rehearsal");
    Ok((Rke { path, binary: RkeBinary { version, sha256, rehearsal }, kubernetes_versions }, whole))
}

async fn ask(path: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("PATH", PATH).env("HOME", "/nonexistent").current_dir("/");
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let asked = tokio::time::timeout(ANSWER_WITHIN, command.output()).await;
    let output = asked.map_err(|_| format!("no answer within {} s", ANSWER_WITHIN.as_secs()))?;
    let output = output.map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("it ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(dir: &Path, version: &str) -> PathBuf {
        let path = dir.join("rke");
        let list = "[ \"$1\" = config ] && echo v1.30.14-rancher1-1 && exit 0";
        std::fs::write(&path, format!("#!/bin/sh\n{list}\necho 'rke version {version}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn hostile_row_68_a_swapped_rke_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let finder = Finder::new(Some(script(dir.path(), "v1.6.3")));
        let first = finder.find().await.unwrap();
        assert_eq!((first.binary.version.as_str(), first.binary.rehearsal), ("v1.6.3", false));
        assert_eq!(first.kubernetes_versions, ["v1.30.14-rancher1-1"]);
        assert!(Arc::ptr_eq(&first, &finder.find().await.unwrap()), "asked once");
        script(dir.path(), "v1.2.23-rehearsal");
        let second = finder.find().await.unwrap();
        assert!(second.binary.rehearsal && second.binary.sha256 != first.binary.sha256);
    }

    #[tokio::test]
    async fn an_rke_that_did_not_say_what_it_offers_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, warm) = (dir.path().join("rke"), dir.path().join("warm"));
        let list = format!("[ \"$1\" = config ] && {{ [ -e {} ] && echo v1.30.14-rancher1-1; exit; }}", warm.display());
        std::fs::write(&path, format!("#!/bin/sh\n{list}\necho 'rke version v1.6.3'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let finder = Finder::new(Some(path));
        assert!(finder.find().await.unwrap().kubernetes_versions.is_empty());
        std::fs::write(warm, "").unwrap();
        let found = finder.find().await.unwrap();
        assert_eq!(found.kubernetes_versions, ["v1.30.14-rancher1-1"]);
        assert!(Arc::ptr_eq(&found, &finder.find().await.unwrap()));
    }

    #[tokio::test]
    async fn an_rke_that_is_missing_or_mute_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Finder::new(Some(dir.path().join("none")));
        assert!(matches!(missing.find().await, Err(RkeError::Unreadable { .. })));
        let mute = dir.path().join("mute");
        std::fs::write(&mute, "#!/bin/sh\nexit 3\n").unwrap();
        std::fs::set_permissions(&mute, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Finder::new(Some(mute)).find().await, Err(RkeError::Mute { .. })));
    }
}
