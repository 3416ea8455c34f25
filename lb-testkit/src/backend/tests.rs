use super::*;
use crate::{BodyEnd, Digest, End, Framing, Gate, RawClient};
use rstest::rstest;

/// A long time for what a test waits for; passing does not take it.
const LATER: Duration = Duration::from_secs(3600);

async fn get(backend: &Backend) -> io::Result<crate::Response> {
    RawClient::connect(backend.addr()).await?.get("/", "a").await
}

#[tokio::test]
async fn what_arrives_is_recorded_as_it_came() {
    let mango = Backend::mango().start().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send("POST /a?b=c HTTP/1.1\r\nHOST: x\r\nX-a: 1\r\nTransfer-Encoding: chunked\r\n").await.unwrap();
    client.send("x-A: 2\r\n\r\n3;e=f\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    client.get("/health", "x").await.unwrap();
    assert_eq!(client.get("/d", "x").await.unwrap().status(), 200);

    let requests = mango.requests();
    let [first, second] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((first.method(), first.path(), first.query()), ("POST", "/a", Some("b=c")));
    let fields: Vec<_> = first.head.headers.iter().collect();
    assert_eq!(fields, [("HOST", "x"), ("X-a", "1"), ("Transfer-Encoding", "chunked"), ("x-A", "2")]);
    assert_eq!((first.body.start.as_slice(), first.body.length_bytes), (&b"abcde"[..], 5));
    assert_eq!(first.body.digest(), Digest::of(b"abcde"));
    assert_eq!(first.body.trailers.get("t"), Some("1"));
    assert!(first.body.is_complete() && !first.abandoned);
    assert_eq!((first.connection, first.nth, second.connection, second.nth), (0, 0, 0, 2));
    assert_eq!(mango.health_checks().len(), 1);
    assert_eq!(mango.connections(), Connections { open: 1, total: 1 });
    drop(client);
    mango.wait_for_connections(|connections| connections.open == 0).await.unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_off_is_recorded_as_such() {
    let mango = Backend::mango().start().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    mango
        .wait_until("three bytes", |requests| requests.iter().any(|r| r.body.length_bytes == 3))
        .await
        .unwrap();
    assert_eq!(mango.requests()[0].body.end, BodyEnd::Arriving);
    drop(client);
    let abandoned = mango.wait_until("its end", |requests| requests[0].abandoned).await.unwrap();
    assert_eq!(abandoned[0].body.end, BodyEnd::Truncated);
}

#[tokio::test]
async fn the_port_stays_through_stop_and_restart() {
    let mango = Backend::mango().start().await.unwrap();
    let mut open = RawClient::connect(mango.addr()).await.unwrap();
    open.get("/", "a").await.unwrap();
    for _ in 0..3 {
        mango.stop().await;
        assert_eq!(mango.connections().open, 0);
        assert_eq!(get(&mango).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        mango.restart().await.unwrap();
        assert_eq!(get(&mango).await.unwrap().status(), 200);
    }
    assert_eq!(open.closed().await.unwrap(), b"");
    let addr = mango.addr();
    drop(mango);
    // Nothing else tells when the task of a dropped backend has run.
    while let Ok(mut client) = RawClient::connect(addr).await {
        let _ = client.closed().await;
        tokio::task::yield_now().await;
    }
}

/// Between fork and exec, a program that another thread starts has all descriptors. (A test that restarted its
/// backend just then found the address in use.)
#[tokio::test]
async fn a_copy_of_the_listener_does_not_outlive_its_stop() {
    let mango = Backend::mango().start().await.unwrap();
    mango.stop().await;
    let listener = mango.port.listen().unwrap();
    let _copy = SockRef::from(&listener).try_clone().unwrap();
    Running::start(listener, Arc::clone(&mango.shared)).stop().await;
    assert_eq!(get(&mango).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    mango.restart().await.unwrap();
    assert_eq!(get(&mango).await.unwrap().status(), 200);
}

#[rstest]
#[case::status(Behaviour::status(503), Ok((503, "status 503", BodyEnd::Complete)))]
#[case::reply(Behaviour::reply(201, "made"), Ok((201, "made", BodyEnd::Complete)))]
#[case::no_content(Behaviour::status(204), Ok((204, "", BodyEnd::Complete)))]
#[case::chunked(Behaviour::reply(200, "abc").framing(Framing::Chunked), Ok((200, "abc", BodyEnd::Complete)))]
#[case::until_close(Behaviour::reply(200, "abc").framing(Framing::UntilClose), Ok((200, "abc", BodyEnd::Closed)))]
#[case::truncated(
    Behaviour::reply(200, "abc").framing(Framing::Claim(9)).end(End::Close),
    Ok((200, "abc", BodyEnd::Truncated))
)]
#[case::cut_chunks(
    Behaviour::reply(200, "abc").framing(Framing::Chunked).cut_after(2, End::Close),
    Ok((200, "ab", BodyEnd::Truncated))
)]
#[case::reset_in_body(Behaviour::reply(200, "abc").paced(1, Duration::from_millis(20)).cut_after(2, End::Reset),
    Ok((200, "ab", BodyEnd::Truncated)))]
