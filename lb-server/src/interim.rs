//! Interim responses (1xx) of a backend, on their way to the client.

use http::{HeaderMap, StatusCode};

use crate::flight::Flight;

/// Does what an interim response says: 100 lets the request's body go on, which makes hyper tell the
/// client so; others are passed on.
pub(crate) fn pass_on(flight: &Flight, status: StatusCode, headers: &HeaderMap) {
    if status != StatusCode::CONTINUE {
        flight.front.inject(&head(status, headers));
    } else if let Some(body) = &flight.body {
        body.release();
    }
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Interim"))
            .into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
