//! As whom the agent works, and whether what it works on belongs to that user.
//!
//! The doctor is often asked by root, for whom everything is readable; what counts is the user of the
//! agent, which is taken to be the owner of its state directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Check;

const ACCOUNT: &str = "account";
/// Files of others that are named; more say nothing new.
const MOST_NAMED: usize = 3;

/// Whether the state directory and the volumes belong to one user.
#[must_use]
pub fn check(state_dir: &Path, volumes: &[PathBuf], euid: u32) -> Vec<Check> {
    // Without a state directory nobody is enrolled, which another check tells.
    let Ok(owner) = fs::metadata(state_dir).map(|meta| meta.uid()) else { return Vec::new() };
    let mut checks = Vec::new();
    if euid != owner {
        checks.push(Check::warn(
            ACCOUNT,
            format!(
                "asked by user {euid}, but {} belongs to user {owner}: what is readable may differ",
                state_dir.display()
            ),
            format!("ask as that user: sudo -u '#{owner}' cratekube-agent doctor"),
        ));
    }
    for volume in volumes {
        let foreign = of_others(volume, owner);
        if !foreign.is_empty() {
            let shown =
                foreign.iter().map(|(path, uid)| format!("{} (user {uid})", path.display())).collect::<Vec<_>>();
            checks.push(Check::fail(
                ACCOUNT,
                format!(
                    "on {} there is what the agent's user {owner} does not own: {}",
                    volume.display(),
                    shown.join(", ")
                ),
                format!("chown -R {owner} {}", volume.display()),
            ));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(ACCOUNT, format!("user {owner} owns identity and volumes")));
    }
    checks
}

/// What the agent itself makes on a volume, and does not belong to its user.
fn of_others(volume: &Path, owner: u32) -> Vec<(PathBuf, u32)> {
    let ours = ["volume.json", "volume.lock", "owner.json", "clusters"].map(|name| volume.join(name));
    let environments = fs::read_dir(volume.join("clusters")).into_iter().flatten().flatten();
    let clusters = environments
        .flat_map(|environment| fs::read_dir(environment.path()).into_iter().flatten().flatten())
        .map(|cluster| cluster.path());
    let owned = |path: PathBuf| Some((fs::symlink_metadata(&path).ok()?.uid(), path));
    let all = ours.into_iter().chain(clusters).filter_map(owned);
    all.filter(|(uid, _)| *uid != owner).map(|(uid, path)| (path, uid)).take(MOST_NAMED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_volume_that_came_from_another_hosts_account_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (state, volume) = (dir.path().join("state"), dir.path().join("volume"));
        fs::create_dir_all(volume.join("clusters/prod/web")).unwrap();
        assert!(check(&state, &[], 0).is_empty(), "not enrolled");
        fs::create_dir(&state).unwrap();
        let owner = fs::metadata(&state).unwrap().uid();
        let well = check(&state, std::slice::from_ref(&volume), owner);
        assert_eq!((well.len(), well[0].level), (1, Level::Ok), "{well:?}");
        let asked = check(&state, std::slice::from_ref(&volume), owner + 1);
        assert!(asked[0].level == Level::Warn && asked[0].remedy.contains("sudo -u"), "{asked:?}");
        let foreign = of_others(&volume, owner + 1);
        assert_eq!(foreign.len(), 2, "clusters, and the cluster: {foreign:?}");
    }
}
