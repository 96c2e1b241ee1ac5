//! The key that `rke` logs in with.
//!
//! `rke` reads the file itself and cannot ask for a passphrase; its SSH library signs RSA keys with
//! SHA-1 only, which current servers refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use data_encoding::BASE64;

use super::Check;
use crate::config::SshSection;

const SUBJECT: &str = "ssh key";
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// What a private key file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its algorithm.
    pub kind: KeyKind,
    /// Whether a passphrase protects it.
    pub encrypted: bool,
}

/// Algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on a NIST curve.
    Ecdsa,
    /// RSA.
    Rsa,
    /// DSA, which nobody accepts any more.
    Dsa,
    /// The form does not tell.
    Unknown,
}

/// Looks at the key, or for the SSH agent.
#[must_use]
pub fn check(section: &SshSection) -> Check {
    match section {
        SshSection::Key(path) => file(path),
        SshSection::Agent => agent(std::env::var_os("SSH_AUTH_SOCK").as_deref().map(Path::new)),
    }
}

fn agent(socket: Option<&Path>) -> Check {
    let remedy = "start an SSH agent for the service and pass its SSH_AUTH_SOCK, or set `ssh.key`";
    match socket {
        Some(path) if path.exists() => Check::ok(SUBJECT, format!("SSH agent at {}", path.display())),
        Some(path) => Check::fail(SUBJECT, format!("no SSH agent at {} (SSH_AUTH_SOCK)", path.display()), remedy),
        None => Check::fail(SUBJECT, "no SSH agent: SSH_AUTH_SOCK is not set here", remedy),
    }
}

fn file(path: &Path) -> Check {
    let shown = path.display();
    let read = fs::metadata(path).and_then(|meta| Ok((meta.permissions().mode() & 0o777, fs::read(path)?)));
    let (mode, content) = match read {
        Ok(read) => read,
        Err(error) => return Check::fail(SUBJECT, format!("cannot read {shown}: {error}"), "correct `ssh.key`"),
    };
    if mode & 0o077 != 0 {
        return Check::fail(
            SUBJECT,
            format!("{shown} has mode {mode:04o}: others may read it"),
            format!("chmod 600 {shown}"),
        );
    }
    let make_one = "make one with `ssh-keygen -t ed25519 -N ''`";
    match inspect(&String::from_utf8_lossy(&content)) {
        Err(fault) => Check::fail(SUBJECT, format!("{shown} {fault}"), make_one),
        Ok(KeyFacts { encrypted: true, .. }) => Check::fail(
            SUBJECT,
            format!("{shown} is protected by a passphrase, which `rke` cannot ask for"),
            "use an SSH agent (`ssh.agent = true`), or remove it with `ssh-keygen -p`",
        ),
        Ok(KeyFacts { kind: KeyKind::Dsa, .. }) => {
            Check::fail(SUBJECT, format!("{shown} is a DSA key, which servers refuse"), make_one)
        }
        Ok(KeyFacts { kind: KeyKind::Rsa, .. }) => Check::warn(
            SUBJECT,
            format!("{shown} is an RSA key: `rke` signs with ssh-rsa, which OpenSSH 8.8 and later refuse"),
            make_one,
        ),
        Ok(KeyFacts { kind: KeyKind::Unknown, .. }) => {
            Check::warn(SUBJECT, format!("{shown}: the kind of key cannot be told"), make_one)
        }
        Ok(facts) => Check::ok(SUBJECT, format!("{shown}, {:?}", facts.kind)),
    }
}