#[case::raw(Behaviour::raw("HTTP/1.0 299 X\r\n\r\nhi"), Ok((299, "hi", BodyEnd::Closed)))]
#[case::half_a_head(Behaviour::raw("HTTP/1.1 200 OK\r\nConte"), Err(io::ErrorKind::UnexpectedEof))]
#[case::close(Behaviour::close(), Err(io::ErrorKind::UnexpectedEof))]
#[case::reset(Behaviour::reset(), Err(io::ErrorKind::ConnectionReset))]
#[tokio::test]
async fn behaviours_show_on_the_wire(
    #[case] behaviour: Behaviour,
    #[case] expected: Result<(u16, &str, BodyEnd), io::ErrorKind>,
) {
    let mango = Backend::mango().behaviour(behaviour).start().await.unwrap();
    let answer = get(&mango).await;
    let came = answer.as_ref().map(|answer| (answer.status(), answer.body.text(), answer.body.end));
    match expected {
        Ok((status, text, end)) => assert_eq!(came.unwrap(), (status, text.to_owned(), end)),
        Err(kind) => assert_eq!(came.unwrap_err().kind(), kind),
    }
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let mango = Backend::mango().behaviour(Behaviour::garbage()).start().await.unwrap();
    assert_eq!(get(&mango).await.unwrap().status(), 0);
}

#[tokio::test]
async fn the_most_particular_behaviour_wins() {
    let mango = Backend::mango().health_path("/alive").start().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    mango.behave_for_traffic(Behaviour::status(501));
    mango.behave_for_health(Behaviour::status(502));
    mango.behave_at("/x", Behaviour::status(503));
    mango.behave_next(1, Behaviour::status(504));
    for (path, expected) in [("/alive", 502), ("/health", 502), ("/x", 504), ("/x?a", 503), ("/", 501)] {
        assert_eq!(client.get(path, "a").await.unwrap().status(), expected, "{path}");
    }
    mango.behave(Behaviour::status(505));
    for path in ["/alive", "/x", "/"] {
        assert_eq!(client.get(path, "a").await.unwrap().status(), 505, "{path}");
    }
    mango.behave_normally();
    assert_eq!(client.get("/v1", "a").await.unwrap().body.text(), "This is V1");
}

#[tokio::test]
async fn a_client_that_leaves_a_hanging_or_slow_request_is_noticed() {
    let slow = Behaviour::own().after(LATER);
    let stuck = Behaviour::pattern(100).cut_after(10, End::Hang);
    for behaviour in [Behaviour::hang(), slow, stuck, Behaviour::own().held_by(&Gate::default())] {
        let mango = Backend::mango().behaviour(behaviour).start().await.unwrap();
        let mut client = RawClient::connect(mango.addr()).await.unwrap();
        client.send("GET / HTTP/1.1\r\n\r\n").await.unwrap();
        mango.wait_for_requests(1).await.unwrap();
        assert_eq!(mango.connections().open, 1);
        drop(client);
        mango.wait_for_connections(|connections| connections.open == 0).await.unwrap();
    }
}

#[tokio::test]
async fn gates_hold_and_let_go() {
    let gate = Gate::default();
    let mango = Backend::mango().behaviour(Behaviour::own().held_by(&gate)).start().await.unwrap();
    let mut clients = Vec::new();
    for n in 1..=3 {
        let mut client = RawClient::connect(mango.addr()).await.unwrap();
        client.send("GET / HTTP/1.1\r\n\r\n").await.unwrap();
        mango.wait_for_requests(n).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients[..2] {
        gate.open(1);
        assert_eq!(client.response().await.unwrap().status(), 200);
    }
    gate.open_for_all();
    assert_eq!(clients[2].response().await.unwrap().status(), 200);
}

#[tokio::test]
async fn continue_and_early_answers() {
    let mango = Backend::mango().start().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    let head = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    client.send(head).await.unwrap();
    assert_eq!(client.head().await.unwrap().unwrap().status(), 100);
    client.send("abc").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);

    let hints = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    mango.behave(Behaviour::reply(413, "no").early().interim(hints).trailer("T", "1"));
    client.send(head).await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.body.text().as_str()), (413, "no"));
    assert_eq!(answer.body.trailers.get("t"), Some("1"));
    assert_eq!(answer.interim[0].headers.get("link"), Some("a"));
    client.send("abc").await.unwrap();
    mango.behave_normally();
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
}

