//! Reading a backend's response: its head, out of a buffer, without I/O (RFC 9112 sections 4 to 6). A
//! backend is trusted more than a client, but not with framing: what two readers could read
//! differently is refused.

use std::{
    mem::{self, MaybeUninit},
    ops::Range,
};

use bytes::{Buf, BytesMut};
use http::{HeaderValue, StatusCode, header};

use super::{body::BodyDecoder, fields::FieldLines};
use crate::{
    byte_marks::ControlBytes,
    forwarded::{self, Meaning, options},
    framing::{self, token_end, trim},
};

/// Longest head that is read, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 128 << 10;
/// Most fields of a head.
const FIELDS_MAX: usize = 128;
/// Room for the fields of most heads, in bytes.
const USUAL_BYTES: usize = 1 << 10;
/// Most interim responses before the final one.
const INTERIM_MAX: usize = 128;
/// Most bytes of interim responses: what a client that does not read may make us keep.
const INTERIM_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// Longest body that a Content-Length can announce, in bytes: what fits into a file's offset.
const LENGTH_BYTES_MAX: u64 = i64::MAX as u64;

/// A response that is not valid HTTP/1.1, or whose end is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);

// Why a response is refused, where others need to know the words.
pub(super) const BARE_LINE_FEED: &str = "a line ends without a carriage return";
const BAD_VALUE: &str = "a field's value has control characters";
pub(super) const CHUNKED_IN_10: &str = "Transfer-Encoding in HTTP/1.0";
pub(super) const EMPTY_LINE: &str = "an empty line before the head";
pub(super) const HEAD_TOO_LONG: &str = "the head is too long";
pub(super) const NOT_A_LENGTH: &str = "Content-Length is not a number";
pub(super) const NOT_CHUNKED: &str = "a Transfer-Encoding other than chunked";
pub(super) const SWITCH: &str = "a switch of protocols not asked for";
pub(super) const TOO_MANY_FIELDS: &str = "the head has too many fields";
pub(super) const TOO_MANY_INTERIM: &str = "too many interim responses";
pub(super) const TWO_FRAMINGS: &str = "Content-Length with Transfer-Encoding";
pub(super) const TWO_LENGTHS: &str = "two different Content-Lengths";

/// A head, without the fields that concern the connection only.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// Without a Content-Length that frames a body: `body` says it.
    pub(crate) fields: FieldLines,
    /// The values of `Trailer`, which is to be said by whoever frames the message anew.
    pub(crate) trailer: Vec<HeaderValue>,
    pub(crate) body: BodyDecoder,
    /// The backend lets the connection be used again.
    pub(crate) keep_alive: bool,
}

/// Finds a response's heads in what has been read of it.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// So much of the buffer is known to hold no whole head.
    searched: usize,
    /// Memory for the fields of the next head.
    memory: Vec<u8>,
    interim: usize,
    interim_bytes: usize,
}

impl Heads {
    /// None found yet; the first one's fields are put into `memory`, which is empty.
    pub(crate) fn into(memory: Vec<u8>) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Takes the next head out of `buffer`; none while it is not complete. With `ended` nothing more
    /// will come. Interim heads (1xx) come like others, with an empty body, and there are only so many.
    pub(crate) fn take(
        &mut self,
        buffer: &mut BytesMut,
        to_head_request: bool,
        ended: bool,
    ) -> Result<Option<Head>, Invalid> {
        // A head that trickles in is looked at once for each line of it, not once for each read.
        let is_worth_it = self.searched == 0
            || ended
            || buffer.len() >= HEAD_BYTES_MAX
            || memchr::memchr(b'\n', &buffer[self.searched..]).is_some();
        let before = buffer.len();
        self.searched = before;
        if before == 0 || !is_worth_it {
            return Ok(None);
        }
        let Some(head) = take_head(buffer, to_head_request, &mut self.memory)? else { return Ok(None) };
        self.searched = 0;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Invalid(SWITCH));
        }
        if head.status.is_informational() {
            self.interim += 1;
            self.interim_bytes += before - buffer.len();
            if self.interim > INTERIM_MAX || self.interim_bytes > INTERIM_BYTES_MAX {
                return Err(Invalid(TOO_MANY_INTERIM));
            }
        }
        Ok(Some(head))
    }
}

