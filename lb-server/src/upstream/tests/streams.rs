//! Streams of bytes that a backend might send: valid, odd, and broken in small ways.

use proptest::{prelude::*, sample::select};

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 500\r\n",
    "HTTP/1.1 299 \u{e9}\r\n",
    "HTTP/1.0 200 OK\r\n",
];

const INTERIM: &[&str] = &[
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: b\r\n\r\n",
    "HTTP/1.0 102 Processing\r\nContent-Length: 3\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
];

const FIELDS: &[&str] = &[
    "Server: a\r\n",
    "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n",
    "X-Empty:\r\n",
    "X-Odd-|~: \t\u{e9} \t \r\n",
    "Connection: keep-alive, x-hop\r\nX-Hop: 1\r\n",
    "Connection: close\r\n",
    "Trailer: x-sum\r\nKeep-Alive: timeout=5\r\n",
    "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
];

/// Framings, with the bodies that they announce.
const MESSAGES: &[(&str, &str)] = &[
    ("Content-Length: 5\r\n", "hello"),
    ("Content-Length: 0\r\n", ""),
    ("Content-Length: 005\r\nContent-Length: 5\r\n", "hello"),
    ("Content-Length: 5, 5\r\n", "hello"),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("", "until the end"),
    ("Transfer-Encoding: gzip\r\n", "until the end"),
    ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    (
        "Transfer-Encoding: chunked\r\n",
        "1;a=b\r\nh\r\n0A \r\n0123456789\r\n000\r\nX-Sum: y\r\nHost: z\r\n\r\n",
    ),
    ("Transfer-Encoding: chunked\r\n", "2\r\n\r\n\r\n0\r\n\r\n"),
    ("transfer-encoding:CHUNKED\r\n", "00000000000000000005\r\nhello\r\n0;x\r\n\r\n"),
];

const BEHIND: &[&str] = &["", "", "", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "\r\n"];

const NASTY: &[&str] = &[
    "",
    "",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\t",
    " ",
    ":",
    ";",
    ",",
    "0",
    "5",
    "f",
    "-",
    "+",
    "x",
    "\x7f",
    "\u{e9}",
    "\x0b",
    "\r\n\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff",
    "Content-Length: 5\r\n",
    "Content-Length: 7\r\n",
    "Transfer-Encoding: chunked\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "X: y\r\n",
];

/// One response, perhaps with interim ones before it and something behind it.
pub(super) fn valid() -> impl Strategy<Value = Vec<u8>> {
    (
        prop::collection::vec(select(INTERIM), 0..3),
        select(STATUS_LINES),
        prop::collection::vec(select(FIELDS), 0..4),
        select(MESSAGES),
        select(BEHIND),
    )
        .prop_map(|(interim, status, fields, (framing, body), behind)| {
            let interim = if interim.len() < 2 { Vec::new() } else { interim };
            [&interim.concat(), status, &fields.concat(), framing, "\r\n", body, behind].concat().into_bytes()
        })
}

/// The same with a few bytes gone and others come, or cut off.
pub(super) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0usize..4, select(NASTY));
    let edits = prop::collection::vec(edit, 0..4);
    let cut_off = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (valid(), edits, cut_off).prop_map(|(mut stream, edits, cut_off)| {
        for (place, removed, added) in edits {
            let at = place.index(stream.len() + 1);
            let end = (at + removed).min(stream.len());
            stream.splice(at..end, added.bytes());
        }
        if let Some(end) = cut_off {
            stream.truncate(end.index(stream.len() + 1));
        }
        stream
    })
}
