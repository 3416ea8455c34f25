//! The request as backends get it: its head, written straight from the fields that the client sent.
//!
//! Nothing is removed from or inserted into the client's map of fields; what must not go on is passed
//! over while writing, and what is added follows. That is one look at each field, and costs a third of
//! what editing the map does.

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::PathAndQuery};

use crate::{
    flight::Flight,
    forwarded::{self, Kind},
    snapshot::HeaderEdits,
    upstream::{Framing, write_field},
};

/// What every try of a request sends, beside the fields that its flight has.
pub(crate) struct Outgoing {
    pub(crate) target: PathAndQuery,
    pub(crate) framing: Framing,
    pub(crate) host: Host,
}

/// The Host that the backend gets.
pub(crate) enum Host {
    /// What the request is for, so that what was judged is what is forwarded.
    Same,
    /// What the route says.
    Other(String),
    /// The backend's own address, another one for each try.
    OfBackend,
}

impl Outgoing {
    /// Writes the head for a try; `own_host` is the backend's address as its Host.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, flight: &Flight, own_host: Option<&str>) {
        let headers = &flight.parts.headers;
        let edits = flight.request_edits();
        out.extend_from_slice(flight.parts.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_str().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let host = match &self.host {
            Host::Same => flight.authority().unwrap_or_default(),
            Host::Other(host) => host,
            Host::OfBackend => own_host.unwrap_or_default(),
        };
        write_field(out, "host", host.as_bytes());
        let accepts_trailers = write_fields(out, headers, flight, edits);
        write_origin(out, flight, edits);
        if accepts_trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        for (name, value) in edits.added() {
            write_field(out, name.as_str(), value.as_bytes());
        }
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the client's own fields, as far as they go on; gives whether it takes trailers.
fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap, flight: &Flight, edits: &HeaderEdits) -> bool {
    let named =
        if flight.connection_names_fields { forwarded::named_by_connection(headers) } else { Vec::new() };
    let mut accepts_trailers = false;
    for (name, value) in headers {
        let goes_on = match forwarded::kind(name) {
            Kind::EndToEnd => true,
            Kind::Origin => flight.trusted,
            Kind::OwnOrigin | Kind::Host => false,
            Kind::HopByHop => {
                accepts_trailers |= *name == header::TE && forwarded::accepts_trailers(value);
                false
            }
        };
        if goes_on && !named.contains(name) && !edits.replaces(name) {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    accepts_trailers
}

/// Tells the backend where the request came from. What a trusted proxy said of it stays, what anyone
/// else said is replaced.
fn write_origin(out: &mut Vec<u8>, flight: &Flight, edits: &HeaderEdits) {
    let headers = &flight.parts.headers;
    if !edits.replaces(&forwarded::X_FORWARDED_FOR) {
        out.extend_from_slice(b"x-forwarded-for: ");
        if flight.trusted {
            for earlier in headers.get_all(&forwarded::X_FORWARDED_FOR) {
                out.extend_from_slice(earlier.as_bytes());
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(flight.front.peer_text().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let told = |name: &HeaderName| if flight.trusted { headers.get(name) } else { None };
    if !edits.replaces(&forwarded::X_FORWARDED_PROTO) {
        let proto = told(&forwarded::X_FORWARDED_PROTO).map_or(&b"http"[..], HeaderValue::as_bytes);
        write_field(out, "x-forwarded-proto", proto);
    }
    if !edits.replaces(&forwarded::X_FORWARDED_HOST) {
        let host = told(&forwarded::X_FORWARDED_HOST).map(HeaderValue::as_bytes);
        if let Some(host) = host.or(flight.authority().map(str::as_bytes)) {
            write_field(out, "x-forwarded-host", host);
        }
    }
    if !edits.replaces(&forwarded::X_REQUEST_ID) {
        write_field(out, "x-request-id", flight.request_id.as_bytes());
    }
}
