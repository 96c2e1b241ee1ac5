//! HTTP/2 frames by hand, for clients that do what no library would.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a `POST /x`, whole or to be continued.
pub(super) fn post(stream: u32, whole: bool) -> Vec<u8> {
    // :method POST and :scheme https by index, :path and :authority as literals.
    let block = [&[0x83, 0x87, 0x04, 2][..], b"/x", &[0x01, 9], b"localhost"].concat();
    frame(HEADERS, if whole { END_HEADERS } else { 0 }, stream, &block)
}

/// A stream that is opened and cancelled at once.
pub(super) fn reset(stream: u32) -> Vec<u8> {
    [post(stream, true), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
}

/// A piece of headers that go on.
pub(super) fn more_headers(stream: u32) -> Vec<u8> {
    let one = [&[0x00, 3][..], b"x-a", &[100], &[b'b'; 100]].concat();
    frame(CONTINUATION, 0, stream, &one.repeat(100))
}