/// Reads what a private key file says of itself.
///
/// # Errors
/// What it is instead.
pub fn inspect(text: &str) -> Result<KeyFacts, &'static str> {
    let label = text.lines().find_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let legacy = |kind| Ok(KeyFacts { kind, encrypted: text.contains("Proc-Type: 4,ENCRYPTED") });
    match label {
        Some("OPENSSH PRIVATE KEY") => openssh(text).ok_or("is a damaged OpenSSH key"),
        Some("RSA PRIVATE KEY") => legacy(KeyKind::Rsa),
        Some("EC PRIVATE KEY") => legacy(KeyKind::Ecdsa),
        Some("DSA PRIVATE KEY") => legacy(KeyKind::Dsa),
        Some("PRIVATE KEY") => Ok(KeyFacts { kind: KeyKind::Unknown, encrypted: false }),
        Some("ENCRYPTED PRIVATE KEY") => Ok(KeyFacts { kind: KeyKind::Unknown, encrypted: true }),
        _ if text.starts_with("ssh-") || text.starts_with("ecdsa-") => {
            Err("is a public key; the private one is needed")
        }
        _ => Err("is not a private key"),
    }
}

/// PROTOCOL.key of OpenSSH: magic, cipher, key derivation, its options, count, public key, …
fn openssh(text: &str) -> Option<KeyFacts> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let decoded = BASE64.decode(body.as_bytes()).ok()?;
    let mut rest = decoded.strip_prefix(OPENSSH_MAGIC)?;
    let cipher = take(&mut rest)?;
    let (_derivation, _options) = (take(&mut rest)?, take(&mut rest)?);
    rest = rest.get(4..)?;
    let mut public = take(&mut rest)?;
    let kind = match take(&mut public)? {
        b"ssh-ed25519" | b"sk-ssh-ed25519@openssh.com" => KeyKind::Ed25519,
        b"ssh-rsa" => KeyKind::Rsa,
        b"ssh-dss" => KeyKind::Dsa,
        name if name.starts_with(b"ecdsa-") => KeyKind::Ecdsa,
        _ => KeyKind::Unknown,
    };
    Some(KeyFacts { kind, encrypted: cipher != b"none" })
}

/// Takes a string: four bytes of length, then as many bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let taken = after.get(..length)?;
    *rest = after.get(length..)?;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use proptest::prelude::*;

    fn openssh_key(cipher: &str, kind: &str) -> String {
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let public = string(kind.as_bytes());
        let body =
            [OPENSSH_MAGIC, &string(cipher.as_bytes()), &string(b"kdf"), &string(b""), &[0, 0, 0, 1], &string(&public)];
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            BASE64.encode(&body.concat())
        )
    }

    #[test]
    fn a_key_is_judged_by_kind_passphrase_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        let judge = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let check = check(&SshSection::Key(path.clone()));
            assert_eq!(check.level == Level::Ok, check.remedy.is_empty(), "{check:?}");
            check.level
        };
        assert_eq!(judge(&openssh_key("none", "ssh-ed25519"), 0o600), Level::Ok);
        assert_eq!(judge(&openssh_key("none", "ecdsa-sha2-nistp256"), 0o400), Level::Ok);
        assert_eq!(judge(&openssh_key("none", "ssh-ed25519"), 0o640), Level::Fail);
        assert_eq!(judge(&openssh_key("aes256-ctr", "ssh-ed25519"), 0o600), Level::Fail);
        assert_eq!(judge(&openssh_key("none", "ssh-rsa"), 0o600), Level::Warn);
        assert_eq!(judge("-----BEGIN RSA PRIVATE KEY-----\nAA==\n", 0o600), Level::Warn);
        assert_eq!(judge("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", 0o600), Level::Fail);
        assert_eq!(judge("ssh-ed25519 AAAA me\n", 0o600), Level::Fail);
        assert_eq!(judge("", 0o600), Level::Fail);
        fs::remove_file(&path).unwrap();
        assert_eq!(check(&SshSection::Key(path)).level, Level::Fail);
    }

    #[test]
    fn an_ssh_agent_must_be_there() {
        assert_eq!(agent(None).level, Level::Fail);
        assert_eq!(agent(Some(Path::new("/nonexistent"))).level, Level::Fail);
        assert_eq!(agent(Some(Path::new("/"))).level, Level::Ok);
    }

    proptest! {
        #[test]
        fn no_key_file_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n", BASE64.encode(&[OPENSSH_MAGIC, &body].concat()));
            let _either = inspect(&text);
        }
    }
}
