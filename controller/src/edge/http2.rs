//! Every knob of HTTP/2, each with its reason: none is left to a library's default, because defaults
//! differ between libraries and change between releases.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;

/// The knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Streams at once on one connection.
    pub streams: u32,
    /// Streams that the other side made us reset, before the connection ends: the answer to floods of
    /// malformed streams (RUSTSEC-2024-0003). Some libraries switch it off.
    pub local_resets: usize,
    /// Streams that the other side reset before they were looked at, before the connection ends: the
    /// answer to rapid reset (CVE-2023-44487).
    pub pending_resets: usize,
    /// Bytes of headers after decompression; CONTINUATION frames beyond it end the connection.
    pub header_list: u32,
    /// Bytes of one frame: larger ones only let one stream hold up the others.
    pub frame: u32,
    /// Bytes on their way on one stream: how much a slow store makes us keep.
    pub stream_window: u32,
    /// Bytes on their way on one connection.
    pub connection_window: u32,
    /// Bytes of one stream that wait for a reader.
    pub send_buffer: usize,
    /// After so much silence the other side is asked whether it lives …
    pub keep_alive: Duration,
    /// … and is given up when it does not answer for so long.
    pub keep_alive_timeout: Duration,
}

impl Http2 {
    /// For users: small bodies up, anything down.
    #[must_use]
    pub fn users() -> Self {
        Self {
            streams: 200,
            local_resets: 1_024,
            pending_resets: 20,
            header_list: 16 * 1024,
            frame: 16 * 1024,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            send_buffer: 64 * 1024,
            keep_alive: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }

    /// For agents: a handful of long streams, output in large pieces up.
    #[must_use]
    pub fn agents() -> Self {
        Self {
            // One session, one output stream, and calls that answer at once.
            streams: 32,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            ..Self::users()
        }
    }

    /// Turns the knobs.
    pub(super) fn apply(&self, builder: &mut auto::Builder<TokioExecutor>) {
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .max_local_error_reset_streams(self.local_resets)
            .max_pending_accept_reset_streams(self.pending_resets)
            .max_header_list_size(self.header_list)
            .max_frame_size(self.frame)
            // Grown by nobody: what is measured as fast may be hostile.
            .adaptive_window(false)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_send_buf_size(self.send_buffer)
            .keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive_timeout)
            .auto_date_header(true);
    }
}
