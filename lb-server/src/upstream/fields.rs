//! The fields of a response, on their way from a backend to the client as lines of bytes.
//!
//! They are never put into a map: most responses pass as they are, and a map costs a hash, a copy and a
//! reference count for each field, on the way in and on the way out.

use http::{StatusCode, header};

use super::request::write_field;
use crate::{framing::token_end, snapshot::HeaderEdits};

/// Room for what is added to most responses: a Date, the framing, a small body.
const ADDED_BYTES: usize = 384;

/// Whole field lines, each with its end, in the order in which they came; and before them the status line
/// that they go out with, so that a head need not be put together from parts.
#[derive(Debug, Default)]
pub(crate) struct FieldLines {
    bytes: Vec<u8>,
    /// Where the first of them begins.
    start: usize,
    has_date: bool,
}

impl FieldLines {
    /// None yet, in `bytes`, which is empty, with room for so many bytes of them.
    pub(crate) fn of(status: StatusCode, mut bytes: Vec<u8>, room: usize) -> Self {
        debug_assert!(bytes.is_empty(), "what another message left would go out with this one");
        bytes.reserve(room + ADDED_BYTES);
        if status == StatusCode::OK {
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            let phrase = status.canonical_reason().unwrap_or_default();
            for part in ["HTTP/1.1 ", status.as_str(), " ", phrase, "\r\n"] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        Self { start: bytes.len(), bytes, has_date: false }
    }

    /// Adds lines, each of which ends in CRLF. Whether a Date is among them is told apart.
    pub(super) fn push(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    /// A Date is among the lines.
    pub(super) fn note_date(&mut self) {
        self.has_date = true;
    }

    /// Adds a field.
    pub(crate) fn push_field(&mut self, name: &str, value: &[u8]) {
        self.has_date |= name == header::DATE.as_str();
        write_field(&mut self.bytes, name, value);
    }

    /// Whether there is a Date.
    pub(crate) fn has_date(&self) -> bool {
        self.has_date
    }

    /// Does to the fields what a route says.
    pub(crate) fn apply(&mut self, edits: &HeaderEdits) {
        if edits.drops_any() {
            self.retain(|field| !edits.replaces(field));
        }
        self.bytes.extend_from_slice(edits.added());
        self.has_date |= edits.adds_date();
    }

    /// Takes out the fields whose names, in any case, are not to be kept: moves the lines that are kept together,
    /// where they stand.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&[u8]) -> bool) {
        let (mut at, mut kept) = (self.start, self.start);
        self.has_date = false;
        while at < self.bytes.len() {
            let line = &self.bytes[at..];
            let length = memchr::memchr(b'\n', line).map_or(line.len(), |feed| feed + 1);
            let name = &line[..token_end(&line[..length])];
            if keeps(name) {
                self.has_date |= name.eq_ignore_ascii_case(header::DATE.as_str().as_bytes());
                if kept < at {
                    self.bytes.copy_within(at..at + length, kept);
                }
                kept += length;
            }
            at += length;
        }
        self.bytes.truncate(kept);
    }

    /// The lines as they go out.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The memory of the lines.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    /// The lines behind their status line: a head but for its last, empty line.
    pub(crate) fn into_head(self) -> Vec<u8> {
        self.bytes
    }

    /// The fields as a map.
    #[cfg(any(test, fuzzing))]
    pub(super) fn to_map(&self) -> http::HeaderMap {
        let mut section = self.as_bytes().to_vec();
        section.extend_from_slice(b"\r\n");
        let mut storage = [httparse::EMPTY_HEADER; 256];
        let parsed = httparse::parse_headers(&section, &mut storage);
        let Ok(httparse::Status::Complete((_, fields))) = parsed else { panic!("not fields: {section:?}") };
        let mut map = http::HeaderMap::new();
        for field in fields {
            let name = http::HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
            map.append(name, http::HeaderValue::from_bytes(field.value).expect("a value"));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use lb_core::config;

    use super::*;

    fn lines(text: &str) -> FieldLines {
        let mut lines = FieldLines::of(StatusCode::OK, Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            if line.to_ascii_lowercase().starts_with("date:") {
                lines.note_date();
            }
            lines.push(line.as_bytes());
        }
        lines
    }

    #[test]
    fn a_routes_edits() {
        let edits = HeaderEdits::compile(&config::HeaderEdits {
            remove: vec!["x-gone".into(), "date".into()],
            set: vec![("x-set".into(), "new".into())],
            append: vec![("x-more".into(), "2".into())],
        });
        let mut fields =
            lines("X-GONE: 1\r\nServer:a \r\nDate: now\r\nX-Set: old\r\nx-more: 1\r\nX-Set:\r\n");
        assert!(fields.has_date());
        fields.apply(&edits);
        assert_eq!(fields.as_bytes(), b"Server:a \r\nx-more: 1\r\nx-set: new\r\nx-more: 2\r\n");
        assert!(!fields.has_date());
        fields.push_field("date", b"then");
        assert!(fields.has_date());
        assert!(fields.into_head().starts_with(b"HTTP/1.1 200 OK\r\nServer:a \r\n"));
    }

    #[test]
    fn no_edits_change_nothing() {
        let mut fields = lines("A: b\r\nDATE: c\r\n");
        fields.apply(&crate::snapshot::NO_EDITS);
        assert_eq!(fields.into_bytes(), b"A: b\r\nDATE: c\r\n");
    }

    #[test]
    fn status_lines() {
        let line = |status| FieldLines::of(StatusCode::from_u16(status).unwrap(), Vec::new(), 0).into_head();
        assert_eq!(line(200), b"HTTP/1.1 200 OK\r\n");
        assert_eq!(line(503), b"HTTP/1.1 503 Service Unavailable\r\n");
        assert_eq!(line(299), b"HTTP/1.1 299 \r\n");
    }
}
