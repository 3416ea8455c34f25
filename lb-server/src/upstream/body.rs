//! Reading a response's body out of a buffer, without I/O (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;

use super::response::{BARE_LINE_FEED, Invalid, lines_end_well};
use crate::forwarded::{self, Kind};

/// Longest chunk size line, extensions included, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Most bytes of chunk extensions in one body: nobody reads them.
const EXTENSION_BYTES_MAX: usize = 16 << 10;
/// Longest trailers, in bytes.
const TRAILER_BYTES_MAX: usize = 32 << 10;
/// Most fields of trailers.
const TRAILERS_MAX: usize = 64;
/// More hexadecimal digits than these do not fit into 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

/// Whether a field may come behind a body (RFC 9110 section 6.5.1): none that frames, routes, judges or
/// authenticates the message, nor one of the connection's or of those
/// that tell where the request came from.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 18] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::RANGE,
        header::SET_COOKIE,
        header::TRAILER,
        header::WWW_AUTHENTICATE,
    ];
    forwarded::kind(name.as_str().as_bytes()) == Kind::EndToEnd && !NEVER.contains(name)
}

pub(super) const EXTENSIONS: &str = "a chunk's extensions are malformed or too long";
pub(super) const SIZE_TOO_LONG: &str = "a chunk's size has too many digits";
pub(super) const TRAILERS_TOO_LONG: &str = "the trailers are too long";

/// How far a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyDecoder {
    state: State,
    /// Bytes of chunk extensions so far.
    extension_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are to come; 0 is the end.
    Length(u64),
    UntilClose,
    /// A chunk's size line comes next.
    ChunkLine,
    /// So many bytes of a chunk are to come.
    ChunkData(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
}

/// What a look into the buffer gave.
#[derive(Debug)]
pub(crate) enum Taken {
    Frame(Frame<Bytes>),
    /// More bytes are needed.
    More,
    /// The body is over.
    End,
}

impl BodyDecoder {
    const fn new(state: State) -> Self {
        Self { state, extension_bytes: 0 }
    }

    pub(crate) const EMPTY: Self = Self::new(State::Length(0));
    pub(crate) const UNTIL_CLOSE: Self = Self::new(State::UntilClose);

    pub(crate) fn length(bytes: u64) -> Self {
        Self::new(State::Length(bytes))
    }

    pub(crate) fn chunked() -> Self {
        Self::new(State::ChunkLine)
    }

    /// The body is over: nothing more is to be read.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Length(0)
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes that are expected before anything else comes, where that is known.
    pub(crate) fn expected(&self) -> Option<u64> {
        match self.state {
            State::Length(bytes) | State::ChunkData(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The stream has ended: whether the body is whole.
    pub(crate) fn may_end_here(&self) -> bool {
        matches!(self.state, State::Length(0) | State::UntilClose)
    }

    /// Copies a body out of `buffer` that lies there whole and is smaller than `bytes_max`; gives its length.
    pub(crate) fn copy_whole(
        &mut self,
        buffer: &mut BytesMut,
        bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let State::Length(length) = self.state else { return None };
        let length = usize::try_from(length).ok().filter(|_| length < bytes_max)?;
        out.extend_from_slice(buffer.get(..length)?);
        buffer.advance(length);
        self.state = State::Length(0);
        Some(length)
    }

    /// Takes what can be taken out of `buffer`.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, Invalid> {
        loop {
            match self.state {
                State::Length(0) => return Ok(Taken::End),
                State::Length(_) | State::UntilClose | State::ChunkData(_) if buffer.is_empty() => {
                    return Ok(Taken::More);
                }
                State::Length(left) => {
                    let data = take_up_to(buffer, left);
                    self.state = State::Length(left - data.len() as u64);
                    return Ok(Taken::Frame(Frame::data(data)));
                }
                State::UntilClose => return Ok(Taken::Frame(Frame::data(buffer.split().freeze()))),
                State::ChunkData(left) => {
                    let data = take_up_to(buffer, left);
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Taken::Frame(Frame::data(data)));
                }
                State::ChunkEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::ChunkLine;
                    }
                    [] | [b'\r'] => return Ok(Taken::More),
                    _ => return Err(Invalid("a chunk is longer than its size")),
                },
                State::ChunkLine => {
                    let Some(line) = ChunkLine::find(buffer)? else { return Ok(Taken::More) };
                    self.extension_bytes += line.extension_bytes;
                    if self.extension_bytes > EXTENSION_BYTES_MAX {
                        return Err(Invalid(EXTENSIONS));
                    }
                    buffer.advance(line.length);
                    self.state = if line.size == 0 { State::Trailers } else { State::ChunkData(line.size) };
                }
                State::Trailers => return self.take_trailers(buffer),
            }
        }
    }

    fn take_trailers(&mut self, buffer: &mut BytesMut) -> Result<Taken, Invalid> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.state = State::Length(0);
            return Ok(Taken::End);
        }
        if buffer.starts_with(b"\n") {
            return Err(Invalid(BARE_LINE_FEED));
        }
        let window = &buffer[..buffer.len().min(TRAILER_BYTES_MAX)];
        let mut storage = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let (length, fields) = match httparse::parse_headers(window, &mut storage) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) if window.len() < TRAILER_BYTES_MAX => return Ok(Taken::More),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Invalid(TRAILERS_TOO_LONG));
            }
            Err(_) => return Err(Invalid("the trailers are malformed")),
        };
        let start = |field: &httparse::Header<'_>| field.name.as_ptr() as usize - window.as_ptr() as usize;
        if !lines_end_well(&window[..length], fields.iter().map(start)) {
            return Err(Invalid(BARE_LINE_FEED));
        }
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Invalid("the trailers are malformed"));
            };
            if may_trail(&name) {
                trailers.append(name, value);
            }
        }
        buffer.advance(length);
        self.state = State::Length(0);
        Ok(if trailers.is_empty() { Taken::End } else { Taken::Frame(Frame::trailers(trailers)) })
    }
}

fn take_up_to(buffer: &mut BytesMut, bytes: u64) -> Bytes {
    let length = usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()));
    buffer.split_to(length).freeze()
}

/// What says how long a chunk is.
struct ChunkLine {
    /// The line's own bytes, its end included.
    length: usize,
    size: u64,
    extension_bytes: usize,
}

impl ChunkLine {
    /// The line at the front of `buffer`; none while it is not complete.
    fn find(buffer: &[u8]) -> Result<Option<Self>, Invalid> {
        let invalid = Invalid("a chunk's size is not one");
        let window = &buffer[..buffer.len().min(CHUNK_LINE_BYTES_MAX)];
        let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = &window[digits..];
        let begins_well = match rest {
            [] => true,
            [next, ..] => digits > 0 && b";\r \t".contains(next),
        };
        // A line that is wrong from the start is not waited for.
        if digits > SIZE_DIGITS_MAX {
            return Err(Invalid(SIZE_TOO_LONG));
        }
        if !begins_well {
            return Err(invalid);
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return if window.len() < CHUNK_LINE_BYTES_MAX { Ok(None) } else { Err(Invalid(EXTENSIONS)) };
        };
        let extension = rest[..end].strip_suffix(b"\r").ok_or(invalid)?;
        if extension.iter().find(|byte| !b" \t".contains(byte)).is_some_and(|first| *first != b';') {
            return Err(invalid);
        }
        if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Invalid(EXTENSIONS));
        }
        let size = window[..digits].iter().fold(0, |size, digit| size << 4 | hex(*digit));
        Ok(Some(Self { length: digits + end + 1, size, extension_bytes: extension.len() }))
    }
}

fn hex(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    })
}
