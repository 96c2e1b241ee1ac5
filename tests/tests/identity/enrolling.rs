//! Join tokens: who gets in, and what the others are told.

use std::time::Duration;

use cratekube_agent::identity::enroll::EnrollError;
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::runtime::clock;
use cratekube_proto::v1;
use cratekube_tests::house::indoors::Indoors;
use cratekube_tests::house::rest::Ask;
use http::Method;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use tonic::Code;
use x509_parser::prelude::parse_x509_certificate;

fn why(refused: Result<cratekube_agent::identity::Identity, EnrollError>) -> String {
    match refused {
        Err(EnrollError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn hostile_row_29_two_hosts_race_with_one_token_and_one_is_an_alarm() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let token = house.join_token(json!({})).await?;
    let (one, two) = (house.host("bastion-1"), house.host("bastion-2"));
    let (one, two) = tokio::join!(one.enroll(token.clone()), two.enroll(token.clone()));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert!(matches!(one.and(two), Err(EnrollError::Refused(_))));
    let agents = house.admin()?.get("/v1/admin/agents").await?.expect(200)?.json();
    assert_eq!(agents["items"].as_array().map(Vec::len), Some(1));
    let log = house.audit().await?;
    let reused: Vec<_> = log.iter().filter(|entry| entry.action == "agent.join-token-reused").collect();
    assert_eq!(reused.len(), 1, "{log:?}");
    assert_eq!((reused[0].outcome.as_str(), reused[0].origin.as_str()), ("refused", "127.0.0.1"));
    house.finish().await
}

#[tokio::test]
async fn hostile_row_30_whatever_is_wrong_with_a_token_the_answer_is_the_same() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let unknown = house.join_token(json!({})).await?;
    let unknown = JoinToken::new(&"x".repeat(43), &unknown.ca_sha256)?;
    let expired = house.join_token(json!({"lifetime": "1s"})).await?;
    let other_name = house.join_token(json!({"agent": "somebody"})).await?;
    let other_volume = house.join_token(json!({"volume": "00000000-0000-0000-0000-000000000001"})).await?;
    let used = house.join_token(json!({})).await?;
    house.host("taken").enroll(used.clone()).await?;
    let made = house.admin()?.post("/v1/admin/join-tokens", &json!({})).await?.expect(201)?.json();
    let withdrawn: JoinToken = made["token"].as_str().unwrap_or_default().parse()?;
    let path = format!("/v1/admin/join-tokens/{}", made["id"].as_str().unwrap_or_default());
    house.admin()?.delete(&path).await?.expect(204)?;
    house.clock.advance(Duration::from_secs(2));
    let mut answers = std::collections::BTreeSet::new();
    for token in [unknown, expired, other_name, other_volume, used, withdrawn] {
        answers.insert(why(house.host("bastion-1").enroll(token).await));
    }
    let taken = house.join_token(json!({})).await?;
    answers.insert(why(house.host("taken").enroll(taken).await));
    assert_eq!(answers.len(), 1, "no oracle: {answers:?}");
    house.finish().await
}

#[tokio::test]
async fn hostile_row_25_tries_to_enrol_have_a_pace_and_are_told_when_to_come_again() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let token = house.join_token(json!({})).await?;
    let guess = JoinToken::new(&"x".repeat(43), &token.ca_sha256)?;
    let host = house.host("bastion-1");
    let mut refused = None;
    for _ in 0..30 {
        match host.enroll(guess.clone()).await {
            Err(EnrollError::Refused(_)) => {}
            Err(EnrollError::Call(why)) => refused = refused.or(Some(why)),
            other => panic!("{other:?}"),
        }
    }
    let why = refused.expect("thirty guesses in a row");
    assert!(why.contains("ResourceExhausted") && why.contains("try again in"), "{why}");
    house.clock.advance(Duration::from_secs(5));
    assert!(host.enroll(token).await.is_ok(), "those who wait get in");
    house.finish().await
}

#[tokio::test]
async fn hostile_row_32_a_request_for_everything_gets_a_plain_certificate_over_the_wire() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let token = house.join_token(json!({})).await?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "cratekube-controller");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    let key = KeyPair::generate()?;
    let tls = cratekube_agent::link::tls::pinned(&token.ca_sha256, &house.clock())?;
    let connection = house.host("bastion-1").connector().connect(tls).await?;
    let request = |csr: Vec<u8>| v1::EnrollRequest {
        join_token: token.expose().expose().to_owned(),
        name: "bastion-1".into(),
        csr,
        volumes: Vec::new(),
        version: "0".into(),
    };
    let mut forged = params.serialize_request(&key)?.der().to_vec();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    for csr in [forged, b"junk".to_vec(), Vec::new()] {
        let refused = connection.enrollment().enroll(request(csr)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let granted = connection.enrollment().enroll(request(params.serialize_request(&key)?.der().to_vec())).await?;
    let granted = granted.into_inner().certificate.unwrap_or_default();
    let (_, leaf) = parse_x509_certificate(&granted.chain[0])?;
    assert!(!leaf.is_ca());
    assert_eq!(leaf.subject().to_string(), "CN=bastion-1, serialNumber=1");
    let usage = leaf.extended_key_usage()?.unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp(), 24 * 3600 + 90 * 60);
    house.finish().await
}

