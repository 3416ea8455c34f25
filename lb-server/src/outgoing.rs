//! The request as backends get it: its head, written straight from the fields that the client sent.
//!
//! Nothing is removed from or inserted into the client's fields; what must not go on is passed over while
//! writing, and what is added follows: one look at each field.

use std::ops::Range;

use http::uri::PathAndQuery;

use crate::{
    forwarded::{self, Kind},
    request_head::{Field, RequestHead},
    snapshot::HeaderEdits,
    upstream::{Framing, write_field},
};

/// What every try of a request sends, beside the fields that its flight has.
pub(crate) struct Outgoing {
    pub(crate) target: Target,
    pub(crate) framing: Framing,
    pub(crate) host: Host,
}

/// The target that the backend gets.
pub(crate) enum Target {
    /// The client's own.
    Same,
    /// What the route makes of it.
    Other(PathAndQuery),
}

/// The Host that the backend gets.
pub(crate) enum Host {
    /// What the request is for, so that what was judged is what is forwarded.
    Same,
    /// What the route says.
    Other(String),
    /// The backend's own address, another one for each try.
    OfBackend,
}

/// The request as it came, and what is known of where it came from.
pub(crate) struct Received<'a> {
    pub(crate) head: &'a RequestHead,
    /// Its `Connection` names other fields.
    pub(crate) connection_names_fields: bool,
    /// Whether the peer is believed about the client.
    pub(crate) trusted: bool,
    /// The peer's address.
    pub(crate) peer: &'a str,
    pub(crate) request_id: &'a [u8],
    /// What the route changes.
    pub(crate) edits: &'a HeaderEdits,
}

