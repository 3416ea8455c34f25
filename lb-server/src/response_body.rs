//! A response's body on its way to the client; the request's flight ends with it.

use std::{
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lb_core::{exchange::End, reason::Reason};

use crate::{
    flight::Flight,
    forwarded,
    front::{Front, PAST_BYTES_MIN, Piece},
    upstream::{Patience, ResponseStream},
};

/// The body of an answer.
pub(crate) struct ResponseBody {
    /// Taken when the body has ended, whichever way.
    flight: Option<Box<Flight>>,
    source: Source,
    /// It goes to the client past hyper.
    goes_past: bool,
    /// The client can tell by its framing whether all of it has come.
    is_delimited: bool,
    /// The timer runs for the next frame.
    waiting: bool,
    /// It broke off, of which hyper is to learn when what came before has left.
    broke_off: Option<(Rc<Front>, BrokenResponse)>,
}

enum Source {
    Own(Bytes),
    Backend(Box<ResponseStream>),
}

impl ResponseBody {
    pub(crate) fn own(flight: Box<Flight>, bytes: Bytes) -> Self {
        Self::of(flight, Source::Own(bytes), false, true)
    }

    pub(crate) fn backend(flight: Box<Flight>, stream: Box<ResponseStream>) -> Self {
        let length = stream.size_hint().exact();
        let goes_past = length.is_some_and(|bytes| bytes >= PAST_BYTES_MIN);
        let is_delimited = length.is_some() || flight.front.is_11();
        Self::of(flight, Source::Backend(stream), goes_past, is_delimited)
    }

    fn of(flight: Box<Flight>, source: Source, goes_past: bool, is_delimited: bool) -> Self {
        let flight = Some(flight);
        Self { flight, source, goes_past, is_delimited, waiting: false, broke_off: None }.end_if_empty()
    }

    /// Whether the client reads trailers.
    pub(crate) fn may_have_trailers(&self) -> bool {
        let te = self.flight.iter().flat_map(|flight| flight.head.values("te"));
        te.flat_map(forwarded::options).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
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
            Source::Backend(stream) => stream.into_connection(|| self.patience()),
        };
        if let Some(flight) = self.flight.take() {
            flight.complete(connection);
        }
    }

    /// How long an upload may go on behind its answer: it may stand still as long as either side may let its body wait,
    /// and not at all where the client still waits to be told that it may send it.
    fn patience(&self) -> Option<Patience> {
        let flight = self.flight.as_ref()?;
        if flight.body.as_ref().is_some_and(|body| body.is_held()) {
            return None;
        }
        let by_client = flight.front.listener.config.timeouts.body_idle;
        let idle = flight.pool_config().map_or(by_client, |pool| pool.timeouts.body_idle.max(by_client));
        Some(Patience { idle, left: flight.deadline.map(|deadline| deadline.since(flight.now())) })
    }

    fn broken(&mut self, reason: Reason) -> BrokenResponse {
        // Nothing was awaited of the backend: the client took its time.
        let by_client = reason == Reason::RequestTimeout && !self.waiting;
        let end = match reason {
            _ if by_client => End::ClientLeft,
            Reason::RequestTimeout | Reason::ResponseBodyTimeout => End::BodyTimeout,
            _ => End::Truncated,
        };
        // A reset takes away what the client has not read yet, of answers before this one as well. One that does not
        // take it is not waited for.
        let in_order = self.is_delimited && !by_client;
        if let Some(flight) = self.flight.take() {
            match in_order {
                true => flight.front.close(),
                false => flight.front.reset(),
            }
            flight.broken(reason, end);
        }
        BrokenResponse { reason, in_order }
    }

    /// The whole request's time is up. Asked at every turn: a body whose backend is never silent may be
    /// held up by its client.
    fn is_overdue(&self) -> bool {
        let flight = self.flight.as_ref().filter(|_| matches!(self.source, Source::Backend(_)));
        flight.is_some_and(|flight| flight.deadline.is_some_and(|deadline| deadline <= flight.now()))
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

impl ResponseBody {
    /// Copies the body if all of it is at hand and smaller than `bytes_max`.
    pub(crate) fn copy_whole(&mut self, bytes_max: u64, out: &mut Vec<u8>) {
        if self.is_overdue() {
            return;
        }
        let Source::Backend(stream) = &mut self.source else { return };
        let Some(length) = stream.copy_whole(bytes_max, out) else { return };
        if let Some(flight) = &mut self.flight {
            flight.response_bytes += length as u64;
        }
        self.complete();
    }

    /// Ready when the request's time is up while the client does not take what there is. Nothing is awaited of
    /// the backend meanwhile.
    pub(crate) fn poll_held_up(&mut self, cx: &mut Context<'_>) -> Poll<BrokenResponse> {
        self.waiting = false;
        if self.is_overdue() {
            return Poll::Ready(self.broken(Reason::RequestTimeout));
        }
        let Some(flight) = &self.flight else { return Poll::Pending };
        let Some(deadline) = flight.deadline else { return Poll::Pending };
        let timer = &flight.front.request_timer;
        timer.set(deadline);
        timer.poll_fired(cx).map(|()| self.broken(Reason::RequestTimeout))
    }

    /// The next frame; none at the end. Where there is no room for it, it is only looked whether the request's
    /// time is up.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        has_room: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenResponse>>> {
        if self.is_overdue() {
            return Poll::Ready(Some(Err(self.broken(Reason::RequestTimeout))));
        }
        if let (Source::Backend(stream), Some(flight)) = (&mut self.source, &self.flight)
            && flight.front.is_blocked()
        {
            stream.held_up();
        }
        if !has_room {
            return self.poll_held_up(cx).map(|broken| Some(Err(broken)));
        }
        let frame = match &mut self.source {
            Source::Own(bytes) if bytes.is_empty() => None,
            Source::Own(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Source::Backend(stream) => match Pin::new(stream).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let overdue = ready!(self.poll_time(cx));
                    return Poll::Ready(Some(Err(self.broken(overdue))));
                }
            },
        };
        self.waiting = false;
        match frame {
            None => {
                self.complete();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "response broke off");
                Poll::Ready(Some(Err(self.broken(Reason::ResponseTruncated))))
            }
            Some(Ok(frame)) => {
                if let (Some(flight), Some(data)) = (&mut self.flight, frame.data_ref()) {
                    flight.response_bytes += data.len() as u64;
                }
                if self.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

/// The body as hyper reads it.
impl Body for ResponseBody {
    type Data = Piece;
    type Error = BrokenResponse;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BrokenResponse>>> {
        if let Some((front, _)) = &self.broke_off {
            // hyper drops what it has not written when it learns of this. The front wakes its task when all has left.
            let is_flushed = front.is_flushed();
            let broke_off = self.broke_off.take_if(|_| is_flushed);
            return broke_off.map_or(Poll::Pending, |(_, broken)| Poll::Ready(Some(Err(broken))));
        }
        // The flight may end with the frame.
        let front = self.flight.as_ref().map(|flight| Rc::clone(&flight.front));
        let past = front.as_ref().filter(|_| self.goes_past).map(Rc::clone);
        let has_room = past.as_ref().is_none_or(|front| front.takes_piece());
        let polled = match (ready!(self.poll_next(cx, has_room)), front) {
            (Some(Err(broken)), Some(front)) if broken.in_order => {
                self.broke_off = Some((front, broken));
                return Poll::Pending; // for the flush that hyper goes on with
            }
            (polled, _) => polled,
        };
        Poll::Ready(polled.map(|frame| frame.map(|frame| pass(past, frame))))
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

/// The frame as hyper gets it.
fn pass(front: Option<Rc<Front>>, frame: Frame<Bytes>) -> Frame<Piece> {
    frame.map_data(|data| match front {
        Some(front) => {
            let count = data.len();
            front.send_past(data);
            Piece::Counted(count)
        }
        None => Piece::Copied(data),
    })
}

/// The backend's response ended before its time.
#[derive(Debug)]
pub(crate) struct BrokenResponse {
    reason: Reason,
    /// The client gets what came before.
    pub(crate) in_order: bool,
}

impl fmt::Display for BrokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for BrokenResponse {}
