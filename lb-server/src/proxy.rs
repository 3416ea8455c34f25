//! A request's journey, on one screen: judge, pick, forward, stream back.
//!
//! ```text
//! judge ──> exchange.next ──> try_once ──> exchange.on ──> stream back ──> observe
//!   │            ^  │             │            │
//!   │            └──┼── retry ────┴────────────┤
//!   └───────────────┴──── reply with a Reason ─┘
//! ```

use std::{borrow::Cow, fmt, future::poll_fn, pin::pin, rc::Rc, task::Poll};

use http::{HeaderMap, Method, Request, Response, header, request, uri::PathAndQuery};
use hyper::body::{Body, Incoming};
use lb_core::{
    exchange::{
        Attempt, Event, Exchange, Facts, Failure, FailureKind, Next, PoolHandle, Sent, Step, is_idempotent,
    },
    plan::{Decision, RouteId},
    reason::Reason,
    request::RequestView,
    rewrite::HostEdit,
    time::{Duration, Instant},
};

use crate::{
    flight::{Flight, Refused},
    forwarded::{self, Fields},
    front::Front,
    interim,
    request_body::RequestBody,
    response_body::ResponseBody,
    snapshot::lock,
    upstream::{self, Call, CallFailed, Connection, Framing, Head, ResponseStream},
};