#[rstest]
#[case::announced(true)]
#[case::unannounced(false)]
#[tokio::test]
async fn connections_end_after_so_many_requests(#[case] announced: bool) {
    let mango = Backend::mango().start().await.unwrap();
    mango.close_after(Some(2), announced);
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    assert!(!client.get("/", "a").await.unwrap().head.headers.has("connection"));
    let last = client.get("/", "a").await.unwrap();
    assert_eq!(last.head.headers.lists("connection", "close"), announced);
    assert_eq!(client.closed().await.unwrap(), b"");
}

#[rstest]
#[case(OnAccept::Close)]
#[case(OnAccept::Reset)]
#[tokio::test]
async fn connections_may_end_before_they_begin(#[case] on_accept: OnAccept) {
    let mango = Backend::mango().start().await.unwrap();
    mango.on_accept(on_accept);
    assert!(get(&mango).await.is_err());
    assert!(mango.requests().is_empty());
}

#[tokio::test]
async fn old_clients_and_polite_ones_get_their_close() {
    let mango = Backend::mango().start().await.unwrap();
    for head in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"] {
        let mut client = RawClient::connect(mango.addr()).await.unwrap();
        client.send(head).await.unwrap();
        assert!(client.response().await.unwrap().head.headers.lists("connection", "close"));
        assert_eq!(client.read_to_end().await.unwrap(), b"");
    }
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send("HEAD / HTTP/1.1\r\n\r\nGET /v1 HTTP/1.1\r\n\r\n").await.unwrap();
    let head = client.response_to("HEAD").await.unwrap();
    assert!(head.header("content-length").is_some_and(|length| length != "0"));
    assert_eq!(client.response().await.unwrap().body.text(), "This is V1");
}

#[tokio::test]
async fn long_bodies_flow_both_ways() {
    const LENGTH: u64 = 5_000_001;
    let mango = Backend::mango().behaviour(Behaviour::pattern(LENGTH)).start().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send(format!("PUT / HTTP/1.1\r\nContent-Length: {LENGTH}\r\n\r\n")).await.unwrap();
    client.send_pattern(LENGTH).await.unwrap();
    let answer = client.response().await.unwrap();
    for body in [&answer.body, &mango.requests()[0].body] {
        assert_eq!((body.length_bytes, body.digest()), (LENGTH, Digest::of_pattern(LENGTH)));
        assert!(body.is_complete());
    }
    assert_eq!(mango.requests()[0].body.start.len(), 1024);
}

#[tokio::test]
async fn paced_bodies_come_piece_by_piece() {
    let mango = Backend::text("abcdef").start().await.unwrap();
    mango.behave(Behaviour::own().paced(2, Duration::from_millis(1)).framing(Framing::Chunked));
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send("GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let head = client.head().await.unwrap().unwrap();
    assert!(head.headers.lists("transfer-encoding", "chunked"));
    assert_eq!(client.read_to_end().await.unwrap(), b"2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n");
}

#[tokio::test]
async fn nonsense_in_the_framing_is_refused() {
    let mango = Backend::mango().start().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send("PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 400);
    client.closed().await.unwrap();
    let mut client = RawClient::connect(mango.addr()).await.unwrap();
    client.send("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await.unwrap();
    client.closed().await.unwrap();
    assert!(mango.requests()[1].body.end == BodyEnd::Invalid, "{:?}", mango.requests());
}

/// Another implementation of the protocol understands what we say, and we what it says.
#[tokio::test]
async fn hyper_and_we_understand_each_other() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::TokioIo;

    let mango = Backend::mango().start().await.unwrap();
    let stream = tokio::net::TcpStream::connect(mango.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for behaviour in [
        Behaviour::own(),
        Behaviour::own()
            .framing(Framing::Chunked)
            .interim("HTTP/1.1 103 Early Hints\r\n\r\n")
            .trailer("T", "1"),
        Behaviour::own().paced(7, Duration::from_millis(1)),
        Behaviour::own().framing(Framing::UntilClose),
    ] {
        mango.behave_next(1, behaviour);
        let request =
            hyper::Request::post("/").header("host", "x").body(Full::new(bytes::Bytes::from("abc"))).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body: bytes::Bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"This is the mango application. Serving on 127.0.0.1:"), "{body:?}");
    }
    assert!(mango.requests().iter().all(|request| request.body.start == b"abc"));
}

#[tokio::test]
async fn everything_can_move_between_threads() {
    let mango = Backend::mango().latency(Duration::from_millis(1)).start().await.unwrap();
    let task = tokio::spawn(async move { get(&mango).await });
    assert_eq!(task.await.unwrap().unwrap().status(), 200);
}
