//! A request's journey, on one screen: judge, pick, forward, stream back.
//!
//! ```text
//! judge ──> exchange.next ──> try_once ──> exchange.on ──> stream back ──> observe
//!   │            ^  │             │            │
//!   │            └──┼── retry ────┴────────────┤
//!   └───────────────┴──── reply with a Reason ─┘
//! ```

use std::{borrow::Cow, fmt, future::poll_fn, pin::pin, rc::Rc, task::Poll};

use http::{HeaderMap, Request, Response, uri::PathAndQuery};
use hyper::body::{Body, Incoming};
use lb_core::{
    exchange::{
        Attempt, Event, Exchange, Facts, Failure, FailureKind, Next, PoolHandle, Sent, Step, Waiting,
        is_idempotent,
    },
    plan::{Decision, RouteId, RoutePlan},
    reason::Reason,
    request::RequestView,
    rewrite::HostEdit,
    time::{Duration, Instant},
};

use crate::{
    answer::Answer,
    flight::{Flight, Refused},
    front::Front,
    interim,
    outgoing::{Host, Outgoing, Target},
    request_body::RequestBody,
    request_head::RequestHead,
    response_body::ResponseBody,
    snapshot::{SharedPool, lock},
    upstream::{Call, CallFailed, Connection, Framing, Head, ResponseStream},
};

/// How long a route without a `timeout` may take over all its tries.
const TRIES_TIMEOUT: Duration = Duration::from_secs(60);

/// Room for fields that hyper keeps for its next request.
const KEPT_FIELDS_MAX: usize = 32;

/// Answers one request of hyper's. An error means that the connection has to end without an answer.
pub(crate) fn handle(
    front: Rc<Front>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, ClientGone>> {
    let (parts, body) = request.into_parts();
    let head = RequestHead::of_library(&parts);
    // hyper reads the next request into the map of the last answer.
    let mut spare = parts.headers;
    if spare.capacity() > KEPT_FIELDS_MAX {
        spare = HeaderMap::new();
    }
    spare.clear();
    // Before the first poll: hyper looks for the end of the stream in between, and what it is told
    // depends on whether a request is in flight.
    let version = head.version();
    let flight = Flight::begin(Rc::clone(&front), head);
    async move {
        let answer = answer(flight, Some(body)).await?;
        Ok(answer.into_librarys(&front, version, spare))
    }
}

/// The answer to one request, as soon as its head is known. An error means that the connection has to end
/// without one.
pub(crate) async fn answer(mut flight: Box<Flight>, body: Option<Incoming>) -> Result<Answer, ClientGone> {
    match journey(&mut flight, body).await {
        Ok((head, stream)) => Ok(flight.relay(head, stream)),
        Err(Refused { reason: Reason::ClientLeft, .. }) => Err(ClientGone),
        Err(refused) => Ok(flight.reply(refused)),
    }
}

/// The client's side ended within its request: there is nobody to answer.
#[derive(Debug)]
pub(crate) struct ClientGone;

impl fmt::Display for ClientGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Reason::ClientLeft.text())
    }
}

impl std::error::Error for ClientGone {}

async fn journey(
    flight: &mut Flight,
    body: Option<Incoming>,
) -> Result<(Head, Box<ResponseStream>), Refused> {
    let body = body.filter(|body| !body.is_end_stream());
    let (route, key, mut outgoing) = judge(flight, body.as_ref())?;
    if let Some(body) = body {
        let counted = flight.head.value("content-length").is_some();
        outgoing.framing = if counted { Framing::Length } else { Framing::Chunked };
        let expects = flight.head.value("expect").is_some_and(is_100_continue);
        flight.body = Some(RequestBody::new(&flight.front, body, expects, flight.started));
    }
    begin_exchange(flight, route, key)?;
    loop {
        let now = flight.now();
        let next = match flight.exchange_mut()?.next(now) {
            Next::Wait(waiting) => wait_for_turn(flight, waiting).await?,
            next => next,
        };
        let attempt = match next {
            Next::Try(attempt) => attempt,
            Next::Reply(reason) => return Err(reason.into()),
            Next::Wait(_) => return Err(Reason::Internal.into()),
        };
        let (event, response) = match try_once(flight, &outgoing, &attempt).await {
            Ok((head, stream, sent)) => {
                flight.head_came();
                (Event::Response { status: head.status.as_u16(), sent }, Some((head, stream)))
            }
            Err(Failed::Backend(failure)) => (Event::Failed(failure), None),
            Err(Failed::Client(reason)) => {
                let seen = flight.front.refusal().filter(|refusal| refusal.reason == reason);
                let detail = seen.map_or("", |refusal| refusal.detail);
                return Err(Refused { reason, retry_after: None, detail });
            }
        };
        let now = flight.now();
        match (flight.exchange_mut()?.on(event, now), response) {
            (Step::Forward, Some(response)) => return Ok(response),
            (Step::Retry, _) => {}
            (Step::Reply(reason), _) => return Err(reason.into()),
            (Step::Forward, None) => return Err(Reason::Internal.into()),
        }
    }
}

