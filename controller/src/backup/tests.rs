//! Backups and restores: what comes back, what does not count any more, and what is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::mint::Mint;

use super::*;
use crate::anchor::Anchor;
use crate::config::data::Data;
use crate::datadir::{DataDir, Opening};
use crate::keys::master::{LOCAL_FILE, MasterKeySource};
use crate::plan::ca_rotation::Step;
use crate::store::conformance::house::{Bastion, entry};
use crate::store::conformance::{House, Opened, Place};
use crate::store::sqlite::{DATABASE_FILE, SqliteOptions, SqliteStore};
use crate::store::{AcceptProvision, ClusterFilter, EnrollAgent, Enrolled, PageRequest, Store};

const TOKENS_LIVE: Duration = Duration::from_secs(3_600);

struct Folder(PathBuf);

impl Place for Folder {
    fn open(&self) -> Opened<'_> {
        let store = || SqliteStore::open(&self.0, SqliteOptions::default()).unwrap();
        Box::pin(async move { Arc::new(store()) as Arc<dyn Store> })
    }
}

/// A controller's data directory that was used, and a place for another one.
struct Used {
    dir: tempfile::TempDir,
    clock: Clock,
    mint: Mint,
}

impl Used {
    fn new() -> Self {
        let clock = clock::system();
        Self { dir: tempfile::tempdir().unwrap(), mint: Mint::system(clock.clone()), clock }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, name: &str, opening: Opening) -> Result<DataDir, DataDirError> {
        let (path, source) = (self.path(name), MasterKeySource::Local);
        DataDir::open(&path, &source, KeyAlgorithm::EcdsaP256, opening, &self.clock, &self.mint)
    }

    /// A backup; what the stories of the store sealed is taken out first, for it opens under no key.
    async fn backup(&self, name: &str) -> Result<Made, BackupError> {
        let db = rusqlite::Connection::open(self.path("data").join(DATABASE_FILE)).unwrap();
        let unsealed = "UPDATE clusters SET sealed_secrets = NULL; UPDATE revisions SET sealed_secrets = NULL";
        db.execute_batch(unsealed).unwrap();
        drop(db);
        self.backup_as_it_is(name).await
    }

    async fn backup_as_it_is(&self, name: &str) -> Result<Made, BackupError> {
        let data = self.open("data", Opening::Command)?;
        make(data, &self.path(name), entry("controller.backup", name), &self.clock).await
    }

    /// An empty data directory with the master key of the other.
    fn with_key(&self, name: &str) -> Data {
        let directory = self.path(name);
        cratekube_common::runtime::files::make_dir(&directory).unwrap();
        std::fs::copy(self.path("data").join(LOCAL_FILE), directory.join(LOCAL_FILE)).unwrap();
        Data { directory, master_key: MasterKeySource::Local }
    }

    async fn restored(&self, backup: &str, name: &str) -> Result<Restored, BackupError> {
        restore(&self.with_key(name), &self.path(backup), TOKENS_LIVE, &self.clock, &self.mint).await
    }
}

/// The highest fence of a cluster.
fn fence(data: &Path) -> i64 {
    let db = rusqlite::Connection::open(data.join(DATABASE_FILE)).unwrap();
    db.query_row("SELECT fence FROM clusters WHERE name = 'running'", [], |row| row.get(0)).unwrap()
}

/// Names of clusters.
async fn names(store: &dyn Store) -> Vec<String> {
    let filter = ClusterFilter { environment: "prod".parse().unwrap(), include_removed: false };
    let page = store.clusters(filter, PageRequest { after: None, limit: 1_000 }).await.unwrap();
    page.items.into_iter().map(|cluster| cluster.name.to_string()).collect()
}

/// A place with a cluster that is built, one that is being built, and one that waits.
async fn used() -> (Used, House, Bastion) {
    let place = Used::new();
    drop(place.open("data", Opening::Serve).unwrap());
    let house = House::open(Box::new(Folder(place.path("data")))).await;
    let bastion = house.bastion("bastion-a", "*").await;
    house.ready(bastion, "prod", "built").await;
    let work = house.running(bastion, "prod", "running").await;
    house.append(bastion, &work, 0, "so far\n").await;
    house.provisioned("prod", "waiting").await;
    (place, house, bastion)
}

