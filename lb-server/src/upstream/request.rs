//! Writing a request: fields, and the framing of its body (RFC 9112 sections 5 to 7).

use std::io::Write;

use bytes::Bytes;
use http::HeaderMap;

use super::body::may_trail;

/// How a request's body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none; what the fields say of its length stands.
    Empty,
    /// As long as the request's Content-Length says. The client's connection sees to it that it is.
    Length,
    Chunked,
}

/// Appends a header field.
pub(crate) fn write_field(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends what comes before a piece of the body.
pub(crate) fn begin_piece(out: &mut Vec<u8>, framing: Framing, piece: &Bytes) {
    if framing == Framing::Chunked {
        // Writing to memory cannot fail.
        let _ = write!(out, "{:x}\r\n", piece.len());
    }
}

/// What comes behind a piece of the body.
pub(crate) fn behind_piece(framing: Framing) -> &'static [u8] {
    if framing == Framing::Chunked { b"\r\n" } else { b"" }
}

/// Appends the body's end.
pub(crate) fn write_end(out: &mut Vec<u8>, framing: Framing, trailers: Option<&HeaderMap>) {
    if framing != Framing::Chunked {
        return;
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if may_trail(name) {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}
