//! Versions, methods, statuses and targets with rules of their own.

use lb_core::reason::Reason;
use lb_testkit::{Backend, Behaviour, BodyEnd, Framing};
use lb_tests::{Setup, Stage};
use rstest::rstest;

use super::{assert_answer, assert_line};

async fn setup() -> (Backend, Stage) {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    (mango, stage)
}

#[tokio::test]
async fn an_old_client_is_served_and_its_connection_closed() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "said"));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    let arrived = &mango.requests()[0];
    assert_eq!((arrived.head.word(2), arrived.header("host")), ("HTTP/1.1", Some("a")));
    assert_eq!(stage.log.wait_for(1).await[0].version, "HTTP/1.0");
}

#[tokio::test]
async fn an_old_client_may_keep_its_connection() {
    let (_mango, stage) = setup().await;
    let mut client = stage.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        let answer = client.response().await.unwrap();
        assert_eq!((answer.status(), answer.header("connection")), (200, Some("keep-alive")));
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    assert_eq!(client.read_to_end().await.unwrap(), b"");
}

/// Chunks and interim responses came with HTTP/1.1.
#[tokio::test]
async fn an_old_client_gets_nothing_that_it_cannot_read() {
    let (mango, stage) = setup().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    mango.behave(Behaviour::reply(200, "in chunks").framing(Framing::Chunked).interim(hints));
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
    let answer = client.response().await.unwrap();
    assert!(answer.interim.is_empty() && answer.header("transfer-encoding").is_none(), "{answer:?}");
    assert_eq!((answer.body.text().as_str(), answer.body.end), ("in chunks", BodyEnd::Closed));
}

/// Without Host there is no host to match, and the backend gets its own address as Host.
#[tokio::test]
async fn an_old_client_may_leave_out_host() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.0\r\nX-Forwarded-Host: evil\r\n\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let arrived = &mango.requests()[0];
    assert_eq!(arrived.header("host"), Some(mango.addr().to_string().as_str()));
    assert_eq!(arrived.header("x-forwarded-host"), None);
}

#[rstest]
#[case::length(Framing::Length)]
#[case::chunked(Framing::Chunked)]
#[tokio::test]
async fn head_has_the_fields_of_get_and_no_body(#[case] framing: Framing) {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::reply(200, "said").framing(framing));
    let mut client = stage.client().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let answer = client.response_to("HEAD").await.unwrap();
        assert_eq!(answer.status(), 200);
        if framing == Framing::Length {
            assert_eq!(answer.header("content-length"), Some("4"));
        } else {
            assert_eq!(answer.header("content-length"), None);
        }
        // A body that is none would be read as the next answer.
        let next = client.get("/", "a").await.unwrap();
        assert_eq!((next.status(), next.body.text().as_str()), (200, "said"));
    }
    assert_eq!(mango.requests()[0].method(), "HEAD");
    assert_eq!(mango.connections().total, 1, "kept alive after HEAD");
    let lines = stage.log.wait_for(4).await;
    assert_eq!((lines[0].response_bytes, lines[1].response_bytes), (0, 4));
    stage.assert_idle();
}

#[tokio::test]
async fn own_answers_to_head_have_a_length_and_no_body() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).route(r#"match = { path = "/here" }"#).start();
    let mut client = stage.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = client.response_to("HEAD").await.unwrap();
    let length = format!("{}\n", Reason::NoRoute.text()).len().to_string();
    assert_eq!((answer.status(), answer.header("content-length")), (404, Some(length.as_str())));
    assert_eq!(client.get("/here", "a").await.unwrap().status(), 200);
}

/// hyper would make up a phrase, and a backend's is not passed on.
#[tokio::test]
async fn a_status_that_nobody_knows_has_no_phrase() {
    let (mango, stage) = setup().await;
    mango
        .behave(Behaviour::raw("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nhi").end(lb_testkit::End::Keep));
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let bytes = client.read_to_end().await.unwrap();
    assert!(
        bytes.starts_with(b"HTTP/1.1 299 \r\n") && bytes.ends_with(b"\r\n\r\nhi"),
        "{}",
        bytes.escape_ascii()
    );
}

