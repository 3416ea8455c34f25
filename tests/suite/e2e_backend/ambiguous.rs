//! Answers whose end two readers could see in different places: refused, or visibly broken.

use lb_testkit::{Behaviour, BodyEnd, End};
use rstest::rstest;

use crate::support::{Setup, Tested, backend};

#[rstest]
#[case::length_and_chunked("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[case::chunked_and_length("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[case::two_lengths("Content-Length: 5\r\nContent-Length: 2\r\n\r\nhello")]
#[case::two_lengths_in_one_line("Content-Length: 5, 2\r\n\r\nhello")]
#[case::signed_length("Content-Length: +5\r\n\r\nhello")]
#[case::negative_length("Content-Length: -5\r\n\r\nhello")]
#[case::length_in_hex("Content-Length: 0x5\r\n\r\nhello")]
#[case::empty_length("Content-Length: \r\n\r\nhello")]
#[case::endless_length("Content-Length: 99999999999999999999\r\n\r\nhello")]
#[case::chunked_twice("Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[case::chunked_in_two_lines(
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)]
#[case::chunked_not_last("Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[case::another_coding("Transfer-Encoding: gzip\r\n\r\nhello")]
#[case::another_coding_below("Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[case::almost_chunked("Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[tokio::test]
async fn is_a_502(#[case] rest: &str, #[values("1.1", "1.0")] version: &str) -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::raw(format!("HTTP/1.1 200 OK\r\n{rest}")).end(End::Hang));
    let lb = Setup::over(&[&a]).pool("retry = { tries = 1 }").start();
    let mut client = lb.client().await;
    client.send(format!("GET / HTTP/{version}\r\nHost: mango\r\n\r\n")).await?;
    let answer = client.response().await?;
    assert_eq!(answer.status(), 502, "{answer}");
    assert_eq!(lb.line().await, "502 backend_invalid a 1");
    a.wait_for_connections(|connections| connections.open == 0).await?;
    Ok(())
}

/// Chunked is not of HTTP/1.0: an intermediary that does not know it would see another end.
#[tokio::test]
async fn chunked_in_http_1_0_is_a_502() -> Tested {
    let a = backend("a").await;
    let chunked = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    a.behave_next(1, Behaviour::raw(chunked).end(End::Hang));
    let lb = Setup::over(&[&a]).pool("retry = { tries = 1 }").start();
    let answer = lb.get("/").await?;
    assert_eq!(answer.status(), 502, "{answer}");
    Ok(())
}

#[rstest]
#[case::no_size("\r\nhello\r\n0\r\n\r\n")]
#[case::not_hex("5\r\nhello\r\nxyz\r\n\r\n")]
#[case::signed("5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n")]
#[case::negative("5\r\nhello\r\n-1\r\nhello\r\n0\r\n\r\n")]
#[case::endless("5\r\nhello\r\n11111111111111111\r\nhello\r\n0\r\n\r\n")]
#[case::data_longer_than_said("5\r\nhello!\r\n0\r\n\r\n")]
#[case::bare_line_feed("5\nhello\n0\n\n")]
#[case::closed_before_the_last_chunk("5\r\nhello\r\n")]
#[case::closed_in_the_last_chunk("5\r\nhello\r\n0\r\n")]
#[case::closed_in_a_chunk("ff\r\nhello")]
#[tokio::test]
async fn a_bad_chunk_breaks_the_body(#[case] chunks: &str, #[values("1.1", "1.0")] version: &str) -> Tested {
    let a = backend("a").await;
    let raw = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    a.behave_next(1, Behaviour::raw(raw));
    let lb = Setup::over(&[&a]).pool("retry = { tries = 1 }").start();
    let mut client = lb.client().await;
    client.send(format!("GET / HTTP/{version}\r\nHost: mango\r\n\r\n")).await?;
    // Nothing may have left before the connection breaks, or a part of it.
    match client.response().await {
        Ok(answer) if answer.status() == 502 => {}
        Ok(answer) => assert!(!answer.body.is_complete(), "a whole {answer}"),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "{error}"),
    }
    let line = lb.line().await;
    assert!(line.starts_with("200 response_truncated a 1") || line.starts_with("502 "), "{line}");
    Ok(())
}

/// A field that only repeats the length is no ambiguity, but the client gets one.
#[tokio::test]
async fn a_repeated_equal_length_is_passed_on_once_or_refused() -> Tested {
    let a = backend("a").await;
    a.behave_next(
        1,
        Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    );
    let lb = Setup::over(&[&a]).pool("retry = { tries = 1 }").start();
    let answer = lb.get("/").await?;
    let lengths = answer.head.headers.all("content-length").count();
    match answer.status() {
        200 => assert_eq!(
            (lengths, answer.body.text().as_str(), answer.body.end),
            (1, "hello", BodyEnd::Complete)
        ),
        status => assert_eq!(status, 502, "{answer}"),
    }
    Ok(())
}
