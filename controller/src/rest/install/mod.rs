//! `GET /install.sh` and `/install/agent/{file}`: how a host becomes a bastion.
//!
//! Open to all: whoever runs the script has no token for the API yet, and nothing here is secret. What
//! makes it safe is elsewhere: the script compares this controller's CA with the one in the join token,
//! and every program with its SHA-256. Downloads have places of their own, so that strangers who fetch
//! programs use up nothing that users need.

mod binaries;
mod script;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::problem::{Kind, Problem};
use super::query::Params;
use super::sse::{Sender, send};
use super::state::RestState;
use crate::pki::authority::Authority;
use binaries::{Binaries, Binary, Unreadable};

/// Downloads at once: a fleet that is upgraded fetches some tens of MB each, and comes again when it
/// is told to.
const DOWNLOADS: usize = 16;
/// Bytes in memory for one download.
const PIECE: usize = 64 * 1024;
/// What follows the name of an architecture when its checksum is wanted.
const CHECKSUM: &str = ".sha256";

/// What this controller tells new bastions of itself.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The beginning of the API's addresses.
    pub url: String,
    /// Host and port of the listener for agents.
    pub agents: String,
    /// The REST listener's certificate comes from elsewhere, so that hosts trust it by their own roots.
    pub foreign_certificate: bool,
    /// Where the programs are; nothing is offered without it.
    pub binaries: Option<PathBuf>,
}

/// The root whose certificates the listeners show now.
#[derive(Debug)]
struct Shown {
    pem: String,
    /// Its fingerprint, as join tokens have it.
    sha256: String,
}

/// What is offered to new bastions.
#[derive(Debug)]
pub(super) struct Install {
    offer: Offer,
    binaries: Option<Binaries>,
    downloads: Arc<Semaphore>,
}

impl Install {
    pub(super) fn new(offer: Offer) -> Self {
        let binaries = offer.binaries.clone().map(Binaries::new);
        Self { offer, binaries, downloads: Arc::new(Semaphore::new(DOWNLOADS)) }
    }

    /// The script, with what is offered now.
    async fn script(&self, ca: &Authority) -> Result<String, Problem> {
        let (sha256, pem) = ca.shown();
        let shown = Shown { pem, sha256 };
        let binaries = self.binaries.as_ref().ok_or_else(nothing)?.all().await.map_err(|e| unreadable(&e))?;
        if binaries.is_empty() { Err(nothing()) } else { Ok(script::render(&self.offer, &shown, &binaries)) }
    }

    /// A line for a shell that makes a host a bastion, with a join token; none when nothing is offered.
    /// It brings the checksum of the script along, so that it needs no file with our CA.
    pub(super) async fn one_line(&self, ca: &Authority, token: &str) -> Option<String> {
        let script = self.script(ca).await.ok()?;
        Some(script::one_line(&self.offer, &script, token))
    }

    async fn binary(&self, arch: &str) -> Result<Binary, Problem> {
        let binaries = self.binaries.as_ref().ok_or_else(nothing)?;
        binaries.find(arch).await.map_err(|e| unreadable(&e))?.ok_or_else(Problem::not_found)
    }
}

fn nothing() -> Problem {
    Problem::new(Kind::NothingOffered, "this controller has no agents to give away")
}

fn unreadable(error: &Unreadable) -> Problem {
    tracing::error!(%error, "an agent that is offered cannot be read");
    Problem::internal()
}

/// The script that makes a host a bastion, with this controller's values in it. Run it as
/// `curl … /install.sh | sudo sh -s -- --token …`; `--help` lists its options.
#[utoipa::path(get, path = "/install.sh", tag = "install", security(()),
    responses((status = 200, description = "A shell script (POSIX sh)", body = String, content_type = "text/x-shellscript")))]
pub(super) async fn show(State(state): State<RestState>, OriginalUri(uri): OriginalUri) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    let script = state.install.script(state.changeover.authority()).await?;
    Ok(([(header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], script).into_response())
}

/// An agent for an architecture (as `uname -m` prints it), or its checksum as `sha256sum` prints it.
#[utoipa::path(get, path = "/install/agent/{file}", tag = "install", security(()),
    params(("file" = String, Path, description = "`x86_64` or `aarch64`; with `.sha256` behind it, the checksum")),
    responses((status = 200, description = "The program, or its checksum", content(
        (Vec<u8> = "application/octet-stream"), (String = "text/plain")))))]
pub(super) async fn agent(
    State(state): State<RestState>,
    Path(file): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    Params::read(&uri, &[])?;
    if let Some(arch) = file.strip_suffix(CHECKSUM) {
        let binary = state.install.binary(arch).await?;
        let text = format!("{}  cratekube-agent-{arch}\n", binary.sha256);
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    let binary = state.install.binary(&file).await?;
    let full = |_| Problem::new(Kind::Overloaded, "too many downloads are at work");
    let place = Arc::clone(&state.install.downloads).try_acquire_owned().map_err(full)?;
    download(binary, place, state.limits.send_timeout).await
}

async fn download(binary: Binary, place: OwnedSemaphorePermit, patience: Duration) -> Result<Response, Problem> {
    let fault = |source| unreadable(&Unreadable { path: binary.path.clone(), source });
    let file = tokio::fs::File::open(&binary.path).await.map_err(fault)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        copy(file.take(binary.bytes), &sender, patience).await;
    });
    let mut response = Body::from_stream(ReceiverStream::new(receiver)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(binary.bytes));
    Ok(response)
}

/// One piece at a time. The length was promised: a connection that is broken off tells that it is less.
async fn copy(mut file: impl tokio::io::AsyncRead + Unpin, sender: &Sender, patience: Duration) {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match file.read(&mut buffer).await {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "an agent could not be read to its end");
                let _nobody_waits = sender.send(Err(io::Error::other("it could not be read"))).await;
                return;
            }
        };
        if !send(sender, Bytes::copy_from_slice(&buffer[..read]), patience).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