/// Firewall, route, rate limit, body limit; the key that it is placed by, and what goes out if all of
/// them let it.
fn judge(flight: &mut Flight, body: Option<&Incoming>) -> Result<(RouteId, Option<u64>, Outgoing), Refused> {
    let snapshot = flight.snapshot.clone();
    let head = &flight.head;
    let view = RequestView {
        method: head.method(),
        authority: head.authority(),
        path: head.path(),
        query: head.query(),
        headers: head,
        client: flight.client,
    };
    let (route, key, outgoing) = match snapshot.plan.decide(&view) {
        Decision::Forward { route, path } => {
            let key = snapshot.plan.key(route, &view, &path);
            (route, key, prepare(head, snapshot.plan.route(route), path)?)
        }
        Decision::Refuse { reason, route } => {
            flight.route = route;
            let detail = match reason {
                Reason::MalformedRequest => "path or host that cannot be normalised",
                _ => "",
            };
            return Err(Refused { reason, retry_after: None, detail });
        }
    };
    flight.route = Some(route);
    let planned = snapshot.plan.route(route);
    if let Some(limit) = &planned.rate_limit {
        let key = planned.limiter_key;
        if let Err(wait) = lock(&snapshot.limiter).check(key, limit, flight.client, flight.started) {
            return Err(Refused { reason: Reason::RateLimited, retry_after: Some(wait), detail: "" });
        }
    }
    if let Some(refusal) = flight.front.refusal() {
        // The scanner already saw that this request's body is broken.
        return Err(Refused { reason: refusal.reason, retry_after: None, detail: refusal.detail });
    }
    if body.is_some_and(|body| body.size_hint().lower() > flight.front.listener.config.limits.body) {
        return Err(Reason::BodyTooLarge.into());
    }
    Ok((route, key, outgoing))
}

/// What the route makes of the target and the Host.
fn prepare(head: &RequestHead, route: &RoutePlan, path: Cow<'_, str>) -> Result<Outgoing, Refused> {
    let rewrite = &route.request;
    let target = match path {
        Cow::Borrowed(_) if !rewrite.changes_target() => Target::Same,
        path => {
            let mut text = String::new();
            rewrite.target(&path, head.query()).write_to(&mut text);
            let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(text));
            Target::Other(target.map_err(|_| Refused {
                reason: Reason::MalformedRequest,
                retry_after: None,
                detail: "the rewritten target is not valid",
            })?)
        }
    };
    let host = match rewrite.host() {
        HostEdit::Set(host) => Host::Other(host.to_owned()),
        HostEdit::Keep if head.authority().is_some() => Host::Same,
        HostEdit::Keep | HostEdit::Backend => Host::OfBackend,
    };
    Ok(Outgoing { target, framing: Framing::Empty, host })
}

fn begin_exchange(flight: &mut Flight, route: RouteId, key: Option<u64>) -> Result<(), Refused> {
    let planned = flight.snapshot.plan.route(route);
    let pool = flight.snapshot.pool(planned.pool).clone();
    flight.deadline = planned.timeout.map(|timeout| flight.started + timeout);
    let deadline = flight.deadline.unwrap_or(flight.started + TRIES_TIMEOUT);
    let facts = Facts { idempotent: is_idempotent(flight.head.method()), deadline, key };
    let session = flight
        .snapshot
        .sessions(planned.pool)
        .and_then(|cookies| cookies.find(&flight.head, flight.worker().net().unix_seconds()));
    let handle = session.map(|session| session.handle);
    flight.exchange = Some(Exchange::begin_in_session(pool, facts, handle, flight.started)?);
    flight.session = session;
    Ok(())
}

/// Waits until `next` has something else to say. The pool's lock is not held meanwhile; whichever worker
/// frees a slot wakes this one.
async fn wait_for_turn(flight: &mut Flight, waiting: Waiting) -> Result<Next, Refused> {
    let Some(pool) = flight.pool().cloned() else { return Err(Reason::Internal.into()) };
    let front = Rc::clone(&flight.front);
    let _registered = Registered { pool: &pool, waiting };
    front.request_timer.set(waiting.until);
    poll_fn(|cx| {
        pool.waiters.register(waiting.id, cx.waker());
        let now = flight.now();
        let exchange = flight.exchange_mut()?;
        match exchange.next(now) {
            Next::Wait(_) => {}
            next => return Poll::Ready(Ok(next)),
        }
        while front.request_timer.poll_fired(cx).is_ready() {
            front.request_timer.set(waiting.until);
        }
        Poll::Pending
    })
    .await
}

