//! `master-key rotate`: everything that is sealed under the master key is sealed anew under another.
//!
//! Invariants: the old key must open what is there before anything is changed; every step can be taken
//! again; what a crash leaves half-way serves nothing and is finished by the same command with either
//! key (see [`rotation`]). No controller may run meanwhile: its lock is held.

use std::io::Read as _;
use std::path::Path;

use cratekube_common::runtime::{files, mint::Mint};

use crate::config::data::Data;
use crate::datadir::{self, DataDirError, SEALED};
use crate::keys::master::{self, MasterKeyError, MasterKeySource};
use crate::keys::rotation::{self, Key, Pair, RotationError};
use crate::keys::{Envelope, EnvelopeError};
use crate::service::{manifests, spec_secrets};
use crate::store::StoreError;
use crate::store::sqlite::{SealedFor, SqliteOptions, SqliteStore};

/// Why the master key was not rotated, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The rotation itself.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed file.
    #[error("cannot seal {path} anew: {fault}")]
    File {
        /// The file.
        path: String,
        /// Why.
        fault: String,
    },
    /// There is no new key.
    #[error("name the file with the new key (--new-key-file): the one in use is not kept beside the data")]
    NoNewKey,
    /// It is the one in use.
    #[error("the new master key is the one in use")]
    SameKey,
    /// Another rotation is under way.
    #[error("a rotation to another key is under way: finish it first, without --new-key-file")]
    AnotherUnderWay,
}

/// What was sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rekeyed {
    /// Files.
    pub files: usize,
    /// Values in the store.
    pub values: u64,
}

/// Rotates the master key, or finishes a rotation that was begun.
///
/// # Errors
/// [`RekeyError`]; run it again then.
pub async fn rotate(data: &Data, new_key_file: Option<&Path>, mint: &Mint) -> Result<Rekeyed, RekeyError> {
    let _lock = datadir::lock_used(&data.directory)?;
    datadir::remove_unfinished(&data.directory)?;
    let at_hand = master::load(&data.master_key, &data.directory, false, mint)?;
    let new = new_key_file.map(master::from_file).transpose()?;
    let pair = begin(data, &at_hand, new, mint)?;
    let envelope = Envelope::between(&pair.old, &pair.new, mint.clone());
    let envelope = envelope.map_err(|fault| file(&data.directory, &fault))?;
    let files = reseal_files(&data.directory, &envelope)?;
    let values = reseal_store(&data.directory, envelope).await?;
    finish(data, &pair)?;
    Ok(Rekeyed { files, values })
}

fn begin(data: &Data, at_hand: &Key, new: Option<Key>, mint: &Mint) -> Result<Pair, RekeyError> {
    let path = &data.directory;
    if let Some(pair) = rotation::resume(path, at_hand, mint)? {
        let other = new.is_some_and(|new| new != pair.new);
        return if other { Err(RekeyError::AnotherUnderWay) } else { Ok(pair) };
    }
    let new = match (new, &data.master_key) {
        (Some(new), _) => new,
        (None, MasterKeySource::Local) => master::make(mint),
        (None, _) => return Err(RekeyError::NoNewKey),
    };
    if new == *at_hand {
        return Err(RekeyError::SameKey);
    }
    check_opens(path, at_hand, mint)?;
    let pair = Pair { old: at_hand.clone(), new };
    rotation::begin(path, &pair, mint)?;
    Ok(pair)
}

