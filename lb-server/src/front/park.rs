//! Parking: a connection that waits for a request does without hyper and its buffers.
//!
//! hyper takes some 8 KiB for each direction and keeps them between requests. What a connection needs to be
//! remembered by is in its [`Front`], so hyper is made when something has come that it is needed for, and
//! dropped when the next request lets itself be waited for.

use std::{pin::Pin, rc::Rc, time::Duration};

use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use lb_core::time::Instant;

use super::{Front, head_bytes_max, io::FrontIo};
use crate::{
    framing::Position,
    proxy::{self, ClientGone},
    response_body::ResponseBody,
    worker::ParkedPlace,
};

/// How long a connection without a request keeps hyper and its buffers for the next one.
const PARK_AFTER: Duration = Duration::from_millis(500);

/// What there is of a connection besides its [`Front`].
pub(super) enum Stage<D, C> {
    /// Nothing: it waits for the first byte of a request.
    Parked(#[expect(dead_code, reason = "counts for as long as it is held")] ParkedPlace),
    /// A request in flight that is served without hyper.
    Direct(Pin<Box<D>>),
    /// hyper, its buffers, and the request in flight.
    Awake(Pin<Box<C>>),
}

/// What proxies, as hyper sees it.
pub(super) trait Proxy: HttpService<Incoming, ResBody = ResponseBody, Error = ClientGone> {}
impl<S: HttpService<Incoming, ResBody = ResponseBody, Error = ClientGone>> Proxy for S {}

/// A new hyper for a connection that stands between two requests.
pub(super) fn awake(front: &Rc<Front>) -> Pin<Box<http1::Connection<FrontIo, impl Proxy + use<>>>> {
    let limits = &front.listener.config.limits;
    let mut builder = http1::Builder::new();
    // Not `pipeline_flush`: it holds answers back, without bound, while the client's next request is at
    // hand or the client does not read, and drops them when the connection ends. One buffer for head and
    // body it may be: what is large goes past it. `half_close` lets hyper not read during an answer, for
    // which it would get itself a new buffer of 8 KiB each time; `Front::watch` does that for it. Dates are
    // ours.
    builder.writev(false).half_close(true).auto_date_header(false).header_read_timeout(None);
    let differ_from_hypers = limits.headers >= 100 || limits.request_head > 300 << 10;
    if differ_from_hypers {
        // One more than the scanner lets through, so that the scanner is who refuses.
        builder.max_headers(limits.headers as usize + 1);
        builder.max_buf_size((head_bytes_max(limits) + 1024).max(400 << 10));
    }
    let service_front = Rc::clone(front);
    let service = service_fn(move |request| proxy::handle(Rc::clone(&service_front), request));
    Box::pin(builder.serve_connection(FrontIo(Rc::clone(front)), service))
}

impl Front {
    /// When to park the connection, or to see whether it may be, if no request comes until then.
    pub(super) fn park_at(&self) -> Option<Instant> {
        Some(self.awake_since.get()?.max(self.since.get()) + PARK_AFTER)
    }

    pub(super) fn may_park(&self) -> bool {
        self.park_at().is_some_and(|at| at <= self.worker.now()) && self.is_at_rest()
    }

    /// It is time to park. Where that may not be, it is tried again later.
    pub(super) fn put_off_parking(&self) {
        if !self.is_at_rest() {
            self.awake_since.set(Some(self.worker.now()));
        }
    }

    /// Whether hyper holds nothing that another one could not begin without: all that was read has been
    /// handed to the proxy, and all that was answered has been written.
    fn is_at_rest(&self) -> bool {
        let scanner = self.scanner.borrow();
        let ends = self.eof.get()
            || self.closing.get()
            || self.draining.get()
            || self.abort.get()
            || self.refusal.get().is_some();
        !ends
            && !self.is_busy()
            && !self.is_blocked()
            && self.injected.borrow().is_empty()
            && self.early.borrow().is_empty()
            && self.scanned.borrow().is_empty()
            && self.past.borrow().is_sent()
            && scanner.is_between_lines()
            && scanner.position() == Position::Between
            && scanner.heads() == self.begun.get()
    }
}
