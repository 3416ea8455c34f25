//! A connection that heads and bodies are read from, over any stream.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Body, BodyEnd, Head, message};

const HEAD_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 1 << 16;

/// Where a message's body ends (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After so many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

impl Extent {
    /// A request's; none if its framing makes no sense.
    #[must_use]
    pub fn of_request(head: &Head) -> Option<Self> {
        Self::declared(head).map(|extent| extent.unwrap_or(Self::Length(0)))
    }

    /// A response's; none if its framing makes no sense.
    #[must_use]
    pub fn of_response(head: &Head, method: &str) -> Option<Self> {
        let bodiless = method == "HEAD" || matches!(head.status(), 100..=199 | 204 | 304);
        if bodiless {
            return Some(Self::Length(0));
        }
        Self::declared(head).map(|extent| extent.unwrap_or(Self::UntilClose))
    }

    fn declared(head: &Head) -> Option<Option<Self>> {
        if head.headers.has("transfer-encoding") {
            return head.headers.lists("transfer-encoding", "chunked").then_some(Some(Self::Chunked));
        }
        let mut lengths = head.headers.all("content-length");
        let Some(first) = lengths.next() else { return Some(None) };
        let same = lengths.all(|other| other == first);
        first.parse().ok().filter(|_| same).map(|length| Some(Self::Length(length)))
    }
}

/// A connection, and what has been read from it and not been taken.
pub struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Small writes are the very point of a tool that sends byte by byte. A socket whose peer has
        // gone already may refuse the option; the next read says so better.
        let _ = stream.set_nodelay(true);
        Self::over(stream)
    }

    /// Ends the connection with RST.
    pub(crate) fn reset(self) {
        // Fails only on a socket that is broken already.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// A connection of which nothing has been read.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The connection itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The connection itself; what is read from it past this is missing here.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What has been read and not been taken.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads what there is; false at the end of the stream. May be cancelled.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Ends when the peer has gone, whatever it still sends until then. May be cancelled.
    pub(crate) async fn gone(&mut self) {
        while self.buffer.len() < HEAD_BYTES_MAX {
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
        }
        // As much is buffered as may be: the peer's leaving can no longer be seen.
        std::future::pending::<()>().await;
    }

    /// The next head; none at an end of the stream before its first byte. May be cancelled.
    ///
    /// # Errors
    /// `UnexpectedEof` within a head, `InvalidData` for one without end.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut seen = 0;
        loop {
            if let Some(length) = head_length(&self.buffer, seen) {
                return Ok(Some(Head::parse(self.buffer.split_to(length).to_vec())));
            }
            seen = self.buffer.len();
            if seen > HEAD_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without end"));
            }
            if !self.fill().await? {
                return if seen == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads one body; `update` sees it change, and has the last word on what is kept of each piece.
    pub async fn body(&mut self, extent: Extent, update: &mut impl FnMut(Event<'_>)) {
        let end = match extent {
            Extent::Length(length) => self.exactly(length, update).await.map(|()| BodyEnd::Complete),
            Extent::Chunked => self.chunks(update).await,
            Extent::UntilClose => self.until_closed(update).await,
        };
        update(Event::End(end.unwrap_or(BodyEnd::Truncated)));
    }

    async fn exactly(&mut self, mut length: u64, update: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            update(Event::Data(&self.buffer[..taken]));
            self.buffer.advance(taken);
            length -= taken as u64;
        }
        Ok(())
    }

    async fn chunks(&mut self, update: &mut impl FnMut(Event<'_>)) -> io::Result<BodyEnd> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim_end();
            let all_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let Some(size) = u64::from_str_radix(digits, 16).ok().filter(|_| all_hex) else {
                return Ok(BodyEnd::Invalid);
            };
            if size == 0 {
                break;
            }
            self.exactly(size, update).await?;
            if !self.line().await?.is_empty() {
                return Ok(BodyEnd::Invalid);
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(BodyEnd::Complete);
            }
            update(Event::Trailer(message::field(&line)));
        }
    }

    async fn until_closed(&mut self, update: &mut impl FnMut(Event<'_>)) -> io::Result<BodyEnd> {
        loop {
            let length = self.buffer.len() as u64;
            self.exactly(length, update).await?;
            if !self.fill().await? {
                return Ok(BodyEnd::Closed);
            }
        }
    }

    /// A line without its end.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(line
                    .iter()
                    .filter(|byte| !b"\r\n".contains(byte))
                    .map(|&b| char::from(b))
                    .collect());
            }
            if self.buffer.len() > HEAD_BYTES_MAX || !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Ends our direction and waits (not for long) until the peer ends its own, so that no reset
    /// overtakes what was sent last.
    pub async fn close(mut self) {
        let drained = async {
            self.stream.shutdown().await?;
            while self.fill().await? {
                self.buffer.clear();
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), drained).await;
    }
}

/// What reading a body comes upon.
pub enum Event<'a> {
    /// A piece of it.
    Data(&'a [u8]),
    /// A field behind it.
    Trailer((String, String)),
    /// Its end.
    End(BodyEnd),
}

impl Event<'_> {
    /// Keeps it in `body`, with the first `keep_bytes_max` bytes as they are.
    pub fn apply(self, body: &mut Body, keep_bytes_max: usize) {
        match self {
            Self::Data(bytes) => body.take(bytes, keep_bytes_max),
            Self::Trailer(field) => body.trailers.0.push(field),
            Self::End(end) => body.end = end,
        }
    }
}

/// Bytes up to the end of the first empty line. The first `seen` bytes hold no whole head.
fn head_length(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    (from..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"\n\r\n") { 3 } else { 2 };
        (end == 3 || rest.starts_with(b"\n\n")).then_some(at + end)
    })
}
