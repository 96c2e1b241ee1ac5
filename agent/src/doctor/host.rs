//! The agent's own files and its state volumes.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cratekube_common::domain::agent::RENEW_GRACE;
use cratekube_common::domain::time::Timestamp;

use super::Check;
use crate::config::VolumesSection;
use crate::identity::files::{IdentityFiles, Saved};
use crate::volume::origin::{Origin, Places};
use crate::volume::reserve;

const IDENTITY: &str = "identity";
const VOLUME: &str = "volume";

/// Whether the agent is enrolled, its files are private, and its certificate lives.
#[must_use]
pub fn identity(state_dir: &Path, now: Timestamp) -> Vec<Check> {
    let files = IdentityFiles::at(state_dir);
    let mut checks = match files.load() {
        Ok(saved) => vec![certificate(&saved, now)],
        Err(error) => return vec![Check::fail(IDENTITY, error.to_string(), "run `cratekube-agent enroll`")],
    };
    checks.extend(private(state_dir, 0o700));
    checks.extend(private(&files.current_path(), 0o600));
    checks
}

fn certificate(saved: &Saved, now: Timestamp) -> Check {
    let identity = &saved.current;
    let again = "run `cratekube-agent enroll --force` with a new join token";
    match identity.validity() {
        Err(error) => Check::fail(IDENTITY, error.to_string(), again),
        Ok(validity) if validity.is_over(now) && now <= validity.not_after.after(RENEW_GRACE) => {
            let until = validity.not_after.after(RENEW_GRACE);
            let finding = format!("the certificate ended at {}; it may be renewed until {until}", validity.not_after);
            Check::warn(IDENTITY, finding, super::controller::START)
        }
        Ok(validity) if validity.is_over(now) => {
            Check::fail(IDENTITY, format!("the certificate ended at {}", validity.not_after), again)
        }
        Ok(validity) if now < validity.not_before => Check::fail(
            IDENTITY,
            format!("the certificate begins at {}, but this host's clock says {now}", validity.not_before),
            "set this host's clock",
        ),
        Ok(validity) => {
            let finding =
                format!("agent {} ({}), certificate until {}", identity.name, identity.agent, validity.not_after);
            Check::ok(IDENTITY, finding)
        }
    }
}

fn private(path: &Path, wanted: u32) -> Option<Check> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        Check::fail(
            IDENTITY,
            format!("{shown} has mode {mode:04o}: others may read it"),
            format!("chmod {wanted:o} {shown}"),
        )
    })
}

/// Whether a state volume is there, is one, and has room.
#[must_use]
pub fn volume(path: &Path, settings: &VolumesSection) -> Vec<Check> {
    let shown = path.display();
    let facts = match facts(path) {
        Ok(facts) => facts,
        Err(error) => {
            let remedy = format!("mount the volume at {shown}, or correct `volumes.paths`");
            return vec![Check::fail(VOLUME, format!("{shown}: {error}"), remedy)];
        }
    };
    let mut checks = Vec::new();
    if settings.require_mount && !facts.is_mount {
        let remedy =
            format!("mount the volume at {shown}; for a trial without one set `volumes.require_mount = false`");
        checks.push(Check::fail(VOLUME, format!("{shown} is not a mount point: the volume is not mounted"), remedy));
    }
    if facts.read_only {
        let remedy = "look for errors of the disk in the kernel's log, then mount it writable";
        checks.push(Check::fail(VOLUME, format!("{shown} is mounted read-only"), remedy));
    }
    let id = match crate::volume::identity::read(path) {
        Ok(Some(file)) => {
            if let Some((recorded, found)) =
                file.origin.and_then(|o| o.difference(&Origin::find(path, &Places::default())))
            {
                let remedy = format!(
                    "attach the original; only when it is gone for good, run `cratekube-agent init-volume --accept-copy --path {shown}`"
                );
                let finding =
                    format!("{shown} is a copy of state volume {}: made on {recorded}, this is {found}", file.id);
                checks.push(Check::fail(VOLUME, finding, remedy));
            }
            file.id.to_string()
        }
        Ok(None) => {
            let remedy = format!(
                "check that the right volume is mounted; for a new one run `cratekube-agent init-volume --path {shown}`"
            );
            checks.push(Check::fail(VOLUME, format!("{shown} is no state volume: volume.json is missing"), remedy));
            String::new()
        }
        Err(error) => {
            checks.push(Check::fail(VOLUME, error.to_string(), "restore volume.json from a backup of this volume"));
            String::new()
        }
    };
    if facts.free_bytes < settings.min_free_bytes {
        let finding =
            format!("{shown} has {} MiB free, {} MiB are needed", mib(facts.free_bytes), mib(settings.min_free_bytes));
        checks.push(Check::fail(VOLUME, finding, "grow the volume, or remove what does not belong there"));
    }
    let kept = fs::metadata(reserve::path(path)).map_or(0, |meta| meta.len());
    // It is taken when the volume is first served.
    if checks.is_empty() && path.join("owner.json").exists() && kept < reserve::RESERVE_BYTES {
        let finding = format!(
            "{shown} keeps {} of {} MiB back for results: a full disk may lose how a run ended",
            mib(kept),
            mib(reserve::RESERVE_BYTES)
        );
        checks.push(Check::warn(VOLUME, finding, "make room; the agent takes it back by itself when it starts"));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            VOLUME,
            format!("{shown} ({id}), {} of {} MiB free", mib(facts.free_bytes), mib(facts.total_bytes)),
        ));
    }
    checks
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