/// A place among those that the pool wakes, until it is dropped.
struct Registered<'a> {
    pool: &'a SharedPool,
    waiting: Waiting,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.pool.waiters.forget(self.waiting.id);
    }
}

/// Why a try gave no response.
enum Failed {
    Backend(Failure),
    /// The client's own body failed.
    Client(Reason),
}

/// One try: a connection, the request on it, and the head of the response.
async fn try_once(
    flight: &Flight,
    outgoing: &Outgoing,
    attempt: &Attempt,
) -> Result<(Head, Box<ResponseStream>, Sent), Failed> {
    let connection = connect(flight, attempt).await?;
    let own_host = match outgoing.host {
        Host::OfBackend => {
            flight.pool().and_then(|pool| pool.with(|state| state.authority(attempt.endpoint)))
        }
        Host::Same | Host::Other(_) => None,
    };
    let write = |out: &mut Vec<u8>| outgoing.write_head(out, &flight.received(), own_host.as_deref());
    let memory = flight.worker().spare_bytes.take();
    let mut call = connection.call(write, memory, flight.body.clone(), outgoing.framing);
    let head = wait_for_head(flight, attempt, &mut call).await;
    let sent = match &flight.body {
        Some(body) if body.is_consumed() => Sent::Body,
        _ if call.has_sent() => Sent::Head,
        _ => Sent::Nothing,
    };
    match head {
        Ok(head) => {
            let stream = call.into_body(&head);
            Ok((head, stream, sent))
        }
        Err(Lost::Backend(kind)) => Err(Failed::Backend(Failure { kind, sent, reused: call.is_reused() })),
        Err(Lost::RequestBody) => Err(Failed::Client(
            flight.body.as_ref().and_then(|body| body.failure()).unwrap_or(Reason::Internal),
        )),
    }
}

async fn connect(flight: &Flight, attempt: &Attempt) -> Result<Connection, Failed> {
    // What cannot be sent twice is worth asking whether the backend has closed meanwhile.
    let must_ask = flight.body.is_some() || !is_idempotent(flight.head.method());
    if !attempt.fresh
        && let Some(connection) = flight.worker().idle.take(attempt.addr, must_ask, flight.started)
    {
        return Ok(connection);
    }
    let failed = |kind| Failed::Backend(Failure { kind, sent: Sent::Nothing, reused: false });
    let timer = &flight.front.request_timer;
    timer.set(attempt.connect_by);
    let mut opening = pin!(Connection::open(flight.worker().net(), attempt.addr));
    poll_fn(|cx| match opening.as_mut().poll(cx) {
        Poll::Ready(opened) => Poll::Ready(opened.map_err(|error| {
            tracing::debug!(address = %attempt.addr, %error, "connect failed");
            failed(FailureKind::Connect)
        })),
        Poll::Pending => timer.poll_fired(cx).map(|()| Err(failed(FailureKind::ConnectTimeout))),
    })
    .await
}

/// Why there is no head.
enum Lost {
    Backend(FailureKind),
    RequestBody,
}

async fn wait_for_head(flight: &Flight, attempt: &Attempt, call: &mut Call) -> Result<Head, Lost> {
    let to_head_request = flight.head.is_head_request();
    let timer = &flight.front.request_timer;
    let due = |since: Instant| {
        let due = since + attempt.head_within;
        flight.deadline.map_or(due, |deadline| due.min(deadline))
    };
    timer.set(due(flight.now()));
    poll_fn(|cx| {
        let interim = |head: &Head| interim::pass_on(flight, head);
        if let Poll::Ready(polled) = call.poll_head(cx, to_head_request, interim) {
            return Poll::Ready(polled.map_err(|failed| match failed {
                CallFailed::Closed => Lost::Backend(FailureKind::Closed),
                CallFailed::Invalid(why) => {
                    tracing::debug!(address = %attempt.addr, why, "not a response");
                    Lost::Backend(FailureKind::Invalid)
                }
                CallFailed::RequestBody => Lost::RequestBody,
            }));
        }
        while timer.poll_fired(cx).is_ready() {
            // The backend's time begins when the request has been sent.
            let now = flight.now();
            let sent = flight.body.as_ref().map_or(flight.started, |body| match body.waits_for_client() {
                true => now,
                false => body.last_moved(),
            });
            if due(sent) <= now {
                return Poll::Ready(Err(Lost::Backend(FailureKind::HeadTimeout)));
            }
            timer.set(due(sent));
        }
        Poll::Pending
    })
    .await
}

fn is_100_continue(expect: &[u8]) -> bool {
    expect.eq_ignore_ascii_case(b"100-continue")
}
