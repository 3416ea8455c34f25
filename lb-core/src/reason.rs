//! Why the balancer answered by itself: one closed set, for logs, headers and metrics alike.

/// The reason behind an answer that no backend gave.
///
/// [`Reason::code`] is stable: it stands in access logs, in the `X-LB-Reason` header and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request's head or framing is not valid HTTP/1.1, or is ambiguous.
    MalformedRequest,
    /// The request's body broke its own framing (a bad chunk size, say), or ended early.
    MalformedBody,
    /// The request's head did not arrive in time.
    RequestHeadTimeout,
    /// The request's body stopped flowing for too long.
    RequestBodyTimeout,
    /// The request's target is longer than the listener allows.
    UriTooLong,
    /// The request's head is larger, or has more fields, than the listener allows.
    HeadTooLarge,
    /// The request's body is larger than the listener allows.
    BodyTooLarge,
    /// A method that the balancer does not offer (CONNECT).
    MethodNotImplemented,
    /// The global firewall refused the request.
    FirewallGlobal,
    /// The route's firewall refused the request.
    FirewallRoute,
    /// The route's rate limit is used up for this key.
    RateLimited,
    /// No route matches.
    NoRoute,
    /// The pool has no backend that may be picked.
    NoHealthyBackend,
    /// The listener has as many connections as it may have.
    TooManyConnections,
    /// The pool has as many requests waiting for an answer as it may have.
    TooManyPending,
    /// Every backend has as many requests as it may have, and so has the queue.
    QueueFull,
    /// No backend had a free slot in time.
    QueueTimeout,
    /// The pool has as many requests in flight as its adaptive limit lets, and no queue.
    ConcurrencyLimit,
    /// No connection to a backend could be made.
    ConnectFailed,
    /// Connecting to a backend took too long.
    ConnectTimeout,
    /// The backend closed or reset the connection before its answer.
    BackendReset,
    /// The backend's answer is not valid HTTP/1.1.
    BackendInvalid,
    /// The backend's answer did not begin in time.
    ResponseHeadTimeout,
    /// The request's whole time is used up.
    RequestTimeout,
    /// The backend's answer broke off after its head had been passed on.
    ResponseTruncated,
    /// The backend's answer stopped flowing for too long after its head had been passed on.
    ResponseBodyTimeout,
    /// The client left before the answer was complete.
    ClientLeft,
    /// The balancer is shutting down.
    ShuttingDown,
    /// A defect of the balancer itself.
    Internal,
}

impl Reason {
    /// All reasons, in the order of their definition.
    pub const ALL: [Self; 29] = [
        Self::MalformedRequest,
        Self::MalformedBody,
        Self::RequestHeadTimeout,
        Self::RequestBodyTimeout,
        Self::UriTooLong,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::MethodNotImplemented,
        Self::FirewallGlobal,
        Self::FirewallRoute,
        Self::RateLimited,
        Self::NoRoute,
        Self::NoHealthyBackend,
        Self::TooManyConnections,
        Self::TooManyPending,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::ConcurrencyLimit,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::BackendReset,
        Self::BackendInvalid,
        Self::ResponseHeadTimeout,
        Self::RequestTimeout,
        Self::ResponseTruncated,
        Self::ResponseBodyTimeout,
        Self::ClientLeft,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// The stable code: lower case words joined by underscores.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().1
    }

    /// The status that the client gets. For the reasons that strike after a head has gone out
    /// ([`Reason::ResponseTruncated`], [`Reason::ResponseBodyTimeout`]) it is the one that would have
    /// been sent; 499 stands in logs only.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.facts().0
    }

    /// The text of the answer's body.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.facts().2
    }

    /// What the JSON form of the answer carries under `error`.
    #[must_use]
    pub const fn json_error(self) -> &'static str {
        match self {
            Self::NoHealthyBackend => "No healthy backends",
            _ => self.text(),
        }
    }

    const fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (400, "malformed_request", "Bad Request"),
            Self::MalformedBody => (400, "malformed_body", "Bad Request"),
            Self::RequestHeadTimeout => (408, "request_head_timeout", "Request Timeout"),
            Self::RequestBodyTimeout => (408, "request_body_timeout", "Request Timeout"),
            Self::UriTooLong => (414, "uri_too_long", "URI Too Long"),
            Self::HeadTooLarge => (431, "head_too_large", "Request Header Fields Too Large"),
            Self::BodyTooLarge => (413, "body_too_large", "Content Too Large"),
            Self::MethodNotImplemented => (501, "method_not_implemented", "Not Implemented"),
            Self::FirewallGlobal => (403, "firewall_global", "Forbidden"),
            Self::FirewallRoute => (403, "firewall_route", "Forbidden"),
            Self::RateLimited => (429, "rate_limited", "Too Many Requests"),
            Self::NoRoute => (404, "no_route", "Not Found"),
            Self::NoHealthyBackend => (503, "no_healthy_backend", "No Backends servers available"),
            Self::TooManyConnections => (503, "too_many_connections", "Service Unavailable"),
            Self::TooManyPending => (503, "too_many_pending", "Service Unavailable"),
            Self::QueueFull => (503, "queue_full", "Service Unavailable"),
            Self::QueueTimeout => (503, "queue_timeout", "Service Unavailable"),
            Self::ConcurrencyLimit => (503, "concurrency_limit", "Service Unavailable"),
            Self::ConnectFailed => (502, "connect_failed", "Bad Gateway"),
            Self::ConnectTimeout => (502, "connect_timeout", "Bad Gateway"),
            Self::BackendReset => (502, "backend_reset", "Bad Gateway"),
            Self::BackendInvalid => (502, "backend_invalid", "Bad Gateway"),
            Self::ResponseHeadTimeout => (504, "response_head_timeout", "Gateway Timeout"),
            Self::RequestTimeout => (504, "request_timeout", "Gateway Timeout"),
            Self::ResponseTruncated => (502, "response_truncated", "Bad Gateway"),
            Self::ResponseBodyTimeout => (504, "response_body_timeout", "Gateway Timeout"),
            Self::ClientLeft => (499, "client_left", "Client Closed Request"),
            Self::ShuttingDown => (503, "shutting_down", "Service Unavailable"),
            Self::Internal => (500, "internal", "Internal Server Error"),
        }
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_listed_once() {
        let mut codes = Reason::ALL.map(Reason::code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
        assert_eq!(Reason::ALL.len(), Reason::Internal as usize + 1);
    }
}
