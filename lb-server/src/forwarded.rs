//! Which header fields a proxy may pass on, and what they tell it (RFC 9110 section 7.6.1).

pub(crate) const X_REQUEST_ID: &str = "x-request-id";
pub(crate) const X_FORWARDED_FOR: &str = "x-forwarded-for";
pub(crate) const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
pub(crate) const X_FORWARDED_HOST: &str = "x-forwarded-host";

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

/// What the field of this name, in any case, is. This is asked of every field of every request: its length
/// and its first letter tell most names apart from those that mean something.
pub(crate) fn kind(name: &[u8]) -> Kind {
    match kind_named(name) {
        Kind::EndToEnd if may_look_alike(name) && is_lookalike(name) => Kind::Lookalike,
        kind => kind,
    }
}

/// Only names that are as long, and begin as those that they could be taken for.
fn may_look_alike(name: &[u8]) -> bool {
    matches!(name.len(), 9 | 12 | 14..=17)
        && matches!(name[0], b'X' | b'x' | b'C' | b'c' | b'T' | b't')
        && name.contains(&b'_')
}

fn is_lookalike(name: &[u8]) -> bool {
    let meant: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
    meant.eq_ignore_ascii_case(b"content-length")
        || meant.eq_ignore_ascii_case(b"transfer-encoding")
        || matches!(kind_named(&meant), Kind::OwnOrigin | Kind::Origin | Kind::Host)
}

/// Whether this name, in any case, is that one, in lower case.
fn is(name: &[u8], meant: &[u8]) -> bool {
    name.first().map(|first| first | 0x20) == meant.first().copied() && name.eq_ignore_ascii_case(meant)
}

fn kind_named(name: &[u8]) -> Kind {
    match name.len() {
        2 if is(name, b"te") => Kind::HopByHop,
        4 if is(name, b"host") => Kind::Host,
        7 if is(name, b"upgrade") => Kind::HopByHop,
        9 if is(name, b"forwarded") || is(name, b"x-real-ip") => Kind::Origin,
        10 if is(name, b"connection") || is(name, b"keep-alive") => Kind::HopByHop,
        12 if is(name, b"x-request-id") => Kind::OwnOrigin,
        15 if is(name, b"x-forwarded-for") => Kind::OwnOrigin,
        16 if is(name, b"proxy-connection") => Kind::HopByHop,
        16 if is(name, b"x-forwarded-host") => Kind::OwnOrigin,
        16 if is(name, b"x-forwarded-port") => Kind::Origin,
        17 if is(name, b"transfer-encoding") => Kind::HopByHop,
        17 if is(name, b"x-forwarded-proto") => Kind::OwnOrigin,
        18 if is(name, b"proxy-authenticate") => Kind::HopByHop,
        19 if is(name, b"proxy-authorization") => Kind::HopByHop,
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
    match name.len() {
        2 if is(name, b"te") => Meaning::HopByHop,
        4 if is(name, b"date") => Meaning::Date,
        7 if is(name, b"trailer") => Meaning::Trailer,
        7 if is(name, b"upgrade") => Meaning::HopByHop,
        10 if is(name, b"connection") => Meaning::Connection,
        10 if is(name, b"keep-alive") => Meaning::HopByHop,
        14 if is(name, b"content-length") => Meaning::ContentLength,
        16 if is(name, b"proxy-connection") => Meaning::HopByHop,
        17 if is(name, b"transfer-encoding") => Meaning::TransferEncoding,
        18 if is(name, b"proxy-authenticate") => Meaning::HopByHop,
        19 if is(name, b"proxy-authorization") => Meaning::HopByHop,
        _ => Meaning::EndToEnd,
    }
}

/// The members of a list, such as the options of a `Connection`.
pub(crate) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether `Connection` may take this field, named in any case, from the next hop: neither the framing nor
/// what the request is for.
pub(crate) fn may_be_named(name: &[u8]) -> bool {
    !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"host")
}

/// Whether the value of a TE field says that its sender reads trailers.
pub(crate) fn accepts_trailers(te: &[u8]) -> bool {
    options(te).any(|coding| {
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
    Given(Box<[u8]>),
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
            Self::Given(value) => value,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_neither_host_nor_length() {
        let named = |value| options(value).filter(|name| may_be_named(name)).collect::<Vec<_>>();
        assert_eq!(named(b"close, X-Secret "), [&b"close"[..], b"X-Secret"]);
        assert_eq!(named(b" x-other ,Host,content-LENGTH,,"), [&b"x-other"[..], b"", b""]);
    }

    #[test]
    fn kinds() {
        let kind = |name: &str| kind(name.as_bytes());
        assert_eq!(kind("X-Forwarded-For"), Kind::OwnOrigin);
        assert_eq!(kind("x_forwarded-for"), Kind::Lookalike);
        assert_eq!(kind("X_Real_IP"), Kind::Lookalike);
        assert_eq!(kind("Content_Length"), Kind::Lookalike);
        assert_eq!(kind("x_trace"), Kind::EndToEnd);
        assert_eq!(kind("keep_alive"), Kind::EndToEnd);
        assert_eq!(kind("Keep-Alive"), Kind::HopByHop);
        assert_eq!(kind("HOST"), Kind::Host);
        assert_eq!(kind("h_st"), Kind::EndToEnd);
        for name in ["x-forwarded-proto", "X-Forwarded-Host", "x-request-ID"] {
            assert_eq!(kind(name), Kind::OwnOrigin, "{name}");
        }
        for name in ["Forwarded", "x-forwarded-port", "X-Real-IP"] {
            assert_eq!(kind(name), Kind::Origin, "{name}");
        }
        for length in 0..40 {
            let name = "x".repeat(length);
            let means = |kind| matches!(kind, Kind::OwnOrigin | Kind::Origin);
            let candidates = [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-request-id",
                "forwarded",
                "x-forwarded-port",
                "x-real-ip",
                "content-length",
                "transfer-encoding",
            ];
            assert!(candidates.iter().take(7).all(|name| means(super::kind(name.as_bytes()))));
            let is_length_of_one = candidates.iter().any(|name| name.len() == length);
            let name = name.replacen("xx", "x_", 1);
            assert_eq!(length > 1 && is_length_of_one, may_look_alike(name.as_bytes()), "{length}");
        }
        for name in ["transfer_encoding", "x_forwarded_port", "X_Request-Id"] {
            assert_eq!(kind(name), Kind::Lookalike, "{name}");
        }
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
            assert_eq!(kind(name.as_bytes()), Kind::HopByHop, "{name}");
            let upper = name.to_ascii_uppercase();
            assert!(!matches!(meaning(upper.as_bytes()), Meaning::EndToEnd | Meaning::Date), "{name}");
        }
    }

    #[test]
    fn te_trailers_is_found_in_lists() {
        let takes = |value: &str| accepts_trailers(value.as_bytes());
        assert!(takes("gzip;q=0.5, Trailers") && takes("trailers;q=1"));
        assert!(!takes("gzip") && !takes("trailersx") && !takes(""));
    }

    #[test]
    fn a_request_id_is_128_bits_in_hexadecimal() {
        assert_eq!(RequestId::new(0x0123_4567_89ab_cdef, 1).as_str(), "0123456789abcdef0000000000000001");
    }
}
