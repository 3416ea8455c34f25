//! Interim responses (1xx) of a backend, on their way to the client.

use http::StatusCode;

use crate::{
    flight::Flight,
    upstream::{Head, write_field},
};

/// Does what an interim response says: 100 lets the request's body go on, which makes hyper tell the
/// client so; others are passed on.
pub(crate) fn pass_on(flight: &Flight, interim: &Head) {
    if interim.status != StatusCode::CONTINUE {
        flight.front.inject(&bytes(interim));
    } else if let Some(body) = &flight.body {
        body.release();
    }
}

fn bytes(Head { status, fields, trailer, .. }: &Head) -> Vec<u8> {
    let phrase = status.canonical_reason().unwrap_or("Interim");
    let mut bytes = format!("HTTP/1.1 {} {phrase}\r\n", status.as_str()).into_bytes();
    bytes.extend_from_slice(fields.as_bytes());
    for value in trailer {
        write_field(&mut bytes, "trailer", value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
