//! Whatever is killed when, a usable identity is left.

use std::path::Path;

use cratekube_agent::identity::Identity;
use cratekube_agent::identity::files::{IdentityFiles, IdentityFilesError};

use crate::support::pki::Authority;

const CURRENT: &str = "identity.json";
const NEXT: &str = "identity-next.json";

struct Kept {
    dir: tempfile::TempDir,
    files: IdentityFiles,
    old: Identity,
    new: Identity,
}

impl Kept {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles::at(dir.path());
        let address = "localhost:7443".parse().unwrap();
        let authority = Authority::new();
        let (old, new) = (authority.identity(&address), authority.identity(&address));
        files.save(&old).unwrap();
        Self { dir, files, old, new }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

fn cut(path: &Path, keep: usize) {
    let content = std::fs::read(path).unwrap();
    std::fs::write(path, &content[..keep.min(content.len())]).unwrap();
}

#[test]
fn a_renewed_identity_stands_beside_the_old_until_it_is_proved() {
    let kept = Kept::new();
    kept.files.stage(&kept.new).unwrap();
    let saved = kept.files.load().unwrap();
    assert_eq!((saved.current, saved.next), (kept.old.clone(), Some(kept.new.clone())));
    kept.files.promote().unwrap();
    let saved = kept.files.load().unwrap();
    assert_eq!((saved.current, saved.next), (kept.new.clone(), None));
    kept.files.stage(&kept.old).unwrap();
    kept.files.discard().unwrap();
    kept.files.discard().unwrap();
    assert_eq!(kept.files.load().unwrap().next, None);
}

#[test]
fn a_crash_at_any_byte_of_any_step_leaves_a_usable_identity() {
    let kept = Kept::new();
    kept.files.stage(&kept.new).unwrap();
    let length = usize::try_from(std::fs::metadata(kept.path(NEXT)).unwrap().len()).unwrap();
    for keep in (0..length).step_by(97) {
        kept.files.stage(&kept.new).unwrap();
        cut(&kept.path(NEXT), keep);
        let saved = kept.files.load().unwrap();
        assert_eq!((saved.current, saved.next), (kept.old.clone(), None), "cut at {keep}");
        // The write that was never renamed into place is not looked at.
        std::fs::rename(kept.path(NEXT), kept.path(".identity.json.new")).unwrap();
        assert_eq!(kept.files.load().unwrap().current, kept.old);
    }
    kept.files.stage(&kept.new).unwrap();
    cut(&kept.path(CURRENT), 100);
    let saved = kept.files.load().unwrap();
    assert_eq!((saved.current, saved.next), (kept.new.clone(), None), "the whole one of the two is used");
    std::fs::remove_file(kept.path(CURRENT)).unwrap();
    assert_eq!(kept.files.load().unwrap().current, kept.new);
}

#[test]
fn a_damaged_identity_is_never_taken_for_none_and_shows_no_secret() {
    let kept = Kept::new();
    let whole = std::fs::read_to_string(kept.path(CURRENT)).unwrap();
    let damages = [
        whole[..whole.len() / 2].to_owned(),
        String::new(),
        whole.replace("\"format\": 1", "\"format\": 2"),
        whole.replace("\"agent\"", "\"agent_\""),
        whole.replacen("BEGIN CERTIFICATE", "BEGIN CERTIFICAT", 2),
    ];
    for damage in damages {
        std::fs::write(kept.path(CURRENT), &damage).unwrap();
        let error = kept.files.load().unwrap_err();
        assert!(matches!(error, IdentityFilesError::Damaged { .. }), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("PRIVATE") && shown.contains("enroll --force"), "{shown}");
    }
    let mixed: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let mut mixed = mixed;
    mixed["key_pem"] = kept.new.key.expose().into();
    std::fs::write(kept.path(CURRENT), mixed.to_string()).unwrap();
    assert!(kept.files.load().unwrap_err().to_string().contains("does not belong"), "a key of another certificate");
    std::fs::remove_file(kept.path(CURRENT)).unwrap();
    assert!(matches!(kept.files.load().unwrap_err(), IdentityFilesError::NotEnrolled(_)));
    assert!(!format!("{:?}", kept.old).contains("PRIVATE KEY"), "Debug shows no key");
}
