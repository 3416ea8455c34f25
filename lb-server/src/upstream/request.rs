//! Writing a request: its head, and its body's framing (RFC 9112 sections 3, 6 and 7).

use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, Method, header};

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

/// Appends a request's head. The fields come as they are, but for Host, which `host` replaces.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    host: Option<&str>,
    framing: Framing,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        write_field(out, b"host", host.as_bytes());
    }
    for (name, value) in headers {
        if host.is_none() || *name != header::HOST {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
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
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}
