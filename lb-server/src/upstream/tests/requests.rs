//! Requests as they are written.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rstest::rstest;

use super::super::request::{Framing, begin_piece, behind_piece, write_end, write_head};

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

#[rstest]
#[case::as_it_is(
    Method::GET, "/a?b", &[("host", "x"), ("x-y", "\u{e9}"), ("x-y", "")], None, Framing::Empty,
    "GET /a?b HTTP/1.1\r\nhost: x\r\nx-y: \u{e9}\r\nx-y: \r\n\r\n"
)]
#[case::other_host(
    Method::OPTIONS, "*", &[("a", "b"), ("host", "x")], Some("y:8080"), Framing::Empty,
    "OPTIONS * HTTP/1.1\r\nhost: y:8080\r\na: b\r\n\r\n"
)]
#[case::added_host(Method::HEAD, "/", &[], Some("[::1]:80"), Framing::Empty, "HEAD / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n")]
#[case::length(
    Method::PUT, "/", &[("content-length", "5")], None, Framing::Length,
    "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n"
)]
#[case::empty_with_a_length(
    Method::POST, "/", &[("content-length", "0")], None, Framing::Empty,
    "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
)]
#[case::chunked(
    Method::from_bytes(b"M-#!").unwrap(), "/", &[("te", "trailers")], None, Framing::Chunked,
    "M-#! / HTTP/1.1\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
)]
fn heads(
    #[case] method: Method,
    #[case] target: &str,
    #[case] fields: &[(&str, &str)],
    #[case] host: Option<&str>,
    #[case] framing: Framing,
    #[case] expected: &str,
) {
    let mut out = Vec::new();
    write_head(&mut out, &method, target, &map(fields), host, framing);
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[rstest]
#[case::chunked(Framing::Chunked, "1000\r\n|\r\n|0\r\nx-sum: 1\r\n\r\n|0\r\n\r\n")]
#[case::length(Framing::Length, "|||")]
fn pieces_and_ends(#[case] framing: Framing, #[case] expected: &str) {
    let trailers = map(&[
        ("host", "a"),
        ("x-sum", "1"),
        ("content-length", "2"),
        ("te", "b"),
        ("x-forwarded-for", "c"),
        ("cookie", "d"),
    ]);
    let (mut begin, mut end, mut bare_end) = (Vec::new(), Vec::new(), Vec::new());
    begin_piece(&mut begin, framing, &Bytes::from(vec![0; 4096]));
    write_end(&mut end, framing, Some(&trailers));
    write_end(&mut bare_end, framing, None);
    let written = [&begin[..], behind_piece(framing), &end, &bare_end].join(&b'|');
    assert_eq!(String::from_utf8_lossy(&written), expected);
}
