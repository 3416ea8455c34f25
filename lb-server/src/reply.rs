//! The answers that the balancer makes itself.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use lb_core::reason::Reason;

const X_LB_REASON: HeaderName = HeaderName::from_static("x-lb-reason");

/// How an answer is to be given, apart from its reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// The client prefers JSON (see [`prefers_json`]).
    pub(crate) wants_json: bool,
    /// The request was a HEAD: the answer has the length of its body, but not the body.
    pub(crate) head_request: bool,
    /// When to come back; goes out with 429 and 503, rounded up to whole seconds. None is one second.
    pub(crate) retry_after: Option<Duration>,
    /// Whether `X-LB-Reason` carries the reason's code.
    pub(crate) reason_header: bool,
    /// Whether the connection ends with this answer.
    pub(crate) close: bool,
}

/// The answer for `reason`.
#[must_use]
pub(crate) fn reply(reason: Reason, manner: &Manner) -> Response<Bytes> {
    let (body, content_type) = if manner.wants_json {
        // The texts need no escaping; a test holds them to that.
        (format!("{{\"error\": \"{}\"}}", reason.json_error()), "application/json; charset=utf-8")
    } else {
        (format!("{}\n", reason.text()), "text/plain; charset=utf-8")
    };
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(if manner.head_request { Bytes::new() } else { Bytes::from(body) });
    *response.status_mut() =
        StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, length);
    if matches!(reason.status(), 429 | 503) {
        headers.insert(header::RETRY_AFTER, whole_seconds(manner.retry_after).into());
    }
    if manner.reason_header {
        headers.insert(X_LB_REASON, HeaderValue::from_static(reason.code()));
    }
    if manner.close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same answer as it stands on the wire, for a connection that the HTTP library no longer serves.
#[must_use]
pub(crate) fn raw_reply(reason: Reason, manner: &Manner, now: SystemTime) -> Vec<u8> {
    let response = reply(reason, manner);
    let status = response.status();
    let phrase = status.canonical_reason().unwrap_or(reason.text());
    let mut out = format!("HTTP/1.1 {} {phrase}\r\n", status.as_str()).into_bytes();
    push_fields(&mut out, response.headers());
    out.extend_from_slice(format!("date: {}\r\n\r\n", httpdate::fmt_http_date(now)).as_bytes());
    out.extend_from_slice(response.body());
    out
}

fn push_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// Rounded up, and at least one.
fn whole_seconds(duration: Option<Duration>) -> u64 {
    let duration = duration.unwrap_or_default();
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Whether the values of Accept prefer JSON to plain text (RFC 9110, 12.5.1). At equal weights, and so for
/// `*/*` and for none, text wins.
///
/// A range that names another kind of JSON (`application/problem+json`) counts as one that names JSON.
pub(crate) fn prefers_json<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut json, mut text) = (Best::default(), Best::default());
    for range in accept.flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let Some(weight) = weight(parts) else { continue };
        match media.as_slice() {
            b"*/*" => {
                json.offer(0, weight);
                text.offer(0, weight);
            }
            b"application/*" => json.offer(1, weight),
            b"text/*" => text.offer(1, weight),
            b"text/plain" => text.offer(2, weight),
            b"application/json" => json.offer(3, weight),
            other if other.ends_with(b"+json") => json.offer(2, weight),
            _ => {}
        }
    }
    json.weight > text.weight
}

/// The weight that the most specific range gives; of equally specific ones the largest.
#[derive(Default)]
struct Best {
    specificity: u8,
    weight: u16,
}

impl Best {
    fn offer(&mut self, specificity: u8, weight: u16) {
        if specificity > self.specificity {
            *self = Self { specificity, weight };
        } else if specificity == self.specificity {
            self.weight = self.weight.max(weight);
        }
    }
}

