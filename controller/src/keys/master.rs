//! Where the master key comes from: the environment, a file, a command, or, where none is named, a file
//! made beside the data. The last is worth little: who copies the data directory copies the key with it.

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
    /// This text.
    Given(cratekube_common::domain::secret::Secret),
    /// A file with the key.
    File(PathBuf),
    /// A command that prints the key, such as one that asks a key management service: program and
    /// arguments.
    Command(Vec<String>),
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
    #[error(
        "the master key in {0} must be 32 bytes, as 64 hexadecimal characters or in Base64; make one with `openssl rand -hex 32`"
    )]
    Form(String),
    /// Others may read it.
    #[error("{0} may be read by others; run `chmod 600` on it")]
    Open(String),
    /// The command.
    #[error("the command that prints the master key ({program}) gives none: {fault}")]
    Command {
        /// The program.
        program: String,
        /// Why.
        fault: String,
    },
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
        MasterKeySource::File(path) => from_file(path),
        MasterKeySource::Command(command) => {
            let program = command.first().cloned().unwrap_or_default();
            let failed = |fault| MasterKeyError::Command { program: program.clone(), fault };
            let text = super::command::output(command).map_err(failed)?;
            decode(&text, &format!("the output of {program}"))
        }
        MasterKeySource::Local => local(data, is_new, mint),
    }
}

/// Reads a key from a file that only its owner may read.
///
/// # Errors
/// [`MasterKeyError`].
pub fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    use std::os::unix::fs::PermissionsExt;
    let text = read(path)?.ok_or_else(|| fault(path, std::io::ErrorKind::NotFound.into()))?;
    let mode = std::fs::metadata(path).map_err(|e| fault(path, e))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(MasterKeyError::Open(path.display().to_string()));
    }
    decode(&text, &path.display().to_string())
}

/// Makes a key.
#[must_use]
pub fn make(mint: &Mint) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; KEY_LEN]);
    mint.fill(&mut key);
    key
}

/// Writes a key beside the data.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_local(data: &Path, key: &Zeroizing<Vec<u8>>) -> Result<(), MasterKeyError> {
    let path = data.join(LOCAL_FILE);
    let text = Zeroizing::new(data_encoding::HEXLOWER.encode(key));
    files::write_atomic(&path, text.as_bytes()).map_err(|e| fault(&path, e))
}

fn local(data: &Path, is_new: bool, mint: &Mint) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let path = data.join(LOCAL_FILE);
    if let Some(text) = read(&path)? {
        return decode(&text, &path.display().to_string());
    }
    if !is_new {
        return Err(MasterKeyError::Lost(path.display().to_string()));
    }
    let key = make(mint);
    keep_local(data, &key)?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, MasterKeyError> {
    let bytes = files::read_optional(path).map_err(|e| fault(path, e))?;
    Ok(bytes.map(|bytes| Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())))
}

fn decode(text: &str, place: &str) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let text = text.trim().as_bytes();
    let hex = data_encoding::HEXLOWER_PERMISSIVE.decode(text);
    // What key management services print.
    let key = hex.or_else(|_| data_encoding::BASE64.decode(text)).map(Zeroizing::new);
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
    fn a_key_comes_from_a_private_file_or_a_command_in_hex_or_base64() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mint = Mint::system(clock::system());
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = MasterKeySource::File(path.clone());
        let open = load(&file, dir.path(), false, &mint).unwrap_err();
        assert!(open.to_string().contains("chmod 600"), "{open}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(load(&file, dir.path(), false, &mint).unwrap().as_slice(), [0xab; 32]);
        let base64 = data_encoding::BASE64.encode(&[0xcd; 32]);
        let command = MasterKeySource::Command(vec!["echo".into(), base64]);
        assert_eq!(load(&command, dir.path(), false, &mint).unwrap().as_slice(), [0xcd; 32]);
        let failing = MasterKeySource::Command(vec!["false".into()]);
        let error = load(&failing, dir.path(), false, &mint).unwrap_err().to_string();
        assert!(error.contains("false") && error.contains("exit status: 1"), "{error}");
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
