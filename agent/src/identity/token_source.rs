//! Where the join token is read from: a file, standard input, or (with a warning) the command line.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cratekube_common::domain::join_token::{JoinToken, JoinTokenError};
use cratekube_common::domain::secret::Secret;

/// Longest text that is read in search of a token.
const MOST_BYTES: u64 = 4 * 1024;

/// Where a join token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// From a file.
    File(PathBuf),
    /// From standard input.
    Stdin,
    /// From the command line, where every user of the host can see it.
    Argument(Secret),
}

/// Why there is no join token.
#[derive(Debug, thiserror::Error)]
pub enum ReadTokenError {
    /// It could not be read.
    #[error("cannot read the join token from {from}: {source}")]
    Read {
        /// Where from.
        from: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Others may have read it.
    #[error(
        "{path} may be read by others (mode {mode:o}), so somebody may have the join token already: \
         run `chmod 600` on it if nobody else uses this host, or ask for a new one"
    )]
    Open {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// What was read is not one.
    #[error(transparent)]
    Parse(#[from] JoinTokenError),
}

impl TokenSource {
    /// Reads the token; `stdin` is used only when the token comes from there.
    ///
    /// # Errors
    /// [`ReadTokenError`].
    pub fn read(&self, stdin: impl Read) -> Result<JoinToken, ReadTokenError> {
        let text = match self {
            Self::File(path) => {
                let from = path.display().to_string();
                let unread = |source| ReadTokenError::Read { from: from.clone(), source };
                let file = std::fs::File::open(path).map_err(unread)?;
                let mode = file.metadata().map_err(unread)?.permissions().mode();
                // A pipe or a descriptor belongs to whoever gave it to us.
                if path.symlink_metadata().is_ok_and(|meta| meta.is_file()) && mode & 0o077 != 0 {
                    return Err(ReadTokenError::Open { path: from, mode: mode & 0o777 });
                }
                text_of(file, &from)?
            }
            Self::Stdin => text_of(stdin, "standard input")?,
            Self::Argument(token) => token.clone(),
        };
        Ok(text.expose().parse()?)
    }

    /// The token is used up: its file, if it is a plain one, goes away.
    pub fn discard(&self) {
        if let Self::File(path) = self
            && path.symlink_metadata().is_ok_and(|meta| meta.is_file())
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(%error, path = %path.display(), "the used join token could not be removed");
        }
    }

    /// What to tell the person who chose this way.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        matches!(self, Self::Argument(_)).then_some(
            "--token shows the join token to everyone who can run `ps` on this host; use --token-file or standard input",
        )
    }
}

fn text_of(source: impl Read, from: &str) -> Result<Secret, ReadTokenError> {
    let mut text = String::new();
    let read = source.take(MOST_BYTES).read_to_string(&mut text);
    let text = Secret::new(text);
    read.map(|_| text).map_err(|source| ReadTokenError::Read { from: from.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ckj1.0123456789abcdefghijABCDEFGHIJklmnopqrstuvw.\
                         abababababababababababababababababababababababababababababababab";

    #[test]
    fn hostile_row_31_a_token_is_read_from_a_file_or_standard_input_and_warned_of_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let chmod = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let from_file = TokenSource::File(file.clone());
        let from_argument = TokenSource::Argument(Secret::new(TOKEN));
        for open in [0o644, 0o640, 0o604] {
            chmod(open);
            assert!(matches!(from_file.read(std::io::empty()), Err(ReadTokenError::Open { .. })), "{open:o}");
        }
        chmod(0o600);
        assert_eq!(from_file.read(std::io::empty()).unwrap(), TokenSource::Stdin.read(TOKEN.as_bytes()).unwrap());
        assert!(from_file.warning().is_none() && TokenSource::Stdin.warning().is_none());
        assert!(from_argument.warning().unwrap().contains("ps"));
        assert!(!format!("{from_argument:?}").contains("0123456789"));
        from_file.discard();
        assert!(!file.exists(), "a used token is removed");
        let endless = TokenSource::Stdin.read(std::io::repeat(b'a')).unwrap_err();
        assert!(matches!(endless, ReadTokenError::Parse(JoinTokenError::Prefix)));
        let absent = TokenSource::File(dir.path().join("none")).read(std::io::empty()).unwrap_err();
        assert!(absent.to_string().contains("none"), "{absent}");
    }
}