/// A wrong key must be found out before anything is written, and no sealed file may be left behind.
fn check_opens(path: &Path, key: &Key, mint: &Mint) -> Result<(), RekeyError> {
    let envelope = Envelope::new(key, mint.clone()).map_err(|fault| file(path, &fault))?;
    for (name, context) in SEALED {
        if let Some(sealed) = read(&path.join(name))? {
            envelope.open(context, &sealed).map_err(|e| file(&path.join(name), &e.to_string()))?;
        }
    }
    for entry in std::fs::read_dir(path).map_err(|e| file(path, &e.to_string()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !SEALED.iter().any(|(known, _)| *known == name)
            && (name.ends_with(".sealed") || holds_sealed(&entry.path())?)
        {
            return Err(file(&entry.path(), "this release does not know what it was sealed for"));
        }
    }
    Ok(())
}

/// Whether a file is a sealed value, whatever it is called.
fn holds_sealed(path: &Path) -> Result<bool, RekeyError> {
    let fault = |e: std::io::Error| file(path, &e.to_string());
    if !std::fs::symlink_metadata(path).map_err(fault)?.is_file() {
        return Ok(false);
    }
    let mut begin = Vec::new();
    let opened = std::fs::File::open(path).map_err(fault)?;
    opened.take(16).read_to_end(&mut begin).map_err(fault)?;
    Ok(Envelope::is_sealed(&begin))
}

fn reseal_files(path: &Path, envelope: &Envelope) -> Result<usize, RekeyError> {
    let mut count = 0;
    for (name, context) in SEALED {
        let at = path.join(name);
        let Some(sealed) = read(&at)? else { continue };
        let anew = envelope.reseal(context, &sealed).map_err(|e: EnvelopeError| file(&at, &e.to_string()))?;
        if let Some(anew) = anew {
            files::write_atomic(&at, &anew).map_err(|e| file(&at, &e.to_string()))?;
        }
        count += 1;
    }
    Ok(count)
}

/// What a sealed value is bound to.
pub(crate) fn context(whose: &SealedFor) -> Vec<u8> {
    match whose {
        SealedFor::Cluster(id) => spec_secrets::context(*id),
        SealedFor::Resource { environment, name } => manifests::context(environment, name),
    }
}

async fn reseal_store(path: &Path, envelope: Envelope) -> Result<u64, RekeyError> {
    let store = SqliteStore::open(path, SqliteOptions::default())?;
    let anew =
        move |whose: &SealedFor, sealed: &[u8]| envelope.reseal(&context(whose), sealed).map_err(|e| e.to_string());
    let count = store.reseal_secrets(anew).await;
    crate::store::Store::close(&store).await;
    Ok(count?)
}

fn finish(data: &Data, pair: &Pair) -> Result<(), RekeyError> {
    if data.master_key == MasterKeySource::Local {
        master::keep_local(&data.directory, &pair.new)?;
    }
    Ok(rotation::end(&data.directory)?)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RekeyError> {
    files::read_optional(path).map_err(|e| file(path, &e.to_string()))
}

fn file(path: &Path, fault: &str) -> RekeyError {
    RekeyError::File { path: path.display().to_string(), fault: fault.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datadir::{DataDir, Opening};
    use crate::service::spec_secrets::{open_secrets, seal_secrets};
    use crate::store::conformance::{House, Opened, Place};
    use crate::store::{Acceptance, Store};
    use cratekube_common::domain::cluster::spec::SpecSecrets;
    use cratekube_common::domain::key_algorithm::KeyAlgorithm;
    use cratekube_common::domain::run::RunOutcome;
    use cratekube_common::domain::secret::Secret;
    use cratekube_common::runtime::clock;
    use cratekube_common::runtime::tls::sha256_hex;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::Arc;

    struct Folder(PathBuf);

    impl Place for Folder {
        fn open(&self) -> Opened<'_> {
            let store = || SqliteStore::open(&self.0, SqliteOptions::default()).unwrap();
            Box::pin(async move { Arc::new(store()) as Arc<dyn Store> })
        }
    }

    /// A data directory that was used: its own keys, and a cluster with a secret.
    struct Used {
        _dir: tempfile::TempDir,
        data: Data,
        mint: Mint,
    }

    const PASSWORD: &str = "hunter2";

    impl Used {
        async fn new(master_key: MasterKeySource) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let used = Self {
                data: Data { directory: dir.path().join("data"), master_key },
                _dir: dir,
                mint: Mint::system(clock::system()),
            };
            let opened = used.open(&used.data.master_key).unwrap();
            let house = House::open(Box::new(Folder(used.data.directory.clone()))).await;
            for name in ["web", "plain"] {
                let mut request = house.provision("prod", name);
                let secrets = SpecSecrets { registry_passwords: vec![Some(Secret::new(PASSWORD))] };
                request.sealed_secrets =
                    (name == "web").then(|| seal_secrets(&*opened.envelope, request.cluster, &secrets).unwrap());
                assert!(matches!(house.store.accept_provision(request).await.unwrap(), Acceptance::Accepted(_)));
            }
            house.store.close().await;
            used
        }

        fn open(&self, key: &MasterKeySource) -> Result<DataDir, DataDirError> {
            let clock = clock::system();
            let algorithm = KeyAlgorithm::EcdsaP256;
            DataDir::open(&self.data.directory, key, algorithm, Opening::Serve, &clock, &self.mint)
        }

        fn key_file(&self, byte: &str) -> PathBuf {
            let path = self.data.directory.join("..").join(format!("key-{byte}"));
            std::fs::write(&path, byte.repeat(32)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        }

        /// Everything opens under this key; answers who the controller is.
        async fn all_opens(&self, key: &MasterKeySource) -> (String, String) {
            let opened = self.open(key).unwrap();
            let house = House::open(Box::new(Folder(self.data.directory.clone()))).await;
            let bastion = house.bastion(&format!("b{}", house.id::<uuid::Uuid>().simple()), "*").await;
            for task in house.lease(bastion, 4).await {
                if let Some(sealed) = task.sealed_secrets {
                    let secrets = open_secrets(&*opened.envelope, task.assignment.cluster, &sealed).unwrap();
                    assert_eq!(secrets.registry_passwords[0].as_ref().unwrap().expose(), PASSWORD);
                }
                let (agent, attempt, fence) = (bastion.agent, task.assignment.attempt, task.assignment.fence);
                house.store.release_attempt(agent, attempt, fence, "again".into(), house.now()).await.unwrap();
            }
            house.store.close().await;
            (opened.authority.fingerprint(), sha256_hex(&opened.signing_keys.cursor_key()))
        }
    }

    fn given(byte: &str) -> MasterKeySource {
        MasterKeySource::Given(Secret::new(byte.repeat(32)))
    }

    #[tokio::test]
    async fn everything_opens_under_the_new_key_and_nothing_under_the_old() {
        let used = Used::new(given("0a")).await;
        let before = used.all_opens(&given("0a")).await;
        let file = used.key_file("0b");
        assert!(matches!(rotate(&used.data, None, &used.mint).await, Err(RekeyError::NoNewKey)));
        let same = used.key_file("0a");
        assert!(matches!(rotate(&used.data, Some(&same), &used.mint).await, Err(RekeyError::SameKey)));
        let done = rotate(&used.data, Some(&file), &used.mint).await.unwrap();
        assert_eq!(done, Rekeyed { files: 2, values: 1 });
        assert_eq!(used.all_opens(&given("0b")).await, before, "the same authority, the same signing key");
        let refused = used.open(&given("0a")).unwrap_err().to_string();
        assert!(refused.contains("another master key"), "{refused}");
        assert_eq!(used.all_opens(&given("0b")).await, before, "and nothing was made anew");
    }

    /// Every sealed value in a data directory: files, and columns of the database.
    fn sealed_values(path: &Path) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            let content = std::fs::read(entry.path()).unwrap();
            found.push((entry.file_name().to_string_lossy().into_owned(), content));
        }
        let db = rusqlite::Connection::open(path.join(crate::store::sqlite::DATABASE_FILE)).unwrap();
        let tables =
            "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let columns: Vec<_> = db.prepare(tables).unwrap().query_map([], read).unwrap().map(Result::unwrap).collect();
        for (table, column) in columns {
            let sql = format!("SELECT CAST(\"{column}\" AS BLOB) FROM \"{table}\" WHERE \"{column}\" IS NOT NULL");
            let mut select = db.prepare(&sql).unwrap();
            let values = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap().map(Result::unwrap);
            found.extend(values.map(|value| (format!("{table}.{column}"), value)));
        }
        found.retain(|(_, value)| Envelope::is_sealed(value));
        found
    }

    #[tokio::test]
    async fn whatever_is_sealed_anywhere_is_found_and_sealed_anew() {
        let used = Used::new(given("0a")).await;
        let (data, mint) = (&used.data, &used.mint);
        let opened = used.open(&given("0a")).unwrap();
        let envelope = Arc::clone(&opened.envelope);
        opened.authority.take(crate::plan::ca_rotation::Step::Begin, |_| Ok(())).unwrap();
        let house = House::open(Box::new(Folder(data.directory.clone()))).await;
        let bastion = house.bastion("changes", "*").await;
        for task in house.lease(bastion, 4).await {
            let task = task.assignment;
            house.start(bastion, &task).await;
            house.settle(bastion, house.report(&task, RunOutcome::Succeeded)).await;
        }
        let mut change = house.change_of("prod", "web", Some(crate::store::conformance::house::spec())).await;
        let sealed = SpecSecrets { registry_passwords: vec![Some(Secret::new(PASSWORD))] };
        let cluster = house.cluster("prod", "web").await.id;
        change.change.as_mut().unwrap().sealed_secrets = Some(seal_secrets(&*envelope, cluster, &sealed).unwrap());
        assert!(matches!(house.store.accept_reconfigure(change).await.unwrap(), Acceptance::Accepted(_)));
        let anchor = crate::anchor::Anchor::new(&data.directory, Arc::clone(&envelope));
        anchor.advance(&*house.store, house.now()).await.unwrap();
        house.store.close().await;
        drop(opened.lock);
        let before = sealed_values(&data.directory);
        let places: std::collections::BTreeSet<_> = before.iter().map(|(place, _)| place.as_str()).collect();
        let files = SEALED.iter().map(|(name, _)| *name);
        assert_eq!(places, files.chain(["clusters.sealed_secrets", "revisions.sealed_secrets"]).collect());
        rotate(data, Some(&used.key_file("0b")), mint).await.unwrap();
        let new = Envelope::new(&Key::new(vec![0x0b; 32]), mint.clone()).unwrap();
        let after = sealed_values(&data.directory);
        assert_eq!(after.len(), before.len());
        for (place, value) in after {
            assert!(new.is_current(&value), "{place} is still sealed under the old key");
        }
    }

    #[tokio::test]
    async fn the_key_beside_the_data_is_replaced_by_one_that_is_made() {
        let used = Used::new(MasterKeySource::Local).await;
        let before =
            (used.all_opens(&MasterKeySource::Local).await, std::fs::read(used.data.directory.join("master.key")));
        rotate(&used.data, None, &used.mint).await.unwrap();
        assert_eq!(used.all_opens(&MasterKeySource::Local).await, before.0);
        assert_ne!(std::fs::read(used.data.directory.join("master.key")).unwrap(), before.1.unwrap());
    }

    #[tokio::test]
    async fn hostile_row_40_a_rotation_that_was_killed_anywhere_is_finished_with_either_key() {
        for steps in 0..4 {
            for at_hand in ["0a", "0b"] {
                let used = Used::new(given("0a")).await;
                let before = used.all_opens(&given("0a")).await;
                let key = |byte: u8| Key::new(vec![byte; 32]);
                let pair = Pair { old: key(0x0a), new: key(0x0b) };
                let between = || Envelope::between(&pair.old, &pair.new, used.mint.clone()).unwrap();
                let path = &used.data.directory;
                rotation::begin(path, &pair, &used.mint).unwrap();
                if steps > 0 {
                    let (name, context) = SEALED[0];
                    let sealed = std::fs::read(path.join(name)).unwrap();
                    std::fs::write(path.join(name), between().reseal(context, &sealed).unwrap().unwrap()).unwrap();
                }
                if steps > 1 {
                    reseal_files(path, &between()).unwrap();
                }
                if steps > 2 {
                    reseal_store(path, between()).await.unwrap();
                }
                for byte in ["0a", "0b"] {
                    let refused = used.open(&given(byte)).unwrap_err().to_string();
                    assert!(refused.contains("not finished"), "half a rotation serves nothing: {refused}");
                }
                let third = Data { master_key: given("0c"), ..used.data.clone() };
                assert!(matches!(rotate(&third, None, &used.mint).await, Err(RekeyError::Rotation(_))));
                let data = Data { master_key: given(at_hand), ..used.data.clone() };
                let other = used.key_file("0d");
                let refused = rotate(&data, Some(&other), &used.mint).await;
                assert!(matches!(refused, Err(RekeyError::AnotherUnderWay)), "{refused:?}");
                rotate(&data, None, &used.mint).await.unwrap();
                assert_eq!(used.all_opens(&given("0b")).await, before, "{steps} steps, {at_hand}");
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_key_a_running_controller_and_an_unknown_sealed_file_change_nothing() {
        let used = Used::new(given("0a")).await;
        let file = used.key_file("0b");
        let wrong = Data { master_key: given("0c"), ..used.data.clone() };
        assert!(matches!(rotate(&wrong, Some(&file), &used.mint).await, Err(RekeyError::File { .. })));
        let serving = used.open(&given("0a")).unwrap();
        assert!(matches!(rotate(&used.data, Some(&file), &used.mint).await, Err(RekeyError::DataDir(_))));
        drop(serving);
        for (name, content) in [("new.sealed", "?"), ("of-another-name", "CK1?")] {
            let stray = used.data.directory.join(name);
            std::fs::write(&stray, content).unwrap();
            assert!(rotate(&used.data, Some(&file), &used.mint).await.unwrap_err().to_string().contains(name));
            std::fs::remove_file(stray).unwrap();
        }
        assert!(!rotation::is_under_way(&used.data.directory));
        used.all_opens(&given("0a")).await;
    }
}
