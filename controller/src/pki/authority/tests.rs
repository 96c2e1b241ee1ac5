//! The authority: made once, opened as it was, rotated step by step, and found again after every interruption.

use cratekube_common::runtime::clock::{self, ManualClock};
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::plan::ca_rotation::Phase;
use zeroize::Zeroizing;

pub(in crate::pki) fn envelope(byte: u8) -> Arc<Envelope> {
    Arc::new(Envelope::new(&Zeroizing::new(vec![byte; 32]), Mint::system(clock::system())).unwrap())
}

pub(in crate::pki) fn load(data: &Path, is_new: bool, byte: u8) -> Result<Authority, PkiError> {
    load_with(data, is_new, byte, KeyAlgorithm::EcdsaP256)
}

pub(in crate::pki) fn load_with(
    data: &Path,
    is_new: bool,
    byte: u8,
    algorithm: KeyAlgorithm,
) -> Result<Authority, PkiError> {
    let clock = clock::system();
    Authority::load(data, is_new, algorithm, &envelope(byte), clock.clone(), Mint::system(clock))
}

fn take(authority: &Authority, step: Step) -> Result<bool, PkiError> {
    authority.take(step, |_| Ok(()))
}

/// Fingerprints: the one that stays, the one that is shown, those that are trusted, those in `ca.pem`.
fn standing(authority: &Authority, data: &Path) -> (String, String, Vec<String>, Vec<String>) {
    let of = |certificates: Vec<CertificateDer<'static>>| certificates.iter().map(tls::fingerprint).collect();
    let on_disk = tls::certificates(&std::fs::read(data.join(CERTIFICATE)).unwrap()).unwrap();
    let now = authority.now();
    (now.stays.fingerprint, authority.fingerprint(), of(authority.trust_bundle()), of(on_disk))
}

fn names(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn hostile_row_48_what_is_made_while_the_clock_is_an_hour_ahead_is_good_when_it_was_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::from_millis(1_795_000_000_000);
    let clock = ManualClock::at(now);
    clock.jump(3_600_000);
    let mint = Mint::system(clock.clone());
    let authority = Authority::load(dir.path(), true, KeyAlgorithm::EcdsaP256, &envelope(1), clock, mint).unwrap();
    let listener = authority.issue_server(&["localhost".to_owned()]).unwrap();
    for certificate in &listener.chain {
        let (_, read) = x509_parser::parse_x509_certificate(certificate).unwrap();
        let slow_agent = now.as_millis() / 1_000 - 600;
        assert!(read.validity().not_before.timestamp() <= slow_agent, "{:?}", read.validity());
    }
}

#[test]
fn an_authority_that_is_not_what_the_settings_ask_for_stays_says_so_and_is_rotated_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = load(dir.path(), true, 1).unwrap();
    assert_eq!(first.differs_from_settings(), None);
    for wanted in [KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa4096] {
        let later = load_with(dir.path(), false, 1, wanted).unwrap();
        let said = later.differs_from_settings().unwrap();
        assert!(said.contains("is ecdsa-p256 although") && said.contains(wanted.as_str()), "{said}");
        assert_eq!(later.fingerprint(), first.fingerprint());
    }
    let later = load_with(dir.path(), false, 1, KeyAlgorithm::EcdsaP384).unwrap();
    take(&later, Step::Begin).unwrap();
    assert_eq!(later.differs_from_settings(), None);
    assert_eq!(later.now().stays.algorithm, Some(KeyAlgorithm::EcdsaP384));
}

#[test]
fn hostile_row_40_the_authority_is_made_once_and_never_anew() {
    let dir = tempfile::tempdir().unwrap();
    let first = load(dir.path(), true, 1).unwrap().fingerprint();
    assert_eq!(load(dir.path(), false, 1).unwrap().fingerprint(), first);
    assert!(load(dir.path(), false, 2).unwrap_err().to_string().contains("another master key"));
    broken_files_are_refused(dir.path(), &[CERTIFICATE, KEY]);
    assert_eq!(load(dir.path(), false, 1).unwrap().fingerprint(), first);
}

fn broken_files_are_refused(data: &Path, names: &[&str]) {
    for name in names {
        let path = data.join(name);
        let content = std::fs::read(&path).unwrap();
        for broken in [&b""[..], &content[..content.len() / 2], b"garbage"] {
            std::fs::write(&path, broken).unwrap();
            assert!(load(data, false, 1).is_err(), "{name}");
            assert_eq!(std::fs::read(&path).unwrap(), broken, "nothing is overwritten");
        }
        std::fs::write(&path, content).unwrap();
    }
}

