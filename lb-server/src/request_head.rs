//! The head of a request: its bytes, and where among them each part stands.
//!
//! No map is made of the fields. Most of them are only passed on, in one walk over all of them; the few that
//! are looked for are found faster among some ten lengths than by a hash, and a map would cost a copy, a hash
//! and a reference count for each field besides.

use std::ops::Range;

use http::{Version, request::Parts};
use lb_core::request::Headers;

use crate::{
    forwarded::{self, Kind},
    framing::{self, HeadSink},
};

/// A request's head, wherever it was parsed.
#[derive(Debug, Default)]
pub(crate) struct RequestHead {
    /// All of it as text. Where a value is none, `?` stands for each byte that is not ASCII.
    text: String,
    /// The bytes as they came, where they are not text.
    raw: Option<Vec<u8>>,
    /// Where the parts stand, in the one as in the other.
    places: Places,
    version: Version,
}

/// Where the parts of a head stand among its bytes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    method: Span,
    /// Path and query; the whole target where it has neither.
    target: Span,
    /// Without a query.
    path: Span,
    /// The target's own.
    authority: Option<Span>,
    fields: Vec<FieldPlace>,
    /// The first Host, among the fields.
    host: Option<usize>,
    /// There is a `Connection`.
    has_connection: bool,
    /// A field that hyper is to see to.
    is_special: bool,
}

/// From where to where; a head has less than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, length: usize) -> Self {
        let small = |place| u32::try_from(place).unwrap_or(u32::MAX);
        Self { start: small(start), end: small(start + length) }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    fn text(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Where a field stands, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldPlace {
    name: Span,
    value: Span,
    kind: Kind,
    /// Name and value stand in a line as it would be written anew.
    is_tidy: bool,
}

impl FieldPlace {
    fn line(self) -> Option<Range<usize>> {
        self.is_tidy.then(|| self.name.start as usize..self.value.end as usize + b"\r\n".len())
    }
}

/// A field of a request.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    /// As it came, in any case.
    pub(crate) name: &'a [u8],
    /// Without the whitespace around it.
    pub(crate) value: &'a [u8],
    pub(crate) kind: Kind,
    /// Where its line with its end stands among the head's bytes, if that is just as it would be written anew.
    pub(crate) line: Option<Range<usize>>,
}

/// Takes down where the parts of a head stand, as the scanner accepts its lines.
impl HeadSink for Places {
    fn request_line(&mut self, start: usize, method: &[u8], target: &[u8]) {
        let target_start = start + method.len() + 1;
        let path = memchr::memchr(b'?', target).unwrap_or(target.len());
        self.method = Span::new(start, method.len());
        self.target = Span::new(target_start, target.len());
        self.path = Span::new(target_start, path);
        self.is_special |= target.first() != Some(&b'/') || method == b"CONNECT";
    }

    fn field(&mut self, start: usize, line: &[u8], field: framing::Field<'_>) {
        let framing::Field { name, value, value_start } = field;
        // One space, and nothing behind the value.
        let is_tidy = value_start == name.len() + 2
            && line[name.len() + 1] == b' '
            && value_start + value.len() == line.len();
        self.push(start, name, start + value_start, value, is_tidy);
    }
}

impl Places {
    /// None yet; those of fields are put into `fields`, which is empty.
    pub(crate) fn into(fields: Vec<FieldPlace>) -> Self {
        Self { fields, ..Self::default() }
    }

    /// Whether nothing in the head needs more than a look at its fields: an origin form without anything
    /// that is negotiated with the connection.
    pub(crate) fn is_plain(&self) -> bool {
        !self.is_special
    }

