//! Clients that close one direction, and clients that leave.

use lb_core::reason::Reason;
use lb_testkit::{Backend, Behaviour, End, Framing, Gate, OnAccept, RawClient};
use lb_tests::{Setup, Stage};
use rstest::rstest;

use super::assert_line;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn setup() -> (Backend, Stage) {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    (mango, stage)
}

#[rstest]
#[case::get(GET)]
#[case::old("GET / HTTP/1.0\r\nHost: a\r\n\r\n")]
#[case::length("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")]
#[case::chunked("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")]
#[tokio::test]
async fn a_client_that_has_said_all_gets_its_answer(#[case] request: &str) {
    let (mango, stage) = setup().await;
    let gate = Gate::default();
    mango.behave(Behaviour::own().held_by(&gate));
    let mut client = stage.client().await;
    client.send(request).await.unwrap();
    client.finish_sending().await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    if request.contains("HTTP/1.1") {
        // The balancer has seen the end of the stream and looks whether the client is gone.
        assert_eq!(client.head().await.unwrap().unwrap().status(), 100);
    }
    gate.open_for_all();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "said"));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(stage.log.wait_for(1).await[0].status, 200);
    stage.assert_idle();
}

#[tokio::test]
async fn so_do_those_that_asked_several_times() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send(GET.repeat(5)).await.unwrap();
    client.finish_sending().await.unwrap();
    for _ in 0..5 {
        assert_eq!(client.response().await.unwrap().body.text(), "said");
    }
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(mango.requests().len(), 5);
    assert!(stage.log.wait_for(5).await.iter().all(|line| line.status == 200));
}

#[tokio::test]
async fn half_closed_in_the_middle_of_a_long_answer() {
    const LENGTH: u64 = 5_000_000;
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::pattern(LENGTH).framing(Framing::Chunked));
    let mut client = stage.client().await;
    client.send(GET).await.unwrap();
    let head = client.head().await.unwrap().unwrap();
    client.finish_sending().await.unwrap();
    let body = client.body(&head, "GET").await.unwrap();
    assert!(body.is_complete() && body.length_bytes == LENGTH);
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(stage.log.wait_for(1).await[0].status, 200);
}

#[tokio::test]
async fn half_closed_between_requests_is_closed() {
    let (_mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send(GET).await.unwrap();
    client.response().await.unwrap();
    client.finish_sending().await.unwrap();
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(stage.log.lines().len(), 1);
}

async fn leave(client: RawClient, by_reset: bool) {
    if by_reset { client.reset() } else { drop(client) }
}

/// The line says 499, the backend's connection ends, and nothing is counted any more.
async fn assert_freed(stage: &Stage, mango: &Backend) {
    let lines = stage.log.wait_for(1).await;
    assert_line(&lines[0], Reason::ClientLeft);
    assert!(lines[0].duration < std::time::Duration::from_secs(5), "{:?}", lines[0].duration);
    stage.assert_idle();
    mango.wait_for_connections(|connections| connections.open == 0).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn leaving_before_the_answer_frees_the_backend(#[values(true, false)] by_reset: bool) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::hang());
    let mut client = stage.client().await;
    client.send(GET).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
    assert_eq!(stage.log.lines()[0].response_bytes, 0);
}

/// A body that was sent whole changes nothing.
#[rstest]
#[tokio::test]
async fn leaving_after_an_upload_frees_the_backend(#[values(true, false)] by_reset: bool) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::hang());
    let mut client = stage.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
    mango.wait_until("the body", |all| all.iter().any(|r| r.body.is_complete())).await.unwrap();
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
}

/// Nor does the interim response that asked for it.
#[rstest]
#[tokio::test]
async fn leaving_after_an_upload_that_was_asked_for_frees_the_backend(#[values(true, false)] by_reset: bool) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::hang());
    let mut client = stage.client().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).await.unwrap();
    assert_eq!(client.head().await.unwrap().unwrap().status(), 100);
    client.send("hello").await.unwrap();
    mango.wait_until("the body", |all| all.iter().any(|r| r.body.is_complete())).await.unwrap();
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
}

#[rstest]
#[case::length("Content-Length: 10\r\n\r\nhello")]
#[case::chunked("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")]
#[tokio::test]
async fn leaving_within_an_upload_frees_the_backend(
    #[case] rest: &str,
    #[values(true, false)] by_reset: bool,
) {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{rest}")).await.unwrap();
    mango.wait_until("five bytes", |all| all.iter().any(|r| r.body.length_bytes == 5)).await.unwrap();
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
    assert!(!mango.requests()[0].body.is_complete());
}

/// Its body is held back, so that nobody reads from it.
#[rstest]
#[tokio::test]
async fn leaving_while_a_100_is_awaited_frees_the_backend(#[values(true, false)] by_reset: bool) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::hang().early());
    let mut client = stage.client().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
    assert_eq!(mango.requests()[0].body.length_bytes, 0);
}

/// Nothing is read from a client whose bytes the backend does not take; that it is gone shows all the
/// same.
#[tokio::test]
async fn leaving_an_upload_that_is_stuck_frees_the_backend() {
    let (mango, stage) = setup().await;
    mango.on_accept(OnAccept::Hang);
    let mut client = stage.client().await;
    client
        .send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1_u64 << 29))
        .await
        .unwrap();
    let sent = client.send_until_stuck(std::time::Duration::from_millis(300), 1 << 29).await.unwrap();
    assert!(sent < 64 << 20, "{sent} bytes are on the way");
    client.reset();
    assert_line(&stage.log.wait_for(1).await[0], Reason::ClientLeft);
    stage.assert_idle();
}

