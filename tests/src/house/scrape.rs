//! Looks at a program's metrics as Prometheus does.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Process;
use crate::exposition::Exposition;

/// Where a program shows its metrics: as it says itself when it is ready.
///
/// # Errors
/// When it says nothing of the kind.
pub async fn place(process: &Process, ready: &str) -> anyhow::Result<SocketAddr> {
    let line = process.line(ready).await?;
    let (_, rest) = line.split_once("metrics=").with_context(|| format!("no metrics in {line:?}"))?;
    rest.split_whitespace().next().context("no address")?.parse().context("no address")
}

/// Sends a request as it is, and answers everything that comes back.
///
/// # Errors
/// When there is no connection.
pub async fn raw(address: SocketAddr, request: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer)?)
}

/// Asks for a path; answers status and body.
///
/// # Errors
/// When there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = raw(address, request.as_bytes()).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// The metrics, read strictly.
///
/// # Errors
/// When they are not as they must be.
pub async fn metrics(address: SocketAddr) -> anyhow::Result<Exposition> {
    let (status, body) = get(address, "/metrics").await?;
    ensure!(status == 200, "{status}: {body}");
    Exposition::read(&body).with_context(|| body)
}