#[test]
fn hostile_row_40_the_file_of_a_rotation_that_cannot_be_read_stops_the_start_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    take(&load(dir.path(), true, 1).unwrap(), Step::Begin).unwrap();
    assert!(load(dir.path(), false, 2).unwrap_err().to_string().contains("another master key"));
    broken_files_are_refused(dir.path(), &[ROTATION]);
    // Not even for a rotation that was never begun is it taken when it is lost: agents may have the new root already.
    let path = dir.path().join(ROTATION);
    let content = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let refused = load(dir.path(), false, 1).unwrap_err().to_string();
    assert!(refused.contains(ROTATION) && refused.contains("it is missing"), "{refused}");
    assert!(!path.exists(), "it is not made anew");
    std::fs::write(&path, content).unwrap();
    assert!(load(dir.path(), false, 1).is_ok());
}

#[test]
fn hostile_row_39_a_rotation_goes_from_one_root_to_another_and_every_phase_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let authority = load(data, true, 1).unwrap();
    let old = authority.fingerprint();
    assert!(matches!(take(&authority, Step::Finish), Err(PkiError::Step(_))));
    assert!(take(&authority, Step::Begin).unwrap());
    let new = authority.now().stays.fingerprint;
    assert_ne!(new, old);
    let both = |first: &String, second: &String| vec![first.clone(), second.clone()];
    let expected = (new.clone(), old.clone(), both(&old, &new), both(&old, &new));
    assert_eq!(standing(&authority, data), expected);
    assert_eq!(standing(&load(data, false, 1).unwrap(), data), expected);

    assert!(take(&authority, Step::Switch).unwrap() && !take(&authority, Step::Switch).unwrap());
    let expected = (new.clone(), new.clone(), both(&new, &old), both(&new, &old));
    assert_eq!(standing(&authority, data), expected);
    assert_eq!(standing(&load(data, false, 1).unwrap(), data), expected);

    let before = names(data);
    assert!(take(&authority, Step::Finish).unwrap());
    let expected = (new.clone(), new.clone(), vec![new.clone()], vec![new.clone()]);
    assert_eq!(standing(&authority, data), expected);
    assert_eq!(standing(&load(data, false, 1).unwrap(), data), expected);
    assert!(before.contains(&ROTATION.to_owned()) && !names(data).contains(&ROTATION.to_owned()));
    assert_eq!(authority.now().progress, None);
}

#[test]
fn hostile_row_39_a_rotation_that_is_rolled_back_ends_with_the_root_from_before() {
    for switched in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let authority = load(dir.path(), true, 1).unwrap();
        let old = authority.fingerprint();
        take(&authority, Step::Begin).unwrap();
        if switched {
            take(&authority, Step::Switch).unwrap();
        }
        let new = authority.now().stays.fingerprint;
        assert!(take(&authority, Step::RollBack).unwrap() && !take(&authority, Step::RollBack).unwrap());
        let authority = load(dir.path(), false, 1).unwrap();
        assert_eq!((authority.now().stays.fingerprint, authority.fingerprint()), (old.clone(), old.clone()));
        assert!(authority.trusts(&new), "agents that have its certificates already are not locked out");
        take(&authority, Step::Finish).unwrap();
        assert!(!authority.trusts(&new) && authority.trusts(&old));
        assert_eq!(load(dir.path(), false, 1).unwrap().fingerprint(), old);
    }
}

