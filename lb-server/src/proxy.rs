//! A request's journey, on one screen: judge, pick, forward, stream back.
//!
//! ```text
//! judge ──> exchange.next ──> try_once ──> exchange.on ──> stream back ──> observe
//!   │            ^  │             │            │
//!   │            └──┼── retry ────┴────────────┤
//!   └───────────────┴──── reply with a Reason ─┘
//! ```

use std::{borrow::Cow, fmt, future::poll_fn, pin::pin, rc::Rc, task::Poll};

use http::{HeaderMap, Method, Request, Response, Uri, header, request, uri::PathAndQuery};
use hyper::body::{Body, Incoming};
use lb_core::{
    exchange::{
        Attempt, Event, Exchange, Facts, Failure, FailureKind, Next, PoolHandle, Sent, Step, is_idempotent,
    },
    plan::{Decision, RouteId},
    reason::Reason,
    request::RequestView,
    rewrite::HostEdit,
    time::Duration,
};

use crate::{
    flight::{Flight, Refused},
    forwarded::{self, Fields},
    front::Front,
    interim::Interim,
    request_body::{BodyReader, RequestBody},
    response_body::ResponseBody,
    snapshot::lock,
    upstream::Connection,
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
            Ok(response) => Ok(flight.relay(response)),
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
) -> Result<Response<Incoming>, Refused> {
    let fields = Fields(&parts.headers);
    let (route, path) = judge(flight, &parts, &fields, &body)?;
    let mut outgoing = Outgoing::prepare(flight, route, path, &parts)?;
    outgoing.take_headers(flight, route, parts.headers);
    if !body.is_end_stream() {
        let expects = expects_continue(&outgoing.headers);
        if body.size_hint().exact().is_none() {
            // Said aloud, as hyper would leave out the body of a GET or HEAD otherwise.
            outgoing.headers.insert(header::TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
        }
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
            Ok(response) => {
                flight.head_came();
                let event = Event::Response { status: response.status().as_u16(), sent: flight.sent() };
                (event, Some(response))
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
            (Step::Retry, _) => flight.connection = None,
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
    uri: Uri,
    headers: HeaderMap,
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
            uri: Uri::from(target),
            headers: HeaderMap::new(),
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

    fn request(&self, flight: &Flight, attempt: &Attempt, body: BodyReader) -> Request<BodyReader> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.host_of_backend {
            let authority =
                flight.pool().and_then(|pool| pool.with(|state| state.authority(attempt.endpoint)));
            let authority = authority.unwrap_or_else(|| attempt.addr.to_string());
            forwarded::set_host(request.headers_mut(), &authority);
        }
        request
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
    flight: &mut Flight,
    outgoing: &Outgoing,
    attempt: &Attempt,
) -> Result<Response<Incoming>, Failed> {
    // A body that went into a stale connection cannot be sent again either.
    let once = flight.body.is_some() || !is_idempotent(outgoing.method.as_str());
    let mut connection = connect(flight, attempt, once).await?;
    let reader = flight.body.as_ref().map_or_else(BodyReader::empty, RequestBody::reader);
    let mut request = outgoing.request(flight, attempt, reader);
    let interim = Interim::listen(&mut request, flight.body.clone());
    let response = {
        let sending = pin!(connection.sender.try_send_request(request));
        wait_for_head(flight, attempt, &interim, sending).await
    };
    let reused = connection.reused;
    let sent = match &flight.body {
        Some(body) if body.is_consumed() => Sent::Body,
        _ if connection.has_sent() => Sent::Head,
        _ => Sent::Nothing,
    };
    match response {
        Ok(response) if is_ambiguous(&response) => {
            Err(Failed::Backend(Failure { kind: FailureKind::Invalid, sent, reused }))
        }
        Ok(response) => {
            flight.connection = Some(connection);
            Ok(response)
        }
        Err(kind) => match flight.body.as_ref().and_then(|body| body.failure()) {
            Some(reason) => Err(Failed::Client(reason)),
            None => Err(Failed::Backend(Failure { kind, sent, reused })),
        },
    }
}

async fn connect(flight: &Flight, attempt: &Attempt, checked: bool) -> Result<Connection, Failed> {
    if !attempt.fresh
        && let Some(connection) = flight.worker().idle.take(attempt.addr, checked)
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

async fn wait_for_head<F>(
    flight: &Flight,
    attempt: &Attempt,
    interim: &Interim,
    mut sending: std::pin::Pin<&mut F>,
) -> Result<Response<Incoming>, FailureKind>
where
    F: Future<Output = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<BodyReader>>>>,
{
    let timer = &flight.front.request_timer;
    let due = |since: lb_core::time::Instant| {
        let due = since + attempt.head_within;
        flight.deadline.map_or(due, |deadline| due.min(deadline))
    };
    timer.set(due(flight.now()));
    poll_fn(|cx| {
        let polled = sending.as_mut().poll(cx);
        interim.pass_on(cx, &flight.front);
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result.map_err(|error| failure_kind(error.error())));
        }
        while timer.poll_fired(cx).is_ready() {
            // The backend's time begins when the request has been sent.
            let moved = flight.body.as_ref().map_or(flight.started, |body| body.last_moved());
            let now = flight.now();
            if due(moved) <= now {
                return Poll::Ready(Err(FailureKind::HeadTimeout));
            }
            timer.set(due(moved));
        }
        Poll::Pending
    })
    .await
}

fn failure_kind(error: &hyper::Error) -> FailureKind {
    tracing::debug!(%error, "try failed");
    if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        FailureKind::Invalid
    } else {
        FailureKind::Closed
    }
}

/// Framings that two readers could read differently, codings that would be lost on the way, and
/// switches of protocol that nobody asked for.
fn is_ambiguous(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coded = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            headers.contains_key(header::CONTENT_LENGTH)
        }
        _ => true,
    };
    coded || response.status().is_informational()
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
