//! One request in flight: all that is known of it, until its line is in the log.

use std::{borrow::Cow, net::IpAddr, rc::Rc, sync::Arc, time::SystemTime};

use http::{HeaderValue, Method, Response, Uri, Version, header, request};
use hyper::body::Incoming;
use lb_core::{
    client_addr::client_addr,
    config,
    exchange::{End, Exchange, Sent},
    plan::RouteId,
    reason::Reason,
    time::{Duration, Instant},
};

use crate::{
    access_log::Record,
    forwarded::{self, Fields, X_REQUEST_ID},
    front::Front,
    reply::{self, Manner},
    request_body::RequestBody,
    response_body::ResponseBody,
    snapshot::{SharedPool, Snapshot},
    upstream::Connection,
    worker::Worker,
};

/// Why the balancer answers by itself.
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) detail: &'static str,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, retry_after: None, detail: "" }
    }
}

/// A request in flight. It rides in the response's body and ends with it; dropped earlier, the client
/// has left.
pub(crate) struct Flight {
    pub(crate) front: Rc<Front>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) started: Instant,
    /// When the whole request must be over.
    pub(crate) deadline: Option<Instant>,
    /// Whether the peer is believed about the client.
    pub(crate) trusted: bool,
    pub(crate) client: IpAddr,
    /// `host[:port]` that the request is for; empty without one.
    pub(crate) authority: Box<str>,
    pub(crate) request_id: HeaderValue,
    pub(crate) route: Option<RouteId>,
    pub(crate) exchange: Option<Exchange<SharedPool>>,
    pub(crate) body: Option<Rc<RequestBody>>,
    /// The connection that the response comes from.
    pub(crate) connection: Option<Connection>,
    pub(crate) response_bytes: u64,
    seen: Seen,
    backend: Option<Arc<str>>,
    tries: u32,
    head_after: Option<Duration>,
    status: u16,
    reason: Option<Reason>,
    detail: &'static str,
    logged: bool,
}

/// What the log wants of a request after its parts went to the backend.
struct Seen {
    time: SystemTime,
    method: Method,
    uri: Uri,
    version: Version,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    wants_json: bool,
}

impl Flight {
    pub(crate) fn begin(front: Rc<Front>, parts: &request::Parts) -> Box<Self> {
        let headers = &parts.headers;
        let closes = parts.version == Version::HTTP_10
            || headers
                .get(header::CONNECTION)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        front.begin(parts.version, closes);
        let worker = &front.worker;
        let peer = front.peer.ip().to_canonical();
        let trusted = front.listener.trusted.contains(peer);
        let client =
            if trusted { client_addr(peer, &front.listener.trusted, &Fields(headers)) } else { peer };
        let request_id = match headers.get(&X_REQUEST_ID) {
            Some(id) if trusted && !id.is_empty() => id.clone(),
            _ => worker.new_request_id(),
        };
        Box::new(Self {
            snapshot: worker.snapshot(),
            started: worker.clock.now(),
            deadline: None,
            trusted,
            client,
            authority: forwarded::authority(parts).unwrap_or_default().into(),
            request_id,
            route: None,
            exchange: None,
            body: None,
            connection: None,
            response_bytes: 0,
            seen: Seen {
                time: SystemTime::now(),
                method: parts.method.clone(),
                uri: parts.uri.clone(),
                version: parts.version,
                user_agent: headers.get(header::USER_AGENT).cloned(),
                referer: headers.get(header::REFERER).cloned(),
                wants_json: headers.contains_key(header::ACCEPT)
                    && reply::prefers_json(headers.get_all(header::ACCEPT).iter().map(HeaderValue::as_bytes)),
            },
            backend: None,
            tries: 0,
            head_after: None,
            status: Reason::ClientLeft.status(),
            reason: Some(Reason::ClientLeft),
            detail: "",
            logged: false,
            front,
        })
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.front.worker
    }

    pub(crate) fn now(&self) -> Instant {
        self.front.worker.clock.now()
    }

    pub(crate) fn exchange_mut(&mut self) -> Result<&mut Exchange<SharedPool>, Refused> {
        self.exchange.as_mut().ok_or_else(|| Reason::Internal.into())
    }

    /// How much of the request the present try's backend may have seen.
    pub(crate) fn sent(&self) -> Sent {
        match &self.body {
            Some(body) if body.is_consumed() => Sent::Body,
            _ => match &self.connection {
                Some(connection) if !connection.has_sent() => Sent::Nothing,
                _ => Sent::Head,
            },
        }
    }

    pub(crate) fn head_came(&mut self) {
        self.head_after = Some(self.now().since(self.started));
    }

    /// The peer's address as a header value, made once for each connection.
    pub(crate) fn peer_text(&self) -> HeaderValue {
        let mut kept = self.front.peer_text.borrow_mut();
        kept.get_or_insert_with(|| {
            let text = self.front.peer.ip().to_canonical().to_string();
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        })
        .clone()
    }