#[test]
fn hostile_row_39_the_first_certificate_is_from_the_root_that_the_token_names_and_the_next_from_the_one_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let authority = load(dir.path(), true, 1).unwrap();
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let issue = |generation, pinned: Option<&str>| {
        let id = cratekube_common::domain::id::AgentId(uuid::Uuid::from_u128(7));
        let issued = authority.issue_agent(csr.der(), id, &"bastion-1".parse().unwrap(), generation, pinned).unwrap();
        let (_, read) = x509_parser::parse_x509_certificate(&issued.certificate).unwrap();
        assert_eq!(authority.issuer_of(&read).as_ref(), Some(&issued.issuer), "it says itself who made it");
        issued
    };
    let old = authority.fingerprint();
    let before = issue(4, None);
    assert!(authority.is_current(&before.issuer, &before.trust));
    take(&authority, Step::Begin).unwrap();
    let (first, next) = (issue(1, Some(&old)), issue(2, None));
    assert!(!authority.is_current(&before.issuer, &before.trust), "it does not know the new root yet");
    assert_eq!(first.issuer, old, "its token names no other");
    assert!(!authority.is_current(&first.issuer, &first.trust));
    assert!(authority.is_current(&next.issuer, &next.trust));
    assert_eq!(next.trust_bundle.len(), 2);
    take(&authority, Step::Switch).unwrap();
    assert_eq!(issue(1, Some(&authority.fingerprint())).issuer, authority.fingerprint());
    assert_eq!(issue(1, Some(&old)).issuer, old, "a token from before the switch that was on its way");
    assert!(authority.is_current(&next.issuer, &next.trust));
    take(&authority, Step::Finish).unwrap();
    assert!(!authority.is_current(&next.issuer, &next.trust), "it still trusts the root that went");
    let (_, read) = x509_parser::parse_x509_certificate(&first.certificate).unwrap();
    assert_eq!(authority.issuer_of(&read), None);
}

#[test]
fn hostile_row_39_what_only_claims_to_be_from_a_root_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = load(dir.path(), true, 1).unwrap();
    take(&authority, Step::Begin).unwrap();
    let now = authority.now();
    // Who has the old key forges a certificate that names the new root.
    let forged = |key: &Root| {
        let (_, new) = x509_parser::parse_x509_certificate(&now.stays.certificate).unwrap();
        let name = new.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = rcgen::Issuer::new(params, KeyPair::from_pem(key.key().expose()).unwrap());
        CertificateParams::default().signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
    };
    let issuer_of =
        |der: &CertificateDer<'_>| authority.issuer_of(&x509_parser::parse_x509_certificate(der).unwrap().1);
    let roots = authority.roots();
    assert_eq!(issuer_of(&forged(roots.stays())), Some(now.stays.fingerprint.clone()));
    assert_eq!(issuer_of(&forged(roots.shown())), None);
}

#[test]
fn hostile_row_39_nobody_is_certified_by_a_root_before_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let authority = load(dir.path(), true, 1).unwrap();
    let mut told = 0;
    authority
        .take(Step::Begin, |trusted| {
            told = trusted.len();
            assert_eq!(authority.now().goes, None, "it is not in use yet");
            Ok(())
        })
        .unwrap();
    assert_eq!(told, 2);
}

#[test]
fn hostile_row_39_an_end_that_was_interrupted_after_any_write_is_made_up_for_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let authority = load(data, true, 1).unwrap();
    take(&authority, Step::Begin).unwrap();
    take(&authority, Step::Switch).unwrap();
    let stays = authority.now().stays.fingerprint;
    let before: Vec<(PathBuf, Vec<u8>)> =
        [CERTIFICATE, KEY, ROTATION].map(|name| (data.join(name), std::fs::read(data.join(name)).unwrap())).into();
    // The phase is written, and nothing after it.
    let roots = authority.roots();
    let (goes, progress) = roots.goes.clone().unwrap();
    let progress = Progress { phase: Phase::Finishing, ..progress };
    let interrupted = Roots::new(Arc::clone(&roots.stays), Some((goes, progress)));
    keep_both(data, &interrupted, &authority.envelope).unwrap();
    let finishing = std::fs::read(data.join(ROTATION)).unwrap();
    let root = Arc::clone(&roots.stays);
    for written in 0..=2 {
        for (path, content) in &before {
            std::fs::write(path, content).unwrap();
        }
        std::fs::write(data.join(ROTATION), &finishing).unwrap();
        if written > 0 {
            std::fs::write(data.join(KEY), authority.envelope.seal(CONTEXT, root.key().expose().as_bytes())).unwrap();
        }
        if written > 1 {
            std::fs::write(data.join(CERTIFICATE), &root.pem).unwrap();
        }
        let started = load(data, false, 1).unwrap();
        assert_eq!(standing(&started, data).2, vec![stays.clone()], "the old root is refused at once");
        started.settle().unwrap();
        let expected = (stays.clone(), stays.clone(), vec![stays.clone()], vec![stays.clone()]);
        assert_eq!(standing(&started, data), expected);
        assert_eq!(standing(&load(data, false, 1).unwrap(), data), expected);
        assert!(!data.join(ROTATION).exists());
    }
}
