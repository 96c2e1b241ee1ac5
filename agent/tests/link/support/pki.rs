//! An authority like the controller's own.

use std::sync::Arc;
use std::time::Duration;

use cratekube_agent::config::Address;
use cratekube_agent::identity::{Identity, credentials};
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::runtime::{clock, tls};
use cratekube_proto::v1;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use uuid::Uuid;

pub const DAY: Duration = Duration::from_secs(86_400);

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CrateKube authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn token(&self) -> JoinToken {
        JoinToken::new(&"s3cretS3cret".repeat(4), &tls::fingerprint(&self.certificate())).unwrap()
    }

    /// A certificate for the key in a request, and nothing else of it.
    pub fn grant(&self, csr: &[u8], life: Duration) -> v1::Certificate {
        let request = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
        let leaf = client_params(life).signed_by(&request.public_key, &self.issuer).unwrap();
        let ca = self.certificate().to_vec();
        v1::Certificate { chain: vec![leaf.der().to_vec(), ca.clone()], trust_bundle: vec![ca], not_after_ms: 0 }
    }

    /// What an agent has after it enrolled here.
    pub fn identity(&self, controller: &Address) -> Identity {
        let made = credentials::new_key("bastion-1").unwrap();
        let granted = credentials::check(&made.key, Some(self.grant(&made.csr, DAY)), None, &clock::system()).unwrap();
        Identity {
            agent: Uuid::from_u128(7).into(),
            name: "bastion-1".parse().unwrap(),
            controller: controller.clone(),
            key: made.key,
            chain: granted.chain,
            trust: granted.trust,
        }
    }

    /// TLS of a server with this authority's certificate for a name; `shown` follows it in the chain.
    pub fn server(&self, name: &str, shown: Vec<CertificateDer<'static>>) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let chain = std::iter::once(leaf.der().clone()).chain(shown).collect();
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

fn client_params(life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_millis(u64::try_from(clock::system().now().as_millis()).unwrap());
    params.not_before = epoch + now - Duration::from_secs(60);
    params.not_after = epoch + now + life;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}