/// Its end is the connection's, which was announced as one to be kept.
#[tokio::test]
async fn an_old_client_is_not_promised_a_connection_that_ends_the_body() {
    let (mango, stage) = setup().await;
    mango.behave(Behaviour::reply(200, "chunks").framing(Framing::Chunked));
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "chunks"));
    assert_eq!((answer.head.word(0), answer.header("connection")), ("HTTP/1.0", None), "{answer}");
    assert_eq!(client.closed().await.unwrap(), b"");
}

#[rstest]
#[case(204)]
#[case(304)]
#[tokio::test]
async fn statuses_without_body_keep_the_connection(#[case] status: u16) {
    let (mango, stage) = setup().await;
    let empty = format!("HTTP/1.1 {status} X\r\nETag: \"a\"\r\n\r\n");
    mango.behave_at("/empty", Behaviour::raw(empty).end(lb_testkit::End::Keep));
    let mut client = stage.client().await;
    for _ in 0..2 {
        let answer = client.get("/empty", "a").await.unwrap();
        assert_eq!((answer.status(), answer.header("etag")), (status, Some("\"a\"")));
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(client.get("/", "a").await.unwrap().body.text(), "said");
    }
    stage.log.wait_for(4).await;
    stage.assert_idle();
}

/// The length in a 304 is that of what was not sent. It may be left out, but not be another.
#[tokio::test]
async fn a_304_has_no_wrong_length() {
    let (mango, stage) = setup().await;
    mango.behave_at(
        "/same",
        Behaviour::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n")
            .end(lb_testkit::End::Keep),
    );
    let mut client = stage.client().await;
    let answer = client.get("/same", "a").await.unwrap();
    assert_eq!(answer.status(), 304);
    assert!(matches!(answer.header("content-length"), None | Some("1234")), "{answer:?}");
    assert_eq!(client.get("/", "a").await.unwrap().body.text(), "said");
}

#[tokio::test]
async fn any_other_method_is_forwarded() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "X-Own", "get"];
    for method in methods {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await.unwrap();
        assert_eq!(client.response().await.unwrap().status(), 200, "{method}");
    }
    let arrived: Vec<_> = mango.requests().iter().map(|request| request.method().to_owned()).collect();
    assert_eq!(arrived, methods);
    // A length of 0 is said of no method that has no use for a body.
    assert_eq!(mango.requests()[0].header("content-length"), None);
    assert!(mango.requests().iter().all(|request| request.header("transfer-encoding").is_none()));
}

/// With any method a body is a body, and none is none.
#[rstest]
#[case::empty("POST", "Content-Length: 0\r\n\r\n", b"")]
#[case::empty_chunks("POST", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"")]
#[case::with_get("GET", "Content-Length: 5\r\n\r\nhello", b"hello")]
#[case::with_head("HEAD", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello")]
#[case::with_delete("DELETE", "Content-Length: 5\r\n\r\nhello", b"hello")]
#[tokio::test]
async fn bodies_keep_their_framing(#[case] method: &str, #[case] rest: &str, #[case] body: &[u8]) {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    for count in 0..2 {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{rest}")).await.unwrap();
        assert_eq!(client.response_to(method).await.unwrap().status(), 200);
        let arrived = mango.wait_until("the body", |all| all[count].body.is_complete()).await.unwrap();
        let arrived = &arrived[count];
        assert!(arrived.body.start == body, "{arrived}");
        let framing = ["content-length", "transfer-encoding"].map(|name| arrived.header(name).is_some());
        assert!(framing == [rest.starts_with("Content"), rest.starts_with("Transfer")], "{arrived:?}");
    }
    assert_eq!(mango.connections().total, 1);
}