#[rstest]
#[case::length(Framing::Length)]
#[case::chunked(Framing::Chunked)]
#[tokio::test]
async fn leaving_within_the_answer_frees_the_backend(
    #[case] framing: Framing,
    #[values(true, false)] by_reset: bool,
) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::pattern(1 << 30).framing(framing));
    let mut client = stage.client().await;
    client.send(GET).await.unwrap();
    assert_eq!(client.head().await.unwrap().unwrap().status(), 200);
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
}

/// The backend is silent in the middle of its answer, so that no write fails.
#[tokio::test]
async fn leaving_within_an_answer_that_stalls_frees_the_backend() {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::reply(200, "abcdef").cut_after(3, End::Hang));
    let mut client = stage.client().await;
    client.send(GET).await.unwrap();
    client.head().await.unwrap();
    client.reset();
    assert_freed(&stage, &mango).await;
}

/// That the next request is there already must not hide that the client is gone.
#[rstest]
#[tokio::test]
async fn leaving_with_a_request_in_the_queue_frees_the_backend(#[values(true, false)] by_reset: bool) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::hang());
    let mut client = stage.client().await;
    client.send(GET.repeat(2)).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    leave(client, by_reset).await;
    assert_freed(&stage, &mango).await;
    assert_eq!(mango.requests().len(), 1);
}

#[tokio::test]
async fn leaving_while_a_connection_is_made_frees_the_place() {
    let mango = Backend::mango().start().await.unwrap();
    // Nobody answers at this address (RFC 5737), or the network says at once that it is not there.
    let toml = Setup::new(&[&mango]).pool("limits = { pending = 1 }\ntimeouts = { connect = \"1h\" }").toml();
    let stage = Stage::start(&toml.replace(&mango.addr().to_string(), "192.0.2.1:80"));
    let mut client = stage.client().await;
    client.send(GET).await.unwrap();
    client.reset();
    let lines = stage.log.wait_for(1).await;
    assert!(matches!(lines[0].status, 499 | 502), "{lines:?}");
    stage.assert_idle();
}

/// A client that leaves says nothing about the backend: it is not ejected for it.
#[tokio::test]
async fn leaving_is_not_held_against_the_backend() {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango])
        .pool("outlier = { consecutive_failures = 1, max_ejected_percent = 100 }")
        .start();
    for count in 1..=5 {
        mango.behave_next(1, Behaviour::hang());
        let mut client = stage.client().await;
        client.send(GET).await.unwrap();
        mango.wait_for_requests(count).await.unwrap();
        leave(client, count % 2 == 0).await;
        stage.log.wait_for(count).await;
    }
    assert_eq!(stage.get("/", "a").await.status(), 200);
    assert!(stage.log.transitions().iter().all(|text| !text.contains("ejected")));
    stage.log.wait_for(6).await;
    stage.assert_idle();
}

/// What a client sends behind its last request is not its end: the reset that unread bytes bring would
/// overtake the answer.
#[tokio::test]
async fn bytes_behind_the_last_request_do_not_cut_its_answer_short() {
    const LENGTH: u64 = 3 << 20;
    let (mango, stage) = setup().await;
    let gate = Gate::default();
    mango.behave(Behaviour::pattern(LENGTH).held_by(&gate));
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    client.send("x".repeat(5000)).await.unwrap();
    gate.open_for_all();
    let answer = client.response().await.unwrap();
    assert!(answer.body.is_complete() && answer.body.length_bytes == LENGTH, "{answer}");
}
