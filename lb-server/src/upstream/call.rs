//! One request and its response on a connection.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncReadExt;

use super::{
    Connection,
    body::{BodyDecoder, Taken},
    detached::{Detached, Patience},
    idle::KEPT_BUFFER_BYTES_MAX,
    request::Framing,
    response::{Head, Heads, Invalid},
    room::{self, BodyRoom},
    sending::{SendFailed, Sending, Sent, Upload, may_hide_a_reset},
};
use crate::{net::ReadHalf, request_body::RequestBody};

/// A request on its way to a backend, up to the head of the response.
pub(crate) struct Call<B = RequestBody> {
    addr: SocketAddr,
    reused: bool,
    read: ReadHalf,
    buffer: BytesMut,
    /// Room for a head and what comes with it.
    room: usize,
    heads: Heads,
    sending: Sending<B>,
    /// Nothing more can be sent; a response may have come before.
    send_failed: Option<io::ErrorKind>,
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
    /// Begins a request whose head `write_head` writes. The fields of the response are put into `memory`, which
    /// is empty.
    pub(crate) fn call<B: Upload>(
        mut self,
        write_head: impl FnOnce(&mut Vec<u8>),
        memory: Vec<u8>,
        body: Option<Rc<B>>,
        framing: Framing,
    ) -> Call<B> {
        self.out.clear();
        write_head(&mut self.out);
        Call {
            addr: self.addr,
            reused: self.reused,
            read: self.read,
            buffer: self.buffer,
            room: room::for_head(self.last_bytes),
            heads: Heads::into(memory),
            sending: Sending::new(self.write, self.out, body, framing),
            send_failed: None,
        }
    }
}

impl<B: Upload> Call<B> {
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
        mut interim: impl FnMut(&Head),
    ) -> Poll<Result<Head, CallFailed>> {
        loop {
            if self.send_failed.is_none() {
                match self.sending.poll(cx) {
                    Poll::Ready(Err(SendFailed::Body)) => return Poll::Ready(Err(CallFailed::RequestBody)),
                    Poll::Ready(Err(SendFailed::Io(kind))) => self.send_failed = Some(kind),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            match self.take_head(to_head_request, false)? {
                Some(head) if head.status.is_informational() => {
                    // What it tells may let the request's body go on.
                    interim(&head);
                    continue;
                }
                Some(head) => return Poll::Ready(Ok(head)),
                None => {}
            }
            match ready!(poll_fill(&mut self.read, &mut self.buffer, self.room, cx)) {
                Ok(0) | Err(_) => {
                    self.take_head(to_head_request, true)?;
                    return Poll::Ready(Err(CallFailed::Closed));
                }
                Ok(_) => {}
            }
        }
    }

    fn take_head(&mut self, to_head_request: bool, ended: bool) -> Result<Option<Head>, CallFailed> {
        self.heads
            .take(&mut self.buffer, to_head_request, ended)
            .map_err(|Invalid(why)| CallFailed::Invalid(why))
    }

    /// Goes on to the body that `head` announced.
    ///
    /// It comes in a box, since it goes through many hands.
    pub(crate) fn into_body(self, head: &Head) -> Box<ResponseStream> {
        let upload = match self.send_failed {
            Some(kind) if !self.sending.has_body() => Uploaded::Never(kind),
            None if self.sending.is_done() => Uploaded::Whole(self.sending.into_sent()),
            failed => Uploaded::Goes(Detached::send(self.sending, failed)),
        };
        Box::new(ResponseStream {
            addr: self.addr,
            read: self.read,
            buffer: self.buffer,
            decoder: head.body,
            bytes: 0,
            room: BodyRoom::behind(self.room),
            keep_alive: head.keep_alive,
            has_large_buffer: self.room > KEPT_BUFFER_BYTES_MAX,
            upload,
        })
    }
}

/// Reads into `buffer`, with room for about `room` bytes; 0 is the end of the stream.
fn poll_fill(
    read: &mut ReadHalf,
    buffer: &mut BytesMut,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    room::make(buffer, room);
    // Dropping the future loses nothing: it reads only in a poll that is ready.
    pin!(read.read_buf(buffer)).poll(cx)
}

/// A response's body.
pub(crate) struct ResponseStream {
    addr: SocketAddr,
    read: ReadHalf,
    buffer: BytesMut,
    decoder: BodyDecoder,
    /// Bytes of the body so far.
    bytes: usize,
    room: BodyRoom,
    keep_alive: bool,
    /// The buffer is part of a larger one than a connection without a request should keep.
    has_large_buffer: bool,
    upload: Uploaded,
}

/// How far the request is when its response begins.
enum Uploaded {
    Whole(Sent),
    /// The rest goes out in a task of its own.
    Goes(Detached),
    /// The connection takes nothing more.
    Never(io::ErrorKind),
}

impl Uploaded {
    /// Whether an end of the response may be a reset that writing was told of.
    fn may_hide_a_reset(&self) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Goes(detached) => detached.may_hide_a_reset(),
            Self::Never(kind) => may_hide_a_reset(*kind),
        }
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
    /// has come, and nothing else. What still is to leave goes on, if there is patience with it.
    pub(crate) fn into_connection(self, patience: impl FnOnce() -> Option<Patience>) -> Option<Connection> {
        if !self.decoder.is_over() || !self.buffer.is_empty() {
            return None;
        }
        let (write, out) = match self.upload {
            Uploaded::Whole(sent) => sent,
            Uploaded::Goes(mut task) => match task.outcome() {
                Some(Some(sent)) => sent,
                Some(None) => return None,
                None => {
                    if let Some(patience) = patience() {
                        task.go_on(self.read, patience);
                    }
                    return None;
                }
            },
            Uploaded::Never(_) => return None,
        };
        if !self.keep_alive {
            return None;
        }
        let Self { addr, read, bytes: last_bytes, .. } = self;
        let buffer = if self.has_large_buffer { BytesMut::new() } else { self.buffer };
        Some(Connection { addr, read, write, buffer, last_bytes, out, reused: true })
    }

    /// Copies the body if it has come whole and is smaller than `bytes_max`; gives its length.
    pub(crate) fn copy_whole(&mut self, bytes_max: u64, out: &mut Vec<u8>) -> Option<usize> {
        let length = self.decoder.copy_whole(&mut self.buffer, bytes_max, out)?;
        self.bytes += length;
        Some(length)
    }

    /// The client did not take at once what was last given of the body.
    pub(crate) fn held_up(&mut self) {
        self.room.held_up();
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.room.next(self.decoder.expected());
        self.has_large_buffer |= room > KEPT_BUFFER_BYTES_MAX;
        let read = ready!(poll_fill(&mut self.read, &mut self.buffer, room, cx))?;
        self.room.filled(read);
        Poll::Ready(Ok(read))
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
                Ok(Taken::Frame(frame)) => {
                    this.bytes = this.bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Taken::End) => return Poll::Ready(None),
                Ok(Taken::More) => {}
            }
            match ready!(this.poll_fill(cx)) {
                Ok(0) if this.decoder.may_end_here() && !this.upload.may_hide_a_reset() => {
                    this.decoder = BodyDecoder::EMPTY;
                }
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
