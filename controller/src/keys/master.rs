//! Where the master key comes from: the environment, a file, or, where none is named, a file made
//! beside the data. The last is worth little: who copies the data directory copies the key with it.

use std::path::{Path, PathBuf};

use cratekube_common::runtime::files;
use cratekube_common::runtime::mint::Mint;
use zeroize::Zeroizing;

use super::envelope::KEY_LEN;

/// Name of the file that is made beside the data.
pub const LOCAL_FILE: &str = "master.key";

/// Where to take the master key from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// This text: 64 characters of hex.
    Given(cratekube_common::domain::secret::Secret),
    /// A file with 64 characters of hex.
    File(PathBuf),
    /// A file beside the data, made on the first start.
    Local,
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or written.
    #[error("cannot use the master key file {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a key.
    #[error("the master key in {0} must be 64 hexadecimal characters (32 bytes); make one with `openssl rand -hex 32`")]
    Form(String),
    /// The data directory was used with a key that is gone.
    #[error(
        "{0} is missing, but this data directory has been used with it; put it back, a new one would not open the data"
    )]
    Lost(String),
}

/// Reads the master key; makes the local one when the data directory is new.
///
/// # Errors
/// [`MasterKeyError`].
pub fn load(
    source: &MasterKeySource,
    data: &Path,
    is_new: bool,
    mint: &Mint,
) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    match source {
        MasterKeySource::Given(text) => decode(text.expose(), "the environment"),
        MasterKeySource::File(path) => match read(path)? {
            Some(text) => decode(&text, &path.display().to_string()),
            None => Err(fault(path, std::io::ErrorKind::NotFound.into())),
        },
        MasterKeySource::Local => local(&data.join(LOCAL_FILE), is_new, mint),
    }
}

fn local(path: &Path, is_new: bool, mint: &Mint) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    if let Some(text) = read(path)? {
        return decode(&text, &path.display().to_string());
    }
    if !is_new {
        return Err(MasterKeyError::Lost(path.display().to_string()));
    }
    let mut key = Zeroizing::new(vec![0; KEY_LEN]);
    mint.fill(&mut key);
    let text = Zeroizing::new(data_encoding::HEXLOWER.encode(&key));
    files::write_atomic(path, text.as_bytes()).map_err(|e| fault(path, e))?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, MasterKeyError> {
    let bytes = files::read_optional(path).map_err(|e| fault(path, e))?;
    Ok(bytes.map(|bytes| Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())))
}

fn decode(text: &str, place: &str) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let key = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map(Zeroizing::new);
    key.ok().filter(|key| key.len() == KEY_LEN).ok_or_else(|| MasterKeyError::Form(place.to_owned()))
}

fn fault(path: &Path, source: std::io::Error) -> MasterKeyError {
    MasterKeyError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::secret::Secret;
    use cratekube_common::runtime::clock;

    #[test]
    fn the_local_key_is_made_once_and_never_again() {
        let dir = tempfile::tempdir().unwrap();
        let mint = Mint::system(clock::system());
        let first = load(&MasterKeySource::Local, dir.path(), true, &mint).unwrap();
        let second = load(&MasterKeySource::Local, dir.path(), false, &mint).unwrap();
        assert_eq!(first, second);
        std::fs::remove_file(dir.path().join(LOCAL_FILE)).unwrap();
        let lost = load(&MasterKeySource::Local, dir.path(), false, &mint);
        assert!(matches!(lost, Err(MasterKeyError::Lost(_))));
    }

    #[test]
    fn a_key_of_the_wrong_form_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mint = Mint::system(clock::system());
        for bad in ["", "abc", &"0".repeat(62), &"g".repeat(64)] {
            let source = MasterKeySource::Given(Secret::new(bad));
            assert!(matches!(load(&source, dir.path(), true, &mint), Err(MasterKeyError::Form(_))), "{bad}");
        }
    }
}
