//! A request on its way into a socket, together with a body that arrives meanwhile.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::Frame;
use tokio::{
    io::AsyncWrite,
    task::{JoinHandle, spawn_local},
};

use super::request::{self, Framing};
use crate::{
    net::WriteHalf,
    request_body::{BodyError, RequestBody},
};

/// A request's body, piece by piece.
pub(crate) trait Upload: 'static {
    /// Why it ended early.
    type Error;

    /// The next piece, or the trailers; none at the end.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>>;
}

impl Upload for RequestBody {
    type Error = BodyError;

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Self::poll_frame(self, cx)
    }
}

/// What is left of a request that has left whole: the socket's half and the memory of the head.
pub(super) type Sent = (WriteHalf, Vec<u8>);

/// A request that is being sent.
pub(crate) struct Sending<B = RequestBody> {
    write: WriteHalf,
    /// Goes out before `piece`: the head, or a chunk's size.
    before: Vec<u8>,
    before_sent: usize,
    piece: Bytes,
    /// Goes out behind `piece`.
    behind: &'static [u8],
    body: Option<Rc<B>>,
    framing: Framing,
    /// Bytes that have left.
    sent: u64,
}

/// Why a request could not be sent whole.
#[derive(Debug)]
pub(crate) enum SendFailed {
    /// The connection broke; a response may have come before.
    Io,
    /// The client's body failed; the body knows how.
    Body,
}

impl<B: Upload> Sending<B> {
    /// Begins with `head`, which `framing` must agree with.
    pub(super) fn new(write: WriteHalf, head: Vec<u8>, body: Option<Rc<B>>, framing: Framing) -> Self {
        Self { write, before: head, before_sent: 0, piece: Bytes::new(), behind: b"", body, framing, sent: 0 }
    }

    /// Whether a byte has left.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// Whether everything has left.
    pub(crate) fn is_done(&self) -> bool {
        self.body.is_none() && self.is_flushed()
    }

    pub(super) fn into_sent(self) -> Sent {
        (self.write, self.before)
    }

    /// Sends the rest in a task of its own; the response is already on its way. What it gives keeps the
    /// socket's half open for as long as the task is held: an early end would look to the backend as if
    /// the client had left.
    pub(super) fn detach(mut self) -> JoinHandle<Option<Sent>> {
        spawn_local(async move {
            // Whoever cares reads the response; a body that failed says so by itself.
            let all_left = poll_fn(|cx| self.poll(cx)).await.is_ok();
            all_left.then(|| self.into_sent())
        })
    }

    /// Sends as much as the socket takes and the body gives.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendFailed>> {
        loop {
            // What the body has at hand leaves together with what waits to be sent.
            let waits = self.piece.is_empty() && self.behind.is_empty() && self.poll_piece(cx)?.is_pending();
            ready!(self.poll_flush(cx)).map_err(|_| SendFailed::Io)?;
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
                    request::begin_piece(&mut self.before, self.framing, &data);
                    self.behind = request::behind_piece(self.framing);
                    self.piece = data;
                }
                Err(frame) => {
                    request::write_end(&mut self.before, self.framing, frame.trailers_ref());
                    self.body = None;
                }
            },
            None => {
                request::write_end(&mut self.before, self.framing, None);
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_flushed(&self) -> bool {
        self.before_sent == self.before.len() && self.piece.is_empty() && self.behind.is_empty()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_flushed() {
            let before = &self.before[self.before_sent..];
            let write = Pin::new(&mut self.write);
            let written = if self.piece.is_empty() && self.behind.is_empty() {
                ready!(write.poll_write(cx, before))?
            } else {
                let slices = [IoSlice::new(before), IoSlice::new(&self.piece), IoSlice::new(self.behind)];
                ready!(write.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written as u64;
            self.advance(written);
        }
        self.before.clear();
        self.before_sent = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_before = written.min(self.before.len() - self.before_sent);
        self.before_sent += of_before;
        let of_piece = (written - of_before).min(self.piece.len());
        self.piece.advance(of_piece);
        self.behind = &self.behind[written - of_before - of_piece..];
    }
}
