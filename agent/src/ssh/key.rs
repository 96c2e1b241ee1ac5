//! What logs in: a private key from a file, or an SSH agent.
//!
//! `rke` reads the file itself and cannot ask for a passphrase, so a key that has one is refused here, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cratekube_common::rke::render::SshAccess;
use data_encoding::BASE64;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{PrivateKey, PublicKey};

use super::rsa::RsaKey;

const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";
/// More is no key.
const MOST_BYTES: u64 = 64 * 1024;

/// What logs in.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A private key that is not an RSA one.
    Key(Arc<PrivateKey>),
    /// An RSA key.
    Rsa(Arc<RsaKey>),
    /// The SSH agent at this socket.
    Agent(PathBuf),
}

/// Why there is nothing to log in with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The file cannot be read.
    #[error("the bastion's SSH key {path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// In the words of the operating system.
        why: String,
    },
    /// It is not a private key.
    #[error("the bastion's SSH key {path} {what}")]
    NotAKey {
        /// The file.
        path: String,
        /// What it is instead, as the rest of a sentence.
        what: String,
    },
    /// A passphrase protects it.
    #[error("the bastion's SSH key {path} is protected by a passphrase, which neither `rke` nor the agent can ask for")]
    Encrypted {
        /// The file.
        path: String,
    },
    /// No SSH agent.
    #[error("there is no SSH agent for the bastion's agent: {0}")]
    NoAgent(String),
    /// An SSH agent without keys, or without the wanted one.
    #[error("the SSH agent {0}")]
    Agent(String),
}

impl KeyFault {
    /// What to do; for operators of the service, as the key is theirs.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "An operator of the service must correct `ssh.key` in the agent's settings.",
            Self::NotAKey { .. } => {
                "An operator of the service must give the agent a private key: make one with `ssh-keygen -t ed25519 -N ''`."
            }
            Self::Encrypted { .. } => {
                "An operator of the service must use an SSH agent (`ssh.agent = true`), or remove the passphrase with `ssh-keygen -p`."
            }
            Self::NoAgent(_) | Self::Agent(_) => {
                "An operator of the service must start an SSH agent that holds the key and pass its SSH_AUTH_SOCK to the agent, or set `ssh.key`."
            }
        }
    }

    /// Whether doing the same again can help.
    #[must_use]
    pub fn retryable(&self) -> bool {
        false
    }
}

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

impl Credentials {
    /// What the agent's settings say. `socket` is what `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// [`KeyFault`] when there is nothing that could log in anywhere.
    pub fn load(access: &SshAccess, socket: Option<&Path>) -> Result<Self, KeyFault> {
        match access {
            SshAccess::Key { path } => Self::from_file(Path::new(path)),
            SshAccess::Agent => match socket {
                Some(socket) => Ok(Self::Agent(socket.to_owned())),
                None => Err(KeyFault::NoAgent("SSH_AUTH_SOCK is not set".into())),
            },
            SshAccess::Untold => {
                Err(KeyFault::NoAgent("the agent's settings name neither a key nor an SSH agent".into()))
            }
        }
    }

    /// The key in a file.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn from_file(file: &Path) -> Result<Self, KeyFault> {
        let path = file.display().to_string();
        let unreadable = |error: io::Error| KeyFault::Unreadable { path: path.clone(), why: error.to_string() };
        let not_a_key = |what: &str| KeyFault::NotAKey { path: path.clone(), what: what.to_owned() };
        if fs::metadata(file).map_err(unreadable)?.len() > MOST_BYTES {
            return Err(not_a_key("is too large to be a private key"));
        }
        let bytes = fs::read(file).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes);
        let facts = inspect(&text).map_err(not_a_key)?;
        if facts.encrypted {
            return Err(KeyFault::Encrypted { path });
        }
        if facts.kind == KeyKind::Dsa {
            return Err(not_a_key("is a DSA key, which servers refuse"));
        }
        Self::from_text(&text).map_err(|why| not_a_key(&why))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if let Some(rsa) = RsaKey::from_pem(text) {
            return rsa.map(|key| Self::Rsa(Arc::new(key)));
        }
        let key =
            russh::keys::decode_secret_key(text, None).map_err(|error| format!("cannot be understood: {error}"))?;
        match key.key_data() {
            KeypairData::Rsa(pair) => RsaKey::from_openssh(pair).map(|key| Self::Rsa(Arc::new(key))),
            KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => Ok(Self::Key(Arc::new(key))),
            _ => Err("is of a kind that cannot be used here (Ed25519, ECDSA and RSA can)".into()),
        }
    }

    /// The public half, when it is known here.
    #[must_use]
    pub fn public_key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key.public_key()),
            Self::Rsa(key) => Some(key.public_key()),
            Self::Agent(_) => None,
        }
    }
}