struct Facts {
    is_mount: bool,
    read_only: bool,
    free_bytes: u64,
    total_bytes: u64,
}

fn facts(path: &Path) -> io::Result<Facts> {
    let root = fs::canonicalize(path)?;
    let here = fs::metadata(&root)?;
    if !here.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let is_mount = match root.parent() {
        Some(parent) => fs::metadata(parent)?.dev() != here.dev(),
        None => true,
    };
    let vfs = rustix::fs::statvfs(&root)?;
    Ok(Facts {
        is_mount,
        read_only: vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        free_bytes: vfs.f_bavail.saturating_mul(vfs.f_frsize),
        total_bytes: vfs.f_blocks.saturating_mul(vfs.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use cratekube_common::runtime::clock;
    use cratekube_common::runtime::mint::Mint;
    use std::sync::Arc;

    fn settings(require_mount: bool, min_free_bytes: u64) -> VolumesSection {
        VolumesSection {
            paths: Vec::new(),
            require_mount,
            keep_generations: 2,
            scrub_interval: std::time::Duration::ZERO,
            min_free_bytes,
        }
    }

    #[test]
    fn hostile_row_56_an_empty_mount_point_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let found = volume(dir.path(), &settings(true, 0));
        assert_eq!(found.len(), 2, "not mounted, and no volume: {found:?}");
        assert!(found.iter().all(|check| check.level == Level::Fail && !check.remedy.is_empty()));
        std::fs::write(dir.path().join("volume.json"), "{}").unwrap();
        assert!(volume(dir.path(), &settings(false, 0))[0].remedy.contains("restore"), "damaged");
        std::fs::remove_file(dir.path().join("volume.json")).unwrap();
        let clock = clock::system();
        crate::volume::identity::init(dir.path(), &Mint::system(Arc::clone(&clock)), &clock).unwrap();
        assert_eq!(volume(dir.path(), &settings(false, 0))[0].level, Level::Ok);
        assert!(volume(dir.path(), &settings(false, u64::MAX))[0].finding.contains("MiB free"));
        drop(crate::volume::identity::open(dir.path(), false).unwrap());
        assert_eq!(volume(dir.path(), &settings(false, 0))[0].level, Level::Ok, "served, with its reserve");
        std::fs::remove_file(reserve::path(dir.path())).unwrap();
        let spent = volume(dir.path(), &settings(false, 0));
        assert!(spent[0].level == Level::Warn && spent[0].finding.contains("keeps 0 of 8 MiB"), "{spent:?}");
        assert!(volume(&dir.path().join("none"), &settings(false, 0))[0].remedy.contains("mount"));
    }

    #[test]
    fn an_agent_that_is_not_enrolled_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let found = identity(dir.path(), Timestamp::from_millis(0));
        assert!(found[0].finding.contains("not enrolled"), "{found:?}");
        std::fs::write(dir.path().join("identity.json"), "{").unwrap();
        let found = identity(dir.path(), Timestamp::from_millis(0));
        assert!(found[0].finding.contains("damaged"), "{found:?}");
    }
}