impl Outgoing {
    /// Writes the head for a try; `own_host` is the backend's address as its Host.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, received: &Received<'_>, own_host: Option<&str>) {
        let head = received.head;
        let target = match &self.target {
            Target::Same => head.target(),
            Target::Other(target) => target.as_str(),
        };
        for part in [head.method(), " ", target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        let host = match &self.host {
            Host::Same => head.authority().unwrap_or_default(),
            Host::Other(host) => host,
            Host::OfBackend => own_host.unwrap_or_default(),
        };
        // Mostly the client's own line begins its fields.
        let host_line = head.first_host_line().filter(|_| matches!(self.host, Host::Same));
        if host_line.is_none() {
            write_field(out, "host", host.as_bytes());
        }
        let accepts_trailers = write_fields(out, received, host_line.unwrap_or_default());
        write_origin(out, received);
        if accepts_trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        out.extend_from_slice(received.edits.added());
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the client's own fields, as far as they go on, behind the line at `first`; gives whether it takes
/// trailers.
fn write_fields(out: &mut Vec<u8>, received: &Received<'_>, first: Range<usize>) -> bool {
    let &Received { head, edits, .. } = received;
    let named: Vec<&[u8]> = if received.connection_names_fields {
        head.connection_options().filter(|name| forwarded::may_be_named(name)).collect()
    } else {
        Vec::new()
    };
    let mut accepts_trailers = false;
    let drops_any = edits.drops_any();
    // Lines that go on as they came and stand side by side are copied together.
    let mut kept = first;
    for Field { name, value, kind, line } in head.fields() {
        let goes_on = match kind {
            Kind::EndToEnd => true,
            Kind::Origin => received.trusted,
            Kind::OwnOrigin | Kind::Lookalike | Kind::Host => false,
            Kind::HopByHop => {
                accepts_trailers |= name.eq_ignore_ascii_case(b"te") && forwarded::accepts_trailers(value);
                false
            }
        };
        let is_taken =
            named.iter().any(|named| named.eq_ignore_ascii_case(name)) || (drops_any && edits.replaces(name));
        if !goes_on || is_taken {
            continue;
        }
        match line {
            Some(line) if line.start == kept.end => kept.end = line.end,
            line => {
                out.extend_from_slice(&head.bytes()[kept]);
                kept = line.unwrap_or_default();
                if kept.is_empty() {
                    write_field(out, name, value);
                }
            }
        }
    }
    out.extend_from_slice(&head.bytes()[kept]);
    accepts_trailers
}

/// Tells the backend where the request came from. What a trusted proxy said of it stays, what anyone
/// else said is replaced.
fn write_origin(out: &mut Vec<u8>, received: &Received<'_>) {
    let &Received { head, edits, trusted, .. } = received;
    let drops_any = edits.drops_any();
    let is_edited = |name: &str| drops_any && edits.replaces(name.as_bytes());
    if !is_edited(forwarded::X_FORWARDED_FOR) {
        out.extend_from_slice(b"x-forwarded-for: ");
        if trusted {
            for earlier in head.values(forwarded::X_FORWARDED_FOR) {
                out.extend_from_slice(earlier);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(received.peer.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let told = |name: &str| if trusted { head.value(name) } else { None };
    if !is_edited(forwarded::X_FORWARDED_PROTO) {
        match told(forwarded::X_FORWARDED_PROTO) {
            Some(proto) => write_field(out, forwarded::X_FORWARDED_PROTO, proto),
            None => out.extend_from_slice(b"x-forwarded-proto: http\r\n"),
        }
    }
    if !is_edited(forwarded::X_FORWARDED_HOST) {
        let host = told(forwarded::X_FORWARDED_HOST).or(head.authority().map(str::as_bytes));
        if let Some(host) = host {
            write_field(out, forwarded::X_FORWARDED_HOST, host);
        }
    }
    if !is_edited(forwarded::X_REQUEST_ID) {
        write_field(out, forwarded::X_REQUEST_ID, received.request_id);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{
        framing::{ScanLimits, Scanner},
        request_head::Places,
        snapshot::NO_EDITS,
    };

    const OWN: &str =
        "x-forwarded-for: 192.0.2.1|x-forwarded-proto: http|x-forwarded-host: a|x-request-id: id|";

    /// The head, with `|` for each line's end and without its last, empty line.
    fn head(outgoing: &Outgoing, fields: &[(&str, &str)], trusted: bool, edits: &HeaderEdits) -> String {
        let mut request = Request::get("/a?b");
        // Only the first Host says what it is for; that there is one is the scanner's to see to.
        for (name, value) in [("host", "a")].iter().chain(fields) {
            request = request.header(*name, *value);
        }
        let received = Received {
            head: &RequestHead::of_library(&request.body(()).unwrap().into_parts().0),
            connection_names_fields: fields.iter().any(|(name, _)| *name == "connection"),
            trusted,
            peer: "192.0.2.1",
            request_id: b"id",
            edits,
        };
        let mut out = Vec::new();
        outgoing.write_head(&mut out, &received, Some("10.0.0.1:80"));
        let text = String::from_utf8(out).unwrap();
        text.strip_suffix("\r\n").unwrap().replace("\r\n", "|")
    }

    fn outgoing(host: Host, framing: Framing) -> Outgoing {
        Outgoing { target: Target::Same, framing, host }
    }

    #[rstest]
    #[case::same(Host::Same, "a")]
    #[case::other(Host::Other("b:8080".into()), "b:8080")]
    #[case::of_the_backend(Host::OfBackend, "10.0.0.1:80")]
    fn hosts(#[case] host: Host, #[case] sent: &str) {
        let written = head(&outgoing(host, Framing::Empty), &[("host", "x")], false, &NO_EDITS);
        assert_eq!(written, format!("GET /a?b HTTP/1.1|host: {sent}|{OWN}"));
    }

    #[rstest]
    #[case::plain(&[("x-a", "1"), ("x-a", "2"), ("cookie", "c")], "x-a: 1|x-a: 2|cookie: c|")]
    #[case::hop_by_hop(&[("keep-alive", "5"), ("upgrade", "h2c"), ("transfer-encoding", "chunked"), ("te", "gzip")], "")]
    #[case::named(&[("connection", "x-a, host, content-length"), ("x-a", "1"), ("content-length", "3")], "content-length: 3|")]
    #[case::trailer_stays(&[("trailer", "x-sum")], "trailer: x-sum|")]
    #[case::lies(
        &[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil"),
          ("x-request-id", "evil"), ("x-real-ip", "9.9.9.9"), ("forwarded", "for=9.9.9.9"), ("x-forwarded-port", "1")],
        ""
    )]
    fn fields_of_anyone(#[case] fields: &[(&str, &str)], #[case] passed_on: &str) {
        let written = head(&outgoing(Host::Same, Framing::Empty), fields, false, &NO_EDITS);
        assert_eq!(written, format!("GET /a?b HTTP/1.1|host: a|{passed_on}{OWN}"));
    }

    #[test]
    fn a_trusted_peers_word_stands() {
        let fields = [
            ("x-forwarded-for", "9.9.9.9, 8.8.8.8"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b"),
            ("forwarded", "for=9.9.9.9"),
        ];
        let written = head(&outgoing(Host::Same, Framing::Empty), &fields, true, &NO_EDITS);
        assert_eq!(
            written,
            "GET /a?b HTTP/1.1|host: a|forwarded: for=9.9.9.9|\
             x-forwarded-for: 9.9.9.9, 8.8.8.8, 7.7.7.7, 192.0.2.1|x-forwarded-proto: https|\
             x-forwarded-host: b|x-request-id: id|"
        );
    }

    #[test]
    fn trailers_and_chunks_are_announced() {
        let written = head(&outgoing(Host::Same, Framing::Chunked), &[("te", "trailers")], false, &NO_EDITS);
        let announced = "te: trailers|connection: te|transfer-encoding: chunked|";
        assert_eq!(written, format!("GET /a?b HTTP/1.1|host: a|{OWN}{announced}"));
    }

    /// The head for a request of these lines, each with a gap behind its colon, as its bytes came.
    fn head_of_lines(
        lines: &[(&str, &str, &str)],
        outgoing: &Outgoing,
        trusted: bool,
        edits: &HeaderEdits,
    ) -> Vec<u8> {
        let mut bytes = b"GET /a?b HTTP/1.1\r\n".to_vec();
        for (name, gap, value) in lines {
            // A letter beyond ASCII is a byte that is no text.
            let value = value.chars().map(|letter| letter as u8);
            bytes.extend(format!("{name}:{gap}").bytes().chain(value).chain(*b"\r\n"));
        }
        bytes.extend_from_slice(b"\r\n");
        let limits = ScanLimits { head_bytes: 4096, fields: 64, uri_bytes: 64 };
        let mut places = Places::into(Vec::new());
        assert_eq!(Scanner::new(limits).scan_first(&bytes, &mut places), Ok(true), "{lines:?}");
        let received = Received {
            head: &RequestHead::plain(&bytes, places, Vec::new()),
            connection_names_fields: true,
            trusted,
            peer: "192.0.2.1",
            request_id: b"id",
            edits,
        };
        let mut out = Vec::new();
        outgoing.write_head(&mut out, &received, Some("10.0.0.1:80"));
        out
    }

    proptest! {
        #[test]
        fn lines_copied_together_are_the_lines_one_by_one(
            fields in prop::collection::vec(prop::sample::select(vec![
                ("X-A", " ", "1"), ("x-b", " ", ""), ("X-C", "", "c"), ("X-D", "  ", "d"), ("Accept", " ", "*/*"),
                ("X-Latin", " ", "\u{e9}"), ("Cookie", "\t", "a=b"), ("Content-Length", " ", "0"),
                ("Connection", " ", "x-a, host"), ("TE", " ", "trailers"), ("Keep-Alive", " ", "5"),
                ("X-Forwarded-For", " ", "9.9.9.9"), ("X-Real-IP", " ", "9.9.9.9"), ("X_Real_IP", " ", "9.9.9.9"),
                ("X-Gone", " ", "1"), ("X-Set", " ", "old"),
            ]), 0..12),
            host_at: prop::sample::Index,
            host_gap in prop::sample::select(vec![" ", ""]),
            host in 0..3,
            trusted: bool,
            edited: bool,
        ) {
            let mut fields = fields;
            if let Some(first) = fields.iter().position(|(name, ..)| *name == "Content-Length") {
                let mut at = 0..;
                fields.retain(|(name, ..)| at.next() == Some(first) || *name != "Content-Length");
            }
            fields.insert(host_at.index(fields.len() + 1), ("host", host_gap, "a"));
            let host = || match host {
                0 => Host::Same,
                1 => Host::Other("b".into()),
                _ => Host::OfBackend,
            };
            let edits = HeaderEdits::compile(&lb_core::config::HeaderEdits {
                remove: vec!["x-gone".into()],
                set: vec![("x-set".into(), "new".into())],
                append: Vec::new(),
            });
            let edits = if edited { &edits } else { &NO_EDITS };
            let write = |lines: &[_]| {
                let outgoing = outgoing(host(), Framing::Empty);
                String::from_utf8_lossy(&head_of_lines(lines, &outgoing, trusted, edits)).into_owned()
            };
            // A line with more than a space behind its colon is written anew.
            let anew: Vec<_> = fields.iter().map(|&(name, _, value)| (name, " \t", value)).collect();
            prop_assert_eq!(write(&fields), write(&anew));
        }
    }

    #[test]
    fn a_routes_edits_have_the_last_word() {
        let config = lb_core::config::HeaderEdits {
            remove: vec!["x-gone".into(), "x-forwarded-host".into()],
            set: vec![("x-set".into(), "new".into()), ("x-forwarded-proto".into(), "https".into())],
            append: vec![("x-more".into(), "2".into())],
        };
        let edits = HeaderEdits::compile(&config);
        let fields = [("x-gone", "1"), ("x-set", "old"), ("x-more", "1")];
        let written = head(&outgoing(Host::Same, Framing::Empty), &fields, false, &edits);
        assert_eq!(
            written,
            "GET /a?b HTTP/1.1|host: a|x-more: 1|x-forwarded-for: 192.0.2.1|x-request-id: id|\
             x-set: new|x-forwarded-proto: https|x-more: 2|"
        );
    }
}