    /// The backend's response, on its way to the client.
    pub(crate) fn relay(mut self: Box<Self>, response: Response<Incoming>) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        forwarded::strip_hop_by_hop(&mut parts.headers);
        if let Some(route) = self.route {
            self.snapshot.edits(route).response.apply(&mut parts.headers);
        }
        parts.version = Version::HTTP_11;
        self.status = parts.status.as_u16();
        self.reason = None;
        Response::from_parts(parts, ResponseBody::backend(self, body))
    }

    /// The balancer's own answer.
    pub(crate) fn reply(mut self: Box<Self>, refused: Refused) -> Response<ResponseBody> {
        let Refused { reason, retry_after, detail } = refused;
        self.status = reason.status();
        self.reason = Some(reason);
        self.detail = detail;
        self.connection = None;
        let close = matches!(
            reason,
            Reason::MalformedRequest
                | Reason::MethodNotImplemented
                | Reason::MalformedBody
                | Reason::BodyTooLarge
                | Reason::RequestBodyTimeout
                | Reason::ShuttingDown
        ) || self.front.refusal().is_some();
        let mut response = reply::reply(
            reason,
            &Manner {
                wants_json: self.seen.wants_json,
                head_request: self.seen.method == Method::HEAD,
                retry_after,
                reason_header: self.front.listener.config.reason_header,
                close,
            },
        );
        response.headers_mut().insert(X_REQUEST_ID, self.request_id.clone());
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, ResponseBody::own(self, body))
    }

    /// The response is complete, as far as the balancer can see.
    pub(crate) fn complete(mut self: Box<Self>) {
        self.keep_connection();
        self.end(End::Complete);
    }

    /// The response broke off: the client must not take it for a whole one.
    pub(crate) fn broken(mut self: Box<Self>, reason: Reason) {
        self.reason = Some(reason);
        self.front.reset();
        self.connection = None;
        let end = match reason {
            Reason::ResponseBodyTimeout | Reason::RequestTimeout => End::BodyTimeout,
            _ => End::Truncated,
        };
        self.end(end);
    }

    pub(crate) fn pool(&self) -> Option<&SharedPool> {
        let snapshot = &self.snapshot;
        self.route.map(|route| snapshot.pool(snapshot.plan.route(route).pool))
    }

    /// The configuration of the route's pool.
    pub(crate) fn pool_config(&self) -> Option<&config::Pool> {
        let plan = &self.snapshot.plan;
        self.route.map(|route| &plan.pool(plan.route(route).pool).config)
    }

    fn keep_connection(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.body.as_ref().is_some_and(|body| !body.has_ended()) {
            return; // the backend answered before it had the whole request
        }
        let Some(pool) = self.pool_config() else { return };
        let until = self.now() + pool.timeouts.keep_alive;
        self.worker().idle.put(connection, pool.limits.idle_connections, until);
    }

    fn end(&mut self, end: End) {
        if let Some(exchange) = self.exchange.take() {
            self.tries = exchange.tries();
            self.backend = exchange.endpoint_name().cloned();
            exchange.finish(end, self.now());
        }
        self.front.request_timer.clear();
        self.log();
        self.front.done();
    }

    fn log(&mut self) {
        if std::mem::replace(&mut self.logged, true) || !self.worker().logs() {
            return;
        }
        let plan = &self.snapshot.plan;
        let route = self.route.map(|route| plan.route(route));
        let seen = &self.seen;
        let target = seen
            .uri
            .path_and_query()
            .map_or(Cow::Owned(seen.uri.to_string()), |target| Cow::Borrowed(target.as_str()));
        self.worker().log(&Record {
            time: seen.time,
            listener: &self.front.listener.name,
            client: self.client,
            peer: self.front.peer,
            method: seen.method.as_str(),
            host: &self.authority,
            target: &target,
            version: if seen.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            status: self.status,
            reason: self.reason,
            detail: self.detail,
            route: route.map(|route| &*route.name),
            pool: route.map(|route| &*plan.pool(route.pool).name),
            backend: self.backend.as_deref(),
            tries: self.tries,
            request_bytes: self.body.as_ref().map_or(0, |body| body.bytes()),
            response_bytes: self.response_bytes,
            duration: self.now().since(self.started),
            head_duration: self.head_after,
            request_id: self.request_id.to_str().unwrap_or("-"),
            user_agent: seen.user_agent.as_ref().map_or(b"", HeaderValue::as_bytes),
            referer: seen.referer.as_ref().map_or(b"", HeaderValue::as_bytes),
        });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.logged {
            if self.reason.is_none() {
                self.reason = Some(Reason::ClientLeft);
                self.status = Reason::ClientLeft.status();
            }
            self.end(End::ClientLeft);
        }
    }
}
