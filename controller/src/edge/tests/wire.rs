//! HTTP/2 frames by hand: a client that does what no library would.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::client::TlsStream;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const SETTING_STREAMS: u16 = 3;
pub(super) const SETTING_WINDOW: u16 = 4;
pub(super) const SETTING_FRAME: u16 = 5;
pub(super) const SETTING_HEADER_LIST: u16 = 6;

/// Error codes of RST_STREAM and GOAWAY.
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        self.payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()))
    }

    /// The error code of a RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        if self.kind == GOAWAY { self.number(4) } else { self.number(0) }
    }

    /// The increment of a WINDOW_UPDATE.
    pub(super) fn increment(&self) -> u32 {
        self.number(0)
    }

    /// The settings in a SETTINGS.
    pub(super) fn settings(&self) -> BTreeMap<u16, u32> {
        let six =
            |six: &[u8]| (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes([six[2], six[3], six[4], six[5]]));
        self.payload.chunks_exact(6).map(six).collect()
    }
}

/// A connection.
pub(super) struct Wire {
    io: TlsStream<DuplexStream>,
    next_stream: u32,
}

impl Wire {
    /// Sends the preface and settings.
    pub(super) async fn begin(mut io: TlsStream<DuplexStream>, settings: &[(u16, u32)]) -> Self {
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut wire = Self { io, next_stream: 1 };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        wire.send(SETTINGS, 0, 0, &payload).await.unwrap();
        wire
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.send_all(&frame(kind, flags, stream, payload)).await
    }

    /// Bytes, and nothing kept back.
    pub(super) async fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// The next frame; nothing when the connection is over.
    pub(super) async fn receive(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.io.read_exact(&mut header).await.ok()?;
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]]);
        Some(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    /// The next frame that is wanted; nothing when the connection is over before that.
    pub(super) async fn until(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.receive().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end; the last GOAWAY that was said.
    pub(super) async fn goaway(&mut self) -> Option<Frame> {
        let mut last = None;
        while let Some(frame) = self.receive().await {
            if frame.kind == GOAWAY {
                last = Some(frame);
            }
        }
        last
    }

    /// Answers PINGs and SETTINGS as a good client does, until the connection is over.
    pub(super) async fn behave(&mut self) {
        while let Some(frame) = self.receive().await {
            if matches!(frame.kind, PING | SETTINGS) && frame.flags & ACK == 0 {
                let payload = if frame.kind == PING { frame.payload } else { Vec::new() };
                let _over = self.send(frame.kind, ACK, 0, &payload).await;
            }
        }
    }

    /// Headers of a request, complete, on a new stream; answers the stream.
    pub(super) async fn request(&mut self, method: u8, path: &str, flags: u8) -> io::Result<u32> {
        let stream = self.stream();
        self.send(HEADERS, flags | END_HEADERS, stream, &headers(method, path)).await?;
        Ok(stream)
    }

    /// `GET`; answers its stream.
    pub(super) async fn get(&mut self, path: &str) -> io::Result<u32> {
        self.request(GET, path, END_STREAM).await
    }

    /// `GET` and its body, for a small one.
    pub(super) async fn fetch(&mut self, path: &str) -> Option<Vec<u8>> {
        let stream = self.get(path).await.ok()?;
        let mut body = Vec::new();
        loop {
            let frame = self.until(|frame| frame.stream == stream).await?;
            match frame.kind {
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM => return None,
                _ => {}
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                return Some(body);
            }
        }
    }

    /// A stream that was not used.
    pub(super) fn stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }
}

/// `:method` as an index of HPACK's static table.
pub(super) const GET: u8 = 0x82;
pub(super) const POST: u8 = 0x83;

/// A frame as bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A request's headers, without compression.
pub(super) fn headers(method: u8, path: &str) -> Vec<u8> {
    // :scheme https, then :path and :authority as literals.
    let mut block = vec![method, 0x87];
    block.extend(literal(&[0x04], path));
    block.extend(literal(&[0x01], "localhost"));
    block
}

/// A header of its own, as a literal that is not remembered.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    literal(&[&[0x00][..], &text(name)].concat(), value)
}

fn literal(name: &[u8], value: &str) -> Vec<u8> {
    [name, &text(value)].concat()
}

/// A string of HPACK: its length with a prefix of seven bits.
fn text(value: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), value.len());
    if rest < 127 {
        bytes.push(u8::try_from(rest).unwrap());
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend(value.as_bytes());
    bytes
}
