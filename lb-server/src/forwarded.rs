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

/// What the field of this name is. This is asked of every field of every request.
pub(crate) fn kind(name: &HeaderName) -> Kind {
    if is_of_every_browser(name) {
        return Kind::EndToEnd;
    }
    let name = name.as_str();
    match kind_named(name) {
        Kind::EndToEnd if is_lookalike(name) => Kind::Lookalike,
        kind => kind,
    }
}

/// The fields that most requests have, told by the number that the HTTP library has for each instead of by
/// their letters.
fn is_of_every_browser(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::ACCEPT_LANGUAGE
            | header::AUTHORIZATION
            | header::CACHE_CONTROL
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::COOKIE
            | header::IF_MODIFIED_SINCE
            | header::IF_NONE_MATCH
            | header::ORIGIN
            | header::PRAGMA
            | header::RANGE
            | header::REFERER
            | header::USER_AGENT
    )
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

/// What a response's field is to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Passed on as it is.
    EndToEnd,
    Date,
    ContentLength,
    TransferEncoding,
    Connection,
    Trailer,
    /// Concerns the connection only, in another way.
    HopByHop,
}

/// What a response's field of this name, in any case, is. Its length tells most names apart from those that
/// mean something, and the usual spellings of the two that nearly every response has are compared as whole
/// words.
pub(crate) fn meaning(name: &[u8]) -> Meaning {
    match name {
        b"Date" | b"date" => Meaning::Date,
        b"Content-Length" | b"content-length" => Meaning::ContentLength,
        _ => meaning_in_any_case(name),
    }
}

fn meaning_in_any_case(name: &[u8]) -> Meaning {
    let candidates: &[(&str, Meaning)] = match name.len() {
        2 => &[("te", Meaning::HopByHop)],
        4 => &[("date", Meaning::Date)],
        7 => &[("trailer", Meaning::Trailer), ("upgrade", Meaning::HopByHop)],
        10 => &[("connection", Meaning::Connection), ("keep-alive", Meaning::HopByHop)],
        14 => &[("content-length", Meaning::ContentLength)],
        16 => &[("proxy-connection", Meaning::HopByHop)],
        17 => &[("transfer-encoding", Meaning::TransferEncoding)],
        18 => &[("proxy-authenticate", Meaning::HopByHop)],
        19 => &[("proxy-authorization", Meaning::HopByHop)],
        _ => return Meaning::EndToEnd,
    };
    let is_meant = |(meant, _): &&(&str, Meaning)| name.eq_ignore_ascii_case(meant.as_bytes());
    candidates.iter().find(is_meant).map_or(Meaning::EndToEnd, |&(_, meaning)| meaning)
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

/// Each byte in two digits.
static HEXADECIMAL: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

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
        let bits = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
            *pair = HEXADECIMAL[usize::from(byte)];
        }
        Self::Own(digits)
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
    fn the_fields_of_every_browser_are_of_no_other_kind() {
        let all = "accept accept-encoding accept-language authorization cache-control content-length \
                   content-type cookie if-modified-since if-none-match origin pragma range referer user-agent";
        for name in all.split_whitespace() {
            assert!(is_of_every_browser(&name.parse().unwrap()), "{name}");
            assert!(kind_named(name) == Kind::EndToEnd && !is_lookalike(name), "{name}");
        }
        assert!(!is_of_every_browser(&header::TE) && !is_of_every_browser(&"x-accept".parse().unwrap()));
    }

    #[test]
    fn meanings() {
        assert_eq!(meaning(b"CONTENT-Length"), Meaning::ContentLength);
        assert_eq!(meaning(b"content_length"), Meaning::EndToEnd);
        assert_eq!(meaning(b"Transfer-Encoding"), Meaning::TransferEncoding);
        for name in [&b"Date"[..], b"date", b"DATE"] {
            assert_eq!((meaning(name), meaning_in_any_case(name)), (Meaning::Date, Meaning::Date));
        }
        assert_eq!(meaning_in_any_case(b"Content-Length"), meaning(b"Content-Length"));
        assert_eq!(meaning(b"Host"), Meaning::EndToEnd);
        assert_eq!(meaning(b""), Meaning::EndToEnd);
        let hop_by_hop = "connection keep-alive proxy-connection proxy-authenticate proxy-authorization te \
                          transfer-encoding upgrade";
        for name in hop_by_hop.split_whitespace() {
            assert_eq!(kind_named(name), Kind::HopByHop, "{name}");
            let upper = name.to_ascii_uppercase();
            assert!(!matches!(meaning(upper.as_bytes()), Meaning::EndToEnd | Meaning::Date), "{name}");
        }
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
