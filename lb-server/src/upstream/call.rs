//! One request and its response on a connection.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::AsyncReadExt,
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    task::JoinHandle,
};

use super::{
    Connection,
    body::{BodyDecoder, Taken},
    request::Framing,
    response::{self, Head, Invalid},
    sending::{SendFailed, Sending},
};
use crate::request_body::RequestBody;

/// Less room than this is not worth a read.
const READ_BYTES_MIN: usize = 2 << 10;
/// Room for a head and a small body.
const HEAD_READ_BYTES: usize = 8 << 10;
/// Room for each read of a large body.
const BODY_READ_BYTES_MAX: usize = 64 << 10;

/// A request on its way to a backend, up to the head of the response.
pub(crate) struct Call {
    addr: SocketAddr,
    reused: bool,
    read: OwnedReadHalf,
    buffer: BytesMut,
    sending: Sending,
    /// Nothing more can be sent; a response may have come before.
    cannot_send: bool,
}

/// Why no head of a response came.
#[derive(Debug)]
pub(crate) enum CallFailed {
    /// The connection ended or broke before a whole head.
    Closed,
    /// What came is not a response.
    Invalid(&'static str),
    /// The client's body failed; the body knows how.
    RequestBody,
}

impl Connection {
    /// Begins a request whose head `write_head` writes.
    pub(crate) fn call(
        mut self,
        write_head: impl FnOnce(&mut Vec<u8>),
        body: Option<Rc<RequestBody>>,
        framing: Framing,
    ) -> Call {
        self.out.clear();
        write_head(&mut self.out);
        Call {
            addr: self.addr,
            reused: self.reused,
            read: self.read,
            buffer: self.buffer,
            sending: Sending::new(self.write, self.out, body, framing),
            cannot_send: false,
        }
    }
}

impl Call {
    /// Whether a byte of the request has left.
    pub(crate) fn has_sent(&self) -> bool {
        self.sending.has_sent()
    }

    /// Whether the connection has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends what can be sent, and reads up to the head of the final response. Interim responses are
    /// told as they come.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        to_head_request: bool,
        mut interim: impl FnMut(StatusCode, &HeaderMap),
    ) -> Poll<Result<Head, CallFailed>> {
        loop {
            if !self.cannot_send {
                match self.sending.poll(cx) {
                    Poll::Ready(Err(SendFailed::Body)) => return Poll::Ready(Err(CallFailed::RequestBody)),
                    Poll::Ready(Err(SendFailed::Io)) => self.cannot_send = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if !self.buffer.is_empty() {
                match response::take_head(&mut self.buffer, to_head_request) {
                    Err(Invalid(why)) => return Poll::Ready(Err(CallFailed::Invalid(why))),
                    Ok(Some(head)) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                        return Poll::Ready(Err(CallFailed::Invalid("a switch of protocols not asked for")));
                    }
                    Ok(Some(head)) if head.status.is_informational() => {
                        // What it tells may let the request's body go on.
                        interim(head.status, &head.headers);
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                }
            }
            match ready!(poll_fill(&mut self.read, &mut self.buffer, HEAD_READ_BYTES, cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(CallFailed::Closed)),
                Ok(_) => {}
            }
        }
    }

    /// Goes on to the body that `head` announced.
    pub(crate) fn into_body(self, head: &Head) -> ResponseStream {
        let (mut sent, mut rest) = (None, None);
        if self.sending.is_done() {
            sent = Some(self.sending.into_parts());
        } else if !self.cannot_send {
            rest = Some(Aborted(self.sending.detach()));
        }
        ResponseStream {
            addr: self.addr,
            read: self.read,
            buffer: self.buffer,
            decoder: head.body,
            keep_alive: head.keep_alive,
            sent,
            _rest: rest,
        }
    }
}

/// Reads into `buffer`, with room for about `room` bytes; 0 is the end of the stream.
fn poll_fill(
    read: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
        buffer.reserve(room);
    }
    // Dropping the future loses nothing: it reads only in a poll that is ready.
    pin!(read.read_buf(buffer)).poll(cx)
}

/// A response's body.
pub(crate) struct ResponseStream {
    addr: SocketAddr,
    read: OwnedReadHalf,
    buffer: BytesMut,
    decoder: BodyDecoder,
    keep_alive: bool,
    /// The sender's parts, once all of the request has left.
    sent: Option<(OwnedWriteHalf, Vec<u8>)>,
    /// Sends the rest of a request whose response has begun.
    _rest: Option<Aborted>,
}

/// A task that ends when this is dropped.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The backend's body ended before its time, or is malformed.
#[derive(Debug)]
pub(crate) struct BrokenBody(pub(crate) &'static str);

impl fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BrokenBody {}

impl ResponseStream {
    /// The connection, if the next request may use it: all of this one has left, all of the response
    /// has come, and nothing else.
    pub(crate) fn into_connection(self) -> Option<Connection> {
        let (write, out) = self.sent?;
        let is_clean = self.keep_alive && self.decoder.is_over() && self.buffer.is_empty();
        is_clean.then_some(Connection {
            addr: self.addr,
            read: self.read,
            write,
            buffer: self.buffer,
            out,
            reused: true,
        })
    }

    fn room(&self) -> usize {
        match self.decoder.remaining() {
            Some(bytes) => {
                usize::try_from(bytes).unwrap_or(usize::MAX).clamp(HEAD_READ_BYTES, BODY_READ_BYTES_MAX)
            }
            None => BODY_READ_BYTES_MAX / 4,
        }
    }
}

impl Body for ResponseStream {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let this = &mut *self;
        loop {
            match this.decoder.take(&mut this.buffer) {
                Err(Invalid(why)) => return Poll::Ready(Some(Err(BrokenBody(why)))),
                Ok(Taken::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Taken::End) => return Poll::Ready(None),
                Ok(Taken::More) => {}
            }
            let room = this.room();
            match ready!(poll_fill(&mut this.read, &mut this.buffer, room, cx)) {
                Ok(0) if this.decoder.may_end_here() => this.decoder = BodyDecoder::EMPTY,
                Ok(0) => return Poll::Ready(Some(Err(BrokenBody("the connection ended in the body")))),
                Err(_) => return Poll::Ready(Some(Err(BrokenBody("the connection broke in the body")))),
                Ok(_) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
