//! A join token becomes an identity, and nobody in between can take its place.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use cratekube_agent::identity::Identity;
use cratekube_agent::identity::credentials::{self, RefusedCertificate};
use cratekube_agent::identity::enroll::{EnrollError, Enrollment, enroll};
use cratekube_agent::identity::files::IdentityFiles;
use cratekube_agent::link::channel::{ConnectError, Connector};
use cratekube_agent::link::tls;
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::{self, Clock, ManualClock};
use cratekube_proto::v1;
use rustls_pki_types::CertificateDer;
use tonic::Status;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::support::controller::{Options, TestController};
use crate::support::pki::{Authority, DAY};

struct Newcomer {
    dir: tempfile::TempDir,
    clock: Clock,
}

impl Newcomer {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: clock::system() }
    }

    fn files(&self) -> IdentityFiles {
        IdentityFiles::at(&self.dir.path().join("state"))
    }

    async fn enroll(
        &self,
        controller: &TestController,
        token: JoinToken,
        force: bool,
    ) -> Result<Identity, EnrollError> {
        let enrollment = Enrollment {
            controller: controller.address.clone(),
            token,
            name: "bastion-1".parse().unwrap(),
            volumes: vec![Uuid::from_u128(3).into()],
        };
        enroll(&enrollment, &self.files(), force, controller.dialer(), &self.clock).await
    }

    /// Nothing was stored, and the token was shown to nobody.
    fn assert_untouched(&self, controller: &TestController) {
        assert!(!self.files().is_enrolled());
        assert!(controller.state.enrolled.lock().unwrap().is_empty(), "the token was given away");
    }
}

#[tokio::test]
async fn a_token_becomes_a_private_identity_that_the_controller_accepts() {
    let controller = TestController::start(Options { sockets: true, ..Options::default() }).await;
    let newcomer = Newcomer::new();
    let token = controller.authority.token();
    let identity = newcomer.enroll(&controller, token.clone(), false).await.unwrap();

    let asked = controller.state.enrolled.lock().unwrap()[0].clone();
    assert_eq!(asked.join_token, token.expose().expose());
    assert_eq!((asked.name.as_str(), asked.volumes.len()), ("bastion-1", 1));
    assert_eq!(newcomer.files().load().unwrap().current, identity);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&newcomer.files().current_path()), 0o600);
    assert_eq!(mode(newcomer.files().current_path().parent().unwrap()), 0o700);

    let connector = Connector::new(controller.dialer(), controller.address.clone());
    let connection = connector.connect(tls::enrolled(&identity, &newcomer.clock).unwrap()).await.unwrap();
    connection.accepted().await.unwrap();
}

#[tokio::test]
async fn hostile_row_29_a_lost_answer_is_asked_for_again_with_the_same_key() {
    let controller = TestController::start(Options { sockets: true, ..Options::default() }).await;
    let newcomer = Newcomer::new();
    let token = controller.authority.token();
    *controller.state.enroll_answer.lock().unwrap() = Some(Err(Status::unavailable("the answer is lost")));
    newcomer.enroll(&controller, token.clone(), false).await.unwrap_err();
    let asked_with = newcomer.dir.path().join("state/identity-asked.json");
    assert_eq!(std::fs::metadata(&asked_with).unwrap().permissions().mode() & 0o777, 0o600);
    let identity = newcomer.enroll(&controller, token, false).await.unwrap();
    assert!(!asked_with.exists(), "it is the identity's now");
    newcomer.enroll(&controller, controller.authority.token(), true).await.unwrap();
    let asked = controller.state.enrolled.lock().unwrap();
    let keys: Vec<_> = asked.iter().map(|request| public_key(&request.csr)).collect();
    assert!(keys[0] == keys[1] && keys[2] != keys[0], "another token is asked with another key");
    assert_eq!(newcomer.files().load().unwrap().next, None);
    assert!(identity.validity().is_ok());
}

/// The public key that a request is for.
fn public_key(csr: &[u8]) -> Vec<u8> {
    let (_, request) = X509CertificationRequest::from_der(csr).unwrap();
    request.certification_request_info.subject_pki.subject_public_key.data.to_vec()
}

#[tokio::test]
async fn an_enrolled_agent_is_replaced_only_by_force() {
    let controller = TestController::start(Options::default()).await;
    let newcomer = Newcomer::new();
    let first = newcomer.enroll(&controller, controller.authority.token(), false).await.unwrap();
    let again = newcomer.enroll(&controller, controller.authority.token(), false).await;
    assert!(matches!(again, Err(EnrollError::AlreadyEnrolled(_))));
    let second = newcomer.enroll(&controller, controller.authority.token(), true).await.unwrap();
    assert_ne!(first.key, second.key);
    assert_eq!(newcomer.files().load().unwrap().current, second);
}

#[tokio::test]
async fn hostile_row_33_a_controller_with_another_authority_is_refused() {
    let controller = TestController::start(Options::default()).await;
    let newcomer = Newcomer::new();
    let error = newcomer.enroll(&controller, Authority::new().token(), false).await.unwrap_err();
    assert!(matches!(error, EnrollError::Rogue { .. }), "{error}");
    assert!(error.to_string().contains("somebody is in between"), "{error}");
    newcomer.assert_untouched(&controller);
}

