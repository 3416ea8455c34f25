//! Past a limit comes a clear status, never a crash or memory without bound.

use lb_core::reason::Reason;
use lb_testkit::{Backend, Behaviour, BodyEnd, Gate, RawClient};
use lb_tests::{Setup, Stage};
use rstest::rstest;

use super::{assert_answer, assert_last_answer, assert_line};

const LIMITS: &str = r#"limits = { request_head = "1KiB", headers = 10, uri = "64B", body = "1000B" }"#;

async fn setup(listener: &str) -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).listener(listener).start();
    (mango, stage)
}

fn with_target(length: usize) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 1))
}

fn with_head(length: usize) -> String {
    let around = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(length - around))
}

fn with_fields(count: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1))
}

/// Each of a name of its own, which takes more room than one name again and again.
fn with_names(count: usize) -> String {
    let fields: String = (1..count).map(|number| format!("X-{number}: y\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[rstest]
#[case::target(LIMITS, with_target(64), with_target(65), Reason::UriTooLong)]
#[case::target_larger_than_a_head(LIMITS, with_target(64), with_target(100_000), Reason::UriTooLong)]
#[case::target_without_end(LIMITS, with_target(64), format!("GET /{}", "a".repeat(5000)), Reason::UriTooLong)]
#[case::head(LIMITS, with_head(1024), with_head(1025), Reason::HeadTooLarge)]
#[case::head_without_end(
    LIMITS,
    with_head(1024),
    format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(5000)),
    Reason::HeadTooLarge
)]
#[case::method_without_end(LIMITS, with_head(1024), "G".repeat(5000), Reason::HeadTooLarge)]
#[case::fields(LIMITS, with_fields(10), with_fields(11), Reason::HeadTooLarge)]
#[case::default_fields("", with_fields(100), with_fields(101), Reason::HeadTooLarge)]
#[case::default_head("", with_head(32 << 10), with_head((32 << 10) + 1), Reason::HeadTooLarge)]
#[case::default_target("", with_target(8 << 10), with_target((8 << 10) + 1), Reason::UriTooLong)]
#[case::many_fields(
    "limits = { headers = 1000 }",
    with_fields(1000),
    with_fields(1001),
    Reason::HeadTooLarge
)]
#[case::as_many_fields_as_can_be_asked_for(
    "limits = { headers = 10000, request_head = \"1MiB\" }",
    with_names(10_000),
    with_names(10_001),
    Reason::HeadTooLarge
)]
#[case::large_head(
    "limits = { request_head = \"1MiB\" }",
    with_head(1 << 20),
    with_head((1 << 20) + 1),
    Reason::HeadTooLarge
)]
#[tokio::test]
async fn heads_are_bounded(
    #[case] limits: &str,
    #[case] good: String,
    #[case] bad: String,
    #[case] reason: Reason,
) {
    let (mango, stage) = setup(limits).await;
    let mut client = stage.client().await;
    client.send(&good).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    client.send(&bad).await.unwrap();
    assert_last_answer(&mut client, reason).await;
    let lines = stage.log.wait_for(2).await;
    assert_line(&lines[1], reason);
    assert_ne!(lines[1].detail, "");
    assert_eq!(mango.requests().len(), 1);
    stage.assert_idle();
}

#[rstest]
#[case::too_large(format!("X: {}\r\n", "x".repeat(2000)))]
#[case::too_many("X: y\r\n".repeat(11))]
#[tokio::test]
async fn trailers_are_bounded(#[case] trailers: String, #[values(true, false)] at_once: bool) {
    let (mango, stage) = setup(LIMITS).await;
    let mut client = stage.client().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rest = format!("3\r\nabc\r\n0\r\n{trailers}\r\n");
    if at_once {
        client.send(format!("{head}{rest}")).await.unwrap();
    } else {
        client.send(head).await.unwrap();
        mango.wait_for_requests(1).await.unwrap();
        client.send(rest).await.unwrap();
    }
    assert_last_answer(&mut client, Reason::HeadTooLarge).await;
    let lines = stage.log.wait_for(1).await;
    assert_line(&lines[0], Reason::HeadTooLarge);
    assert_eq!(mango.requests().len(), usize::from(!at_once));
    let arrived = mango.wait_until("its end", |all| all.iter().all(|r| r.abandoned)).await.unwrap();
    assert!(arrived.iter().all(|request| !request.body.is_complete()));
    stage.assert_idle();
}

#[rstest]
#[case::silent("")]
#[case::expecting("Expect: 100-continue\r\n")]
#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_at_once(#[case] expect: &str) {
    let (mango, stage) = setup(LIMITS).await;
    let mut client = stage.client().await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 1001\r\n\r\n")).await.unwrap();
    let answer = client.response().await.unwrap();
    assert_answer(&answer, Reason::BodyTooLarge);
    assert_eq!((answer.interim.len(), answer.header("connection")), (0, Some("close")));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_line(&stage.log.wait_for(1).await[0], Reason::BodyTooLarge);
    assert_eq!((mango.requests().len(), mango.connections().total), (0, 0));
    stage.assert_idle();
}

