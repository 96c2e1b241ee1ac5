//! The listener: HTTP/1 without TLS, `/metrics` and nothing else, at little cost.
//!
//! Few connections at once, each for a bounded time; what is not `GET /metrics` is not found.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::agent::VolumeStatus;
use cratekube_common::metrics::{self, Labels, Page, Registry, labels, process, seconds};
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::PREFIX;
use crate::engine::EngineSettings;
use crate::port::Engine;

/// Connections at once: a scraper or two, and somebody who looks.
const CONNECTIONS: usize = 8;
/// Longest time for the headers of a request.
const HEADERS: Duration = Duration::from_secs(10);
/// Longest life of a connection; a scraper connects again.
const LIFE: Duration = Duration::from_secs(300);
/// After the system refused a connection for want of resources, this long is waited.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);
/// Bytes that are kept of a request.
const BUFFER: usize = 8 * 1024;

/// Everything that is shown.
pub struct Exposition {
    /// What is counted where it happens.
    pub counted: Registry,
    /// What stands now.
    pub engine: Arc<dyn Engine>,
    /// Assignments that are executed at once.
    pub slots: u32,
    /// Bytes that must be free on a volume, or no run begins.
    pub reserve_bytes: u64,
}

impl Exposition {
    /// What is counted, and what this engine says.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, settings: &EngineSettings) -> Self {
        let (slots, reserve_bytes) = (settings.slots, settings.min_free_bytes);
        Self { counted: settings.metrics.registry(), engine, slots, reserve_bytes }
    }

    async fn text(&self) -> Result<String, std::fmt::Error> {
        let mut page = Page::new(PREFIX);
        page.info("build", "What runs", labels([("version", env!("CARGO_PKG_VERSION"))]));
        let held = self.engine.held_runs();
        page.gauge("slots", "Attempts that are executed at once", f64::from(self.slots));
        page.gauge("slots_free", "Attempts that could be taken now", f64::from(self.engine.free_slots()));
        let live = held.iter().filter(|run| run.live).count();
        let runs = [("live", live), ("waiting", held.len().saturating_sub(live))];
        let help = "Runs that are held: live, or waiting to begin, to be sealed or to be recorded";
        page.gauges("runs", help, runs.map(|(state, count)| (labels([("state", state)]), float(count as u64))));
        let help = "Space that must be free on a volume, beyond three copies of the state, or no run begins";
        page.gauge("volume_reserve_bytes", help, float(self.reserve_bytes));
        volumes(&mut page, &self.engine.volumes().await);
        metrics::text(&self.counted, &[page, process::page(&process::usage())])
    }
}

fn volumes(page: &mut Page, volumes: &[VolumeStatus]) {
    let of = |value: fn(&VolumeStatus) -> f64| -> Vec<(Labels, f64)> {
        volumes.iter().map(|v| (labels([("volume", &v.id.to_string())]), value(v))).collect()
    };
    page.gauges("volume_free_bytes", "Space that is free on a volume", of(|v| float(v.free_bytes)));
    page.gauges("volume_size_bytes", "Size of a volume", of(|v| float(v.total_bytes)));
    page.gauges("volume_served", "Whether a volume is served", of(|v| f64::from(u8::from(v.fault.is_none()))));
    let scrubs = |value: fn(&cratekube_common::domain::agent::ScrubStatus) -> f64| -> Vec<(Labels, f64)> {
        let scrubbed = volumes.iter().filter_map(|v| Some((v.id, v.scrub.as_ref()?)));
        scrubbed.map(|(id, scrub)| (labels([("volume", &id.to_string())]), value(scrub))).collect()
    };
    let help = "When everything sealed on a volume was last read again";
    page.gauges("volume_scrub_timestamp_seconds", help, scrubs(|scrub| seconds(scrub.ended_at.as_millis())));
    let help = "What the last scrub found that is not as it was sealed";
    page.gauges("volume_scrub_faults", help, scrubs(|scrub| float(scrub.faults.len() as u64)));
}

#[allow(clippy::cast_precision_loss, reason = "sizes of volumes fit")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Answers until told to stop.
pub async fn serve(listener: TcpListener, exposition: Exposition, stop: CancellationToken) {
    let (exposition, places) = (Arc::new(exposition), Arc::new(Semaphore::new(CONNECTIONS)));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, address)) => {
                // More than there are places for: closed at once.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (exposition, stop) = (Arc::clone(&exposition), stop.clone());
                tokio::spawn(async move {
                    let _place = place;
                    let over = tokio::time::timeout(LIFE, connection(stream, address, exposition));
                    let _over = stop.run_until_cancelled(over).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection to the metrics");
                tokio::time::sleep(PAUSE_AFTER_FAULT).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, exposition: Arc<Exposition>) {
    let service = service_fn(move |request| {
        let exposition = Arc::clone(&exposition);
        async move { Ok::<_, Infallible>(answer(&request, &exposition).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(32).max_buf_size(BUFFER);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%address, %error, "a connection to the metrics ended with a fault");
    }
}

async fn answer(request: &Request<Incoming>, exposition: &Exposition) -> Response<String> {
    let refused = |status: StatusCode| {
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return refused(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        return refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(text) = exposition.text().await else { return refused(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = Response::new(text);
    let media_type = header::HeaderValue::from_static(metrics::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
