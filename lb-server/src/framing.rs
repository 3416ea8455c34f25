//! The framing scanner: follows the bytes that a client sends, message by message, and refuses what is
//! malformed or ambiguous before the HTTP library sees it.
//!
//! Request smuggling needs two recipients that disagree about where a message ends. So whatever RFC 9112
//! lets recipients treat differently is refused here, where it could be repaired as well: bare LF, folded
//! lines, repeated lengths, lengths beside chunks. A wrong chunk is noticed when its line has come, and the
//! library's own parser, laxer as it is, never gets to see a complete head that this module has refused.
//!
//! Nothing here reads, waits or allocates per request: [`Scanner::scan`] is called with each piece of the
//! stream as it comes. Equal streams get equal verdicts however they are cut.

#[cfg(test)]
mod against_hyper;
mod line;
mod syntax;
#[cfg(test)]
mod tests;

use lb_core::reason::Reason;

use line::{Flaw, Lines, Next};
use syntax::{Fault, malformed};
pub(crate) use syntax::{Field, decimal, token_end, trim};

/// Most empty lines that are skipped before a request line (RFC 9112, 2.2).
const EMPTY_LINES_MAX: u8 = 4;
/// Longest target that `http::Uri` takes, in bytes.
const URI_BYTES_MAX: usize = 65_534;
/// Longest trailer section, in bytes; below hyper's own bound, which it answers less clearly.
const TRAILERS_BYTES_MAX: usize = 8 << 10;
/// Longest extensions of all of a body's chunks together, in bytes; below hyper's own bound of 16 KiB.
const EXTENSIONS_BYTES_MAX: usize = 15 << 10;

/// Memory that a connection keeps for its next incomplete line, in bytes.
const CARRY_BYTES_KEPT: usize = 256;

/// What a listener lets a request's head have. Bounds of chunk lines are constants; trailers are bounded
/// by these and by 8 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanLimits {
    /// From the request line's first byte to the empty line, in bytes, that line included.
    pub(crate) head_bytes: usize,
    /// Field lines.
    pub(crate) fields: usize,
    /// The request's target, in bytes.
    pub(crate) uri_bytes: usize,
}

/// Where in the stream of messages a [`Scanner`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// No byte of a next head has come. Empty lines before it do not count.
    Between,
    /// Within a head.
    Head,
    /// Within a body, its framing and its trailers included.
    Body,
}

/// Why no further byte of this stream may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many bytes of the piece just scanned may be passed on. They end before the head, the chunk line
    /// or the trailer line that is refused; 0 if that began in an earlier piece.
    pub(crate) deliverable: usize,
    /// [`Reason::MalformedRequest`], [`Reason::MalformedBody`], [`Reason::UriTooLong`] or
    /// [`Reason::HeadTooLarge`].
    pub(crate) reason: Reason,
    /// What exactly is wrong, for the log.
    pub(crate) detail: &'static str,
}

/// Is told of the lines of a head as they are accepted. Places are those in the piece that is scanned; they
/// mean something only while each line lies in it whole.
pub(crate) trait HeadSink {
    /// The method begins at `start`, the target one byte behind its end.
    fn request_line(&mut self, start: usize, method: &[u8], target: &[u8]);
    /// A field's line, without its end, begins at `start`.
    fn field(&mut self, start: usize, line: &[u8], field: Field<'_>);
}

/// Nobody wants to know.
impl HeadSink for () {
    fn request_line(&mut self, _: usize, _: &[u8], _: &[u8]) {}
    fn field(&mut self, _: usize, _: &[u8], _: Field<'_>) {}
}

/// Follows the framing of one client's byte stream.
///
/// It holds at most one incomplete line, bounded by the limits.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// The line that the pieces so far have not completed.
    carry: Vec<u8>,
    framing: Framing,
    refused: Option<Fault>,
}

impl Scanner {
    /// A scanner for a connection that has just been accepted.
    #[must_use]
    pub(crate) fn new(limits: ScanLimits) -> Self {
        let limits = ScanLimits { uri_bytes: limits.uri_bytes.min(URI_BYTES_MAX), ..limits };
        Self { carry: Vec::new(), framing: Framing::new(limits), refused: None }
    }

    /// Follows the next bytes of the stream.
    ///
    /// # Errors
    /// A [`Refusal`] says how many of `bytes` may still be passed on. It is final: every later call gives
    /// it again, with nothing deliverable.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.scan_into(bytes, &mut ())
    }