#[rstest]
#[case::plain("http://www.mango.com/a/b?c=d", "other", "/a/b?c=d", "www.mango.com")]
#[case::with_port("http://www.mango.com:8080/a", "other", "/a", "www.mango.com:8080")]
#[case::case_and_scheme("HTTPS://WWW.Mango.com/a", "www.mango.com", "/a", "WWW.Mango.com")]
#[case::without_path("http://www.mango.com", "www.mango.com", "/", "www.mango.com")]
#[case::query_alone("http://www.mango.com?a=b", "www.mango.com", "/?a=b", "www.mango.com")]
#[case::dots("http://www.mango.com/x/../a", "www.mango.com", "/a", "www.mango.com")]
#[tokio::test]
async fn an_absolute_target_overrides_host(
    #[case] target: &str,
    #[case] host: &str,
    #[case] expected: &str,
    #[case] expected_host: &str,
) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).route(r#"match = { host = "www.mango.com" }"#).start();
    let mut client = stage.client().await;
    assert_eq!(client.get(target, host).await.unwrap().status(), 200);
    let arrived = &mango.requests()[0];
    assert_eq!((arrived.target(), arrived.header("host")), (expected, Some(expected_host)));
    assert_eq!(arrived.header("x-forwarded-host"), Some(expected_host));
    assert_eq!(arrived.head.headers.all("host").count(), 1);
    let line = &stage.log.wait_for(1).await[0];
    assert_eq!((line.host.as_str(), line.status), (expected_host, 200));
}

#[tokio::test]
async fn an_absolute_target_is_routed_by_its_own_host() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).route(r#"match = { host = "www.mango.com" }"#).start();
    let mut client = stage.client().await;
    let answer = client.get("http://www.apple.com/", "www.mango.com").await.unwrap();
    assert_answer(&answer, Reason::NoRoute);
    assert_eq!(stage.log.wait_for(1).await[0].host, "www.apple.com");
    assert!(mango.requests().is_empty());
}

#[tokio::test]
async fn options_of_the_server_itself() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let arrived = &mango.requests()[0];
    assert_eq!((arrived.method(), arrived.target(), arrived.header("host")), ("OPTIONS", "*", Some("a")));
    assert_eq!(stage.log.wait_for(1).await[0].target, "*");
}

#[tokio::test]
async fn options_of_the_server_match_no_path_and_stay_as_they_are() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango])
        .route("match = { path_prefix = \"/\" }\nrequest = { add_prefix = \"/x\" }")
        .start();
    let mut client = stage.client().await;
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = client.response().await.unwrap();
    let targets: Vec<_> = mango.requests().iter().map(|request| request.target().to_owned()).collect();
    match answer.status() {
        200 => assert_eq!(targets, ["*"]),
        status => assert_eq!((status, targets.len()), (404, 0)),
    }
}

#[rstest]
#[case("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")]
#[case("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01 tunnelled bytes")]
#[case("CONNECT 127.0.0.1:80 HTTP/1.0\r\n\r\n")]
#[tokio::test]
async fn connect_is_not_offered(#[case] request: &str) {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client.send(request).await.unwrap();
    let answer = client.response_to("CONNECT").await.unwrap();
    assert_answer(&answer, Reason::MethodNotImplemented);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.closed().await.unwrap(), b"");
    assert_line(&stage.log.wait_for(1).await[0], Reason::MethodNotImplemented);
    assert_eq!(mango.connections().total, 0);
    assert_eq!(stage.log.lines().len(), 1);
}

/// An upgrade that nobody asked for, or that we do not forward, is no answer.
#[tokio::test]
async fn a_request_to_upgrade_is_served_as_an_ordinary_one() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.response().await.unwrap().body.text(), "said");
    let arrived = &mango.requests()[0];
    for name in ["connection", "upgrade", "http2-settings"] {
        assert_eq!(arrived.header(name), None, "{name}");
    }
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
}
