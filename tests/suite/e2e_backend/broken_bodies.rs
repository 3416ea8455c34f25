//! An answer that breaks off after its head: the client must see that it is not whole, whichever
//! framing it came in and whichever version the client speaks.

use std::{io::ErrorKind, time::Duration};

use lb_testkit::{Behaviour, BodyEnd, End, Framing, RawClient};
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, backend, slow_client};

const SENT_BYTES: u64 = 10_000;

fn cut(end: End) -> Behaviour {
    Behaviour::pattern(SENT_BYTES).framing(Framing::Claim(20_000)).end(end)
}

fn cut_chunks(end: End) -> Behaviour {
    Behaviour::pattern(20_000).framing(Framing::Chunked).cut_after(SENT_BYTES, end)
}

async fn setup(behaviour: Behaviour) -> (lb_testkit::Backend, Lb) {
    let a = backend("a").await;
    a.behave_next(1, behaviour);
    let pool = "retry = { tries = 2 }\ntimeouts = { body_idle = \"200ms\" }";
    let lb = Setup::over(&[&a]).pool(pool).start();
    (a, lb)
}

#[rstest]
#[case::length_closed(cut(End::Close), "200 response_truncated a 1")]
#[case::length_reset(cut(End::Reset), "200 response_truncated a 1")]
#[case::length_hangs(cut(End::Hang), "200 response_body_timeout a 1")]
#[case::chunked_closed(cut_chunks(End::Close), "200 response_truncated a 1")]
#[case::chunked_reset(cut_chunks(End::Reset), "200 response_truncated a 1")]
#[case::chunked_hangs(cut_chunks(End::Hang), "200 response_body_timeout a 1")]
#[case::until_close_reset(
    Behaviour::pattern(20_000).framing(Framing::UntilClose).cut_after(SENT_BYTES, End::Reset),
    "200 response_truncated a 1"
)]
#[case::until_close_hangs(
    Behaviour::pattern(20_000).framing(Framing::UntilClose).cut_after(SENT_BYTES, End::Hang),
    "200 response_body_timeout a 1"
)]
#[tokio::test]
async fn is_visibly_broken(
    #[case] behaviour: Behaviour,
    #[case] logged: &str,
    #[values("GET / HTTP/1.1", "GET / HTTP/1.0")] start: &str,
) -> Tested {
    // A pause, so that the head is on its way before the break.
    let (a, lb) = setup(behaviour.paced(5000, Duration::from_millis(1))).await;
    let mut client = lb.client().await;
    client.send(format!("{start}\r\nHost: mango\r\n\r\n")).await?;
    match client.response().await {
        Ok(answer) => {
            assert_eq!(answer.status(), 200);
            assert!(!answer.body.is_complete(), "taken for a whole body: {answer}");
            assert!(answer.body.length_bytes <= SENT_BYTES);
        }
        // The reset overtook what had been sent.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    assert_eq!(lb.line().await, logged);
    a.wait_for_connections(|connections| connections.open == 0).await?;
    assert_eq!(a.requests().len(), 1, "an answer that has begun is not tried again");
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}

/// A reset would take it away from a client that has not read it yet.
#[rstest]
#[case::length(cut(End::Close), SENT_BYTES, "GET / HTTP/1.1")]
#[case::length_to_http_10(cut(End::Close), SENT_BYTES, "GET / HTTP/1.0")]
#[case::little(Behaviour::pattern(1_000).framing(Framing::Claim(2_000)), 1_000, "GET / HTTP/1.1")]
#[case::chunked(cut_chunks(End::Close), SENT_BYTES, "GET / HTTP/1.1")]
#[tokio::test]
async fn what_came_before_the_break_is_delivered_where_framing_tells_the_rest(
    #[case] behaviour: Behaviour,
    #[case] sent_bytes: u64,
    #[case] start: &str,
) -> Tested {
    let (_a, lb) = setup(behaviour.end(End::Close)).await;
    let mut client = lb.client().await;
    client.send(format!("{start}\r\nHost: mango\r\n\r\n")).await?;
    assert_eq!(lb.line().await, "200 response_truncated a 1");
    let head = client.head().await?.expect("a head");
    assert_eq!(head.status(), 200);
    let body = client.read_to_end().await?; // a reset would be an error
    assert!(body.len() as u64 >= sent_bytes, "{} bytes", body.len());
    assert!(!body.ends_with(b"0\r\n\r\n"), "taken for a whole body");
    Ok(())
}

/// sim-net, seed 1040: the reset that marked the second answer took the first one away, which was whole.
#[tokio::test]
async fn an_unread_answer_outlives_the_break_of_the_next() -> Tested {
    const LENGTH: u64 = 300_000;
    let a = backend("a").await;
    a.behave_at("/whole", Behaviour::pattern(LENGTH));
    a.behave_at("/broken", cut(End::Close));
    let lb = Setup::over(&[&a]).start();
    let mut client = RawClient::over(slow_client(lb.addr()).await?);
    client
        .send("GET /whole HTTP/1.1\r\nHost: mango\r\n\r\nGET /broken HTTP/1.1\r\nHost: mango\r\n\r\n")
        .await?;
    assert_eq!(lb.lines(2).await[1].to_string(), "200 response_truncated a 1");
    let whole = client.response().await?;
    assert_eq!((whole.body.length_bytes, whole.body.end), (LENGTH, BodyEnd::Complete), "{whole}");
    let broken = client.response().await?;
    assert!(!broken.body.is_complete(), "taken for a whole body: {broken}");
    Ok(())
}

/// The same with an answer that came before its upload had: hyper goes on to the next request while it still has a
/// part of that answer, and dropped it when the next one broke. How long it must be for that is up to the system.
#[rstest]
#[case::chunked(cut_chunks(End::Close))]
#[case::little(Behaviour::pattern(1_000).framing(Framing::Claim(2_000)).end(End::Close))]
#[tokio::test]
async fn an_unread_early_answer_outlives_the_break_of_the_next(#[case] broken: Behaviour) -> Tested {
    for length in (2_550_000..3_300_000).step_by(150_000) {
        let a = backend("a").await;
        a.behave_at("/whole", Behaviour::pattern(length).framing(Framing::Chunked).early());
        a.behave_at("/broken", broken.clone());
        let lb = Setup::over(&[&a]).start();
        let mut client = RawClient::over(slow_client(lb.addr()).await?);
        client.send("POST /whole HTTP/1.1\r\nHost: mango\r\nContent-Length: 5\r\n\r\n").await?;
        // Mostly enough for as much of the answer to be taken as will be.
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("helloGET /broken HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        let _ = tokio::time::timeout(Duration::from_millis(100), lb.lines(2)).await;
        let whole = client.response().await?;
        assert_eq!((whole.body.length_bytes, whole.body.end), (length, BodyEnd::Complete), "{whole}");
        assert!(!client.response().await?.body.is_complete());
    }
    Ok(())
}

/// The end of the connection is the end of the body where nothing else says it.
#[rstest]
#[case("GET / HTTP/1.1", BodyEnd::Complete)]
#[case("GET / HTTP/1.0", BodyEnd::Closed)]
#[tokio::test]
async fn a_body_until_close_is_whole(#[case] start: &str, #[case] end: BodyEnd) -> Tested {
    let (_a, lb) = setup(Behaviour::pattern(SENT_BYTES).framing(Framing::UntilClose)).await;
    let mut client = lb.client().await;
    client.send(format!("{start}\r\nHost: mango\r\n\r\n")).await?;
    let answer = client.response().await?;
    assert_eq!((answer.body.length_bytes, answer.body.end), (SENT_BYTES, end), "{answer}");
    assert_eq!(lb.line().await, "200 - a 1");
    Ok(())
}

/// Whatever is missing of it, a body of known length is not made up for.
#[tokio::test]
async fn one_missing_byte_is_seen() -> Tested {
    let (_a, lb) = setup(Behaviour::truncated(20_000, 19_999)).await;
    match lb.get("/").await {
        Ok(answer) => assert!(!answer.body.is_complete(), "{answer}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    assert_eq!(lb.line().await, "200 response_truncated a 1");
    Ok(())
}

/// What is too much belongs to nobody: the next request gets its own answer.
#[tokio::test]
async fn bytes_past_the_length_reach_nobody() -> Tested {
    let (a, lb) = setup(Behaviour::pattern(20_000).framing(Framing::Claim(SENT_BYTES))).await;
    let mut client = lb.client().await;
    let answer = client.get("/", "mango").await?;
    assert_eq!((answer.body.length_bytes, answer.body.end), (SENT_BYTES, BodyEnd::Complete));
    let next = client.get("/", "mango").await?;
    assert!(next.body.text().starts_with("This is the mango"), "{next}");
    assert_eq!(a.requests()[1].connection, 1);
    Ok(())
}

/// HEAD, 204 and 304 have no body to be cut, whatever their head promises.
#[rstest]
#[case("HEAD", Behaviour::pattern(SENT_BYTES), Some("10000"))]
#[case("GET", Behaviour::status(304).header("Content-Length", "10000"), Some("10000"))]
#[case("GET", Behaviour::status(204), None)]
#[tokio::test]
async fn no_body_is_waited_for_where_there_is_none(
    #[case] method: &str,
    #[case] behaviour: Behaviour,
    #[case] length: Option<&str>,
) -> Tested {
    let (a, lb) = setup(behaviour).await;
    let mut client = lb.client().await;
    client.send(format!("{method} / HTTP/1.1\r\nHost: mango\r\n\r\n")).await?;
    let answer = client.response_to(method).await?;
    assert_eq!((answer.header("content-length"), answer.body.length_bytes), (length, 0), "{answer}");
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    assert_eq!(a.connections().total, 1, "the connection is used again");
    Ok(())
}