    fn push(&mut self, start: usize, name: &[u8], value_start: usize, value: &[u8], is_tidy: bool) {
        let kind = forwarded::kind(name);
        match kind {
            Kind::Host if self.host.is_none() => self.host = Some(self.fields.len()),
            Kind::HopByHop => {
                self.has_connection |= name.eq_ignore_ascii_case(b"connection");
                self.is_special |= name.eq_ignore_ascii_case(b"upgrade");
            }
            Kind::EndToEnd => self.is_special |= name.eq_ignore_ascii_case(b"expect"),
            _ => {}
        }
        let (name, value) = (Span::new(start, name.len()), Span::new(value_start, value.len()));
        self.fields.push(FieldPlace { name, value, kind, is_tidy });
    }
}

impl RequestHead {
    /// A plain HTTP/1.1 head, whose parts the scanner has found; its bytes are copied into `memory`, which is
    /// empty.
    pub(crate) fn plain(bytes: &[u8], places: Places, mut memory: Vec<u8>) -> Self {
        debug_assert!(memory.is_empty(), "the places would be those of another request's bytes");
        memory.extend_from_slice(bytes);
        Self::new(memory, places, Version::HTTP_11)
    }

    /// The memory that it had.
    pub(crate) fn into_memory(self) -> (Vec<u8>, Vec<FieldPlace>) {
        (self.text.into_bytes(), self.places.fields)
    }

    /// Looks once whether all of it is text, instead of at each part that is asked for as text. Method, target
    /// and host are ASCII; the scanner sees to it.
    fn new(bytes: Vec<u8>, places: Places, version: Version) -> Self {
        let (text, raw) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let raw = error.into_bytes();
                let ascii = |&byte: &u8| if byte.is_ascii() { char::from(byte) } else { '?' };
                (raw.iter().map(ascii).collect(), Some(raw))
            }
        };
        Self { text, raw, places, version }
    }

    /// What the HTTP library has parsed.
    pub(crate) fn of_library(parts: &Parts) -> Self {
        let Parts { method, uri, version, headers, .. } = parts;
        let mut places = Places::into(Vec::with_capacity(headers.len()));
        let mut bytes = Vec::with_capacity(64 + 48 * headers.len());
        let mut push = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            Span::new(start, part.len())
        };
        places.method = push(method.as_str().as_bytes());
        places.authority = uri.authority().map(|authority| push(authority.as_str().as_bytes()));
        match uri.path_and_query() {
            Some(target) => {
                // `http://host?query` is for the path `/`.
                let slash = if target.as_str().starts_with('?') { "/" } else { "" };
                places.target = push(slash.as_bytes());
                places.target.end = push(target.as_str().as_bytes()).end;
                places.path = Span::new(places.target.start as usize, uri.path().len());
            }
            None => places.target = push(uri.to_string().as_bytes()),
        }
        for (name, value) in headers {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            let (name_at, value_at) = (push(name), push(value));
            places.push(name_at.start as usize, name, value_at.start as usize, value, false);
        }
        Self::new(bytes, places, *version)
    }

    /// The bytes as they came.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.text.as_bytes())
    }

    pub(crate) fn method(&self) -> &str {
        self.places.method.text(&self.text)
    }

    pub(crate) fn is_head_request(&self) -> bool {
        self.method() == "HEAD"
    }

    /// Path and query; the whole target where it has neither.
    pub(crate) fn target(&self) -> &str {
        self.places.target.text(&self.text)
    }

    pub(crate) fn path(&self) -> &str {
        self.places.path.text(&self.text)
    }

    /// What stands after the first `?` of the target, without it.
    pub(crate) fn query(&self) -> Option<&str> {
        let Places { target, path, .. } = self.places;
        let has_query = path != Span::default() && path.end < target.end;
        has_query.then(|| Span { start: path.end + 1, end: target.end }.text(&self.text))
    }

    pub(crate) fn is_10(&self) -> bool {
        self.version == Version::HTTP_10
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// `host[:port]` that it is for: the target's, else its Host.
    pub(crate) fn authority(&self) -> Option<&str> {
        let Places { authority, host, fields, .. } = &self.places;
        let place = authority.or_else(|| Some(fields.get((*host)?)?.value))?;
        Some(place.text(&self.text))
    }

    /// Where the line of its Host stands among its bytes, if that is its first field, says what the request is
    /// for, and is just as it would be written anew.
    pub(crate) fn first_host_line(&self) -> Option<Range<usize>> {
        let Places { authority: None, host: Some(0), fields, .. } = &self.places else { return None };
        fields.first()?.line()
    }

    /// All fields, in the order in which they came.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let bytes = self.bytes();
        self.places.fields.iter().map(|place| Field {
            name: place.name.of(bytes),
            value: place.value.of(bytes),
            kind: place.kind,
            line: place.line(),
        })
    }

    /// All values of a field. The name is in lower case.
    pub(crate) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes();
        let wanted = self.places.fields.iter().filter(move |place| {
            place.name.end - place.name.start == name.len() as u32
                && place.name.of(bytes).eq_ignore_ascii_case(name.as_bytes())
        });
        wanted.map(|place| place.value.of(bytes))
    }

    /// The first value of a field. The name is in lower case.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The options of all `Connection` fields.
    pub(crate) fn connection_options(&self) -> impl Iterator<Item = &[u8]> {
        let values = self.places.has_connection.then(|| self.values("connection"));
        values.into_iter().flatten().flat_map(forwarded::options)
    }
}