fn take_head(
    buffer: &mut BytesMut,
    to_head_request: bool,
    memory: &mut Vec<u8>,
) -> Result<Option<Head>, Invalid> {
    let Some((length, head)) = read_head(buffer, to_head_request, memory)? else { return Ok(None) };
    buffer.advance(length);
    Ok(Some(head))
}

/// The head at the beginning of `buffer` and how many bytes it has; none while it is not complete. Its fields
/// are put into `memory`.
fn read_head(
    buffer: &[u8],
    to_head_request: bool,
    memory: &mut Vec<u8>,
) -> Result<Option<(usize, Head)>, Invalid> {
    match read_usual(buffer, to_head_request, memory) {
        Some(read) => Ok(Some(read)),
        None => read_any(buffer, to_head_request),
    }
}

/// The same, of a head that is whole and of which nothing is to be refused; none for any other.
///
/// Nearly every head is such, and to look for the ends of its lines and of its names is less than half of what
/// the library's parser takes, which judges each byte by itself.
fn read_usual(buffer: &[u8], to_head_request: bool, memory: &mut Vec<u8>) -> Option<(usize, Head)> {
    let window = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
    let mut control_bytes = ControlBytes::of(window);
    let mut line_end =
        |start| control_bytes.next(start).filter(|end| window.get(*end..end + 2) == Some(b"\r\n"));
    let mut end = line_end(0)?;
    let (status, is_11) = status_line(&window[..end])?;
    let fields = FieldLines::of(status, mem::take(memory), window.len().min(USUAL_BYTES));
    let mut gathered = Gathered::into(status, fields);
    for _ in 0..=FIELDS_MAX {
        let start = end + b"\r\n".len();
        end = line_end(start)?;
        let line = &window[start..end];
        if line.is_empty() {
            let length = end + b"\r\n".len();
            return Some((length, gathered.head(window, is_11, to_head_request).ok()?));
        }
        let (name, rest) = line.split_at(token_end(line));
        let value = trim(rest.strip_prefix(b":").filter(|_| !name.is_empty())?);
        gathered.add(window, Field { name, value, place: start..end + b"\r\n".len() }).ok()?;
    }
    None
}

/// The status and whether the version is HTTP/1.1 rather than HTTP/1.0, of a line without control bytes.
fn status_line(line: &[u8]) -> Option<(StatusCode, bool)> {
    let (version, rest) = line.split_first_chunk::<9>()?;
    let is_11 = match version {
        b"HTTP/1.1 " => true,
        b"HTTP/1.0 " => false,
        _ => return None,
    };
    let (digits, phrase) = rest.split_first_chunk::<3>()?;
    let status = if digits == b"200" { StatusCode::OK } else { StatusCode::from_bytes(digits).ok()? };
    matches!(phrase, [] | [b' ', ..]).then_some((status, is_11))
}

/// The same with the library's parser, which knows what is wrong with a head and whether one may still become
/// whole.
fn read_any(buffer: &[u8], to_head_request: bool) -> Result<Option<(usize, Head)>, Invalid> {
    let mut storage = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let Some(Parsed { status, is_11, section, fields }) = parse(buffer, &mut storage)? else {
        return Ok(None);
    };
    let mut gathered = Gathered::into(status, FieldLines::of(status, Vec::new(), section.len()));
    for (index, field) in fields.iter().enumerate() {
        let end = fields.get(index + 1).map_or(section.len() - b"\r\n".len(), |next| place(next, section));
        let (name, value) = (field.name.as_bytes(), field.value);
        gathered.add(section, Field { name, value, place: place(field, section)..end })?;
    }
    Ok(Some((section.len(), gathered.head(section, is_11, to_head_request)?)))
}

/// A field of a head.
struct Field<'b> {
    name: &'b [u8],
    /// Without the whitespace around it.
    value: &'b [u8],
    /// Where its line stands in the head, its end included.
    place: Range<usize>,
}

/// What the fields so far make of a head.
struct Gathered<'b> {
    status: StatusCode,
    framing: Framing<'b>,
    fields: FieldLines,
    trailer: Vec<HeaderValue>,
    /// Lines that are passed on and stand side by side are copied together.
    kept: Range<usize>,
}

impl<'b> Gathered<'b> {
    /// Nothing yet; what is passed on is added to `fields`.
    fn into(status: StatusCode, fields: FieldLines) -> Self {
        Self { status, framing: Framing::default(), fields, trailer: Vec::new(), kept: 0..0 }
    }