/// Reads what a private key file says of itself.
///
/// # Errors
/// What it is instead, as the rest of a sentence.
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
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A key that was made for tests and opens nothing.
    pub(crate) const ED25519: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDPSskDAnYWN6d5QC6K5Dpata6Td1vjIEhYtvbVAaP8OQAAAIjUZqa41Gam
uAAAAAtzc2gtZWQyNTUxOQAAACDPSskDAnYWN6d5QC6K5Dpata6Td1vjIEhYtvbVAaP8OQ
AAAEBRTy1j9Q7c9kLqyJPOem5HRzUUKh3vOEQE2V1dQpJUns9KyQMCdhY3p3lALorkOlq1
rpN3W+MgSFi29tUBo/w5AAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";

    /// Another one.
    pub(crate) const RSA: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAABFwAAAAdzc2gtcn
NhAAAAAwEAAQAAAQEA6rfjYm94Dj/mSxxsxDfxGbcbxYNsM4+6kJ54cxAgqa1eog+xT/dV
13cgIhHJ84FXGVorSwPPMAtFLWQ5MDReHs4nSMsYJpvWvdvJbABFVuxoKIEm0R8/ObEzfQ
b3ikKopHedPREqK0TeFtTgj9mmETvBgqSuX7kG1LRdL+2+w11w7Jz0MGafJg54DPOdqP/Q
Jb1cB4mxdTAq8yxAzB1Z7nAzuJDCdy3LoZU+oKmVnAcEREglLLBV8RNMMD+LQrKATnP8Ts
VgSs0TJQcXFwCfcXD8harQOgxtV++6G1yHVTV+nSqEI1GTDgco0+TxQCNLyL9ffYq+eZfH
WM7VbeKEZwAAA8DLvt90y77fdAAAAAdzc2gtcnNhAAABAQDqt+Nib3gOP+ZLHGzEN/EZtx
vFg2wzj7qQnnhzECCprV6iD7FP91XXdyAiEcnzgVcZWitLA88wC0UtZDkwNF4ezidIyxgm
m9a928lsAEVW7GgogSbRHz85sTN9BveKQqikd509ESorRN4W1OCP2aYRO8GCpK5fuQbUtF
0v7b7DXXDsnPQwZp8mDngM852o/9AlvVwHibF1MCrzLEDMHVnucDO4kMJ3LcuhlT6gqZWc
BwRESCUssFXxE0wwP4tCsoBOc/xOxWBKzRMlBxcXAJ9xcPyFqtA6DG1X77obXIdVNX6dKo
QjUZMOByjT5PFAI0vIv199ir55l8dYztVt4oRnAAAAAwEAAQAAAQAB3PUS/8u5bd0NDocF
OxQGpRJJd7TAKsNExY4YDJCDSEiYpjKblmpiVjGhNUlBg6trbVxvPrzqtBSemRfMzVAjoW
ghXocfY/b4Mf6jTyTR+DxSKINx8bdyV0MB/3pDwJXO81kqsrchFJYFc74TvdDaK9n+bZaI
Hu5kokJMydTacc/AHygVx0hHedJibl0XzAPlJUHf+0W084TyhPm0VF2xB7iAqGbF5wZhTG
uYnI7lJgaTlEK9LizhaRgMzW+57sWI+DknGcm57taxcKWdvDg6UBDjlP3zMUsvym6RJ93j
hB8IbjeLHjvGdUDXfU61l0dxy8z0PvH1lkKUIWNe4IGBAAAAgGYrjoijEWoB2rR7bkYPBg
TJzkPBqDsVoMdRb1pYaDEqtwT720LhMgwYJlgJRiiZyqOxhajziFz6tOzFXJ5NwYYo2f1X
NphypUdDxhzUWFfplhwdVpu4qjm0YlErRTA5wFDJ5mwPqkrGsYC7+vyajpnFWZYAw2TZRE
+Lr5u/C1BrAAAAgQD++2qWCB7DSCCKbIng+LSOQeH4MdbSLQcTap4ysZ3fhCZWzKp2n9U9
hlMj3Ryto0EgGalCpp0LP3uki0rpNZEkfhSbZ3fET4kIfS4cK/g9mOV9aq/KngE0x25acE
Y9JvMDI8OMI2mOiWlCN0Aho4vcgsJo/04zPD/YYO4BhIF/twAAAIEA66fDTvxaolt/MeEb
VmgOYzJWiVm+k7/xP6j37fdk5No1bKNZDmlDzKBa8W/eKl6TKHqnyyAzBAiuqTKSrSLmkU
vUViaba/Gp4oc6GuX8OinU0zIxsel+6bU2cu8YaulpUmIzstyi1pfLhPbb/BS5N6DN0Ub2
db1JjhBYNyKgwNEAAAAEdGVzdAECAwQFBgc=
-----END OPENSSH PRIVATE KEY-----
";

    const RSA_PUBLIC: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDqt+Nib3gOP+ZLHGzEN/EZtxvFg2wzj7qQnnhzECCprV6iD7FP91XXdyAiEcnzgVcZWitLA88wC0UtZDkwNF4ezidIyxgmm9a928lsAEVW7GgogSbRHz85sTN9BveKQqikd509ESorRN4W1OCP2aYRO8GCpK5fuQbUtF0v7b7DXXDsnPQwZp8mDngM852o/9AlvVwHibF1MCrzLEDMHVnucDO4kMJ3LcuhlT6gqZWcBwRESCUssFXxE0wwP4tCsoBOc/xOxWBKzRMlBxcXAJ9xcPyFqtA6DG1X77obXIdVNX6dKoQjUZMOByjT5PFAI0vIv199ir55l8dYztVt4oRn test";

    const RSA_PKCS1: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEA6rfjYm94Dj/mSxxsxDfxGbcbxYNsM4+6kJ54cxAgqa1eog+x
