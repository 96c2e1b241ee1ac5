//! Messages that no agent would send, over an agent's own connection: refused, and others go on.

use std::sync::Arc;

use bytes::Bytes;
use cratekube_agent::identity::Identity;
use cratekube_agent::link::tls;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_tests::house::indoors::{Host, Indoors};
use futures::StreamExt as _;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;

const RENEW: &str = "/cratekube.agent.v1.AgentLink/Renew";
const SESSION: &str = "/cratekube.agent.v1.AgentLink/Session";
const OUTPUT: &str = "/cratekube.agent.v1.AgentLink/Output";

/// Calls with a body by hand, which does not end; the code it is answered.
async fn call(
    house: &Indoors,
    identity: &Identity,
    (method, encoding): (&str, &str),
    body: &[u8],
) -> anyhow::Result<Code> {
    let tcp = TcpStream::connect(house.agents).await?;
    let config = tls::enrolled(identity, &house.clock())?;
    let stream = TlsConnector::from(Arc::clone(&config)).connect(ServerName::try_from("localhost")?, tcp).await?;
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let first = Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(body)));
    let body = StreamBody::new(futures::stream::iter([first]).chain(futures::stream::pending()));
    let request = Request::post(format!("https://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", encoding)
        .header("te", "trailers")
        .body(body)?;
    let answer = requests.send_request(request).await?;
    let status =
        |headers: &http::HeaderMap| headers.get("grpc-status").and_then(|v| v.to_str().ok()?.parse::<i32>().ok());
    let code = match status(answer.headers()) {
        Some(code) => Some(code),
        None => answer.into_body().collect().await?.trailers().and_then(status),
    };
    driver.abort();
    Ok(Code::from_i32(code.unwrap_or(0)))
}

async fn still_served(host: &Host, identity: &Identity) -> anyhow::Result<()> {
    host.connect(identity).await?.accepted().await?;
    Ok(())
}

#[tokio::test]
async fn hostile_row_74_lengths_encodings_and_nestings_that_nobody_sends_are_refused() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let two_gib = [&[0][..], &0x8000_0000u32.to_be_bytes()].concat();
    let just_over = [&[0][..], &((4u32 << 20) + 1).to_be_bytes()].concat();
    for method in [RENEW, SESSION, OUTPUT] {
        for (length, body) in [("2 GiB", &two_gib), ("4 MiB and a byte", &just_over)] {
            let refused = call(&house, &identity, (method, "identity"), body).await?;
            assert_eq!(refused, Code::ResourceExhausted, "{method}: {length}");
        }
    }
    assert_eq!(call(&house, &identity, (RENEW, "snappy"), &[1, 0, 0, 0, 1, 0]).await?, Code::Unimplemented);
    // A thousand groups, each within the other.
    let nested = [&[0, 0, 0, 3, 0xe8][..], &[0x0b; 1_000]].concat();
    assert_eq!(call(&house, &identity, (RENEW, "identity"), &nested).await?, Code::Internal);
    still_served(&host, &identity).await?;
    house.finish().await
}

#[tokio::test]
async fn hostile_row_74_a_million_tiny_messages_end_the_session_at_the_pace() -> anyhow::Result<()> {
    let house = Indoors::start(json!({})).await?;
    let (host, identity) = house.agent("bastion-1").await?;
    let session = host.session(&host.connect(&identity).await?).await?;
    let mut said = 0;
    while said < 1_000_000 && session.say(Up::Ready(v1::Ready { slots: 0 })).await.is_ok() {
        said += 1;
    }
    assert!(said < 20_000, "{said} messages were taken");
    assert_eq!(session.ended().await.code(), Code::ResourceExhausted);
    still_served(&host, &identity).await?;
    house.finish().await
}