/// The man in the middle knows the right authority's certificate, which is public, and shows it.
#[tokio::test]
async fn hostile_row_33_showing_the_right_authority_is_not_being_certified_by_it() {
    let (honest, rogue) = (Authority::new(), Arc::new(Authority::new()));
    let chains: [Vec<CertificateDer<'static>>; 3] = [
        vec![honest.certificate()],
        vec![rogue.certificate(), honest.certificate()],
        vec![honest.certificate(), rogue.certificate()],
    ];
    for chain in chains {
        let tls = rogue.server("localhost", chain);
        let controller = TestController::start_as(Arc::clone(&rogue), tls, false).await;
        let newcomer = Newcomer::new();
        let error = newcomer.enroll(&controller, honest.token(), false).await.unwrap_err();
        assert!(matches!(error, EnrollError::Connect(ConnectError::Tls { refused: false, .. })), "{error}");
        newcomer.assert_untouched(&controller);
    }
}

#[tokio::test]
async fn hostile_row_33_the_right_authority_for_another_name_is_refused() {
    let controller = TestController::start(Options { name: "elsewhere", ..Options::default() }).await;
    let newcomer = Newcomer::new();
    let error = newcomer.enroll(&controller, controller.authority.token(), false).await.unwrap_err();
    assert!(matches!(error, EnrollError::Connect(ConnectError::Tls { .. })), "{error}");
    newcomer.assert_untouched(&controller);
}

#[tokio::test]
async fn a_refused_token_is_said_to_be_refused() {
    let controller = TestController::start(Options::default()).await;
    *controller.state.enroll_answer.lock().unwrap() = Some(Err(Status::permission_denied("used already")));
    let newcomer = Newcomer::new();
    let token = controller.authority.token();
    let error = newcomer.enroll(&controller, token.clone(), false).await.unwrap_err();
    assert!(error.to_string().contains("ask for a new one"), "{error}");
    assert!(!format!("{error} {error:?}").contains(token.secret.expose()));
    assert!(!newcomer.files().is_enrolled());
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_not_stored() {
    let controller = TestController::start(Options::default()).await;
    let authority = &controller.authority;
    let newcomer = Newcomer::new();
    let answers = [
        None,
        Some(v1::Certificate::default()),
        Some(authority.grant(&credentials::new_key("other").unwrap().csr, DAY)),
        Some(Authority::new().grant(&credentials::new_key("other").unwrap().csr, DAY)),
    ];
    for certificate in answers {
        let answer = v1::EnrollResponse { agent_id: Uuid::from_u128(1).to_string(), certificate };
        *controller.state.enroll_answer.lock().unwrap() = Some(Ok(answer));
        let error = newcomer.enroll(&controller, authority.token(), false).await.unwrap_err();
        assert!(matches!(error, EnrollError::Certificate(_)), "{error}");
        assert!(!newcomer.files().is_enrolled());
    }
}

#[test]
fn a_certificate_is_checked_for_key_authority_and_time() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let now = clock::system();
    let made = credentials::new_key("bastion-1").unwrap();
    let pin = |authority: &Authority| authority.token().ca_sha256;
    let check = |answer: v1::Certificate, pin: &str, clock: &Clock| {
        credentials::check(&made.key, Some(answer), Some(pin), clock)
    };

    assert!(check(ours.grant(&made.csr, DAY), &pin(&ours), &now).is_ok());
    let unpinned = check(theirs.grant(&made.csr, DAY), &pin(&ours), &now).unwrap_err();
    assert!(matches!(unpinned, RefusedCertificate::Unpinned));
    // The bundle names the pinned authority, but the certificate is another's.
    let mut forged = theirs.grant(&made.csr, DAY);
    forged.trust_bundle.push(ours.certificate().to_vec());
    let unverified = check(forged, &pin(&ours), &now).unwrap_err();
    assert!(matches!(unverified, RefusedCertificate::Unverified(_)), "{unverified}");
    let other_key = ours.grant(&credentials::new_key("other").unwrap().csr, DAY);
    assert!(matches!(check(other_key, &pin(&ours), &now).unwrap_err(), RefusedCertificate::NotOurs(_)));
}

#[test]
fn hostile_row_37_a_skewed_clock_is_named_with_both_times() {
    let authority = Authority::new();
    let made = credentials::new_key("bastion-1").unwrap();
    let now = clock::system().now();
    for minutes in [-10, 10 + 24 * 60] {
        let skewed: Clock = ManualClock::at(Timestamp::from_millis(now.as_millis() + minutes * 60_000));
        let answer = authority.grant(&made.csr, DAY);
        let error = credentials::check(&made.key, Some(answer), None, &skewed).unwrap_err().to_string();
        assert!(error.contains("clock") && error.contains(&skewed.now().to_string()), "{error}");
    }
}