impl Headers for RequestHead {
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.values(name).for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of_library(method: &str, uri: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        RequestHead::of_library(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn targets_of_every_form() {
        for (method, uri, target, path, query, authority) in [
            ("GET", "/a/b?c=d?e", "/a/b?c=d?e", "/a/b", Some("c=d?e"), Some("host")),
            ("GET", "/", "/", "/", None, Some("host")),
            ("GET", "/?", "/?", "/", Some(""), Some("host")),
            ("GET", "http://other:80/a?b", "/a?b", "/a", Some("b"), Some("other:80")),
            ("GET", "http://other", "/", "/", None, Some("other")),
            ("GET", "http://other?q", "/?q", "/", Some("q"), Some("other")),
            ("OPTIONS", "*", "*", "*", None, Some("host")),
            ("CONNECT", "other:443", "other:443", "", None, Some("other:443")),
        ] {
            let head = of_library(method, uri, &[("host", "host")]);
            assert_eq!((head.method(), head.target(), head.path()), (method, target, path), "{uri}");
            assert_eq!((head.query(), head.authority()), (query, authority), "{uri}");
        }
        assert_eq!(of_library("GET", "/", &[]).authority(), None);
    }

    #[test]
    fn fields_are_found_in_any_case_and_in_order() {
        let fields = [("x-a", "1"), ("connection", "x-b, Close"), ("X-A", "2"), ("te", "trailers")];
        let head = of_library("HEAD", "/", &fields);
        assert!(head.is_head_request());
        assert_eq!(head.values("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!((head.value("te"), head.value("x-b")), (Some(&b"trailers"[..]), None));
        assert_eq!(head.connection_options().collect::<Vec<_>>(), [&b"x-b"[..], b"Close"]);
        assert_eq!(of_library("GET", "/", &[("x", "1")]).connection_options().count(), 0);
        assert!(head.raw.is_none());
        let kinds: Vec<Kind> = head.fields().map(|field| field.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == Kind::HopByHop).count(), 2);
    }

    #[test]
    fn values_need_not_be_text() {
        let value = http::HeaderValue::from_bytes(b"\xe9t\xe9").unwrap();
        let request = Request::get("/a?b").header("host", "h").header("x-latin", value).header("x-z", "z");
        let head = RequestHead::of_library(&request.body(()).unwrap().into_parts().0);
        assert_eq!((head.target(), head.authority()), ("/a?b", Some("h")));
        assert_eq!((head.value("x-latin"), head.value("x-z")), (Some(&b"\xe9t\xe9"[..]), Some(&b"z"[..])));
    }
}
