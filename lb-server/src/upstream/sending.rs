//! A request on its way into a socket, together with a body that arrives meanwhile.

use std::{
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;

use super::request::{self, Framing};
use crate::{
    net::WriteHalf,
    outbox::Outbox,
    request_body::{BodyError, RequestBody},
};

/// A request's body, piece by piece.
pub(crate) trait Upload: 'static {
    /// Why it ended early.
    type Error;

    /// The next piece, or the trailers; none at the end.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>>;

    /// Whether another request may come behind it on the client's connection.
    fn precedes_another(&self) -> bool;
}

impl Upload for RequestBody {
    type Error = BodyError;

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Self::poll_frame(self, cx)
    }

    fn precedes_another(&self) -> bool {
        Self::precedes_another(self)
    }
}

/// What is left of a request that has left whole: the socket's half and the memory of the head.
pub(super) type Sent = (WriteHalf, Vec<u8>);

/// A request that is being sent.
pub(crate) struct Sending<B = RequestBody> {
    write: WriteHalf,
    /// The head, then pieces of the body with their framing.
    out: Outbox,
    body: Option<Rc<B>>,
    framing: Framing,
    /// Bytes that have left.
    sent: u64,
}

/// Why a request could not be sent whole.
#[derive(Debug)]
pub(crate) enum SendFailed {
    /// The connection broke; a response may have come before.
    Io(io::ErrorKind),
    /// The client's body failed; the body knows how.
    Body,
}

/// Whether an orderly end that is read behind a write that failed in this way may be none. The system tells of a reset
/// once, and who asks next sees an end. But where the peer's orderly end came before its reset, Linux tells of a broken
/// pipe.
pub(super) fn may_hide_a_reset(failed: io::ErrorKind) -> bool {
    failed != io::ErrorKind::BrokenPipe
}

impl<B: Upload> Sending<B> {
    /// Begins with `head`, which `framing` must agree with.
    pub(super) fn new(write: WriteHalf, head: Vec<u8>, body: Option<Rc<B>>, framing: Framing) -> Self {
        Self { write, out: Outbox::new(head), body, framing, sent: 0 }
    }

    /// Whether a byte has left.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// Bytes that have left.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Whether everything has left.
    pub(crate) fn is_done(&self) -> bool {
        self.body.is_none() && self.out.is_sent()
    }

    pub(super) fn into_sent(self) -> Sent {
        (self.write, self.out.lines)
    }

    /// Whether there is more of the body to come.
    pub(super) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// What has not been taken of the body, if anything; the connection ends.
    pub(super) fn into_body(self) -> Option<Rc<B>> {
        self.body
    }

    /// Sends as much as the socket takes and the body gives.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFailed>> {
        loop {
            // What the body has at hand leaves together with what waits to be sent.
            let waits = self.out.has_room() && self.poll_piece(cx)?.is_pending();
            ready!(self.poll_flush(cx)).map_err(|error| SendFailed::Io(error.kind()))?;
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Puts the next piece of the body behind what is to be sent.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFailed>> {
        let Some(body) = &self.body else { return Poll::Ready(Ok(())) };
        match ready!(body.poll_frame(cx)) {
            Some(Err(_)) => return Poll::Ready(Err(SendFailed::Body)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    request::begin_piece(&mut self.out.lines, self.framing, &data);
                    self.out.put_piece(data, request::behind_piece(self.framing));
                }
                Err(frame) => {
                    request::write_end(&mut self.out.lines, self.framing, frame.trailers_ref());
                    self.body = None;
                }
            },
            None => {
                request::write_end(&mut self.out.lines, self.framing, None);
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_sent() {
            self.sent += ready!(self.out.poll_write(cx, &mut self.write))? as u64;
        }
        Poll::Ready(Ok(()))
    }
}
