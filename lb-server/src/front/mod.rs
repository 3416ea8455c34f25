//! One client connection: plain requests served directly, hyper between a scanned socket and the proxy for
//! all others, and everything about the connection that hyper leaves open: slow heads, idle and half-closed
//! clients, refusals, draining.

mod direct;
mod ending;
mod io;
mod park;
mod past;
mod relaying;
mod watch;

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    io::Result,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::Version;
use lb_core::{config::ListenerLimits, reason::Reason, time::Instant};
use tokio::io::AsyncWrite;

pub(crate) use self::{
    direct::READ_BYTES,
    past::{PAST_BYTES_MIN, Piece},
};
use self::{
    direct::{Received, Served},
    park::{Stage, awake},
    past::Past,
};
use crate::{
    access_log::Record,
    framing::{Position, ScanLimits, Scanner},
    net::Stream,
    server::ListenerState,
    timer::Timer,
    worker::{ParkedPlace, Worker},
};

/// The first look, after the probe, for whether a half-closed client is gone.
const GONE_CHECK_FIRST: Duration = Duration::from_millis(10);
/// How often it is looked whether a client is gone, which reading tells only while hyper reads.
const GONE_CHECK_MAX: Duration = Duration::from_secs(1);

/// The state of a client's connection, shared by its task, hyper's view of the socket and the request
/// in flight.
pub(crate) struct Front {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<ListenerState>,
    pub(crate) peer: SocketAddr,
    /// What requests in flight set their deadlines with, one at a time.
    pub(crate) request_timer: Timer,
    /// The peer's address as text, once it was needed.
    peer_text: OnceCell<String>,
    stream: RefCell<Stream>,
    scanner: RefCell<Scanner>,
    /// The balancer ends the connection with this answer.
    refusal: Cell<Option<Refusal>>,
    /// hyper was told of the stream's end because of a refused head, so that it is for us to answer.
    refusal_is_due: Cell<bool>,
    /// Requests that the proxy was given.
    begun: Cell<u64>,
    /// A request is with the proxy, or its answer is on its way through hyper.
    in_flight: Cell<bool>,
    version: Cell<Version>,
    /// The client said that it ends the connection after this request.
    last: Cell<bool>,
    /// hyper has the head of the answer to the request in flight.
    answered: Cell<bool>,
    /// hyper has nothing more to write.
    flushed: Cell<bool>,
    /// Bytes written past hyper, between two of its messages.
    injected: RefCell<Vec<u8>>,
    /// What of the answer goes to the client past hyper.
    past: RefCell<Past>,
    /// Bytes behind the request in flight, read while the client was watched.
    early: RefCell<Vec<u8>>,
    /// Bytes that have been scanned before there was a hyper: the first that it gets.
    scanned: RefCell<Vec<u8>>,
    blocked_since: Cell<Option<Instant>>,
    /// The client will send nothing more.
    eof: Cell<bool>,
    /// The client is gone for good.
    left: Cell<bool>,
    /// End at the next moment without a request.
    closing: Cell<bool>,
    /// End with a reset, so that nobody takes a broken answer for a whole one.
    abort: Cell<bool>,
    draining: Cell<bool>,
    /// When the present wait (for a head, or for its rest) began.
    since: Cell<Instant>,
    wait: Cell<Wait>,
    /// Since when there has been a hyper for this connection; none while it is parked.
    awake_since: Cell<Option<Instant>>,
    gone_check: Cell<Option<(Instant, Duration)>>,
    waker: RefCell<Option<Waker>>,
    timer: Timer,
}

#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) detail: &'static str,
    /// Whose body is broken, by the number of the request on this connection, from 1; none when it is a
    /// head that is refused.
    body_of: Option<u64>,
}

