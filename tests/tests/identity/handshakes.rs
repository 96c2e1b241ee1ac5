//! Handshakes that must fail, each counted, and what a client with raw bytes gets.

use std::net::SocketAddr;
use std::sync::Arc;

use cratekube_agent::identity::Identity;
use cratekube_common::runtime::tls;
use cratekube_tests::house::indoors::{Host, Indoors};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The beginning of an HTTP/1.1 answer to a `GET` over this TLS.
pub(super) async fn get(address: SocketAddr, tls: Arc<ClientConfig>, path: &str) -> anyhow::Result<String> {
    let mut config = (*tls).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, tcp).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let _closed_without_notice = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn roots(house: &Indoors) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(house.ca_pem()?.as_bytes()).map_err(anyhow::Error::msg)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The certificates that the listener for users shows.
pub(super) async fn shown(house: &Indoors) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let builder = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions()?;
    let config = builder.with_root_certificates(roots(house)?).with_no_client_auth();
    let tcp = TcpStream::connect(house.rest).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, tcp).await?;
    let (_, session) = stream.get_ref();
    Ok(session.peer_certificates().unwrap_or_default().to_vec())
}

/// A self-made authority, and a certificate of it for an agent's name.
fn other_authority(identity: &Identity, usage: ExtendedKeyUsagePurpose) -> anyhow::Result<Identity> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, "CrateKube Cluster Management CA");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::default();
    leaf.extended_key_usages = vec![usage];
    let uri = format!("spiffe://cratekube/agent/{}", identity.agent);
    leaf.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into()?)];
    let leaf = leaf.signed_by(&key, &issuer)?;
    let chain = vec![leaf.der().clone(), issuer.der().clone()];
    Ok(Identity { key: cratekube_common::domain::secret::Secret::new(key.serialize_pem()), chain, ..identity.clone() })
}

/// Whether a handshake with this identity, and a first call, is refused.
async fn refused(host: &Host, identity: &Identity) -> bool {
    match host.connect(identity).await {
        Ok(connection) => connection.accepted().await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn hostile_row_41_certificates_that_are_not_an_agents_fail_in_the_handshake_and_are_counted() -> anyhow::Result<()>
{
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let failed = || house.counters.read().handshakes_failed;
    let before = failed();
    assert!(
        refused(&host, &other_authority(&identity, ExtendedKeyUsagePurpose::ClientAuth)?).await,
        "another authority"
    );
    assert!(refused(&host, &other_authority(&identity, ExtendedKeyUsagePurpose::ServerAuth)?).await);
    assert_eq!(failed(), before + 2);
    // Our own authority's certificate for a listener is good for serving only.
    let listener = serving_certificate(&house).await?;
    assert!(refused(&host, &Identity { chain: listener.0, key: listener.1, ..identity.clone() }).await);
    assert_eq!(failed(), before + 3, "a certificate for serving, shown by a client");
    assert!(!refused(&host, &identity).await, "the agent itself is not disturbed");
    house.finish().await
}

/// A certificate of the house's own authority that is for serving only, with its key.
async fn serving_certificate(
    house: &Indoors,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, cratekube_common::domain::secret::Secret)> {
    use cratekube_common::runtime::mint::Mint;
    use cratekube_controller::app::open_data;
    use cratekube_controller::config::Config;
    use cratekube_controller::datadir::Opening;
    let config = Config::read(&json!({"data": {"directory": house.path().join("data")}}))?;
    let data = open_data(&config, Opening::Command, &house.clock(), &Mint::system(house.clock()))?;
    let made = data.authority.issue_server(&["localhost".to_owned()])?;
    let PrivateKeyDer::Pkcs8(key) = &made.key else { anyhow::bail!("not PKCS#8") };
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        data_encoding::BASE64.encode(key.secret_pkcs8_der())
    );
    Ok((made.chain, cratekube_common::domain::secret::Secret::new(pem)))
}

#[tokio::test]
async fn hostile_row_41_old_versions_of_tls_and_other_protocols_get_an_alert_and_are_counted() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    for (what, version) in [("TLS 1.1", 2), ("TLS 1.0", 1), ("SSL 3", 0)] {
        let before = house.counters.read().handshakes_failed;
        let mut tcp = TcpStream::connect(house.agents).await?;
        tcp.write_all(&client_hello(version)).await?;
        let mut answer = Vec::new();
        let _reset_is_an_answer = tcp.read_to_end(&mut answer).await;
        // An alert record, fatal: handshake_failure or protocol_version.
        let refused = matches!(answer[..], [21, 3, _, 0, 2, 2, 40 | 70]);
        assert!(refused, "{what}: {answer:?}");
        assert_eq!(house.counters.read().handshakes_failed, before + 1, "{what}");
    }
    let before = house.counters.read().handshakes_failed;
    let mut tcp = TcpStream::connect(house.agents).await?;
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = Vec::new();
    let _reset_is_an_answer = tcp.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "never in plain text");
    assert_eq!(house.counters.read().handshakes_failed, before + 1);
    house.finish().await
}

/// A `ClientHello` of an old version (minor number) without extensions.
fn client_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    // TLS_RSA_WITH_AES_128_CBC_SHA, and the one that says that renegotiation is safe.
    body.extend([0, 4, 0x00, 0x2f, 0x00, 0xff, 1, 0]);
    let length = u8::try_from(body.len()).unwrap_or(0);
    let mut record = vec![22, 3, minor.max(1), 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test]
async fn hostile_row_41_without_a_certificate_nothing_but_enrolment_answers() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&house)?)
        .with_no_client_auth();
    let mut config = config;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connection = house.host("bastion-1").connector().connect(Arc::new(config)).await?;
    let refused = connection.accepted().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");
    let refused = connection.link().renew(cratekube_proto::v1::RenewRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");
    house.finish().await
}
