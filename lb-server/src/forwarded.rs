//! Header fields that a proxy must drop, replace or add (RFC 9110 section 7.6.1).

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, header, request};
use lb_core::request::Headers;

use crate::flight::Flight;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that concern one connection only. `Trailer` is not among them: it announces what the message
/// itself brings.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that `Connection` may not take from the next hop: the framing, and what the request is for.
const KEPT: [HeaderName; 2] = [header::CONTENT_LENGTH, header::HOST];

/// What the balancer itself says of the client.
const OWN: [HeaderName; 4] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REQUEST_ID];
/// What else proxies say of the client; only a trusted one is believed.
const CLAIMS: [HeaderName; 3] = [X_REAL_IP, X_FORWARDED_PORT, header::FORWARDED];

/// The HTTP library's header map as the core sees it.
pub(crate) struct Fields<'a>(pub(crate) &'a HeaderMap);

impl Headers for Fields<'_> {
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        for value in self.0.get_all(name) {
            visit(value.as_bytes());
        }
    }
}

/// The authority that a request is for: its target's, else its Host.
pub(crate) fn authority(parts: &request::Parts) -> Option<&str> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    }
}

/// Drops what concerns the connection only, and what `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Drops from a request's trailers what a recipient that merges them into the head would be misled by:
/// what concerns the connection, and what only the balancer may say of the client.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    strip_lookalikes(trailers);
    for name in OWN.iter().chain(&CLAIMS) {
        trailers.remove(name);
    }
}

/// Whether the sender said that it reads trailers.
pub(crate) fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|coding| {
            let name = coding.split(|&byte| byte == b';').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"trailers")
        })
    })
}

/// Tells the backend where the request came from. What a trusted proxy said of it stays, what anyone
/// else said is replaced.
pub(crate) fn set_origin(headers: &mut HeaderMap, flight: &Flight) {
    strip_lookalikes(headers);
    let peer = flight.peer_text();
    if flight.trusted {
        let value = extended_for(headers, &peer);
        headers.insert(X_FORWARDED_FOR, value);
    } else {
        headers.insert(X_FORWARDED_FOR, peer);
        for name in &CLAIMS {
            headers.remove(name);
        }
    }
    if !flight.trusted || !headers.contains_key(&X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !flight.trusted || !headers.contains_key(&X_FORWARDED_HOST) {
        match headers.get(header::HOST).cloned() {
            Some(host) if host.as_bytes() == flight.authority.as_bytes() => {
                headers.insert(X_FORWARDED_HOST, host);
            }
            _ => match HeaderValue::from_str(&flight.authority) {
                Ok(host) if !host.is_empty() => {
                    headers.insert(X_FORWARDED_HOST, host);
                }
                _ => {
                    headers.remove(X_FORWARDED_HOST);
                }
            },
        }
    }
    headers.insert(X_REQUEST_ID, flight.request_id.clone());
}

/// CGI and its heirs take `X_Forwarded_For` for `X-Forwarded-For`.
fn strip_lookalikes(headers: &mut HeaderMap) {
    let says_origin = |name: &str| OWN.iter().chain(&CLAIMS).any(|own| own.as_str() == name);
    let lookalikes: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_') && says_origin(&name.as_str().replace('_', "-")))
        .cloned()
        .collect();
    for name in lookalikes {
        headers.remove(name);
    }
}

fn extended_for(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut value = Vec::new();
    for part in headers.get_all(X_FORWARDED_FOR).iter().chain(Some(peer)) {
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(part.as_bytes());
    }
    HeaderValue::from_bytes(&value).unwrap_or_else(|_| peer.clone())
}

/// The Host that the backend gets.
pub(crate) fn set_host(headers: &mut HeaderMap, host: &str) {
    if headers.get(header::HOST).is_some_and(|value| value.as_bytes() == host.as_bytes()) {
        return;
    }
    // An authority that was accepted is a valid value; an empty one (HTTP/1.0) sets nothing.
    if let Ok(value) = HeaderValue::from_str(host)
        && !value.is_empty()
    {
        headers.insert(header::HOST, value);
    }
}

/// 128 random bits in hexadecimal.
pub(crate) fn new_request_id(high: u64, low: u64) -> HeaderValue {
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail.
    let _ = write!(text, "{high:016x}{low:016x}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_go() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", " x-other ,host,content-length,, @"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("host", "a"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("upgrade", "websocket"),
            ("proxy-connection", "keep-alive"),
            ("trailer", "x-sum"),
            ("x-kept", "4"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "host", "trailer", "x-kept"]);
    }

    #[test]
    fn te_trailers_is_found_in_lists() {
        assert!(accepts_trailers(&map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(!accepts_trailers(&map(&[("te", "gzip"), ("te", "trailersx")])));
    }
}
