//! One line of the access log.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use lb_core::config::LogFormat;
use lb_core::reason::Reason;

use super::text::{push_combined, push_ip, push_json, push_number, push_padded};
use super::time::{push_clf, push_rfc3339};

/// What stands before the value of a member that is not the first of its object.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// What the access log says of one request. Strings are as they were received; the log makes them safe.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// When the request began.
    pub time: SystemTime,
    /// The listener's address.
    pub listener: &'a str,
    /// The client, after trusted proxies have been looked through.
    pub client: IpAddr,
    /// Who was connected.
    pub peer: SocketAddr,
    /// The method; empty when no head could be read, and so the next three.
    pub method: &'a str,
    /// The Host field or the target's authority.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// `HTTP/1.1`
    pub version: &'a str,
    /// The status sent, or 499.
    pub status: u16,
    /// Why, if the answer was the balancer's own, or was cut off.
    pub reason: Option<Reason>,
    /// More about the reason; may be empty.
    pub detail: &'a str,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The pool's name.
    pub pool: Option<&'a str>,
    /// The name of the backend that was tried last.
    pub backend: Option<&'a str>,
    /// How many backends were tried.
    pub tries: u32,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// From the head to the end of the response.
    pub duration: Duration,
    /// From the head to the backend's head.
    pub head_duration: Option<Duration>,
    /// The request's identity across systems.
    pub request_id: &'a str,
    /// The User-Agent field; may be empty.
    pub user_agent: &'a [u8],
    /// The Referer field; may be empty.
    pub referer: &'a [u8],
}

impl<'a> Record<'a> {
    /// For a connection that is refused before a request could be read from it.
    pub(crate) fn of_connection(
        listener: &'a str,
        peer: SocketAddr,
        reason: Reason,
        detail: &'a str,
        duration: Duration,
    ) -> Self {
        Self {
            time: SystemTime::now(),
            listener,
            client: peer.ip().to_canonical(),
            peer,
            method: "-",
            host: "",
            target: "-",
            version: "HTTP/1.1",
            status: reason.status(),
            reason: Some(reason),
            detail,
            route: None,
            pool: None,
            backend: None,
            tries: 0,
            request_bytes: 0,
            response_bytes: 0,
            duration,
            head_duration: None,
            request_id: "",
            user_agent: b"",
            referer: b"",
        }
    }

    /// Appends the line and its newline; nothing for [`LogFormat::Off`].
    pub(super) fn push(&self, out: &mut Vec<u8>, format: LogFormat) {
        match format {
            LogFormat::Json => self.push_json(out),
            LogFormat::Combined => self.push_combined(out),
            LogFormat::Off => {}
        }
    }

    /// One object. What is not known is left out; durations are milliseconds with three decimals.
    fn push_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        push_rfc3339(out, self.time);
        out.push(b'"');
        member(out, key!("listener"), self.listener.as_bytes());
        out.extend_from_slice(key!("client").as_bytes());
        quoted_ip(out, self.client);
        out.push(b'"');
        out.extend_from_slice(key!("peer").as_bytes());
        match self.peer.ip() {
            ip @ IpAddr::V4(_) => quoted_ip(out, ip),
            ip @ IpAddr::V6(_) => {
                out.extend_from_slice(b"\"[");
                push_ip(out, ip);
                out.push(b']');
            }
        }
        out.push(b':');
        push_number(out, u64::from(self.peer.port()));
        out.push(b'"');
        optional(out, key!("request_id"), self.request_id.as_bytes());
        optional(out, key!("method"), self.method.as_bytes());
        optional(out, key!("host"), self.host.as_bytes());
        optional(out, key!("target"), self.target.as_bytes());
        optional(out, key!("version"), self.version.as_bytes());
        number(out, key!("status"), u64::from(self.status));
        optional(out, key!("reason"), self.reason.map_or("", Reason::code).as_bytes());
        optional(out, key!("detail"), self.detail.as_bytes());
        optional(out, key!("route"), self.route.unwrap_or_default().as_bytes());
        optional(out, key!("pool"), self.pool.unwrap_or_default().as_bytes());
        optional(out, key!("backend"), self.backend.unwrap_or_default().as_bytes());
        number(out, key!("tries"), u64::from(self.tries));
        number(out, key!("request_bytes"), self.request_bytes);
        number(out, key!("response_bytes"), self.response_bytes);
        milliseconds(out, key!("duration_ms"), self.duration);
        if let Some(duration) = self.head_duration {
            milliseconds(out, key!("head_duration_ms"), duration);
        }
        optional(out, key!("user_agent"), self.user_agent);
        optional(out, key!("referer"), self.referer);
        out.extend_from_slice(b"}\n");
    }

    /// The format of Apache and nginx: `client - - [time] "request" status bytes "referer" "agent"`.
    fn push_combined(&self, out: &mut Vec<u8>) {
        push_ip(out, self.client);
        out.extend_from_slice(b" - - [");
        push_clf(out, self.time);
        out.extend_from_slice(b"] \"");
        push_combined(out, self.method.as_bytes());
        for part in [self.target, self.version] {
            if !part.is_empty() {
                out.push(b' ');
                push_combined(out, part.as_bytes());
            }
        }
        out.extend_from_slice(b"\" ");
        push_number(out, u64::from(self.status));
        out.push(b' ');
        push_number(out, self.response_bytes);
        for part in [self.referer, self.user_agent] {
            out.extend_from_slice(b" \"");
            push_combined(out, part);
            out.push(b'"');
        }
        out.push(b'\n');
    }
}

