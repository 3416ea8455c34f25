//! Which header fields a proxy may pass on, and what they tell it (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header, request};
use lb_core::request::Headers;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a field is to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passed on as it is.
    EndToEnd,
    /// Concerns one connection only. `Trailer` does not: it announces what the message itself brings.
    HopByHop,
    /// Says where the request came from, and is written anew.
    OwnOrigin,
    /// Says the same in another way; believed of trusted peers only.
    Origin,
    /// Would be taken for one of these, or for the framing, by CGI and its heirs, to which
    /// `X_Forwarded_For` is `X-Forwarded-For`.
    Lookalike,
    /// What the request is for.
    Host,
}

/// What the field of this name is. A switch over lengths and bytes: this is asked of every field.
pub(crate) fn kind(name: &HeaderName) -> Kind {
    match kind_named(name.as_str()) {
        Kind::EndToEnd if is_lookalike(name.as_str()) => Kind::Lookalike,
        kind => kind,
    }
}

fn is_lookalike(name: &str) -> bool {
    name.contains('_')
        && match name.replace('_', "-").as_str() {
            "content-length" | "transfer-encoding" | "host" => true,
            name => matches!(kind_named(name), Kind::OwnOrigin | Kind::Origin),
        }
}

fn kind_named(name: &str) -> Kind {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "te"
        | "transfer-encoding"
        | "upgrade" => Kind::HopByHop,
        "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-request-id" => Kind::OwnOrigin,
        "forwarded" | "x-forwarded-port" | "x-real-ip" => Kind::Origin,
        "host" => Kind::Host,
        _ => Kind::EndToEnd,
    }
}

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

/// The fields that `Connection` takes from the next hop. The framing and what the request is for are
/// not its to take.
pub(crate) fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(may_be_named)
        .collect()
}

/// Whether `Connection` may take this field from the next hop.
pub(crate) fn may_be_named(name: &HeaderName) -> bool {
    *name != header::CONTENT_LENGTH && *name != header::HOST
}

/// Whether the value of a TE field says that its sender reads trailers.
pub(crate) fn accepts_trailers(te: &HeaderValue) -> bool {
    te.as_bytes().split(|byte| *byte == b',').any(|coding| {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// Identifies a request in logs, here and behind.
#[derive(Clone, Debug)]
pub(crate) enum RequestId {
    /// 128 random bits in hexadecimal.
    Own([u8; 32]),
    /// A trusted peer's.
    Given(HeaderValue),
}

impl RequestId {
    pub(crate) fn new(high: u64, low: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bits = u128::from(high) << 64 | u128::from(low);
        Self::Own(std::array::from_fn(|place| DIGITS[(bits >> (124 - 4 * place)) as usize & 15]))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Own(digits) => digits,
            Self::Given(value) => value.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("-")
    }
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
    fn connection_names_fields_but_neither_host_nor_length() {
        let headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", " x-other ,host,content-length,, @"),
            ("x-secret", "1"),
        ]);
        let names = named_by_connection(&headers);
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        assert_eq!(names, ["close", "x-secret", "x-other"]);
    }

    #[test]
    fn kinds() {
        let kind = |name: &str| kind(&name.parse().unwrap());
        assert_eq!(kind("X-Forwarded-For"), Kind::OwnOrigin);
        assert_eq!(kind("x_forwarded-for"), Kind::Lookalike);
        assert_eq!(kind("X_Real_IP"), Kind::Lookalike);
        assert_eq!(kind("Content_Length"), Kind::Lookalike);
        assert_eq!(kind("x_trace"), Kind::EndToEnd);
        assert_eq!(kind("keep_alive"), Kind::EndToEnd);
        assert_eq!(kind("Keep-Alive"), Kind::HopByHop);
    }

    #[test]
    fn te_trailers_is_found_in_lists() {
        let takes = |value: &str| accepts_trailers(&value.parse().unwrap());
        assert!(takes("gzip;q=0.5, Trailers") && takes("trailers;q=1"));
        assert!(!takes("gzip") && !takes("trailersx") && !takes(""));
    }

    #[test]
    fn a_request_id_is_128_bits_in_hexadecimal() {
        assert_eq!(RequestId::new(0x0123_4567_89ab_cdef, 1).as_str(), "0123456789abcdef0000000000000001");
    }
}