#[tokio::test]
async fn hostile_row_36_a_ban_holds_until_it_is_lifted_and_cuts_what_is_open() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let connection = host.connect(&identity).await?;
    let session = host.session(&connection).await?;
    let ban = format!("/v1/admin/agents/{}/ban", identity.agent);
    let clock = clock::system();
    let began = clock.monotonic();
    let banned = house.admin()?.post(&ban, &json!({"reason": "sold"})).await?.expect(200)?.json();
    assert_eq!((&banned["state"], &banned["banned"]), (&json!("revoked"), &json!(true)));
    assert_eq!(session.ended().await.code(), Code::PermissionDenied);
    println!("figure: a banned agent's session ended after {:?}", clock.monotonic() - began);
    assert!(connection.accepted().await.is_err(), "its connection is ended, too");
    let again = host.connect(&identity).await?.accepted().await.unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied, "and every call on another");
    let refused = why(host.enroll(house.join_token(json!({"agent": "bastion-1"})).await?).await);
    assert!(refused.contains("not accepted"), "the same words as for any token: {refused}");
    let unban = format!("/v1/admin/agents/{}/unban", identity.agent);
    house.admin()?.post(&unban, &json!({"reason": "bought back"})).await?.expect(200)?;
    let anew = host.enroll(house.join_token(json!({"agent": "bastion-1"})).await?).await?;
    assert_ne!(anew.agent, identity.agent, "another agent of that name");
    assert!(host.connect(&anew).await?.accepted().await.is_ok());
    assert!(host.connect(&identity).await?.accepted().await.is_err(), "the old one stays out");
    house.finish().await
}

/// A call with a user's token.
fn bearing<T>(token: &str, message: T) -> anyhow::Result<tonic::Request<T>> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", token.parse()?);
    Ok(request)
}

#[tokio::test]
async fn hostile_row_21_a_token_is_nothing_to_grpc_and_a_certificate_nothing_to_rest() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    // A user's token where agents call, without a certificate.
    let token = house.join_token(json!({})).await?;
    let tls = cratekube_agent::link::tls::pinned(&token.ca_sha256, &house.clock())?;
    let connection = host.connector().connect(tls).await?;
    let token = format!("Bearer {}", house.token()?);
    let mut link = connection.link();
    let renewed = link.renew(bearing(&token, v1::RenewRequest::default())?).await.err();
    let session = link.session(bearing(&token, tokio_stream::empty())?).await.err();
    let output = link.output(bearing(&token, tokio_stream::empty())?).await.err();
    for refused in [renewed, session, output] {
        assert_eq!(refused.map(|status| status.code()), Some(Code::Unauthenticated));
    }
    // An agent's certificate where users call, without a token: the listener does not even ask for it.
    let tls = cratekube_agent::link::tls::enrolled(&identity, &house.clock())?;
    let answer = super::handshakes::get(house.rest, tls, "/v1/environments").await?;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let anonymous = house.admin()?.with_token(None).send(Ask::new(Method::GET, "/v1/environments")).await?;
    assert_eq!(anonymous.status, 401);
    house.finish().await
}

#[tokio::test]
async fn hostile_row_34_an_agent_that_speaks_of_anothers_run_changes_nothing() -> anyhow::Result<()> {
    use cratekube_proto::v1::agent_message::Message as Up;
    use cratekube_proto::v1::controller_message::Message as Down;
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let mut session = host.session(&host.connect(&identity).await?).await?;
    let foreign = "00000000-0000-0000-0000-00000000000a".to_owned();
    session.say(Up::Started(v1::RunStarted { attempt: foreign.clone(), fence: 7, started_ms: 0 })).await?;
    match session.heard().await? {
        Some(Down::LeaseVerdicts(lease)) => {
            assert_eq!((lease.verdicts[0].attempt.as_str(), lease.verdicts[0].kind), (foreign.as_str(), 3));
        }
        other => panic!("{other:?}"),
    }
    let chunk = v1::OutputChunk { attempt: foreign, fence: 7, offset: 0, data: "x".into() };
    let mut stored = host.connect(&identity).await?.link().output(tokio_stream::iter([chunk])).await?.into_inner();
    let stored = stored.message().await?.unwrap_or_default();
    assert!(stored.closed && stored.stored == 0, "{stored:?}");
    house.finish().await
}
