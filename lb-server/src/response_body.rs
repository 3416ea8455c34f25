//! A response's body on its way to the client; the request's flight ends with it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lb_core::{exchange::End, reason::Reason};

use crate::{
    flight::Flight,
    front::{PAST_BYTES_MIN, Piece},
    upstream::ResponseStream,
};

/// The body of an answer.
pub(crate) struct ResponseBody {
    /// Taken when the body has ended, whichever way.
    flight: Option<Box<Flight>>,
    source: Source,
    /// It goes to the client past hyper.
    goes_past: bool,
    /// The timer runs for the next frame.
    waiting: bool,
}

enum Source {
    Own(Bytes),
    Backend(Box<ResponseStream>),
}

impl ResponseBody {
    pub(crate) fn own(flight: Box<Flight>, bytes: Bytes) -> Self {
        Self { flight: Some(flight), source: Source::Own(bytes), goes_past: false, waiting: false }
            .end_if_empty()
    }

    pub(crate) fn backend(flight: Box<Flight>, stream: Box<ResponseStream>) -> Self {
        let goes_past = stream.size_hint().exact().is_some_and(|bytes| bytes >= PAST_BYTES_MIN);
        Self { flight: Some(flight), source: Source::Backend(stream), goes_past, waiting: false }
            .end_if_empty()
    }

    /// hyper does not read a body that is empty from the start.
    fn end_if_empty(mut self) -> Self {
        if self.is_end_stream() {
            self.complete();
        }
        self
    }

    fn complete(&mut self) {
        let connection = match std::mem::replace(&mut self.source, Source::Own(Bytes::new())) {
            Source::Own(_) => None,
            Source::Backend(stream) => stream.into_connection(),
        };
        if let Some(flight) = self.flight.take() {
            flight.complete(connection);
        }
    }

    fn broken(&mut self, reason: Reason) -> BrokenResponse {
        let end = match reason {
            // Nothing was awaited of the backend: the client took its time.
            Reason::RequestTimeout if !self.waiting => End::ClientLeft,
            Reason::RequestTimeout | Reason::ResponseBodyTimeout => End::BodyTimeout,
            _ => End::Truncated,
        };
        if let Some(flight) = self.flight.take() {
            flight.broken(reason, end);
        }
        BrokenResponse(reason)
    }

    /// The whole request's time is up. Asked at every turn: a body whose backend is never silent may be
    /// held up by its client.
    fn is_overdue(&self) -> bool {
        let flight = self.flight.as_ref().filter(|_| matches!(self.source, Source::Backend(_)));
        flight.is_some_and(|flight| flight.deadline.is_some_and(|deadline| deadline <= flight.now()))
    }

    /// The frame as hyper gets it.
    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Piece> {
        frame.map_data(|data| {
            let Some(flight) = &mut self.flight else { return Piece::Copied(data) };
            flight.response_bytes += data.len() as u64;
            if !self.goes_past {
                return Piece::Copied(data);
            }
            let count = data.len();
            flight.front.send_past(data);
            Piece::Counted(count)
        })
    }

    /// The backend is silent: until when?
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        let Some(flight) = &self.flight else { return Poll::Pending };
        let timer = &flight.front.request_timer;
        let now = flight.now();
        if !self.waiting {
            self.waiting = true;
            let idle = flight.pool_config().map_or(Duration::ZERO, |pool| pool.timeouts.body_idle);
            let due = now + idle;
            timer.set(flight.deadline.map_or(due, |deadline| due.min(deadline)));
        }
        timer.poll_fired(cx).map(|()| match flight.deadline {
            Some(deadline) if deadline <= now => Reason::RequestTimeout,
            _ => Reason::ResponseBodyTimeout,
        })
    }
}

impl Body for ResponseBody {
    type Data = Piece;
    type Error = BrokenResponse;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BrokenResponse>>> {
        let this = &mut *self;
        if this.is_overdue() {
            return Poll::Ready(Some(Err(this.broken(Reason::RequestTimeout))));
        }
        if this.goes_past && this.flight.as_ref().is_some_and(|flight| !flight.front.takes_piece()) {
            return Poll::Pending;
        }
        let frame = match &mut this.source {
            Source::Own(bytes) if bytes.is_empty() => None,
            Source::Own(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Source::Backend(stream) => match Pin::new(stream).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return match this.poll_time(cx) {
                        Poll::Ready(reason) => Poll::Ready(Some(Err(this.broken(reason)))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            },
        };
        this.waiting = false;
        match frame {
            None => {
                this.complete();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "response broke off");
                Poll::Ready(Some(Err(this.broken(Reason::ResponseTruncated))))
            }
            Some(Ok(frame)) => {
                let frame = this.pass(frame);
                if this.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_empty(),
            Source::Backend(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Backend(stream) => stream.size_hint(),
        }
    }
}

/// The backend's response ended before its time.
#[derive(Debug)]
pub(crate) struct BrokenResponse(Reason);

impl fmt::Display for BrokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BrokenResponse {}