    /// The next field of `section`.
    fn add(&mut self, section: &[u8], Field { name, value, place }: Field<'b>) -> Result<(), Invalid> {
        match forwarded::meaning(name) {
            Meaning::EndToEnd => {}
            Meaning::Date => self.fields.note_date(),
            Meaning::ContentLength => return self.framing.note_length(value),
            Meaning::TransferEncoding => {
                self.framing.note_transfer_encoding(value);
                return Ok(());
            }
            Meaning::Connection => {
                self.framing.note_connection(value);
                return Ok(());
            }
            Meaning::Trailer => {
                // The parser takes no byte in a value that the map would not.
                self.trailer.push(HeaderValue::from_bytes(value).map_err(|_| Invalid(BAD_VALUE))?);
                return Ok(());
            }
            Meaning::HopByHop => return Ok(()),
        }
        if self.kept.end != place.start {
            self.fields.push(&section[self.kept.clone()]);
            self.kept.start = place.start;
        }
        self.kept.end = place.end;
        Ok(())
    }

    /// The head, whose last field was added.
    fn head(self, section: &[u8], is_11: bool, to_head_request: bool) -> Result<Head, Invalid> {
        let Self { status, framing, mut fields, mut trailer, kept } = self;
        fields.push(&section[kept]);
        if !framing.naming.is_empty() {
            // All at once: a list may name some ten thousand fields.
            fields.retain(|name| !framing.names(name));
            if framing.names(header::TRAILER.as_str().as_bytes()) {
                trailer.clear();
            }
        }
        let body = framing.body(status, is_11, to_head_request)?;
        // A length that frames nothing tells what there would be. With 1xx and 204 there would be nothing
        // (RFC 9110 section 8.6): whoever is next might believe it.
        let is_told = (to_head_request || status == StatusCode::NOT_MODIFIED)
            && !status.is_informational()
            && status != StatusCode::NO_CONTENT;
        if let Some(length) = framing.length.filter(|_| is_told) {
            fields.push_field(header::CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
        }
        let keep_alive = framing.keep_alive(is_11) && body != BodyDecoder::UNTIL_CLOSE;
        Ok(Head { status, fields, trailer, body, keep_alive })
    }
}

/// A head as the parser sees it.
struct Parsed<'b, 's> {
    status: StatusCode,
    is_11: bool,
    /// The whole head.
    section: &'b [u8],
    fields: &'s [httparse::Header<'b>],
}

/// Where a field of `section` begins.
fn place(field: &httparse::Header<'_>, section: &[u8]) -> usize {
    field.name.as_ptr() as usize - section.as_ptr() as usize
}

/// Looks for a whole head at the beginning of `buffer`.
fn parse<'b, 's>(
    buffer: &'b [u8],
    storage: &'s mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Option<Parsed<'b, 's>>, Invalid> {
    let mut head = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    // Longer than a head may be is longer than is looked at.
    let window = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
    if matches!(window, [b'\r' | b'\n', ..]) {
        return Err(Invalid(EMPTY_LINE));
    }
    let length = match config.parse_response_with_uninit_headers(&mut head, window, storage) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if window.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Invalid(HEAD_TOO_LONG)),
        Err(httparse::Error::TooManyHeaders) => return Err(Invalid(TOO_MANY_FIELDS)),
        Err(_) => return Err(Invalid("the head is malformed")),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let (section, fields) = (&window[..length], &*head.headers);
    if !lines_end_well(section, fields.iter().map(|field| place(field, section))) {
        return Err(Invalid(BARE_LINE_FEED));
    }
    Ok(Some(Parsed {
        status: status.ok_or(Invalid("the status is not one"))?,
        is_11: head.version == Some(1),
        section,
        fields,
    }))
}

/// Whether every line of `section`, which ends with an empty one, ends with CRLF, where the parser
/// takes a bare LF too. `starts` are those of the field lines.
pub(super) fn lines_end_well(section: &[u8], mut starts: impl Iterator<Item = usize>) -> bool {
    let ends_well = |end: usize| end == 0 || end >= 2 && section[end - 2] == b'\r';
    starts.all(ends_well) && ends_well(section.len()) && ends_well(section.len().saturating_sub(2))
}

/// What the fields say of the message's end and the connection's.
#[derive(Default)]
struct Framing<'b> {
    length: Option<u64>,
    transfer_encoding: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// The `Connection` fields that name others.
    naming: Vec<&'b [u8]>,
}

