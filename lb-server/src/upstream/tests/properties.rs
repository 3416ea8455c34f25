//! What holds for every stream of bytes.

use proptest::prelude::*;

use super::super::{
    against_hyper::{STRICTER, compare, hyper_takes},
    reading::{Ending, read},
    response::TOO_MANY_FIELDS,
};
use super::streams::{mutated, valid};

/// `stream` in pieces that end at these places.
fn pieces(stream: &[u8], cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().chain([stream.len()]) {
        pieces.push(&stream[from..cut]);
        from = cut;
    }
    pieces
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        stream in mutated(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        to_head_request in prop::bool::weighted(0.1),
    ) {
        let whole = read([&stream[..]], to_head_request);
        prop_assert_eq!(&read(pieces(&stream, cuts), to_head_request), &whole);
        prop_assert_eq!(&read(stream.chunks(1), to_head_request), &whole, "byte by byte");
    }

    #[test]
    fn no_bytes_make_it_panic(
        start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
        to_head_request: bool,
    ) {
        let stream = [start.as_bytes(), &rest].concat();
        prop_assert_eq!(read(stream.chunks(3), to_head_request), read([&stream[..]], to_head_request));
    }

    #[test]
    fn hyper_sees_the_same_in_valid_streams(stream in valid(), to_head_request in prop::bool::weighted(0.2)) {
        let compared = compare(&stream, to_head_request);
        prop_assert!(compared.is_ok(), "{}", compared.unwrap_err());
    }

    #[test]
    fn hyper_sees_the_same_in_broken_streams(stream in mutated(), to_head_request in prop::bool::weighted(0.1)) {
        let compared = compare(&stream, to_head_request);
        prop_assert!(compared.is_ok(), "{}", compared.unwrap_err());
    }
}

/// Each difference is one: hyper does take what we refuse in these words.
#[test]
fn every_reason_to_be_stricter_is_given() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{ok}Transfer-Encoding: chunked\r\n\r\n");
    let many = "X: y\r\n".repeat(129);
    let examples = [
        format!("{ok}A: b\n\r\n"),
        format!("\r\n{ok}\r\n"),
        "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n".into(),
        "HTTP/1.1 102 P\r\n\r\n".repeat(200) + ok + "\r\n",
        format!("{ok}A: {}\r\n\r\n", "b".repeat(140_000)),
        format!("{ok}{many}\r\n"),
        format!("{ok}Content-Length: 1, 1\r\n\r\nx"),
        "HTTP/1.1 204 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(),
        format!("{ok}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n"),
        format!("{ok}Transfer-Encoding: gzip\r\n\r\n"),
        "HTTP/1.0 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        format!("{chunked}00000000000000000\r\n\r\n"),
        format!("{chunked}0;\0\r\n\r\n"),
        format!("{chunked}0\r\n{}\r\n", "x: y\r\n".repeat(65)),
    ];
    assert_eq!(examples.len(), STRICTER.len());
    for (example, (why, _)) in examples.iter().zip(STRICTER) {
        assert_eq!(read([example.as_bytes()], false).end, Ending::Refused(why), "{example:?}");
        assert_eq!(hyper_takes(example.as_bytes()), why != TOO_MANY_FIELDS, "{why}: {example:?}");
    }
}