#[rstest]
#[case::silent("")]
#[case::expecting("Expect: 100-continue\r\n")]
#[tokio::test]
async fn a_chunked_body_is_refused_where_it_grows_too_long(#[case] expect: &str) {
    let (mango, stage) = setup(LIMITS).await;
    let mut client = stage.client().await;
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\n{expect}Transfer-Encoding: chunked\r\n\r\n");
    client.send(head).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    client.send(chunk.repeat(10)).await.unwrap();
    mango.wait_until("1000 bytes", |all| all[0].body.length_bytes == 1000).await.unwrap();
    client.send(format!("1\r\nx\r\n{}", chunk.repeat(1000))).await.unwrap();
    let answer = client.response().await.unwrap();
    assert_answer(&answer, Reason::BodyTooLarge);
    assert_eq!(answer.interim.len(), usize::from(!expect.is_empty()));
    assert_eq!(client.closed().await.unwrap(), b"");
    let lines = stage.log.wait_for(1).await;
    assert_line(&lines[0], Reason::BodyTooLarge);
    let arrived = mango.wait_until("its end", |all| all[0].abandoned).await.unwrap();
    assert_eq!(arrived[0].body.end, BodyEnd::Truncated);
    stage.assert_idle();
}

#[tokio::test]
async fn bodies_at_the_limit_pass() {
    let (mango, stage) = setup(LIMITS).await;
    let mut client = stage.client().await;
    let body = "x".repeat(1000);
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{body}")).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}3e8\r\n{body}\r\n0\r\n\r\n")).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    assert!(mango.requests().iter().all(|r| r.body.length_bytes == 1000 && r.body.is_complete()));
    assert_eq!(stage.log.wait_for(2).await[1].request_bytes, 1000);
}

#[tokio::test]
async fn connections_are_bounded() {
    let (mango, stage) = setup("limits = { connections = 2 }").await;
    let mut first = stage.client().await;
    assert_eq!(first.get("/", "a").await.unwrap().status(), 200);
    let mut second = stage.client().await;
    assert_eq!(second.get("/", "a").await.unwrap().status(), 200);
    for _ in 0..3 {
        let mut third = stage.client().await;
        assert_last_answer(&mut third, Reason::TooManyConnections).await;
    }
    let lines = stage.log.wait_for(5).await;
    assert_line(&lines[4], Reason::TooManyConnections);
    // Those that have a place keep it, and a place that is given back can be taken.
    assert_eq!(first.get("/", "a").await.unwrap().status(), 200);
    drop(second);
    while stage.get("/", "a").await.status() != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(mango.requests().len(), 4);
}

/// A client that wrote its request before it was told must still be able to read the answer.
#[tokio::test]
async fn a_refused_connection_can_read_why() {
    let (_mango, stage) = setup("limits = { connections = 1 }").await;
    let mut first = stage.client().await;
    assert_eq!(first.get("/", "a").await.unwrap().status(), 200);
    for _ in 0..20 {
        let mut other = stage.client().await;
        other.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000))).await.unwrap();
        assert_last_answer(&mut other, Reason::TooManyConnections).await;
    }
}

#[tokio::test]
async fn pending_requests_are_bounded() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).pool("limits = { pending = 2 }").start();
    let gate = Gate::default();
    mango.behave(Behaviour::own().held_by(&gate));
    let mut held: Vec<RawClient> = Vec::new();
    for count in 1..=2 {
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        mango.wait_for_requests(count).await.unwrap();
        held.push(client);
    }
    let mut refused = stage.client().await;
    for _ in 0..2 {
        // Being refused costs neither the connection nor a place.
        assert_answer(&refused.get("/", "a").await.unwrap(), Reason::TooManyPending);
    }
    let lines = stage.log.wait_for(2).await;
    assert_line(&lines[1], Reason::TooManyPending);
    assert_eq!(mango.requests().len(), 2);
    gate.open_for_all();
    for client in &mut held {
        assert_eq!(client.response().await.unwrap().status(), 200);
    }
    assert_eq!(refused.get("/", "a").await.unwrap().status(), 200);
    stage.log.wait_for(5).await;
    stage.assert_idle();
}

/// Pending ends with the answer's head: who reads a long answer is not in the way.
#[tokio::test]
async fn answers_under_way_are_not_pending() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).pool("limits = { pending = 1 }").start();
    mango.behave_next(1, Behaviour::reply(200, "abcdef").cut_after(3, lb_testkit::End::Hang));
    let mut slow = stage.client().await;
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(slow.head().await.unwrap().unwrap().status(), 200);
    assert_eq!(stage.get("/", "a").await.status(), 200);
    slow.reset();
    let lines = stage.log.wait_for(2).await;
    assert_line(&lines[1], Reason::ClientLeft);
    stage.assert_idle();
}
