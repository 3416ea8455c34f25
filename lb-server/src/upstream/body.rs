//! Reading a response's body out of a buffer, without I/O (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;

use super::response::Invalid;

/// Longest chunk size line, extensions included, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Longest trailers, in bytes.
const TRAILER_BYTES_MAX: usize = 32 << 10;
/// Most fields of trailers.
const TRAILERS_MAX: usize = 64;
/// More hexadecimal digits than these do not fit into 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

/// Fields that may not come behind a body (RFC 9110 section 6.5.1): framing, routing, authentication.
pub(super) const NOT_IN_TRAILERS: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::SET_COOKIE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// How far a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyDecoder(State);

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
    pub(crate) const EMPTY: Self = Self(State::Length(0));
    pub(crate) const UNTIL_CLOSE: Self = Self(State::UntilClose);

    pub(crate) fn length(bytes: u64) -> Self {
        Self(State::Length(bytes))
    }

    pub(crate) fn chunked() -> Self {
        Self(State::ChunkLine)
    }

    /// The body is over: nothing more is to be read.
    pub(crate) fn is_over(&self) -> bool {
        self.0 == State::Length(0)
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::Length(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The stream has ended: whether the body is whole.
    pub(crate) fn may_end_here(&self) -> bool {
        matches!(self.0, State::Length(0) | State::UntilClose)
    }

    /// Takes what can be taken out of `buffer`.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, Invalid> {
        loop {
            match self.0 {
                State::Length(0) => return Ok(Taken::End),
                State::Length(_) | State::UntilClose | State::ChunkData(_) if buffer.is_empty() => {
                    return Ok(Taken::More);
                }
                State::Length(left) => {
                    let data = take_up_to(buffer, left);
                    self.0 = State::Length(left - data.len() as u64);
                    return Ok(Taken::Frame(Frame::data(data)));
                }
                State::UntilClose => return Ok(Taken::Frame(Frame::data(buffer.split().freeze()))),
                State::ChunkData(left) => {
                    let data = take_up_to(buffer, left);
                    let left = left - data.len() as u64;
                    self.0 = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Taken::Frame(Frame::data(data)));
                }
                State::ChunkEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.0 = State::ChunkLine;
                    }
                    [] | [b'\r'] => return Ok(Taken::More),
                    _ => return Err(Invalid("a chunk is longer than its size")),
                },
                State::ChunkLine => match chunk_line(buffer)? {
                    None => return Ok(Taken::More),
                    Some((length, 0)) => {
                        buffer.advance(length);
                        self.0 = State::Trailers;
                    }
                    Some((length, size)) => {
                        buffer.advance(length);
                        self.0 = State::ChunkData(size);
                    }
                },
                State::Trailers => return self.take_trailers(buffer),
            }
        }
    }

    fn take_trailers(&mut self, buffer: &mut BytesMut) -> Result<Taken, Invalid> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.0 = State::Length(0);
            return Ok(Taken::End);
        }
        let window = &buffer[..buffer.len().min(TRAILER_BYTES_MAX)];
        let mut storage = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let (length, fields) = match httparse::parse_headers(window, &mut storage) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) if window.len() < TRAILER_BYTES_MAX => return Ok(Taken::More),
            _ => return Err(Invalid("the trailers are malformed or too long")),
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Invalid("the trailers are malformed or too long"));
            };
            if !NOT_IN_TRAILERS.contains(&name) {
                trailers.append(name, value);
            }
        }
        buffer.advance(length);
        self.0 = State::Length(0);
        Ok(if trailers.is_empty() { Taken::End } else { Taken::Frame(Frame::trailers(trailers)) })
    }
}

fn take_up_to(buffer: &mut BytesMut, bytes: u64) -> Bytes {
    let length = usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()));
    buffer.split_to(length).freeze()
}

/// The length of a chunk's size line and the size that it says; none while it is not complete.
fn chunk_line(buffer: &[u8]) -> Result<Option<(usize, u64)>, Invalid> {
    let window = &buffer[..buffer.len().min(CHUNK_LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        // A line that is wrong from the start is not waited for.
        let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let tail_is_fine = digits == window.len() || (digits > 0 && b";\r \t".contains(&window[digits]));
        if window.len() == CHUNK_LINE_BYTES_MAX || digits > SIZE_DIGITS_MAX || !tail_is_fine {
            return Err(Invalid("a chunk's size is not one"));
        }
        return Ok(None);
    };
    let invalid = Invalid("a chunk's size is not one");
    let line = window[..end].strip_suffix(b"\r").ok_or(invalid)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = line[digits..].trim_ascii_start();
    let is_fine = (1..=SIZE_DIGITS_MAX).contains(&digits)
        && (extension.is_empty() || extension.starts_with(b";"))
        && !extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    if !is_fine {
        return Err(invalid);
    }
    let size = line[..digits].iter().fold(0, |size, digit| size << 4 | hex(*digit));
    Ok(Some((end + 1, size)))
}

fn hex(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    })
}