    /// The same for the first bytes of a message. Gives whether they are one whole HTTP/1.1 head without a
    /// body and nothing else; `sink` knows its parts then.
    pub(crate) fn scan_first(&mut self, bytes: &[u8], sink: &mut impl HeadSink) -> Result<bool, Refusal> {
        let begins_clean = self.position() == Position::Between && self.carry.is_empty();
        let begins_head = begins_clean && !matches!(bytes, [b'\r' | b'\n', ..]);
        let heads = self.heads();
        self.scan_into(bytes, sink)?;
        let framing = &self.framing;
        Ok(begins_head
            && framing.state == State::Idle
            && framing.heads == heads + 1
            && framing.empty_lines == 0
            && self.carry.is_empty()
            && framing.is_11
            && framing.length.unwrap_or(0) == 0
            && !framing.is_chunked)
    }

    fn scan_into(&mut self, bytes: &[u8], sink: &mut impl HeadSink) -> Result<(), Refusal> {
        let (mut at, mut unit) = (0, 0);
        let mut lines = Lines::of(bytes);
        while at < bytes.len() && self.refused.is_none() {
            if self.framing.is_at_unit() && self.carry.is_empty() {
                unit = at;
            }
            match self.step(bytes, at, &mut lines, sink) {
                Ok(followed) => at += followed,
                Err(fault) => self.refused = Some(fault),
            }
        }
        match self.refused {
            None => Ok(()),
            Some(Fault { reason, detail }) => Err(Refusal { deliverable: unit, reason, detail }),
        }
    }

    /// Where the stream stands after all bytes scanned so far.
    #[must_use]
    pub(crate) fn position(&self) -> Position {
        match self.framing.state {
            State::Idle => Position::Between,
            State::RequestLine | State::Fields => Position::Head,
            State::Length(_) | State::ChunkLine | State::ChunkData(_) | State::ChunkEnd | State::Trailers => {
                Position::Body
            }
        }
    }

    /// Whether the bytes so far end with a line's end, or within a run of body bytes.
    #[must_use]
    pub(crate) fn is_between_lines(&self) -> bool {
        self.carry.is_empty()
    }

    /// How many complete heads have been seen.
    #[must_use]
    pub(crate) fn heads(&self) -> u64 {
        self.framing.heads
    }

    /// Follows one line, or one run of body bytes, or less, from `at` on; gives how many bytes that were.
    fn step(
        &mut self,
        bytes: &[u8],
        at: usize,
        lines: &mut Lines<'_>,
        sink: &mut impl HeadSink,
    ) -> Result<usize, Fault> {
        let rest = &bytes[at..];
        match &mut self.framing.state {
            State::Length(left) | State::ChunkData(left) => {
                let run = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left -= run as u64;
                if *left == 0 {
                    self.framing.end_run();
                }
                return Ok(run);
            }
            State::Idle if self.carry.is_empty() && !matches!(rest, [b'\r' | b'\n', ..]) => {
                self.framing.begin_head();
            }
            _ => {}
        }
        let bytes_max = self.framing.line_bytes_max();
        if self.carry.is_empty()
            && let Some(line) = lines.whole(at, bytes_max)
        {
            self.framing.accept(line, at, sink)?;
            return Ok(line.len() + b"\r\n".len());
        }
        match lines.next(&mut self.carry, at, bytes_max) {
            Next::Complete { line, consumed } => {
                self.framing.accept(line, at, sink)?;
                self.carry.clear();
                self.carry.shrink_to(CARRY_BYTES_KEPT);
                Ok(consumed)
            }
            Next::Partial { line, ended } => {
                self.framing.examine(line, ended)?;
                Ok(rest.len())
            }
            Next::Bad { line, ended, flaw } => {
                // What is wrong further left in the line comes first.
                self.framing.examine(line, ended)?;
                Err(self.framing.fault_of(flaw, line))
            }
        }
    }
}

/// What comes next in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// An empty line or a request line.
    Idle,
    /// The request line, of which a byte has been seen.
    RequestLine,
    /// A field line of a head, or the empty line after it.
    Fields,
    /// This many bytes of a body with a length.
    Length(u64),
    /// A chunk's first line.
    ChunkLine,
    /// This many bytes of a chunk.
    ChunkData(u64),
    /// The CRLF after a chunk's bytes.
    ChunkEnd,
    /// A trailer field line, or the empty line after it.
    Trailers,
}