T/dV13cgIhHJ84FXGVorSwPPMAtFLWQ5MDReHs4nSMsYJpvWvdvJbABFVuxoKIEm
0R8/ObEzfQb3ikKopHedPREqK0TeFtTgj9mmETvBgqSuX7kG1LRdL+2+w11w7Jz0
MGafJg54DPOdqP/QJb1cB4mxdTAq8yxAzB1Z7nAzuJDCdy3LoZU+oKmVnAcEREgl
LLBV8RNMMD+LQrKATnP8TsVgSs0TJQcXFwCfcXD8harQOgxtV++6G1yHVTV+nSqE
I1GTDgco0+TxQCNLyL9ffYq+eZfHWM7VbeKEZwIDAQABAoIBAAHc9RL/y7lt3Q0O
hwU7FAalEkl3tMAqw0TFjhgMkINISJimMpuWamJWMaE1SUGDq2ttXG8+vOq0FJ6Z
F8zNUCOhaCFehx9j9vgx/qNPJNH4PFIog3Hxt3JXQwH/ekPAlc7zWSqytyEUlgVz
vhO90Nor2f5tloge7mSiQkzJ1Npxz8AfKBXHSEd50mJuXRfMA+UlQd/7RbTzhPKE
+bRUXbEHuICoZsXnBmFMa5icjuUmBpOUQr0uLOFpGAzNb7nuxYj4OScZybnu1rFw
pZ28ODpQEOOU/fMxSy/KbpEn3eOEHwhuN4seO8Z1QNd9TrWXR3HLzPQ+8fWWQpQh
Y17ggYECgYEA/vtqlggew0ggimyJ4Pi0jkHh+DHW0i0HE2qeMrGd34QmVsyqdp/V
PYZTI90craNBIBmpQqadCz97pItK6TWRJH4Um2d3xE+JCH0uHCv4PZjlfWqvyp4B
NMduWnBGPSbzAyPDjCNpjolpQjdAIaOL3ILCaP9OMzw/2GDuAYSBf7cCgYEA66fD
Tvxaolt/MeEbVmgOYzJWiVm+k7/xP6j37fdk5No1bKNZDmlDzKBa8W/eKl6TKHqn
yyAzBAiuqTKSrSLmkUvUViaba/Gp4oc6GuX8OinU0zIxsel+6bU2cu8YaulpUmIz
styi1pfLhPbb/BS5N6DN0Ub2db1JjhBYNyKgwNECgYAd0Wj1gp2WWKj1hxvYozz6
Jdo3HBzzFzDspFs7smmz6dBR9j05Ahf9yeePGhxwcdb72gRhNvrGhfX/mAp6mzkN
+3CNe9wVqPdtdrYdtUaibW7o68EDANdDRM8y5E5SeGuSwmvrx3hgotEcXTmytV11
vBTgEnsiorkUpMEwjD5YoQKBgQCp9QqVUseDRP4NWU7AGLgXrtxenw0lvk8eHJ0D
UWPA8eeJ/J1kGWM+l4A/lPDkGeWEUkHl68kfZauid8j1ebBUph30LE/3oAloSSMM
90XcJQNLdm4E5GQV5g3pAqvXn5PISO8EVsBSiJPNx8SMn92dUypdfxKNhAEipoMY
8K6DoQKBgGYrjoijEWoB2rR7bkYPBgTJzkPBqDsVoMdRb1pYaDEqtwT720LhMgwY
JlgJRiiZyqOxhajziFz6tOzFXJ5NwYYo2f1XNphypUdDxhzUWFfplhwdVpu4qjm0
YlErRTA5wFDJ5mwPqkrGsYC7+vyajpnFWZYAw2TZRE+Lr5u/C1Br
-----END RSA PRIVATE KEY-----
";

    const RSA_PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDqt+Nib3gOP+ZL