/// How long a route without a `timeout` may take over all its tries.
const TRIES_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers one request. An error means that the connection has to end without an answer.
pub(crate) fn handle(
    front: Rc<Front>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, ClientGone>> {
    let (parts, body) = request.into_parts();
    // Before the first poll: hyper looks for the end of the stream in between, and what it is told
    // depends on whether a request is in flight.
    let mut flight = Flight::begin(front, &parts);
    async move {
        match journey(&mut flight, parts, body).await {
            Ok((head, stream)) => Ok(flight.relay(head, stream)),
            Err(Refused { reason: Reason::ClientLeft, .. }) => Err(ClientGone),
            Err(refused) => Ok(flight.reply(refused)),
        }
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
    parts: request::Parts,
    body: Incoming,
) -> Result<(Head, ResponseStream), Refused> {
    let fields = Fields(&parts.headers);
    let (route, path) = judge(flight, &parts, &fields, &body)?;
    let mut outgoing = Outgoing::prepare(flight, route, path, &parts)?;
    outgoing.take_headers(flight, route, parts.headers);
    if !body.is_end_stream() {
        let counted = outgoing.headers.contains_key(header::CONTENT_LENGTH);
        outgoing.framing = if counted { Framing::Length } else { Framing::Chunked };
        let expects = expects_continue(&outgoing.headers);
        flight.body = Some(RequestBody::new(&flight.front, body, expects, flight.started));
    }
    begin_exchange(flight, route, &outgoing.method)?;
    loop {
        let now = flight.now();
        let attempt = match flight.exchange_mut()?.next(now) {
            Next::Try(attempt) => attempt,
            Next::Reply(reason) => return Err(reason.into()),
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

/// Firewall, route, rate limit, body limit.
fn judge<'a>(
    flight: &mut Flight,
    parts: &'a request::Parts,
    fields: &'a Fields<'a>,
    body: &Incoming,
) -> Result<(RouteId, Cow<'a, str>), Refused> {
    let snapshot = flight.snapshot.clone();
    let view = RequestView {
        method: parts.method.as_str(),
        authority: forwarded::authority(parts),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: fields,
        client: flight.client,
    };
    let (route, path) = match snapshot.plan.decide(&view) {
        Decision::Forward { route, path } => (route, path),
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
    if body.size_hint().lower() > flight.front.listener.config.limits.body {
        return Err(Reason::BodyTooLarge.into());
    }
    Ok((route, path))
}

/// What every try of a request sends.
struct Outgoing {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    framing: Framing,
    /// Each try sends the backend's own address as Host.
    host_of_backend: bool,
}

impl Outgoing {
    fn prepare(
        flight: &Flight,
        route: RouteId,
        path: Cow<'_, str>,
        parts: &request::Parts,
    ) -> Result<Self, Refused> {
        let rewrite = &flight.snapshot.plan.route(route).request;
        let as_received = parts.uri.path_and_query();
        let target = match as_received {
            Some(target) if matches!(path, Cow::Borrowed(_)) && !rewrite.changes_target() => target.clone(),
            _ => {
                let mut text = String::new();
                rewrite.target(&path, parts.uri.query()).write_to(&mut text);
                PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Refused {
                    reason: Reason::MalformedRequest,
                    retry_after: None,
                    detail: "the rewritten target is not valid",
                })?
            }
        };
        Ok(Self {
            method: parts.method.clone(),
            target,
            headers: HeaderMap::new(),
            framing: Framing::Empty,
            host_of_backend: matches!(rewrite.host(), HostEdit::Backend)
                || forwarded::authority(parts).is_none(),
        })
    }

    fn take_headers(&mut self, flight: &Flight, route: RouteId, mut headers: HeaderMap) {
        let accepts_trailers = forwarded::accepts_trailers(&headers);
        forwarded::strip_hop_by_hop(&mut headers);
        forwarded::set_origin(&mut headers, flight);
        if accepts_trailers {
            headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
            headers.insert(header::CONNECTION, http::HeaderValue::from_static("te"));
        }
        flight.snapshot.edits(route).request.apply(&mut headers);
        match flight.snapshot.plan.route(route).request.host() {
            HostEdit::Set(host) => forwarded::set_host(&mut headers, host),
            // What was judged is what is forwarded, also where the target's authority overrides Host.
            HostEdit::Keep => forwarded::set_host(&mut headers, &flight.authority),
            HostEdit::Backend => {}
        }
        self.headers = headers;
    }

    /// The Host of this try, where it is not that of all tries.
    fn host(&self, flight: &Flight, attempt: &Attempt) -> Option<String> {
        self.host_of_backend.then(|| {
            let authority =
                flight.pool().and_then(|pool| pool.with(|state| state.authority(attempt.endpoint)));
            authority.unwrap_or_else(|| attempt.addr.to_string())
        })
    }
}

fn begin_exchange(flight: &mut Flight, route: RouteId, method: &Method) -> Result<(), Refused> {
    let planned = flight.snapshot.plan.route(route);
    let pool = flight.snapshot.pool(planned.pool).clone();
    flight.deadline = planned.timeout.map(|timeout| flight.started + timeout);
    let deadline = flight.deadline.unwrap_or(flight.started + TRIES_TIMEOUT);
    let facts = Facts { idempotent: is_idempotent(method.as_str()), deadline };
    flight.exchange = Some(Exchange::begin(pool, facts, flight.started)?);
    Ok(())
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
) -> Result<(Head, ResponseStream, Sent), Failed> {
    let connection = connect(flight, attempt, !is_idempotent(outgoing.method.as_str())).await?;
    let host = outgoing.host(flight, attempt);
    let write = |out: &mut Vec<u8>| {
        let Outgoing { method, target, headers, framing, .. } = outgoing;
        upstream::write_head(out, method, target.as_str(), headers, host.as_deref(), *framing);
    };
    let mut call = connection.call(write, flight.body.clone(), outgoing.framing);
    let head = wait_for_head(flight, attempt, &mut call, outgoing.method == Method::HEAD).await;
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

async fn connect(flight: &Flight, attempt: &Attempt, asked: bool) -> Result<Connection, Failed> {
    if !attempt.fresh
        && let Some(connection) = flight.worker().idle.take(attempt.addr, asked, flight.started)
    {
        return Ok(connection);
    }
    let failed = |kind| Failed::Backend(Failure { kind, sent: Sent::Nothing, reused: false });
    let timer = &flight.front.request_timer;
    timer.set(attempt.connect_by);
    let mut opening = pin!(Connection::open(attempt.addr));
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

async fn wait_for_head(
    flight: &Flight,
    attempt: &Attempt,
    call: &mut Call,
    to_head_request: bool,
) -> Result<Head, Lost> {
    let timer = &flight.front.request_timer;
    let due = |since: Instant| {
        let due = since + attempt.head_within;
        flight.deadline.map_or(due, |deadline| due.min(deadline))
    };
    timer.set(due(flight.now()));
    poll_fn(|cx| {
        let interim = |status, headers: &HeaderMap| interim::pass_on(flight, status, headers);
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
            let moved = flight.body.as_ref().map_or(flight.started, |body| body.last_moved());
            if due(moved) <= flight.now() {
                return Poll::Ready(Err(Lost::Backend(FailureKind::HeadTimeout)));
            }
            timer.set(due(moved));
        }
        Poll::Pending
    })
    .await
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
