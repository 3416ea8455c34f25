//! Requests as they are written.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use rstest::rstest;

use super::super::request::{Framing, begin_piece, behind_piece, write_end};

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
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