HGzEN/EZtxvFg2wzj7qQnnhzECCprV6iD7FP91XXdyAiEcnzgVcZWitLA88wC0Ut
ZDkwNF4ezidIyxgmm9a928lsAEVW7GgogSbRHz85sTN9BveKQqikd509ESorRN4W
1OCP2aYRO8GCpK5fuQbUtF0v7b7DXXDsnPQwZp8mDngM852o/9AlvVwHibF1MCrz
LEDMHVnucDO4kMJ3LcuhlT6gqZWcBwRESCUssFXxE0wwP4tCsoBOc/xOxWBKzRMl
BxcXAJ9xcPyFqtA6DG1X77obXIdVNX6dKoQjUZMOByjT5PFAI0vIv199ir55l8dY
ztVt4oRnAgMBAAECggEAAdz1Ev/LuW3dDQ6HBTsUBqUSSXe0wCrDRMWOGAyQg0hI
mKYym5ZqYlYxoTVJQYOra21cbz686rQUnpkXzM1QI6FoIV6HH2P2+DH+o08k0fg8
UiiDcfG3cldDAf96Q8CVzvNZKrK3IRSWBXO+E73Q2ivZ/m2WiB7uZKJCTMnU2nHP
wB8oFcdIR3nSYm5dF8wD5SVB3/tFtPOE8oT5tFRdsQe4gKhmxecGYUxrmJyO5SYG
k5RCvS4s4WkYDM1vue7FiPg5JxnJue7WsXClnbw4OlAQ45T98zFLL8pukSfd44Qf
CG43ix47xnVA131OtZdHccvM9D7x9ZZClCFjXuCBgQKBgQD++2qWCB7DSCCKbIng
+LSOQeH4MdbSLQcTap4ysZ3fhCZWzKp2n9U9hlMj3Ryto0EgGalCpp0LP3uki0rp
NZEkfhSbZ3fET4kIfS4cK/g9mOV9aq/KngE0x25acEY9JvMDI8OMI2mOiWlCN0Ah
o4vcgsJo/04zPD/YYO4BhIF/twKBgQDrp8NO/FqiW38x4RtWaA5jMlaJWb6Tv/E/
qPft92Tk2jVso1kOaUPMoFrxb94qXpMoeqfLIDMECK6pMpKtIuaRS9RWJptr8ani
hzoa5fw6KdTTMjGx6X7ptTZy7xhq6WlSYjOy3KLWl8uE9tv8FLk3oM3RRvZ1vUmO
EFg3IqDA0QKBgB3RaPWCnZZYqPWHG9ijPPol2jccHPMXMOykWzuyabPp0FH2PTkC
F/3J548aHHBx1vvaBGE2+saF9f+YCnqbOQ37cI173BWo9212th21RqJtbujrwQMA
10NEzzLkTlJ4a5LCa+vHeGCi0RxdObK1XXW8FOASeyKiuRSkwTCMPlihAoGBAKn1
CpVSx4NE/g1ZTsAYuBeu3F6fDSW+Tx4cnQNRY8Dx54n8nWQZYz6XgD+U8OQZ5YRS
QeXryR9lq6J3yPV5sFSmHfQsT/egCWhJIwz3RdwlA0t2bgTkZBXmDekCq9efk8hI
7wRWwFKIk83HxIyf3Z1TKl1/Eo2EASKmgxjwroOhAoGAZiuOiKMRagHatHtuRg8G
BMnOQ8GoOxWgx1FvWlhoMSq3BPvbQuEyDBgmWAlGKJnKo7GFqPOIXPq07MVcnk3B
hijZ/Vc2mHKlR0PGHNRYV+mWHB1Wm7iqObRiUStFMDnAUMnmbA+qSsaxgLv6/JqO
mcVZlgDDZNlET4uvm78LUGs=
-----END PRIVATE KEY-----
";

    /// A file that says that it is such a key; it holds none.
    pub(crate) fn openssh_key(cipher: &str, kind: &str) -> String {
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
    fn a_key_with_a_passphrase_and_what_is_no_key_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        let fault = |text: &str| {
            fs::write(&path, text).unwrap();
            let fault = Credentials::from_file(&path).unwrap_err();
            assert!(!fault.remedy().is_empty() && fault.to_string().contains("id"), "{fault}");
            fault.to_string()
        };
        assert!(fault(&openssh_key("aes256-ctr", "ssh-ed25519")).contains("passphrase"));
        assert!(fault("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n").contains("passphrase"));
        assert!(fault(&openssh_key("none", "ssh-dss")).contains("DSA"));
        assert!(fault(&openssh_key("none", "ssh-ed25519")).contains("cannot be understood"));
        assert!(fault("ssh-ed25519 AAAA me\n").contains("public key"));
        assert!(fault("").contains("is not a private key"));
        assert!(fault(&"x".repeat(100_000)).contains("too large"));
        fs::remove_file(&path).unwrap();
        assert!(matches!(Credentials::from_file(&path), Err(KeyFault::Unreadable { .. })));
    }

    #[test]
    fn ed25519_and_rsa_keys_are_read_in_the_forms_that_openssh_writes() {
        let read = |text: &str| Credentials::from_text(text).unwrap();
        assert!(matches!(read(ED25519), Credentials::Key(_)));
        let Credentials::Rsa(key) = read(RSA) else { panic!("not RSA") };
        let public = PublicKey::from_openssh(RSA_PUBLIC).unwrap();
        assert_eq!(key.public_key().key_data(), public.key_data());
        // The form that clouds hand out, and PKCS#8, of the same key.
        for pem in [RSA_PKCS1, RSA_PKCS8] {
            let Credentials::Rsa(same) = read(pem) else { panic!("not RSA") };
            assert_eq!(same.public_key().key_data(), public.key_data());
        }
    }

    #[test]
    fn without_a_key_and_without_an_ssh_agent_there_is_nothing_to_log_in_with() {
        assert!(matches!(Credentials::load(&SshAccess::Agent, None), Err(KeyFault::NoAgent(_))));
        assert!(matches!(Credentials::load(&SshAccess::Untold, None), Err(KeyFault::NoAgent(_))));
        assert!(matches!(
            Credentials::load(&SshAccess::Agent, Some(Path::new("/run/agent"))),
            Ok(Credentials::Agent(path)) if path == Path::new("/run/agent")
        ));
    }

    proptest! {
        #[test]
        fn no_key_file_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), label in "(OPENSSH |RSA |EC |)") {
            let text = format!("-----BEGIN {label}PRIVATE KEY-----\n{}\n-----END {label}PRIVATE KEY-----\n", BASE64.encode(&[OPENSSH_MAGIC, &body].concat()));
            let _either = inspect(&text);
            let _either = Credentials::from_text(&text);
        }
    }
}
