//! One request in flight: all that is known of it, until its line is in the log.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::SystemTime};

use http::{HeaderValue, header};
use lb_core::{
    client_addr::client_addr,
    config,
    exchange::{End, Exchange},
    plan::RouteId,
    reason::Reason,
    sticky::Session,
    time::{Duration, Instant},
};

use crate::{
    access_log::Record,
    answer::Answer,
    forwarded::{RequestId, X_REQUEST_ID},
    front::Front,
    outgoing::Received,
    reply::{self, Manner},
    request_body::RequestBody,
    request_head::RequestHead,
    response_body::ResponseBody,
    snapshot::{NO_EDITS, SharedPool, Snapshot},
    upstream::{Connection, FieldLines, Head, ResponseStream},
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
    pub(crate) request_id: RequestId,
    /// The client's `Connection` says more than whether it stays.
    connection_names_fields: bool,
    /// The request as it came.
    pub(crate) head: RequestHead,
    pub(crate) route: Option<RouteId>,
    pub(crate) exchange: Option<Exchange<SharedPool>>,
    /// The sticky session that the request belongs to.
    pub(crate) session: Option<Session>,
    pub(crate) body: Option<Rc<RequestBody>>,
    pub(crate) response_bytes: u64,
    backend: Option<Arc<str>>,
    tries: u32,
    head_after: Option<Duration>,
    status: u16,
    reason: Option<Reason>,
    detail: &'static str,
    logged: bool,
}

