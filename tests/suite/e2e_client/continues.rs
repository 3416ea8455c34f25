//! `Expect: 100-continue` and interim responses.

use lb_testkit::{Backend, Behaviour, End, OnAccept, Port, RawClient};
use lb_tests::{Setup, Stage};
use rstest::rstest;

const EXPECTING: &str = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-secret\r\nX-Secret: 1\r\n\r\n";

async fn setup() -> (Backend, Stage) {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    (mango, stage)
}

#[rstest]
#[case::length("Content-Length: 5\r\n\r\n", "hello")]
#[case::chunked("Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n")]
#[tokio::test]
async fn the_backend_says_go_on(#[case] framing: &str, #[case] body: &str) {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    for count in 1..=2 {
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n{framing}")).await.unwrap();
        let interim = client.head().await.unwrap().unwrap();
        assert_eq!(interim.status(), 100);
        let arrived = mango.wait_for_requests(count).await.unwrap();
        assert_eq!(
            arrived[count - 1].header("expect").map(str::to_ascii_lowercase).as_deref(),
            Some("100-continue")
        );
        assert_eq!(arrived[count - 1].body.length_bytes, 0, "asked before the body is sent");
        client.send(body).await.unwrap();
        let answer = client.response().await.unwrap();
        assert_eq!((answer.status(), answer.interim.len()), (200, 0), "one 100 is enough");
        assert_eq!(mango.requests()[count - 1].body.start, b"hello");
    }
    assert_eq!(mango.connections().total, 1);
    stage.log.wait_for(2).await;
    stage.assert_idle();
}

#[rstest]
#[case::refused(413)]
#[case::served_without_it(200)]
#[tokio::test]
async fn the_backend_answers_at_once(#[case] status: u16) {
    let (mango, stage) = setup().await;
    let early = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly");
    mango.behave_at("/early", Behaviour::raw(early).early());
    let mut client = stage.client().await;
    client.send(EXPECTING.replace(" / ", " /early ")).await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.interim.len(), answer.body.text().as_str()), (status, 0, "early"));
    let lines = stage.log.wait_for(1).await;
    assert_eq!((lines[0].status, lines[0].reason, lines[0].request_bytes), (status, None, 0));
    stage.assert_idle();
    // Nobody knows whether the client will send the body that it announced: it does not become a
    // request, whichever way.
    let _ = client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.closed().await.unwrap();
    assert_eq!(mango.requests().len(), 1);
}

/// RFC 9110, 10.1.1: nobody waits for ever for a 100 that does not come.
#[tokio::test]
async fn a_backend_that_ignores_it_gets_the_body_after_a_while() {
    let port = Port::free().unwrap();
    let listener = port.listen().unwrap();
    let backend = tokio::spawn(async move {
        let mut from_balancer = RawClient::over(listener.accept().await.unwrap().0);
        let head = from_balancer.head().await.unwrap().unwrap();
        // Not a word until the whole body is there.
        let body = from_balancer.body(&head, "").await.unwrap();
        from_balancer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        (head, body, from_balancer)
    });
    let mango = Backend::mango().start().await.unwrap();
    let toml = Setup::new(&[&mango]).toml().replace(&mango.addr().to_string(), &port.addr().to_string());
    let stage = Stage::start(&toml);
    let mut client = stage.client().await;
    client.send(EXPECTING).await.unwrap();
    assert_eq!(client.head().await.unwrap().unwrap().status(), 100);
    client.send("hello").await.unwrap();
    assert_eq!(client.response().await.unwrap().body.text(), "ok");
    let (head, body, _connection) = backend.await.unwrap();
    assert_eq!((head.headers.get("expect"), body.start.as_slice()), (Some("100-continue"), &b"hello"[..]));
    stage.log.wait_for(1).await;
    stage.assert_idle();
}

/// HTTP/1.0 knows no 100, so that such a client waits for none.
#[tokio::test]
async fn an_old_client_gets_no_100() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send(EXPECTING.replace("HTTP/1.1", "HTTP/1.0")).await.unwrap();
    client.send("hello").await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.interim.len()), (200, 0));
    assert_eq!(mango.requests()[0].body.start, b"hello");
}

