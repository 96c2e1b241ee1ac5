//! Whether a state volume will be mounted again after the next start of the host, and as the same device.

use std::fs;
use std::path::{Path, PathBuf};

use super::Check;

const SUBJECT: &str = "mount";

/// Where the host says what it mounts.
#[derive(Debug, Clone)]
pub struct Tables {
    /// `/etc/fstab`.
    pub fstab: PathBuf,
    /// Where units of the administrator are.
    pub units: PathBuf,
}

impl Default for Tables {
    fn default() -> Self {
        Self { fstab: "/etc/fstab".into(), units: "/etc/systemd/system".into() }
    }
}

/// Looks for the volume in the host's tables.
#[must_use]
pub fn check(volume: &Path, tables: &Tables) -> Check {
    let shown = volume.display();
    let unit = tables.units.join(unit_of(volume));
    if unit.exists() {
        return Check::ok(SUBJECT, format!("{shown} is mounted by {}", unit.display()));
    }
    let table = fs::read_to_string(&tables.fstab).unwrap_or_default();
    let Some((source, options)) = entry(&table, volume) else {
        return Check::warn(
            SUBJECT,
            format!(
                "{shown} is not in {}: after the next start of this host it is not mounted",
                tables.fstab.display()
            ),
            format!("add a line: UUID=<as blkid prints it> {shown} ext4 defaults,noatime,nodev,nosuid,nofail 0 2"),
        );
    };
    if source.starts_with("/dev/") && !source.starts_with("/dev/disk/by-") && !source.starts_with("/dev/mapper/") {
        return Check::warn(
            SUBJECT,
            format!("{shown} is mounted from {source}, a name that another disk may have after the next start"),
            format!(
                "write UUID=… (as `blkid -s UUID -o value {source}` prints it) instead of it into {}",
                tables.fstab.display()
            ),
        );
    }
    if !options.split(',').any(|option| option == "nofail") {
        return Check::warn(
            SUBJECT,
            format!("{shown} is mounted without `nofail`: without its volume this host does not start at all"),
            format!(
                "add nofail to its options in {}; the agent itself refuses an empty mount point",
                tables.fstab.display()
            ),
        );
    }
    Check::ok(SUBJECT, format!("{shown} is mounted from {source} at every start"))
}

/// Source and options of a mount point's line.
fn entry<'a>(table: &'a str, volume: &Path) -> Option<(&'a str, &'a str)> {
    let lines = table.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.rev().find_map(|line| {
        let mut words = line.split_whitespace();
        let (source, place) = (words.next()?, words.next()?);
        (Path::new(place) == volume).then(|| (source, words.nth(1).unwrap_or("")))
    })
}

/// The name of a mount's unit, as `systemd-escape --path` makes it.
fn unit_of(volume: &Path) -> String {
    let text = volume.to_string_lossy();
    let escaped: String = text.trim_matches('/').bytes().map(escape).collect();
    format!("{escaped}.mount")
}

fn escape(byte: u8) -> String {
    match byte {
        b'/' => "-".to_owned(),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("\\x{other:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_volume_that_will_not_be_there_tomorrow_is_told_today() {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables { fstab: dir.path().join("fstab"), units: dir.path().to_owned() };
        let at = Path::new("/mnt/state");
        let judge = |text: &str| {
            fs::write(&tables.fstab, text).unwrap();
            check(at, &tables)
        };
        assert!(check(at, &tables).finding.contains("not mounted"), "no table at all");
        for (line, level, says) in [
            ("UUID=1-2 /mnt/state ext4 defaults,nofail 0 2", Level::Ok, "UUID=1-2"),
            ("/dev/disk/by-id/x /mnt/state/ ext4 nofail 0 2", Level::Ok, "by-id"),
            ("UUID=1-2 /mnt/state ext4 defaults 0 2", Level::Warn, "nofail"),
            ("/dev/nvme1n1 /mnt/state ext4 nofail", Level::Warn, "another disk"),
            ("# UUID=1-2 /mnt/state ext4 nofail", Level::Warn, "not in"),
            ("UUID=1-2 /mnt/state2 ext4 nofail", Level::Warn, "not in"),
        ] {
            let found = judge(line);
            assert!(found.level == level && found.finding.contains(says), "{line}: {found:?}");
            assert_eq!(found.remedy.is_empty(), level == Level::Ok);
        }
        fs::write(dir.path().join("mnt-state.mount"), "").unwrap();
        assert_eq!(check(at, &tables).level, Level::Ok);
        assert_eq!(unit_of(Path::new("/srv/a-b/c d")), r"srv-a\x2db-c\x20d.mount");
    }
}