/// The weight among a range's parameters in thousandths, 1000 without one; None if it is malformed.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let value = parameters.find_map(|parameter| match parameter {
        [b'q' | b'Q', b'=', value @ ..] => Some(value),
        _ => None,
    });
    let Some(value) = value else { return Some(1000) };
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = fraction.get(place).unwrap_or(&b'0');
        thousandths = thousandths * 10 + digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
    }
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn field<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().expect("text"))
    }

    #[test]
    fn text_by_default() {
        let response = reply(Reason::NoRoute, &Manner::default());
        assert_eq!(response.status(), 404);
        assert_eq!(response.body(), "Not Found\n");
        assert_eq!(field(&response, "content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(field(&response, "content-length"), Some("10"));
        assert_eq!(response.headers().len(), 2);
    }

    #[test]
    fn json_for_every_reason() {
        let manner = Manner { wants_json: true, reason_header: true, ..Manner::default() };
        for reason in Reason::ALL {
            let response = reply(reason, &manner);
            let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
            assert_eq!(body, serde_json::json!({ "error": reason.json_error() }));
            assert_eq!(response.status(), reason.status());
            assert_eq!(field(&response, "content-type"), Some("application/json; charset=utf-8"));
            assert_eq!(field(&response, "x-lb-reason"), Some(reason.code()));
        }
        assert_eq!(reply(Reason::NoHealthyBackend, &manner).body(), r#"{"error": "No healthy backends"}"#);
    }

    #[rstest]
    #[case(Reason::RateLimited, None, Some("1"))]
    #[case(Reason::RateLimited, Some(Duration::ZERO), Some("1"))]
    #[case(Reason::RateLimited, Some(Duration::from_millis(1001)), Some("2"))]
    #[case(Reason::NoHealthyBackend, Some(Duration::from_secs(3)), Some("3"))]
    #[case(Reason::NoHealthyBackend, Some(Duration::MAX), Some("18446744073709551615"))]
    #[case(Reason::NoRoute, Some(Duration::from_secs(3)), None)]
    fn retry_after(#[case] reason: Reason, #[case] after: Option<Duration>, #[case] expected: Option<&str>) {
        let response = reply(reason, &Manner { retry_after: after, ..Manner::default() });
        assert_eq!(field(&response, "retry-after"), expected);
    }

    #[test]
    fn on_the_wire() {
        let manner = Manner { close: true, reason_header: true, ..Manner::default() };
        let raw = raw_reply(Reason::MalformedRequest, &manner, SystemTime::UNIX_EPOCH);
        let raw = String::from_utf8(raw).expect("text");
        let (head, body) = raw.split_once("\r\n\r\n").expect("a head");
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines.remove(0), "HTTP/1.1 400 Bad Request");
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "connection: close",
                "content-length: 12",
                "content-type: text/plain; charset=utf-8",
                "date: Thu, 01 Jan 1970 00:00:00 GMT",
                "x-lb-reason: malformed_request",
            ]
        );
        assert_eq!(body, "Bad Request\n");
    }

    #[test]
    fn a_head_request_gets_the_length_without_the_body() {
        let manner = Manner { head_request: true, ..Manner::default() };
        let raw = raw_reply(Reason::NoHealthyBackend, &manner, SystemTime::UNIX_EPOCH);
        let raw = String::from_utf8(raw).expect("text");
        assert!(raw.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(raw.contains("content-length: 30\r\n") && raw.ends_with("\r\n\r\n"));
    }

    #[rstest]
    #[case(&[], false)]
    #[case(&["*/*"], false)]
    #[case(&["application/json"], true)]
    #[case(&["Application/JSON; charset=utf-8"], true)]
    #[case(&["application/json, text/plain, */*"], false)]
    #[case(&["application/json, */*;q=0.5"], true)]
    #[case(&["application/json, text/javascript, */*; q=0.01"], true)]
    #[case(&["application/json", "text/plain;q=0.9"], true)]
    #[case(&["application/json;q=0.9, text/plain"], false)]
    #[case(&["application/json;q=0.9,text/*;q=0.8"], true)]
    #[case(&["application/json;q=0"], false)]
    #[case(&["application/json;q=0, */*"], false)]
    #[case(&["*/*, text/plain;q=0"], true)]
    #[case(&["*/*;q=0.1, application/*;q=0.2"], true)]
    #[case(&["application/problem+json"], true)]
    #[case(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], false)]
    #[case(&["application/json;q=1.001"], false)]
    #[case(&["application/json;q=0.12345"], false)]
    #[case(&["application/json;q=x"], false)]
    #[case(&["application/json;q=-1"], false)]
    #[case(&[",;q=1,,\u{e9}/\u{e9};;="], false)]
    fn accept(#[case] values: &[&str], #[case] json: bool) {
        assert_eq!(prefers_json(values.iter().map(|value| value.as_bytes())), json, "{values:?}");
    }
}