/// The state of the message that is being followed.
#[derive(Debug)]
struct Framing {
    limits: ScanLimits,
    state: State,
    heads: u64,
    empty_lines: u8,
    /// Bytes of the head, or of the trailers, in complete lines.
    section_bytes: usize,
    /// Field lines of the head, or of the trailers.
    fields: usize,
    /// Extensions of the body's chunks.
    extension_bytes: usize,
    is_11: bool,
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
}

impl Framing {
    fn new(limits: ScanLimits) -> Self {
        Self {
            limits,
            state: State::Idle,
            heads: 0,
            empty_lines: 0,
            section_bytes: 0,
            fields: 0,
            extension_bytes: 0,
            is_11: false,
            has_host: false,
            length: None,
            is_chunked: false,
        }
    }

    /// Whether the next line begins something that is delivered, or held back, as a whole.
    fn is_at_unit(&self) -> bool {
        !matches!(self.state, State::Fields)
    }

    /// The most that the line at hand may have, CRLF included.
    fn line_bytes_max(&self) -> usize {
        match self.state {
            State::RequestLine | State::Fields => self.limits.head_bytes.saturating_sub(self.section_bytes),
            State::Trailers => {
                self.limits.head_bytes.min(TRAILERS_BYTES_MAX).saturating_sub(self.section_bytes)
            }
            State::ChunkLine => syntax::CHUNK_LINE_BYTES_MAX,
            State::Idle | State::ChunkEnd | State::Length(_) | State::ChunkData(_) => b"\r\n".len(),
        }
    }

    fn begin_head(&mut self) {
        *self = Self { state: State::RequestLine, heads: self.heads, ..Self::new(self.limits) };
    }

    /// The bytes of a length or of a chunk are complete.
    fn end_run(&mut self) {
        self.state = match self.state {
            State::ChunkData(_) => State::ChunkEnd,
            _ => State::Idle,
        };
    }

    /// Judges a line that cannot be accepted yet, without following it.
    fn examine(&self, line: &[u8], ended: bool) -> Result<(), Fault> {
        match self.state {
            State::RequestLine => syntax::request_line(line, self.limits.uri_bytes, ended).map(drop),
            State::Fields | State::Trailers if line.is_empty() => Ok(()),
            State::Fields => syntax::field(line, ended).map(drop),
            State::Trailers => syntax::field(line, ended).map(drop).map_err(Fault::in_body),
            State::ChunkLine => syntax::chunk(line, ended).map(drop).map_err(Fault::in_body),
            State::ChunkEnd if !line.is_empty() => Err(CHUNK_NOT_ENDED),
            State::Idle | State::ChunkEnd | State::Length(_) | State::ChunkData(_) => Ok(()),
        }
    }

    /// Follows a complete line.
    fn accept(&mut self, line: &[u8], start: usize, sink: &mut impl HeadSink) -> Result<(), Fault> {
        self.section_bytes = self.section_bytes.saturating_add(line.len() + b"\r\n".len());
        match self.state {
            State::RequestLine => self.accept_request_line(line, start, sink),
            State::Fields if line.is_empty() => self.end_head(),
            State::Fields => self.accept_field(line, start, sink),
            State::Trailers if line.is_empty() => {
                self.state = State::Idle;
                Ok(())
            }
            State::Trailers => self.accept_trailer(line).map_err(Fault::in_body),
            State::ChunkLine => self.accept_chunk(line).map_err(Fault::in_body),
            // Within two bytes the line is empty.
            State::ChunkEnd => {
                self.state = State::ChunkLine;
                Ok(())
            }
            State::Idle | State::Length(_) | State::ChunkData(_) => self.accept_empty_line(),
        }
    }

    fn accept_empty_line(&mut self) -> Result<(), Fault> {
        self.empty_lines += 1;
        if self.empty_lines > EMPTY_LINES_MAX {
            return malformed("too many empty lines before a request");
        }
        Ok(())
    }

    fn accept_request_line(
        &mut self,
        line: &[u8],
        start: usize,
        sink: &mut impl HeadSink,
    ) -> Result<(), Fault> {
        if let Some(request_line) = syntax::request_line(line, self.limits.uri_bytes, true)? {
            request_line.check_target()?;
            sink.request_line(start, request_line.method, request_line.target);
            self.is_11 = request_line.is_11;
        }
        self.state = State::Fields;
        Ok(())
    }

