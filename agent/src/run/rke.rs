//! Which `rke` there is: where, which version, with which checksum, and what it offers.
//!
//! One that is not allowed is not even asked its version: its checksum comes first, and what is asked and
//! later run is the very file that has it.
//!
//! Asking it is dear (a process and 60 MB to hash), so that what was learned is kept for as long as
//! the file is the same: device, inode, size and both times. An answer that is missing is not kept.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::run::RkeBinary;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::process::{PATH, program_on_path};
use super::program::{FileMark, Program};

/// Longest that `rke` may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What was learned of an `rke`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rke {
    /// Where it is.
    pub path: PathBuf,
    /// Its file, as it was when it was looked at; none where there is no such file.
    pub mark: Option<FileMark>,
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
    /// It is not one of those that may be run.
    #[error("{} has the SHA-256 {sha256}, which is not in `rke.allowed_sha256`", path.display())]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// Its checksum.
        sha256: String,
    },
}

impl RkeError {
    /// The same as a failure of the operation.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        // Only someone on the agent's host can mend it, so that trying again by itself helps nobody.
        let (retryable, remedy) = match self {
            Self::NotAllowed { .. } => (
                false,
                "Put an allowed rke on the agent's host, or its checksum into `rke.allowed_sha256`, then retry. Nothing was run.",
            ),
            _ => (true, "Install rke on the agent's host, or name it in its settings."),
        };
        let class = FailureClass::Internal;
        Failure { class, message: self.to_string(), line: None, retryable, remedy: remedy.into() }
    }
}

/// Finds `rke` and remembers what it is.
#[derive(Debug)]
pub struct Finder {
    configured: Option<PathBuf>,
    allowed: Vec<String>,
    known: Mutex<Option<Arc<Rke>>>,
}

impl Finder {
    /// Looks at the configured place, or else on `PATH`. With checksums given, only one that has one of
    /// them is taken.
    #[must_use]
    pub fn new(configured: Option<PathBuf>, allowed: Vec<String>) -> Self {
        Self { configured, allowed, known: Mutex::new(None) }
    }

    /// The `rke` that would be run now.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub async fn find(&self) -> Result<Arc<Rke>, RkeError> {
        let path = self.locate()?;
        let unreadable = |source| RkeError::Unreadable { path: path.clone(), source };
        let program = Program::open(&path).map_err(unreadable)?;
        let mark = program.mark().map_err(unreadable)?;
        let mut known = self.known.lock().await;
        if let Some(rke) = known.as_ref().filter(|rke| rke.path == path && rke.mark.as_ref() == Some(&mark)) {
            return Ok(rke.clone());
        }
        let (rke, whole) = self.learn(path, program).await?;
        let rke = Arc::new(rke);
        *known = whole.then(|| rke.clone());
        Ok(rke)
    }

    fn locate(&self) -> Result<PathBuf, RkeError> {
        if let Some(path) = &self.configured {
            return std::path::absolute(path).map_err(|source| RkeError::Unreadable { path: path.clone(), source });
        }
        program_on_path("rke").ok_or(RkeError::NotFound)
    }

    /// What there is to learn, and whether that is all: what was not said is asked for again.
    async fn learn(&self, path: PathBuf, program: Program) -> Result<(Rke, bool), RkeError> {
        let hashed = tokio::task::spawn_blocking(move || program.sha256().map(|found| (program, found))).await;
        let (program, (sha256, mark)) = hashed
            .map_err(io::Error::other)
            .flatten()
            .map_err(|source| RkeError::Unreadable { path: path.clone(), source })?;
        if !self.allowed.is_empty() && !self.allowed.contains(&sha256) {
            return Err(RkeError::NotAllowed { path, sha256 });
        }
        let (version, kubernetes_versions) = question(&path, &program).await?;
        let rehearsal = version.to_ascii_lowercase().contains("rehearsal");
        let whole = kubernetes_versions.is_some();
        let binary = RkeBinary { version, sha256, rehearsal };
        Ok((
            Rke { path, mark: Some(mark), binary, kubernetes_versions: kubernetes_versions.unwrap_or_default() },
            whole,
        ))
    }
}