fn member(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    push_json(out, value);
}

fn optional(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    if !value.is_empty() {
        member(out, key, value);
    }
}

fn number(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    push_number(out, value);
}

fn milliseconds(out: &mut Vec<u8>, key: &str, duration: Duration) {
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, key, microseconds / 1000);
    out.push(b'.');
    push_padded(out, microseconds % 1000, 3);
}

/// An address after a quote that the caller closes.
fn quoted_ip(out: &mut Vec<u8>, ip: IpAddr) {
    out.push(b'"');
    push_ip(out, ip);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn record() -> Record<'static> {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_271_846_123),
            listener: "0.0.0.0:8000",
            client: IpAddr::from([55, 55, 55, 55]),
            peer: SocketAddr::from(([127, 0, 0, 1], 4711)),
            method: "GET",
            host: "www.mango.com",
            target: "/v1?a=b",
            version: "HTTP/1.1",
            status: 200,
            reason: None,
            detail: "",
            route: Some("mango"),
            pool: Some("mango"),
            backend: Some("127.0.0.1:8081"),
            tries: 1,
            request_bytes: 0,
            response_bytes: 28,
            duration: Duration::from_nanos(1_234_567),
            head_duration: Some(Duration::from_micros(1001)),
            request_id: "4bf92f",
            user_agent: b"curl/8",
            referer: b"",
        }
    }

    fn line(record: &Record<'_>, format: LogFormat) -> String {
        let mut out = Vec::new();
        record.push(&mut out, format);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn json() {
        assert_eq!(
            line(&record(), LogFormat::Json),
            concat!(
                r#"{"time":"2026-11-21T14:37:26.123Z","listener":"0.0.0.0:8000","client":"55.55.55.55","#,
                r#""peer":"127.0.0.1:4711","request_id":"4bf92f","method":"GET","host":"www.mango.com","#,
                r#""target":"/v1?a=b","version":"HTTP/1.1","status":200,"route":"mango","pool":"mango","#,
                r#""backend":"127.0.0.1:8081","tries":1,"request_bytes":0,"response_bytes":28,"#,
                r#""duration_ms":1.234,"head_duration_ms":1.001,"user_agent":"curl/8"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn json_of_a_refusal() {
        let refusal = Record {
            peer: "[2001:db8::1]:9".parse().expect("address"),
            status: 400,
            reason: Some(Reason::MalformedRequest),
            detail: "bare LF",
            method: "",
            ..record()
        };
        let line: serde_json::Value = serde_json::from_str(&line(&refusal, LogFormat::Json)).expect("JSON");
        assert_eq!(line["peer"], "[2001:db8::1]:9");
        assert_eq!(line["reason"], "malformed_request");
        assert_eq!(line["detail"], "bare LF");
        assert_eq!(line.get("method"), None);
    }

    #[test]
    fn combined() {
        assert_eq!(
            line(&record(), LogFormat::Combined),
            "55.55.55.55 - - [21/Nov/2026:14:37:26 +0000] \"GET /v1?a=b HTTP/1.1\" 200 28 \"-\" \"curl/8\"\n"
        );
        let no_head = Record { method: "", target: "", version: "", ..record() };
        assert!(line(&no_head, LogFormat::Combined).contains("] \"-\" 200 28 "));
        let hostile = Record { referer: b"\" 200 1\n\xff", ..record() };
        assert!(line(&hostile, LogFormat::Combined).contains(" \"\\x22 200 1\\x0A\\xFF\" \"curl/8\"\n"));
    }

    proptest! {
        #[test]
        fn every_record_is_one_line_that_reads_back(
            texts in prop::collection::vec(".{0,20}", 9), agent: Vec<u8>, referer: Vec<u8>,
            client: IpAddr, peer: SocketAddr, numbers: [u64; 2], status: u16, duration: Duration,
        ) {
            let record = Record {
                listener: &texts[0], method: &texts[1], host: &texts[2], target: &texts[3], version: &texts[4],
                detail: &texts[5], route: Some(&texts[6]), pool: None, backend: Some(&texts[7]),
                request_id: &texts[8], user_agent: &agent, referer: &referer, client, peer, status, duration,
                request_bytes: numbers[0], response_bytes: numbers[1], ..record()
            };
            let json = line(&record, LogFormat::Json);
            prop_assert_eq!(json.matches('\n').count(), 1);
            let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            let text = |key: &str| read[key].as_str().unwrap_or_default().to_owned();
            prop_assert_eq!(text("target"), record.target);
            prop_assert_eq!(text("backend"), record.backend.unwrap_or_default());
            prop_assert_eq!(text("user_agent"), String::from_utf8_lossy(&agent));
            prop_assert_eq!(text("client").parse(), Ok(client));
            prop_assert_eq!(read["response_bytes"].as_u64(), Some(numbers[1]));
            let combined = line(&record, LogFormat::Combined);
            prop_assert!(combined.trim_end_matches('\n').bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(combined.matches('"').count(), 6);
        }
    }
}
