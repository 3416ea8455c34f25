//! Heads and bodies as they came over the wire.

use std::fmt;

use crate::Digest;

/// The head of a request or a response, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Every byte, the empty line included.
    pub raw: Vec<u8>,
    /// The first line without its end; bytes as Latin-1.
    pub start: String,
    /// The fields.
    pub headers: Headers,
}

impl Head {
    /// Cuts a head into its parts. Never fails: what is not `name: value` becomes a name without value,
    /// for a test double must be able to show what it got.
    #[must_use]
    pub fn parse(raw: Vec<u8>) -> Self {
        let text = latin1(&raw);
        let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = Headers(lines.filter(|line| !line.is_empty()).map(field).collect());
        Self { raw, start, headers }
    }

    /// The `n`-th word of the first line, from 0; empty where there is none.
    #[must_use]
    pub fn word(&self, n: usize) -> &str {
        self.start.splitn(3, ' ').nth(n).unwrap_or_default()
    }

    /// A response's status; 0 when the second word of the first line is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }
}

pub(crate) fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Fields in the order and case in which they came; bytes as Latin-1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }

    /// All values of a field, in order, each line by itself.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }

    /// Whether a field is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether one of a field's comma-separated values is `token`, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A body that came, or as much of it as came.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// How much came, without framing.
    pub length_bytes: u64,
    /// The first bytes: the whole body unless it is longer than the receiver keeps.
    pub start: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Headers,
    /// Whether it ended, and how.
    pub end: BodyEnd,
    pub(crate) digest: Digest,
}

impl Body {
    /// The fingerprint of all that came; compare with [`Digest::of`] and [`Digest::of_pattern`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// [`Body::start`] as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.start).into_owned()
    }

    /// Whether it ended as its framing says that it must.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.end, BodyEnd::Complete | BodyEnd::Closed)
    }

    pub(crate) fn take(&mut self, bytes: &[u8], keep_bytes_max: usize) {
        let kept = bytes.len().min(keep_bytes_max.saturating_sub(self.start.len()));
        self.start.extend_from_slice(&bytes[..kept]);
        self.length_bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }
}

/// How a body ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyEnd {
    /// It still arrives, or nobody reads it.
    #[default]
    Arriving,
    /// By its length, by its last chunk, or because there is none.
    Complete,
    /// By an orderly close of the connection, and its framing allows no other end.
    Closed,
    /// The connection ended before it did.
    Truncated,
    /// Its chunked coding is broken.
    Invalid,
}

impl fmt::Display for BodyEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arriving => "not at its end yet",
            Self::Complete => "complete",
            Self::Closed => "ended by an orderly close",
            Self::Truncated => "cut off",
            Self::Invalid => "broken in its chunked coding",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_keep_order_case_and_repetition() {
        let head =
            Head::parse(b"GET /a HTTP/1.1\r\nhOsT: x\r\nA:  1 \r\na: 2, close\r\nodd\r\n\r\n".to_vec());
        assert_eq!((head.word(0), head.word(1), head.word(2)), ("GET", "/a", "HTTP/1.1"));
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(fields, [("hOsT", "x"), ("A", "1"), ("a", "2, close"), ("odd", "")]);
        assert_eq!(head.headers.all("a").collect::<Vec<_>>(), ["1", "2, close"]);
        assert!(head.headers.lists("A", "Close") && !head.headers.lists("A", "lose"));
    }
}