    fn accept_field(&mut self, line: &[u8], start: usize, sink: &mut impl HeadSink) -> Result<(), Fault> {
        let Some(field) = syntax::field(line, true)? else { return Ok(()) };
        self.count_field()?;
        sink.field(start, line, field);
        let Field { name, value, .. } = field;
        let Some(field) = framing_field(name) else { return Ok(()) };
        match field {
            FramingField::Host if self.has_host => malformed("more than one Host"),
            FramingField::Host => {
                self.has_host = true;
                syntax::check_host(value)
            }
            FramingField::ContentLength if self.length.is_some() => malformed("more than one Content-Length"),
            FramingField::ContentLength => {
                self.length = Some(syntax::content_length(value)?);
                self.check_single_framing()
            }
            FramingField::TransferEncoding => {
                if !self.is_11 {
                    return malformed("Transfer-Encoding on HTTP/1.0");
                }
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return malformed("Transfer-Encoding other than one chunked");
                }
                self.is_chunked = true;
                self.check_single_framing()
            }
        }
    }

    fn check_single_framing(&self) -> Result<(), Fault> {
        if self.is_chunked && self.length.is_some() {
            return malformed("Content-Length with Transfer-Encoding");
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), Fault> {
        if self.is_11 && !self.has_host {
            return malformed("HTTP/1.1 without Host");
        }
        self.heads += 1;
        self.state = match self.length {
            _ if self.is_chunked => State::ChunkLine,
            Some(length @ 1..) => State::Length(length),
            _ => State::Idle,
        };
        Ok(())
    }

    fn accept_chunk(&mut self, line: &[u8]) -> Result<(), Fault> {
        let Some(chunk) = syntax::chunk(line, true)? else { return Ok(()) };
        self.extension_bytes += chunk.extension_bytes;
        if self.extension_bytes > EXTENSIONS_BYTES_MAX {
            return malformed("chunk extensions too long");
        }
        self.state = match chunk.size {
            0 => State::Trailers,
            size => State::ChunkData(size),
        };
        (self.section_bytes, self.fields) = (0, 0);
        Ok(())
    }

    fn accept_trailer(&mut self, line: &[u8]) -> Result<(), Fault> {
        let Some(Field { name, .. }) = syntax::field(line, true)? else { return Ok(()) };
        self.count_field()?;
        match framing_field(name) {
            None => Ok(()),
            // RFC 9110, 6.5.1: fields that frame or route do not belong here, and who merges trailers into
            // the head would be misled.
            Some(_) => malformed("framing field among the trailers"),
        }
    }

    fn count_field(&mut self) -> Result<(), Fault> {
        self.fields += 1;
        if self.fields > self.limits.fields {
            return Err(Fault::new(Reason::HeadTooLarge, "too many fields"));
        }
        Ok(())
    }

    fn fault_of(&self, flaw: Flaw, line: &[u8]) -> Fault {
        let detail = match flaw {
            Flaw::TooLong => return self.too_long(line),
            Flaw::BareCr => "bare CR",
            Flaw::BareLf => "bare LF",
            Flaw::Control => "control byte",
        };
        let fault = Fault::new(Reason::MalformedRequest, detail);
        match self.state {
            State::Idle | State::RequestLine | State::Fields => fault,
            _ => fault.in_body(),
        }
    }

    fn too_long(&self, line: &[u8]) -> Fault {
        match self.state {
            State::RequestLine if line.contains(&b' ') => Fault::new(Reason::UriTooLong, "target too long"),
            State::Trailers => Fault::new(Reason::HeadTooLarge, "trailers too large"),
            State::ChunkLine | State::ChunkEnd => Fault::new(Reason::MalformedBody, "chunk line too long"),
            _ => Fault::new(Reason::HeadTooLarge, "head too large"),
        }
    }
}

const CHUNK_NOT_ENDED: Fault = Fault::new(Reason::MalformedBody, "chunk longer than its size");

/// A field that says where a message ends or where it goes.
#[derive(Clone, Copy)]
enum FramingField {
    Host,
    ContentLength,
    TransferEncoding,
}

fn framing_field(name: &[u8]) -> Option<FramingField> {
    let (field, lower) = match name.len() {
        4 => (FramingField::Host, &b"host"[..]),
        14 => (FramingField::ContentLength, &b"content-length"[..]),
        17 => (FramingField::TransferEncoding, &b"transfer-encoding"[..]),
        _ => return None,
    };
    name.eq_ignore_ascii_case(lower).then_some(field)
}