impl Flight {
    pub(crate) fn begin(front: Rc<Front>, head: RequestHead) -> Box<Self> {
        let (mut closes, mut keeps, mut connection_names_fields) = (false, false, false);
        for option in head.connection_options() {
            let says_close = option.eq_ignore_ascii_case(b"close");
            let says_keep = option.eq_ignore_ascii_case(b"keep-alive");
            closes |= says_close;
            keeps |= says_keep;
            connection_names_fields |= !says_close && !says_keep;
        }
        front.begin(head.version(), closes || head.is_10() && !keeps);
        let worker = &front.worker;
        let peer = front.peer.ip().to_canonical();
        let trusted = front.listener.trusted.contains(peer);
        let client = if trusted { client_addr(peer, &front.listener.trusted, &head) } else { peer };
        let given_id = if trusted { head.value(X_REQUEST_ID).filter(|id| !id.is_empty()) } else { None };
        Box::new(Self {
            snapshot: worker.snapshot(),
            started: worker.now(),
            deadline: None,
            trusted,
            client,
            request_id: given_id.map_or_else(|| worker.new_request_id(), |id| RequestId::Given(id.into())),
            connection_names_fields,
            head,
            route: None,
            exchange: None,
            session: None,
            body: None,
            response_bytes: 0,
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

    /// What heads to backends are written from.
    pub(crate) fn received(&self) -> Received<'_> {
        Received {
            head: &self.head,
            connection_names_fields: self.connection_names_fields,
            trusted: self.trusted,
            peer: self.front.peer_text(),
            request_id: self.request_id.as_bytes(),
            edits: self.route.map_or(&NO_EDITS, |route| &self.snapshot.edits(route).request),
        }
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.front.worker
    }

    pub(crate) fn now(&self) -> Instant {
        self.front.worker.now()
    }

    pub(crate) fn exchange_mut(&mut self) -> Result<&mut Exchange<SharedPool>, Refused> {
        self.exchange.as_mut().ok_or_else(|| Reason::Internal.into())
    }

    pub(crate) fn head_came(&mut self) {
        self.head_after = Some(self.now().since(self.started));
    }

    /// The backend's response, on its way to the client.
    pub(crate) fn relay(mut self: Box<Self>, head: Head, stream: Box<ResponseStream>) -> Answer {
        let Head { status, mut fields, trailer, .. } = head;
        self.status = status.as_u16();
        self.reason = None;
        if let Some(route) = self.route {
            fields.apply(&self.snapshot.edits(route).response);
            if let Some(cookie) = self.session_cookie(route) {
                fields.push_field(header::SET_COOKIE.as_str(), cookie.as_bytes());
            }
        }
        if !fields.has_date() {
            fields.push_field(header::DATE.as_str(), &self.worker().http_date());
        }
        self.front.answers();
        let body = ResponseBody::backend(self, stream);
        Answer { status, fields, trailer, close: false, body }
    }

    /// What the client is to send from now on, so that it gets to the same backend. A backend that failed is
    /// none to come back to.
    fn session_cookie(&self, route: RouteId) -> Option<HeaderValue> {
        let id = self.snapshot.plan.route(route).pool;
        let cookies = self.snapshot.sessions(id).filter(|_| self.status < 500)?;
        let now = self.worker().net().unix_seconds();
        cookies.answer(self.session, self.exchange.as_ref()?, self.snapshot.pool(id), now)
    }

    /// The balancer's own answer.
    pub(crate) fn reply(mut self: Box<Self>, refused: Refused) -> Answer {
        let Refused { reason, retry_after, detail } = refused;
        self.front.answers();
        self.status = reason.status();
        self.reason = Some(reason);
        self.detail = detail;
        let close = matches!(
            reason,
            Reason::MalformedRequest
                | Reason::MethodNotImplemented
                | Reason::MalformedBody
                | Reason::BodyTooLarge
                | Reason::RequestBodyTimeout
                | Reason::ShuttingDown
        ) || self.front.refusal().is_some();
        let head_request = self.head.is_head_request();
        let manner = Manner {
            wants_json: reply::prefers_json(self.head.values("accept")),
            head_request,
            retry_after,
            reason_header: self.front.listener.config.reason_header,
            close,
        };
        let (parts, body) = reply::reply(reason, &manner).into_parts();
        let mut headers = parts.headers;
        headers.remove(header::CONNECTION);
        if !head_request {
            // Whoever frames the body says it.
            headers.remove(header::CONTENT_LENGTH);
        }
        let mut fields = FieldLines::of(parts.status, Vec::new(), 0);
        for (name, value) in &headers {
            fields.push_field(name.as_str(), value.as_bytes());
        }
        fields.push_field(X_REQUEST_ID, self.request_id.as_bytes());
        fields.push_field(header::DATE.as_str(), &self.worker().http_date());
        let body = ResponseBody::own(self, body);
        Answer { status: parts.status, fields, trailer: Vec::new(), close, body }
    }

    /// The response is complete, as far as the balancer can see; its connection may serve again.
    pub(crate) fn complete(mut self: Box<Self>, connection: Option<Connection>) {
        if let (Some(connection), Some(pool)) = (connection, self.pool_config()) {
            let until = self.now() + pool.timeouts.keep_alive;
            self.worker().idle.put(connection, pool.limits.idle_connections, until);
        }
        self.end(End::Complete);
    }

    /// The response broke off.
    pub(crate) fn broken(mut self: Box<Self>, reason: Reason, end: End) {
        self.reason = Some(reason);
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
        let head = &self.head;
        let field = |name| head.value(name).unwrap_or_default();
        let duration = self.now().since(self.started);
        self.worker().log(&Record {
            time: SystemTime::now() - duration,
            listener: &self.front.listener.name,
            client: self.client,
            peer: self.front.peer,
            method: head.method(),
            host: head.authority().unwrap_or_default(),
            target: head.target(),
            version: if head.is_10() { "HTTP/1.0" } else { "HTTP/1.1" },
            status: self.status,
            reason: self.reason,
            detail: self.detail,
            route: route.map(|route| &*route.name),
            pool: route.map(|route| &*plan.pool(route.pool).name),
            backend: self.backend.as_deref(),
            tries: self.tries,
            request_bytes: self.body.as_ref().map_or(0, |body| body.bytes()),
            response_bytes: self.response_bytes,
            duration,
            head_duration: self.head_after,
            request_id: self.request_id.as_str(),
            user_agent: field("user-agent"),
            referer: field("referer"),
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
        let (bytes, places) = std::mem::take(&mut self.head).into_memory();
        let worker = self.worker();
        worker.spare_bytes.put(bytes);
        worker.spare_places.put(places);
    }
}
