//! A request's body on its way to a backend: bounded, timed, and held back where the client asked to
//! be told first.

use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use lb_core::{reason::Reason, time::Instant};

use crate::{front::Front, timer::Timer};

/// How long a body is held back for a backend that does not answer `Expect: 100-continue`.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The one body of a request, over all its tries.
pub(crate) struct RequestBody {
    front: Rc<Front>,
    incoming: RefCell<Incoming>,
    timer: Timer,
    idle: Duration,
    bytes_max: u64,
    bytes: Cell<u64>,
    /// Something of the body was taken: it cannot be sent again.
    consumed: Cell<bool>,
    moved: Cell<Instant>,
    /// The timer runs for the next frame.
    waiting: Cell<bool>,
    failure: Cell<Option<Reason>>,
    /// Held back until the backend, or time, says so.
    held: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl RequestBody {
    pub(crate) fn new(
        front: &Rc<Front>,
        incoming: Incoming,
        expects_continue: bool,
        now: Instant,
    ) -> Rc<Self> {
        let config = &front.listener.config;
        let timer = front.worker.wheel.timer();
        if expects_continue {
            timer.set(now + CONTINUE_WAIT);
        }
        Rc::new(Self {
            incoming: RefCell::new(incoming),
            timer,
            idle: config.timeouts.body_idle,
            bytes_max: config.limits.body,
            bytes: Cell::new(0),
            consumed: Cell::new(false),
            moved: Cell::new(now),
            waiting: Cell::new(false),
            failure: Cell::new(None),
            held: Cell::new(expects_continue),
            waker: RefCell::new(None),
            front: Rc::clone(front),
        })
    }

    /// The backend wants the body (100 Continue).
    pub(crate) fn release(&self) {
        if self.held.replace(false)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Whether the client still waits to be told that it may send the body.
    pub(crate) fn is_held(&self) -> bool {
        self.held.get()
    }

    /// Whether another request may come behind it on the client's connection. Where the client was never told to
    /// send it, what comes may be anything.
    pub(crate) fn precedes_another(&self) -> bool {
        !self.is_held() && self.front.takes_another()
    }

    pub(crate) fn is_consumed(&self) -> bool {
        self.consumed.get()
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When the body last moved.
    pub(crate) fn last_moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether the next piece is the client's to send.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waiting.get()
    }

    /// What the client did wrong with its body, if anything.
    pub(crate) fn failure(&self) -> Option<Reason> {
        self.failure.get()
    }

    fn fail(&self, reason: Reason) -> BodyError {
        self.failure.set(Some(reason));
        BodyError(reason)
    }

    /// The next piece, or the trailers; none at the end.
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.held.get() {
            if self.timer.poll_fired(cx).is_pending() {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.timer.clear();
            self.held.set(false);
        }
        let polled = Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx);
        let now = self.front.worker.now();
        match polled {
            Poll::Ready(frame) => {
                self.moved.set(now);
                self.waiting.set(false);
                self.timer.clear();
                Poll::Ready(self.took(frame))
            }
            Poll::Pending => {
                if !self.waiting.replace(true) {
                    self.timer.set(now + self.idle);
                }
                ready!(self.timer.poll_fired(cx));
                Poll::Ready(Some(Err(self.fail(Reason::RequestBodyTimeout))))
            }
        }
    }

    fn took(
        &self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        let frame = match frame {
            None => return None,
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                let reason = self.front.refusal().map_or(Reason::ClientLeft, |refusal| refusal.reason);
                return Some(Err(self.fail(reason)));
            }
        };
        self.consumed.set(true);
        if let Some(data) = frame.data_ref() {
            self.bytes.set(self.bytes.get() + data.len() as u64);
            if self.bytes.get() > self.bytes_max {
                return Some(Err(self.fail(Reason::BodyTooLarge)));
            }
        }
        Some(Ok(frame))
    }
}

/// A body that the backend will not get whole.
#[derive(Debug)]
pub(crate) struct BodyError(Reason);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BodyError {}
