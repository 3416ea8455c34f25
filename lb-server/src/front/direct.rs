//! Requests that are served without hyper.
//!
//! Most requests are one whole HTTP/1.1 head without a body that comes in one piece with nothing behind it.
//! The scanner has judged each line of such a head and knows where its parts stand, so that nothing is left
//! for hyper to do but to write the answer, and that is done here. Everything else is hyper's: a head that
//! comes in pieces, a body, a next request behind the present one, HTTP/1.0, a target that is not a path,
//! `Expect` and `Upgrade`.
//!
//! Which of the two serves a request is nothing that a client can see.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Front, relaying::Relaying};
use crate::{
    flight::Flight,
    outbox::Outbox,
    proxy,
    request_head::{Places, RequestHead},
};

/// What a worker reads into from connections without a hyper; hyper's own reads begin with as much.
pub(crate) const READ_BYTES: usize = 8 << 10;

/// What a connection at rest was sent.
pub(super) enum Received {
    /// One whole request that needs no hyper, which begins.
    Plain(Box<Flight>),
    /// The beginning of anything else, which is now at hand for hyper.
    Other,
    /// Nothing that is to be served: the connection ends.
    Ends,
}

/// How a connection is left by a request that was served without hyper.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// At rest.
    Stays,
    Ends,
}

/// Serves a plain request.
pub(super) fn serve(flight: Box<Flight>) -> impl Future<Output = Served> {
    let to_head_request = flight.head.is_head_request();
    let front = Rc::clone(&flight.front);
    front.worker.handle().count_direct();
    async move {
        let Ok(answer) = proxy::answer(flight, None).await else { return Served::Ends };
        let closes = answer.close || front.last.get() || front.draining.get();
        let mut relaying = Relaying::begin(answer, to_head_request, closes);
        let relayed = std::future::poll_fn(|cx| relaying.poll(&front, cx)).await;
        front.worker.spare_bytes.put(relaying.into_memory());
        match relayed {
            Ok(()) if !closes && !front.draining.get() => Served::Stays,
            _ => Served::Ends,
        }
    }
}

impl Front {
    /// Reads what comes on a connection at rest. Ready when something is to be done about it.
    pub(super) fn poll_receive(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Received> {
        if self.closing.get() {
            return Poll::Ready(Received::Ends);
        }
        let memory = &mut *self.worker.read_buffer.borrow_mut();
        // What was seen of this request while the one before was in flight.
        let mut held = {
            let early = std::mem::take(&mut *self.early.borrow_mut());
            memory[..early.len()].copy_from_slice(&early);
            early.len()
        };
        if !self.eof.get() {
            let mut buffer = ReadBuf::new(&mut memory[held..]);
            // Bound first: in the `match` the socket would be borrowed to its end.
            let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer);
            match read {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.ended(),
                Poll::Ready(Ok(())) => held += buffer.filled().len(),
                Poll::Ready(Err(_)) => {
                    self.left.set(true);
                    return Poll::Ready(Received::Ends);
                }
                Poll::Pending if held == 0 => {
                    if self.draining.get() && !self.is_unseen() {
                        return Poll::Ready(Received::Ends);
                    }
                    self.arm();
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
        Poll::Ready(if held == 0 { Received::Ends } else { self.tell(&memory[..held]) })
    }

    /// What these bytes are, which are the first that come behind a request.
    fn tell(self: &Rc<Self>, bytes: &[u8]) -> Received {
        let mut places = Places::into(self.worker.spare_places.take());
        let scanned = self.scanner.borrow_mut().scan_first(bytes, &mut places);
        let deliverable = match scanned {
            Ok(true) if places.is_plain() && self.worker.serves_directly() => {
                let head = RequestHead::plain(bytes, places, self.worker.spare_bytes.take());
                return Received::Plain(Flight::begin(Rc::clone(self), head));
            }
            Ok(_) => bytes.len(),
            Err(refusal) => {
                self.refuse(refusal.reason, refusal.detail);
                refusal.deliverable
            }
        };
        if deliverable == 0 {
            self.refusal_is_due.set(true);
            return Received::Ends;
        }
        self.scanned.borrow_mut().extend_from_slice(&bytes[..deliverable]);
        Received::Other
    }

    /// Sends all of it. Ready when that has left.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, out: &mut Outbox) -> Poll<std::io::Result<()>> {
        while !out.is_sent() {
            let written = out.poll_write(cx, &mut *self.stream.borrow_mut());
            match written {
                Poll::Ready(written) => {
                    written?;
                    self.wrote();
                }
                Poll::Pending => {
                    self.write_blocked();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was to be said between two answers, then `out`.
    pub(super) fn poll_send_all(&self, cx: &mut Context<'_>, out: &mut Outbox) -> Poll<std::io::Result<()>> {
        ready!(self.poll_injected(cx))?;
        self.poll_send(cx, out)
    }
}