/// What the connection waits for while no request is in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The first byte of a head.
    Begin,
    /// The rest of a head.
    Head,
    /// The end of a request or answer.
    Flight,
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<ListenerState>,
    stream: Stream,
    peer: SocketAddr,
) {
    let front = Rc::new(Front::new(worker, listener, stream, peer));
    let registered = front.worker.register(&front);
    let mut stage = Stage::Parked(ParkedPlace::take(&front.worker));
    let mut drain_begun = false;
    let served = poll_fn(|cx| {
        front.worker.tick();
        front.hear(cx);
        front.check_time(cx);
        if front.left.get() {
            // hyper may neither read nor write now, so that it would not notice.
            return Poll::Ready(Ok(()));
        }
        loop {
            let connection = match &mut stage {
                Stage::Parked(_) => {
                    stage = match ready!(front.poll_receive(cx)) {
                        Received::Plain(flight) => Stage::Direct(Box::pin(direct::serve(flight))),
                        Received::Other => {
                            front.awake_since.set(Some(front.worker.now()));
                            Stage::Awake(awake(&front))
                        }
                        Received::Ends => return Poll::Ready(Ok(())),
                    };
                    continue;
                }
                Stage::Direct(request) => {
                    match request.as_mut().poll(cx) {
                        Poll::Ready(Served::Stays) => {
                            stage = Stage::Parked(ParkedPlace::take(&front.worker));
                            continue;
                        }
                        Poll::Ready(Served::Ends) => return Poll::Ready(Ok(())),
                        Poll::Pending => {}
                    }
                    let interim_failed = matches!(front.poll_injected(cx), Poll::Ready(Err(_)));
                    if interim_failed || front.watch(cx).is_err() {
                        front.left.set(true);
                        return Poll::Ready(Ok(()));
                    }
                    front.arm();
                    return Poll::Pending;
                }
                Stage::Awake(connection) => connection,
            };
            let mut polled = connection.as_mut().poll(cx);
            while polled.is_pending() && front.sends_past(cx) {
                polled = connection.as_mut().poll(cx);
            }
            if polled.is_pending() && front.draining.get() && !drain_begun && !front.is_unseen() {
                // Only after a poll, so that a request that has arrived is still seen and served.
                drain_begun = true;
                connection.as_mut().graceful_shutdown();
                polled = connection.as_mut().poll(cx);
            }
            if polled.is_pending() && front.watch(cx).is_err() {
                front.left.set(true);
                return Poll::Ready(Ok(()));
            }
            front.arm();
            if polled.is_pending() && front.may_park() {
                front.awake_since.set(None);
                *front.past.borrow_mut() = Past::default();
                stage = Stage::Parked(ParkedPlace::take(&front.worker));
                continue;
            }
            return polled;
        }
    })
    .await;
    drop(stage);
    if let Err(error) = served {
        front.hyper_failed(&error);
    }
    front.end().await;
    drop(registered);
}

fn head_bytes_max(limits: &ListenerLimits) -> usize {
    usize::try_from(limits.request_head).unwrap_or(usize::MAX)
}

impl Front {
    fn new(worker: Rc<Worker>, listener: Arc<ListenerState>, stream: Stream, peer: SocketAddr) -> Self {
        let limits = &listener.config.limits;
        let scan_limits = ScanLimits {
            head_bytes: head_bytes_max(limits),
            fields: limits.headers as usize,
            uri_bytes: usize::try_from(limits.uri).unwrap_or(usize::MAX),
        };
        Self {
            request_timer: worker.wheel.timer(),
            peer_text: OnceCell::new(),
            stream: RefCell::new(stream),
            scanner: RefCell::new(Scanner::new(scan_limits)),
            refusal: Cell::new(None),
            refusal_is_due: Cell::new(false),
            begun: Cell::new(0),
            in_flight: Cell::new(false),
            version: Cell::new(Version::HTTP_11),
            last: Cell::new(false),
            answered: Cell::new(false),
            flushed: Cell::new(true),
            injected: RefCell::new(Vec::new()),
            past: RefCell::default(),
            early: RefCell::default(),
            scanned: RefCell::default(),
            blocked_since: Cell::new(None),
            eof: Cell::new(false),
            left: Cell::new(false),
            closing: Cell::new(false),
            abort: Cell::new(false),
            draining: Cell::new(false),
            since: Cell::new(worker.clock.now()),
            wait: Cell::new(Wait::Begin),
            awake_since: Cell::new(None),
            gone_check: Cell::new(None),
            waker: RefCell::new(None),
            timer: worker.wheel.timer(),
            worker,
            listener,
            peer,
        }
    }

    // What the socket's two directions tell.

    fn position(&self) -> Position {
        self.scanner.borrow().position()
    }

    /// How many of these bytes hyper may see.
    fn scan(&self, bytes: &[u8]) -> usize {
        let scanned = self.scanner.borrow_mut().scan(bytes);
        match scanned {
            Ok(()) => bytes.len(),
            Err(refusal) => {
                self.refuse(refusal.reason, refusal.detail);
                refusal.deliverable
            }
        }
    }

    fn wrote(&self) {
        self.flushed.set(false);
        self.blocked_since.set(None);
    }

