//! Reading a backend's response: its head, out of a buffer, without I/O (RFC 9112 sections 4 to 6). A
//! backend is trusted more than a client, but not with framing: what two readers could read
//! differently is refused.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::body::BodyDecoder;
use crate::forwarded::{self, Kind};

/// Longest head that is read, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 128 << 10;
/// Most fields of a head.
const FIELDS_MAX: usize = 128;

/// A response that is not valid HTTP/1.1, or whose end is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);

/// A head, without the fields that concern the connection only.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyDecoder,
    /// The backend lets the connection be used again.
    pub(crate) keep_alive: bool,
}

/// Takes the next head out of `buffer`; none while it is not complete. Interim heads (1xx) come like
/// others, with an empty body.
pub(crate) fn take_head(buffer: &mut BytesMut, to_head_request: bool) -> Result<Option<Head>, Invalid> {
    let Some(line) = Places::find(buffer)? else { return Ok(None) };
    let bytes = buffer.split_to(line.length).freeze();
    let mut framing = Framing::default();
    let mut headers = HeaderMap::with_capacity(line.count);
    for place in &line.fields[..line.count] {
        let name = HeaderName::from_bytes(&bytes[place.name.range()])
            .map_err(|_| Invalid("a field's name is not one"))?;
        // A slice of the head's own bytes: values are not copied.
        let value = HeaderValue::from_maybe_shared(bytes.slice(place.value.range()))
            .map_err(|_| Invalid("a field's value has control characters"))?;
        framing.note(&name, &value)?;
        if forwarded::kind(&name) == Kind::HopByHop {
            continue;
        }
        headers.try_append(name, value).map_err(|_| Invalid("the head has too many fields"))?;
    }
    for name in framing.connection_names() {
        headers.remove(name);
    }
    let body = framing.body(line.status, line.is_11, to_head_request)?;
    let keep_alive = framing.keep_alive(line.is_11) && body != BodyDecoder::UNTIL_CLOSE;
    Ok(Some(Head { status: line.status, headers, body, keep_alive }))
}

/// Where a head's parts stand in its bytes.
struct Places {
    status: StatusCode,
    is_11: bool,
    length: usize,
    count: usize,
    fields: [Place; FIELDS_MAX],
}

#[derive(Clone, Copy, Default)]
struct Place {
    name: Span,
    value: Span,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `part` is a part of `whole`, which is shorter than 4 GiB.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize - whole.as_ptr() as usize) as u32;
        Self { start, end: start + part.len() as u32 }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Places {
    fn find(buffer: &[u8]) -> Result<Option<Self>, Invalid> {
        let mut storage = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        // Longer than a head may be is longer than is looked at.
        let window = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
        let length = match config.parse_response_with_uninit_headers(&mut head, window, &mut storage) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if window.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(Invalid("the head is too long")),
            Err(httparse::Error::TooManyHeaders) => return Err(Invalid("the head has too many fields")),
            Err(_) => return Err(Invalid("the head is malformed")),
        };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let mut fields = [Place::default(); FIELDS_MAX];
        let count = head.headers.len();
        for (place, field) in fields.iter_mut().zip(&*head.headers) {
            *place =
                Place { name: Span::of(field.name.as_bytes(), window), value: Span::of(field.value, window) };
        }
        Ok(Some(Self {
            status: status.ok_or(Invalid("the status is not one"))?,
            is_11: head.version == Some(1),
            length,
            count,
            fields,
        }))
    }
}

/// What the fields say of the message's end and the connection's.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    transfer_encoding: bool,
    chunked: bool,
    connection: Vec<Bytes>,
}

impl Framing {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Invalid> {
        if *name == header::CONTENT_LENGTH {
            let length = decimal(value.as_bytes()).ok_or(Invalid("Content-Length is not a number"))?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Invalid("two different Content-Lengths"));
            }
        } else if *name == header::TRANSFER_ENCODING {
            // A second coding, in a list or in a second field, is one that nobody asked for.
            self.chunked = !self.transfer_encoding && value.as_bytes().eq_ignore_ascii_case(b"chunked");
            self.transfer_encoding = true;
        } else if *name == header::CONNECTION {
            self.connection.push(Bytes::copy_from_slice(value.as_bytes()));
        }
        Ok(())
    }

    fn options(&self) -> impl Iterator<Item = &[u8]> {
        self.connection.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// The fields that `Connection` takes from the next hop.
    fn connection_names(&self) -> impl Iterator<Item = HeaderName> {
        self.options().filter_map(|name| HeaderName::from_bytes(name).ok()).filter(forwarded::may_be_named)
    }

    fn keep_alive(&self, is_11: bool) -> bool {
        let says = |option: &[u8]| self.options().any(|found| found.eq_ignore_ascii_case(option));
        if is_11 { !says(b"close") } else { says(b"keep-alive") && !says(b"close") }
    }

    /// RFC 9112 section 6.3, without its tolerance for two framings at once.
    fn body(&self, status: StatusCode, is_11: bool, to_head_request: bool) -> Result<BodyDecoder, Invalid> {
        if self.transfer_encoding {
            if self.length.is_some() {
                return Err(Invalid("Content-Length with Transfer-Encoding"));
            }
            if !self.chunked {
                return Err(Invalid("a Transfer-Encoding other than chunked"));
            }
            if !is_11 {
                return Err(Invalid("Transfer-Encoding in HTTP/1.0"));
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
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