/// Its version, and what it offers, if it says so.
async fn question(path: &Path, program: &Program) -> Result<(String, Option<Vec<String>>), RkeError> {
    let said = ask((path, program), &["--version"]).await;
    let said = said.map_err(|why| RkeError::Mute { path: path.to_owned(), why })?;
    let version = said.lines().next().unwrap_or_default();
    let version = version.strip_prefix("rke version ").unwrap_or(version).trim().chars().take(200).collect();
    match ask((path, program), &["config", "--list-version", "--all"]).await {
        Ok(said) => {
            let lines = said.lines().map(str::trim).filter(|l| l.starts_with('v')).take(1_000);
            Ok((version, Some(lines.map(str::to_owned).collect())))
        }
        Err(why) => {
            tracing::warn!(path = %path.display(), why, "rke does not say which Kubernetes versions it offers");
            Ok((version, None))
        }
    }
}

async fn ask((path, program): (&Path, &Program), arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program.executable());
    command.arg0(path).args(arguments).env_clear().env("PATH", PATH).env("HOME", "/nonexistent").current_dir("/");
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
        let finder = Finder::new(Some(script(dir.path(), "v1.6.3")), Vec::new());
        let first = finder.find().await.unwrap();
        assert_eq!((first.binary.version.as_str(), first.binary.rehearsal), ("v1.6.3", false));
        assert_eq!(first.kubernetes_versions, ["v1.30.14-rancher1-1"]);
        assert!(Arc::ptr_eq(&first, &finder.find().await.unwrap()), "asked once");
        script(dir.path(), "v1.2.23-rehearsal");
        let second = finder.find().await.unwrap();
        assert!(second.binary.rehearsal && second.binary.sha256 != first.binary.sha256);
    }

    #[tokio::test]
    async fn hostile_row_68_an_rke_that_is_not_on_the_list_is_not_even_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(dir.path(), "v1.6.3");
        let allowed = Finder::new(Some(path.clone()), Vec::new()).find().await.unwrap().binary.sha256.clone();
        let finder = Finder::new(Some(path.clone()), vec!["00".repeat(32), allowed]);
        assert_eq!(finder.find().await.unwrap().binary.version, "v1.6.3");
        let asked = dir.path().join("asked");
        std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", asked.display())).unwrap();
        let refused = finder.find().await.unwrap_err();
        assert!(matches!(refused, RkeError::NotAllowed { .. }) && !asked.exists());
        let failure = refused.to_failure();
        assert!(!failure.retryable && failure.remedy.contains("rke.allowed_sha256"), "{failure:?}");
    }

    #[tokio::test]
    async fn an_rke_that_did_not_say_what_it_offers_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, warm) = (dir.path().join("rke"), dir.path().join("warm"));
        let list = format!("[ \"$1\" = config ] && {{ [ -e {} ] && echo v1.30.14-rancher1-1; exit; }}", warm.display());
        std::fs::write(&path, format!("#!/bin/sh\n{list}\necho 'rke version v1.6.3'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let finder = Finder::new(Some(path), Vec::new());
        assert!(finder.find().await.unwrap().kubernetes_versions.is_empty());
        std::fs::write(warm, "").unwrap();
        let found = finder.find().await.unwrap();
        assert_eq!(found.kubernetes_versions, ["v1.30.14-rancher1-1"]);
        assert!(Arc::ptr_eq(&found, &finder.find().await.unwrap()));
    }

    #[tokio::test]
    async fn an_rke_that_is_missing_or_mute_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Finder::new(Some(dir.path().join("none")), Vec::new());
        assert!(matches!(missing.find().await, Err(RkeError::Unreadable { .. })));
        let mute = dir.path().join("mute");
        std::fs::write(&mute, "#!/bin/sh\nexit 3\n").unwrap();
        std::fs::set_permissions(&mute, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Finder::new(Some(mute), Vec::new()).find().await, Err(RkeError::Mute { .. })));
    }
}