impl<'b> Framing<'b> {
    fn note_length(&mut self, value: &[u8]) -> Result<(), Invalid> {
        let length = decimal(value).ok_or(Invalid(NOT_A_LENGTH))?;
        match self.length.replace(length) {
            Some(before) if before != length => Err(Invalid(TWO_LENGTHS)),
            _ => Ok(()),
        }
    }

    fn note_transfer_encoding(&mut self, value: &[u8]) {
        // A second coding, in a list or in a second field, is one that nobody asked for.
        self.chunked = !self.transfer_encoding && value.eq_ignore_ascii_case(b"chunked");
        self.transfer_encoding = true;
    }

    fn note_connection(&mut self, value: &'b [u8]) {
        let mut names_others = false;
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                names_others = true;
            }
        }
        if names_others {
            self.naming.push(value);
        }
    }

    /// Whether `Connection` takes the fields of this name from the next hop.
    fn names(&self, name: &[u8]) -> bool {
        forwarded::may_be_named(name)
            && self
                .naming
                .iter()
                .flat_map(|value| options(value))
                .any(|named| named.eq_ignore_ascii_case(name))
    }

    fn keep_alive(&self, is_11: bool) -> bool {
        !self.close && (is_11 || self.keep_alive)
    }

    /// RFC 9112 section 6.3, without its tolerance for two framings at once.
    fn body(&self, status: StatusCode, is_11: bool, to_head_request: bool) -> Result<BodyDecoder, Invalid> {
        if self.transfer_encoding {
            if self.length.is_some() {
                return Err(Invalid(TWO_FRAMINGS));
            }
            if !self.chunked {
                return Err(Invalid(NOT_CHUNKED));
            }
            if !is_11 {
                return Err(Invalid(CHUNKED_IN_10));
            }
        }
        let empty = to_head_request
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        Ok(match self.length {
            _ if empty => BodyDecoder::EMPTY,
            _ if self.transfer_encoding => BodyDecoder::chunked(),
            Some(length) => BodyDecoder::length(length),
            None => BodyDecoder::UNTIL_CLOSE,
        })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let number = framing::decimal(digits)?;
    (!digits.is_empty() && number <= LENGTH_BYTES_MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts of heads, most of them in order.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let status_line = prop_oneof![
            4 => Just("HTTP/1.1 200 OK\r\n"),
            1 => Just("HTTP/1.0 404 Not Found\r\n"),
            1 => Just("HTTP/1.1 304\r\n"),
            1 => Just("HTTP/1.1 204 \t\u{e9}\r\n"),
            1 => Just("HTTP/1.1 099 ?\r\n"),
            1 => Just("HTTP/1.1  200 OK\r\n"),
            1 => Just("HTTP/1.1 200 OK\n"),
        ];
        let field = prop_oneof![
            8 => "[A-Za-z0-9!_-]{1,20}:[ \t]{0,2}[ -~\u{e9}\t]{0,80}\r\n",
            2 => Just("Date: now\r\n".to_owned()),
            2 => "(C|c)ontent-(L|l)ength: ?[0-9]{0,4}\r\n",
            1 => "Transfer-Encoding: (chunked|gzip)\r\n",
            1 => "CONNECTION: (close|keep-alive|x-a, date)\r\n",
            1 => Just("Trailer: x-sum\r\n".to_owned()),
            1 => "(Keep-Alive|X-A|Upgrade): 1 \r\n",
            1 => "(:| a: b|a b: c|a|a: b\u{0}|a: b\rc|a: \u{7f}|\u{e9}: b)\r\n",
            1 => Just("a: b\n".to_owned()),
        ];
        let end = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just(""), 1 => Just("\r")];
        let body = "[a-z\r\n\u{0}]{0,80}";
        let parts = (status_line, prop::collection::vec(field, 0..8), end, body);
        parts.prop_map(|(line, fields, end, body)| [line, &fields.concat(), end, &body].concat().into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_read_as_usual_is_what_the_parser_reads(head in heads(), to_head_request: bool) {
            let any = read_any(&head, to_head_request);
            match read_usual(&head, to_head_request, &mut Vec::new()) {
                Some(usual) => prop_assert_eq!(format!("{:?}", Ok::<_, Invalid>(Some(usual))), format!("{any:?}")),
                // What nothing is wrong with is usual.
                None => prop_assert!(!matches!(any, Ok(Some(_))), "{:?}", any),
            }
        }
    }
}
