//! The key that `rke` and the agent log in to hosts with, read by the client that logs in.
//!
//! `rke` reads the file itself and cannot ask for a passphrase; the SSH library of its older releases signs
//! RSA keys with SHA-1 only, which current servers refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Check;
use crate::config::{SshLogin, SshSection};
use crate::ssh::known::fingerprint;
use crate::ssh::session::keys_of_agent;
use crate::ssh::{Credentials, KeyFault};

const SUBJECT: &str = "ssh key";

/// Looks at the key, or asks the SSH agent for its keys.
pub async fn check(section: &SshSection) -> Check {
    match &section.login {
        SshLogin::Key(path) => file(path),
        SshLogin::Agent => agent(std::env::var_os("SSH_AUTH_SOCK").as_deref().map(Path::new)).await,
    }
}

async fn agent(socket: Option<&Path>) -> Check {
    let unset = || KeyFault::NoAgent("SSH_AUTH_SOCK is not set here".into());
    let found = match socket {
        Some(socket) => keys_of_agent(socket).await,
        None => Err(unset()),
    };
    match found {
        Err(fault) => failed(&fault),
        Ok(keys) if keys.is_empty() => failed(&KeyFault::Agent("holds no key".into())),
        Ok(keys) => {
            let told: Vec<String> =
                keys.iter().take(5).map(|key| format!("{} {}", key.algorithm(), fingerprint(key))).collect();
            Check::ok(SUBJECT, format!("SSH agent with {} keys: {}", keys.len(), told.join(", ")))
        }
    }
}

fn failed(fault: &KeyFault) -> Check {
    Check::fail(SUBJECT, fault.to_string(), fault.remedy())
}

fn file(path: &Path) -> Check {
    let shown = path.display();
    if let Ok(meta) = fs::metadata(path) {
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let finding = format!("{shown} has mode {mode:04o}: others may read it");
            return Check::fail(SUBJECT, finding, format!("chmod 600 {shown}"));
        }
    }
    match Credentials::from_file(path) {
        Err(fault) => failed(&fault),
        Ok(Credentials::Rsa(key)) => Check::warn(
            SUBJECT,
            format!(
                "{shown} is an RSA key ({}): older releases of `rke` sign with ssh-rsa, which OpenSSH 8.8 and later refuse",
                fingerprint(key.public_key())
            ),
            "make one with `ssh-keygen -t ed25519 -N ''`",
        ),
        Ok(key) => {
            let told = key.public_key().map(|key| format!("{} {}", key.algorithm(), fingerprint(key)));
            Check::ok(SUBJECT, format!("{shown}: {}", told.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::ssh::key::tests::{ED25519, RSA, openssh_key};

    #[test]
    fn a_key_is_judged_by_kind_passphrase_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        let judge = |text: &str, mode: u32| {
            let _made_anew = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let check = file(&path);
            assert_eq!(check.level == Level::Ok, check.remedy.is_empty(), "{check:?}");
            check.level
        };
        assert_eq!(judge(ED25519, 0o600), Level::Ok);
        assert_eq!(judge(ED25519, 0o640), Level::Fail);
        assert_eq!(judge(RSA, 0o400), Level::Warn);
        assert_eq!(judge(&openssh_key("aes256-ctr", "ssh-ed25519"), 0o600), Level::Fail);
        assert_eq!(judge(&openssh_key("none", "ssh-ed25519"), 0o600), Level::Fail, "it says so and is none");
        assert_eq!(judge("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", 0o600), Level::Fail);
        assert_eq!(judge("ssh-ed25519 AAAA me\n", 0o600), Level::Fail);
        assert_eq!(judge("", 0o600), Level::Fail);
        fs::remove_file(&path).unwrap();
        assert_eq!(file(&path).level, Level::Fail);
    }

    #[tokio::test]
    async fn an_ssh_agent_must_be_there_and_answer() {
        assert_eq!(agent(None).await.level, Level::Fail);
        assert_eq!(agent(Some(Path::new("/nonexistent"))).await.level, Level::Fail);
        assert_eq!(agent(Some(Path::new("/"))).await.level, Level::Fail);
    }
}