#[tokio::test]
async fn what_was_there_comes_back_and_nothing_of_before_is_honoured() {
    let (place, house, bastion) = used().await;
    let before = fence(&place.path("data"));
    house.token("a secret", "*").await;
    let db = rusqlite::Connection::open(place.path("data").join(DATABASE_FILE)).unwrap();
    db.execute("UPDATE join_tokens SET expires_at = ?1", [place.clock.now().after(TOKENS_LIVE).as_millis()]).unwrap();
    drop(db);
    let made = place.backup("one.tar").await.unwrap();
    assert_eq!(made.outputs, 1);
    // It goes on.
    house.provisioned("prod", "later").await;
    house.store.close().await;

    let restored = place.restored("one.tar", "anew").await.unwrap();
    assert_eq!((restored.store.clusters, restored.store.unknown, restored.store.volumes), (3, 1, 1));
    let data = place.open("anew", Opening::Serve).unwrap();
    let store = Arc::new(SqliteStore::open(&data.path, SqliteOptions::default()).unwrap());
    let anchor = Anchor::new(&data.path, data.envelope).read().unwrap();
    let end = store.follow_audit(anchor.clone()).await.unwrap();
    assert_eq!((end.is_some(), anchor), (true, end), "the chain goes on and is anchored");
    let page = store.audit_entries(PageRequest { after: None, limit: 2 }).await.unwrap();
    let actions: Vec<_> = page.items.iter().map(|record| record.entry.action.as_str()).collect();
    assert_eq!(actions, ["controller.restore", "controller.backup"]);
    let again = House::open(Box::new(Folder(data.path.clone()))).await;
    assert_eq!(again.cluster("prod", "built").await.generation, Some(1));
    assert!(store.cluster(&"prod".parse().unwrap(), &"later".parse().unwrap()).await.unwrap().is_none());
    let operation = again.cluster("prod", "running").await.operation.unwrap();
    let attempts = again.store.attempts(operation).await.unwrap();
    assert_eq!(attempts[0].state, AttemptState::Unknown, "nobody knows now");
    let output = again.store.read_output(operation, 0, 100).await.unwrap();
    assert_eq!(output.data, "so far\n");
    assert!(fence(&data.path) > before + 1_000_000, "a new epoch");
    assert!(again.lease(bastion, 4).await.is_empty(), "the volume was not looked through");
    let used_late = EnrollAgent { now: place.clock.now(), ..again.enrolment("a secret", "late") };
    assert!(matches!(again.store.enroll_agent(used_late).await.unwrap(), Enrolled::Refused(_)), "the token has ended");
    let (revocations, _) = again.store.revocations_after(0).await.unwrap();
    assert_eq!(revocations.len(), 1, "every token of before");
}

#[tokio::test]
async fn hostile_row_39_a_backup_has_both_roots_and_how_far_their_rotation_is() {
    let (place, house, _) = used().await;
    house.store.close().await;
    for (step, name) in [(Step::Begin, "introduced"), (Step::Switch, "switched"), (Step::Finish, "finished")] {
        let data = place.open("data", Opening::Serve).unwrap();
        data.authority.take(step, |_| Ok(())).unwrap();
        let now = data.authority.now();
        drop(data);
        place.backup(&format!("{name}.tar")).await.unwrap();
        place.restored(&format!("{name}.tar"), name).await.unwrap();
        let restored = place.open(name, Opening::Serve).unwrap();
        assert_eq!(restored.authority.now(), now);
        let pem = std::fs::read_to_string(place.path(name).join("ca.pem")).unwrap();
        assert_eq!(pem, restored.authority.pem(), "{name}");
    }
}

#[tokio::test]
async fn the_same_backup_restored_twice_gives_no_fence_twice() {
    let (place, house, _) = used().await;
    place.backup("one.tar").await.unwrap();
    house.store.close().await;
    let mut fences = Vec::new();
    for name in ["first", "second"] {
        place.restored("one.tar", name).await.unwrap();
        fences.push(fence(&place.path(name)));
    }
    assert!(fences[0] <= fences[1], "{fences:?}");
    assert!(fences[0] >> 20 > 1_700_000_000, "by the time: {fences:?}");
}