    /// All that was to be written has been.
    fn flushed(&self) {
        if self.flushed.replace(true) || self.in_flight.get() {
            return;
        }
        if self.wait.get() == Wait::Begin {
            // The wait for the next request begins when the last answer has left.
            self.since.set(self.worker.now());
        }
        let is_end_untold = self.eof.get() || self.refusal.get().is_some() || self.closing.get();
        if is_end_untold {
            self.wake();
        }
    }

    /// A request is being answered, or its answer is not written yet: hyper would drop that answer if it
    /// learned of the stream's end.
    fn is_busy(&self) -> bool {
        self.in_flight.get() || !self.flushed.get()
    }

    /// The client's socket took less than it was given.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.get().is_some()
    }

    fn write_blocked(&self) {
        if !self.is_blocked() {
            self.blocked_since.set(Some(self.worker.now()));
        }
    }

    /// Writes an interim response between hyper's messages. Dropped where there is no clean place
    /// between two messages, or when the client speaks HTTP/1.0.
    pub(crate) fn inject(&self, interim: &[u8]) {
        let between = self.flushed.get() && !self.answered.get();
        if !between || !self.is_11() {
            return;
        }
        let mut queued = self.injected.borrow_mut();
        let written = if queued.is_empty() {
            self.stream.borrow().try_write(interim).unwrap_or(0) // an error shows at the next write
        } else {
            0
        };
        queued.extend_from_slice(&interim[written..]);
    }

    fn poll_injected(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut queued = self.injected.borrow_mut();
        while !queued.is_empty() {
            let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, &queued);
            let Poll::Ready(written) = polled else {
                self.write_blocked();
                return Poll::Pending;
            };
            queued.drain(..written?);
            self.blocked_since.set(None);
        }
        Poll::Ready(Ok(()))
    }

    /// The peer's address as text.
    pub(crate) fn peer_text(&self) -> &str {
        self.peer_text.get_or_init(|| self.peer.ip().to_canonical().to_string())
    }

    // What the proxy tells.

    /// A request begins.
    pub(crate) fn begin(&self, version: Version, last: bool) {
        self.begun.set(self.begun.get() + 1);
        self.in_flight.set(true);
        self.version.set(version);
        self.last.set(last);
        self.answered.set(false);
        self.wait.set(Wait::Flight);
    }

    /// hyper is about to get the head of the answer.
    pub(crate) fn answers(&self) {
        self.answered.set(true);
    }

    /// The answer is with hyper, whole; or there will be none.
    pub(crate) fn done(&self) {
        self.in_flight.set(false);
        self.flushed.set(false);
        self.gone_check.set(None);
    }

    /// Whether the request in flight is of HTTP/1.1: its client knows interim responses and chunks.
    pub(crate) fn is_11(&self) -> bool {
        self.version.get() == Version::HTTP_11
    }

    /// Whether another request may come behind the one in flight.
    pub(crate) fn takes_another(&self) -> bool {
        !(self.last.get() || self.closing.get() || self.draining.get())
    }

    /// Whether all of the answers so far has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.get()
    }

    /// Ends the connection in order once hyper is done with it.
    pub(crate) fn close(&self) {
        self.closing.set(true);
    }

    /// Ends the connection with a reset once hyper is done with it.
    pub(crate) fn reset(&self) {
        self.abort.set(true);
    }

    /// Why the body of the present request is not to be believed, if so.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().filter(|refusal| refusal.body_of == Some(self.begun.get()))
    }

    // What the worker tells.

    /// Finish what is in flight, then end.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// The connection is about to be dropped. With an answer under way it ends with a reset: an orderly
    /// end would make what came of it look whole where only the end tells.
    pub(crate) fn cut_off(&self) {
        if self.in_flight.get() || !self.flushed.get() || self.is_blocked() {
            self.reset_when_dropped();
        }
    }

    // What the connection's task does.

    fn reset_when_dropped(&self) {
        self.stream.borrow().reset_when_dropped();
    }

    fn refuse(&self, reason: Reason, detail: &'static str) {
        let is_body = self.position() == Position::Body;
        let body_of = is_body.then(|| self.scanner.borrow().heads());
        self.refusal.set(Some(Refusal { reason, detail, body_of }));
    }

    fn hear(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Sets the timer for what the connection now waits for.
    fn arm(&self) {
        let timeouts = &self.listener.config.timeouts;
        let wait = if self.in_flight.get() {
            Wait::Flight
        } else {
            match self.position() {
                Position::Between => Wait::Begin,
                Position::Head => Wait::Head,
                Position::Body => Wait::Flight,
            }
        };
        if wait != self.wait.get() {
            self.wait.set(wait);
            if wait != Wait::Flight {
                self.since.set(self.worker.now());
            }
        }
        match self.due(wait, timeouts) {
            Some(due) => self.timer.set(due),
            None => self.timer.clear(),
        }
    }

    /// By when the first byte of a request has to come.
    fn begin_by(&self) -> Instant {
        let timeouts = &self.listener.config.timeouts;
        let wait = match self.scanner.borrow().heads() {
            0 => timeouts.request_head.max(timeouts.keep_alive),
            _ => timeouts.keep_alive,
        };
        self.since.get() + wait
    }

    fn due(&self, wait: Wait, timeouts: &lb_core::config::ListenerTimeouts) -> Option<Instant> {
        if let Some(since) = self.blocked_since.get() {
            return Some(since + timeouts.body_idle);
        }
        match wait {
            Wait::Begin => Some(self.park_at().map_or_else(|| self.begin_by(), |at| at.min(self.begin_by()))),
            Wait::Head => Some(self.since.get() + timeouts.request_head),
            Wait::Flight => {
                let (due, _) = self.gone_check.get().unwrap_or_else(|| {
                    let pause = if self.probe() { GONE_CHECK_FIRST } else { GONE_CHECK_MAX };
                    let check = (self.worker.now() + pause, pause);
                    self.gone_check.set(Some(check));
                    check
                });
                Some(due)
            }
        }
    }

    /// A client that closed its side may be waiting for the answer, or be gone. An interim response is no
    /// answer to the first, and makes the second's system reset the connection.
    fn probe(&self) -> bool {
        let is_whole = self.position() != Position::Body;
        let may_write = !self.answered.get() && self.is_11();
        let probes = self.eof.get() && is_whole && may_write;
        if probes {
            self.inject(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        probes
    }

    /// The client will send nothing more.
    fn ended(&self) {
        self.eof.set(true);
        self.gone_check.set(None); // the next one begins with a probe
    }

    /// Whether the stream has ended and hyper did not ask for more, so that nobody saw it.
    fn ends_unread(&self) -> bool {
        matches!(self.stream.borrow().peek(), Ok(0))
    }

    /// Whether the first bytes of the connection have come and nobody has read them: a socket is not read
    /// from before the runtime has heard of them.
    fn is_unseen(&self) -> bool {
        self.begun.get() == 0
            && self.scanner.borrow().heads() == 0
            && matches!(self.stream.borrow().peek(), Ok(1..))
    }

    /// Acts on the timer that `arm` set.
    fn check_time(&self, cx: &mut Context<'_>) {
        if self.timer.poll_fired(cx).is_pending() {
            return;
        }
        self.timer.clear();
        // A timer forgets its waker when it fires; this one is about to be armed again.
        let _ = self.timer.poll_fired(cx);
        let now = self.worker.now();
        if self.is_blocked() {
            // The client has not taken a byte for too long.
            self.left.set(true);
            self.reset();
            return;
        }
        match self.wait.get() {
            Wait::Begin if now < self.begin_by() => self.put_off_parking(),
            Wait::Begin => self.close(),
            Wait::Head => self.refuse(Reason::RequestHeadTimeout, "the head did not arrive in time"),
            Wait::Flight => {
                let Some((_, pause)) = self.gone_check.get() else { return };
                if matches!(self.stream.borrow().take_error(), Ok(Some(_)) | Err(_)) {
                    self.left.set(true);
                } else if !self.eof.get() && self.ends_unread() {
                    self.ended();
                } else {
                    let pause = (pause * 2).min(GONE_CHECK_MAX);
                    self.gone_check.set(Some((now + pause, pause)));
                }
            }
        }
    }

    /// hyper refused something that the scanner let through, or lost the connection.
    fn hyper_failed(&self, error: &hyper::Error) {
        if error.is_parse() && self.refusal.get().is_none() {
            // hyper has answered by itself (400), so this only tells the log.
            self.log_refusal(Refusal {
                reason: Reason::MalformedRequest,
                detail: "refused by the HTTP library",
                body_of: None,
            });
        }
    }

    /// A line in the access log for a request that hyper never saw.
    fn log_refusal(&self, refusal: Refusal) {
        let duration = self.worker.now().since(self.since.get());
        let Refusal { reason, detail, .. } = refusal;
        self.worker.log(&Record::of_connection(&self.listener.name, self.peer, reason, detail, duration));
    }
}