/// The client need not wait for it either.
#[tokio::test]
async fn a_client_that_sends_at_once_is_served() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    for _ in 0..2 {
        client.send(format!("{EXPECTING}hello")).await.unwrap();
        assert_eq!(client.response().await.unwrap().status(), 200);
    }
    assert!(mango.requests().iter().all(|request| request.body.start == b"hello"));
}

#[tokio::test]
async fn without_a_body_there_is_nothing_to_wait_for() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    assert_eq!(mango.requests().len(), 1);
}

/// With nobody to say so, the client is not asked for its body.
#[tokio::test]
async fn a_request_that_goes_nowhere_needs_no_body() {
    let (mango, stage) = setup().await;
    mango.stop().await;
    let mut client = stage.client().await;
    client.send(EXPECTING).await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.interim.len()), (502, 0));
}

/// The other backend can still have the body, for none of it was taken.
#[tokio::test]
async fn a_body_that_nobody_took_can_be_sent_elsewhere() {
    let (mango, apple) =
        (Backend::mango().start().await.unwrap(), Backend::text("apple").start().await.unwrap());
    mango.on_accept(OnAccept::Reset);
    let stage = Setup::new(&[&mango, &apple]).start();
    for _ in 0..4 {
        let mut client = stage.client().await;
        client.send(EXPECTING).await.unwrap();
        assert_eq!(client.head().await.unwrap().unwrap().status(), 100);
        client.send("hello").await.unwrap();
        assert_eq!(client.response().await.unwrap().body.text(), "apple");
    }
    assert!(mango.requests().is_empty() && apple.requests().iter().all(|r| r.body.start == b"hello"));
}

#[tokio::test]
async fn early_hints_reach_the_client_before_the_answer() {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::own().interim(HINTS).interim(HINTS));
    let mut client = stage.client().await;
    for _ in 0..3 {
        let answer = client.get("/", "a").await.unwrap();
        assert_eq!((answer.status(), answer.interim.len(), answer.body.text().as_str()), (200, 2, "said"));
        for hint in &answer.interim {
            assert_eq!((hint.status(), hint.headers.get("link")), (103, Some("</a.css>; rel=preload")));
            assert!(!hint.headers.has("connection") && !hint.headers.has("x-secret"), "{hint:?}");
        }
    }
    stage.log.wait_for(3).await;
    stage.assert_idle();
}

/// Interim responses go out when they come, not with the answer.
#[tokio::test]
async fn early_hints_do_not_wait() {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::hang().interim(HINTS));
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(client.head().await.unwrap().unwrap().status(), 103);
    client.reset();
    assert_eq!(stage.log.wait_for(1).await[0].status, 499);
}

/// In a pipeline they stand before the answer that they belong to.
#[tokio::test]
async fn early_hints_keep_their_place_in_a_pipeline() {
    let (mango, stage) = setup().await;
    mango.behave_at("/hints", Behaviour::own().interim(HINTS));
    let mut client = stage.client().await;
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([get("/"), get("/hints"), get("/"), get("/hints")].concat()).await.unwrap();
    for interim in [0, 1, 0, 1] {
        let answer = client.response().await.unwrap();
        assert_eq!((answer.status(), answer.interim.len()), (200, interim));
    }
}

#[tokio::test]
async fn unknown_interim_responses_pass_and_101_does_not() {
    let (mango, stage) = setup().await;
    mango.behave_next(
        1,
        Behaviour::own()
            .interim("HTTP/1.1 102 Processing\r\n\r\n")
            .interim("HTTP/1.1 199 Own\r\nA: b\r\n\r\n"),
    );
    let answer = stage.get("/", "a").await;
    assert_eq!(answer.interim.iter().map(lb_testkit::Head::status).collect::<Vec<_>>(), [102, 199]);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    mango.behave(Behaviour::raw(switch).end(End::Hang));
    let answer = stage.get("/", "a").await;
    assert_eq!((answer.status(), answer.header("x-lb-reason")), (502, Some("backend_invalid")));
    stage.log.wait_for(2).await;
    stage.assert_idle();
}