#[tokio::test]
async fn hostile_row_77_what_is_not_whole_not_ours_or_in_the_way_is_refused() {
    let (place, house, _) = used().await;
    place.backup("one.tar").await.unwrap();
    assert!(matches!(place.backup("one.tar").await, Err(BackupError::Taken(_))));
    house.store.close().await;
    let whole = std::fs::read(place.path("one.tar")).unwrap();

    let taken = place.with_key("taken");
    std::fs::write(taken.directory.join("something"), "else").unwrap();
    let refused = restore(&taken, &place.path("one.tar"), TOKENS_LIVE, &place.clock, &place.mint).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty { .. })), "{refused:?}");

    for (name, bytes) in [("cut.tar", whole[..whole.len() / 2].to_vec()), ("flipped.tar", flipped(&whole))] {
        std::fs::write(place.path(name), bytes).unwrap();
        let refused = place.restored(name, &format!("of-{name}")).await;
        assert!(matches!(refused, Err(BackupError::Unusable { .. })), "{name}: {refused:?}");
        no_controller_starts(&place, &format!("of-{name}"));
    }

    let other = place.with_key("other");
    std::fs::write(other.directory.join(LOCAL_FILE), "5a".repeat(32)).unwrap();
    let refused = restore(&other, &place.path("one.tar"), TOKENS_LIVE, &place.clock, &place.mint).await;
    assert!(matches!(refused, Err(BackupError::OtherKey)), "{refused:?}");
    no_controller_starts(&place, "other");

    let keyless = Data { directory: place.path("keyless"), master_key: MasterKeySource::Local };
    let refused = restore(&keyless, &place.path("one.tar"), TOKENS_LIVE, &place.clock, &place.mint).await.unwrap_err();
    assert!(refused.to_string().contains("put it back"), "{refused}");
    assert!(!place.path("keyless").join(LOCAL_FILE).exists(), "a master key is never made anew");
    place.restored("one.tar", "of-cut.tar").await.unwrap();
}

/// One byte of the database is another.
fn flipped(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let at = bytes.windows(15).position(|at| at == b"SQLite format 3").unwrap();
    bytes[at + 5_000] ^= 1;
    bytes
}

fn no_controller_starts(place: &Used, name: &str) {
    assert!(!place.path(name).join(DATABASE_FILE).exists(), "nothing of it took its place");
    assert!(place.open(name, Opening::Command).is_err());
}

#[tokio::test]
async fn a_restore_that_was_interrupted_is_made_again_and_until_then_nothing_serves() {
    let (place, house, _) = used().await;
    place.backup("one.tar").await.unwrap();
    house.store.close().await;
    let data = place.with_key("anew");
    // It was unpacking.
    std::fs::create_dir_all(data.directory.join("restoring/output")).unwrap();
    std::fs::write(data.directory.join("restoring").join(DATABASE_FILE), "half").unwrap();
    place.restored("one.tar", "anew").await.unwrap();
    // It was putting things into their places: the marker comes last.
    std::fs::remove_file(data.directory.join("controller.json")).unwrap();
    let refused = place.open("anew", Opening::Serve).unwrap_err();
    assert!(refused.to_string().contains("missing although"), "{refused}");
    let again = place.restored("one.tar", "anew").await;
    assert!(matches!(again, Err(BackupError::NotEmpty { .. })), "{again:?}");
}

#[tokio::test]
async fn a_backup_with_a_secret_that_does_not_open_is_refused() {
    let (place, house, _) = used().await;
    place.backup_as_it_is("one.tar").await.unwrap();
    house.store.close().await;
    let refused = place.restored("one.tar", "anew").await.unwrap_err();
    assert!(refused.to_string().contains("the secrets of cluster"), "{refused}");
    no_controller_starts(&place, "anew");
}

#[tokio::test]
async fn a_backup_has_no_secret_that_is_not_sealed() {
    let (place, house, _) = used().await;
    place.backup("one.tar").await.unwrap();
    house.store.close().await;
    let whole = std::fs::read(place.path("one.tar")).unwrap();
    let key = std::fs::read(place.path("data").join(LOCAL_FILE)).unwrap();
    assert!(!whole.windows(key.len()).any(|at| at == key), "the master key is not in it");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(place.path("one.tar")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "only its owner reads it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_one_moment() {
    let (place, house, _) = used().await;
    let store = Arc::clone(&house.store);
    let request = |n: u32| AcceptProvision { sealed_secrets: None, ..house.provision("prod", &format!("busy-{n}")) };
    let requests: Vec<_> = (0..200).map(request).collect();
    let load = tokio::spawn(async move {
        for request in requests {
            store.accept_provision(request).await.unwrap();
        }
    });
    place.backup("one.tar").await.unwrap();
    load.await.unwrap();
    let all = names(&*house.store).await;
    house.store.close().await;
    place.restored("one.tar", "anew").await.unwrap();
    let again = House::open(Box::new(Folder(place.path("anew")))).await;
    // What is in it is what was there first, without gaps, each with its operation.
    let kept = names(&*again.store).await;
    let busy = |names: &[String]| names.iter().filter(|name| name.starts_with("busy-")).count();
    assert!(busy(&kept) <= busy(&all));
    for n in 0..busy(&kept) {
        assert!(again.cluster("prod", &format!("busy-{n}")).await.operation.is_some());
    }
}
