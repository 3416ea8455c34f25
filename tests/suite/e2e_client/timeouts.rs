//! No client can hold anything for longer than the configuration says.

use std::time::Duration;

use lb_core::reason::Reason;
use lb_testkit::{Backend, Behaviour, BodyEnd, RawClient};
use lb_tests::{Setup, Stage};
use rstest::rstest;
use tokio::net::TcpSocket;

use super::{assert_last_answer, assert_line};

/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);
/// A small part of it.
const PAUSE: Duration = Duration::from_millis(20);

async fn setup(timeouts: &str) -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).listener(&format!("timeouts = {{ {timeouts} }}")).start();
    (mango, stage)
}

const SLOW_HEAD: &str = r#"request_head = "300ms", keep_alive = "1h", body_idle = "1h""#;
const SLOW_BODY: &str = r#"body_idle = "300ms""#;

#[rstest]
#[case::first_line("G")]
#[case::no_end("GET / HTTP/1.1\r\nHost: a\r\n")]
#[case::half_an_end("GET / HTTP/1.1\r\nHost: a\r\n\r")]
#[tokio::test]
async fn a_head_that_stalls_is_answered_408(#[case] part: &str, #[values(true, false)] first: bool) {
    let (mango, stage) = setup(SLOW_HEAD).await;
    let mut client = stage.client().await;
    if !first {
        assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
    }
    client.send(part).await.unwrap();
    assert_last_answer(&mut client, Reason::RequestHeadTimeout).await;
    let lines = stage.log.wait_for(1 + usize::from(!first)).await;
    let line = lines.last().unwrap();
    assert_line(line, Reason::RequestHeadTimeout);
    assert!(line.duration >= SHORT, "{:?}", line.duration);
    assert_eq!(mango.requests().len(), usize::from(!first));
}

/// The head of the next request begins in the packet of the first, and does not go on.
#[tokio::test]
async fn a_head_that_stalls_in_a_pipeline_is_answered_408() {
    let (mango, stage) = setup(SLOW_HEAD).await;
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    assert_last_answer(&mut client, Reason::RequestHeadTimeout).await;
    assert_line(&stage.log.wait_for(2).await[1], Reason::RequestHeadTimeout);
    assert_eq!(mango.requests().len(), 1);
}

#[tokio::test]
async fn dripping_a_head_byte_by_byte_does_not_help() {
    let (mango, stage) = setup(SLOW_HEAD).await;
    let mut client = stage.client().await;
    let began = std::time::Instant::now();
    client.send("GET / HTTP/1.1\r\nX: ").await.unwrap();
    let answer = loop {
        tokio::select! {
            biased;
            answer = client.head() => break answer.unwrap().unwrap(),
            () = tokio::time::sleep(PAUSE) => {}
        }
        let _ = client.send("x").await; // the answer may be on its way
    };
    assert_eq!(answer.status(), 408);
    assert!(began.elapsed() >= SHORT);
    assert_line(&stage.log.wait_for(1).await[0], Reason::RequestHeadTimeout);
    assert_eq!(mango.connections().total, 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let (_mango, stage) = setup(r#"keep_alive = "300ms", request_head = "1h""#).await;
    let mut client = stage.client().await;
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
    let began = std::time::Instant::now();
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert!(began.elapsed() >= SHORT - PAUSE);
    assert_eq!(stage.log.lines().len(), 1);
}

#[rstest]
#[case::silent("")]
#[case::empty_lines("\r\n\r\n")]
#[tokio::test]
async fn a_connection_that_never_asks_is_closed_without_a_word(#[case] sent: &str) {
    let (_mango, stage) = setup(r#"keep_alive = "300ms", request_head = "200ms""#).await;
    let mut client = stage.client().await;
    client.send(sent).await.unwrap();
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    assert_eq!(stage.log.lines().len(), 0);
}

/// The time of one wait does not run on into the next.
#[tokio::test]
async fn a_connection_in_use_stays() {
    let (_mango, stage) = setup(r#"keep_alive = "600ms", request_head = "600ms""#).await;
    let mut client = stage.client().await;
    for _ in 0..10 {
        tokio::time::sleep(SHORT / 4).await;
        client.send("GET / HT").await.unwrap();
        tokio::time::sleep(PAUSE).await;
        client.send("TP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(client.response().await.unwrap().status(), 200);
    }
}

#[rstest]
#[case::length("Content-Length: 10\r\n\r\nabc", 3)]
#[case::nothing_yet("Content-Length: 10\r\n\r\n", 0)]
#[case::chunked("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 3)]
#[case::within_a_chunk("Transfer-Encoding: chunked\r\n\r\n5\r\nabc", 3)]
#[case::within_a_size("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5", 3)]
#[tokio::test]
async fn a_body_that_stalls_is_answered_408(#[case] rest: &str, #[case] length: u64) {
    let (mango, stage) = setup(SLOW_BODY).await;
    let mut client = stage.client().await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{rest}")).await.unwrap();
    assert_last_answer(&mut client, Reason::RequestBodyTimeout).await;
    let lines = stage.log.wait_for(1).await;
    assert_line(&lines[0], Reason::RequestBodyTimeout);
    assert_eq!(lines[0].request_bytes, length);
    assert!(lines[0].duration >= SHORT);
    let arrived = mango.wait_until("its end", |all| all.iter().all(|r| r.abandoned)).await.unwrap();
    assert_eq!((arrived.len(), arrived[0].body.end), (1, BodyEnd::Truncated));
    stage.assert_idle();
}

#[tokio::test]
async fn a_body_that_moves_may_take_long() {
    let (mango, stage) = setup(r#"body_idle = "600ms""#).await;
    let mut client = stage.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(SHORT / 4).await;
        client.send("x").await.unwrap();
    }
    assert_eq!(client.response().await.unwrap().status(), 200);
    assert_eq!(mango.requests()[0].body.length_bytes, 10);
}

/// A connection whose receive buffer stays small.
async fn narrow_client(stage: &Stage) -> RawClient {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    RawClient::over(socket.connect(stage.addr()).await.unwrap())
}

/// What is taken from the backend for a client that reads nothing: socket buffers and little more.
const HELD_BYTES_MAX: u64 = 16 << 20;

#[rstest]
#[case::alone("")]
// The next request is at hand already: that must not change how the first one's answer flows.
#[case::pipelined("GET /second HTTP/1.1\r\nHost: a\r\n\r\n")]
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off(#[case] more: &str) {
    let (mango, stage) = setup(SLOW_BODY).await;
    mango.behave(Behaviour::pattern(1 << 30));
    let mut client = narrow_client(&stage).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{more}")).await.unwrap();
    let lines = stage.log.wait_for(1).await;
    assert_line(&lines[0], Reason::ClientLeft);
    assert!(lines[0].duration >= SHORT);
    assert!(lines[0].response_bytes < HELD_BYTES_MAX, "{}", lines[0].response_bytes);
    stage.assert_idle();
    mango.wait_for_connections(|connections| connections.open == 0).await.unwrap();
    let arrived = mango.requests();
    assert!(arrived.len() == 1 && arrived[0].abandoned, "{arrived:?}");
    // It cannot take what it has for the whole.
    let head = client.head().await;
    let cut_off = match head {
        Ok(Some(head)) => !client.body(&head, "GET").await.unwrap().is_complete(),
        _ => true, // the reset overtook it
    };
    assert!(cut_off);
}

/// Answers without a body are held in check as well.
#[rstest]
#[case::with_bodies("GET")]
#[case::without("HEAD")]
#[tokio::test]
async fn a_flood_of_requests_without_reading_is_cut_off(#[case] method: &str) {
    let (mango, stage) = setup(SLOW_BODY).await;
    // Long heads fill the buffers soon.
    mango.behave(Behaviour::own().header("X-Filler", &"x".repeat(8000)));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(stage.addr()).await.unwrap();
    let requests = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").repeat(1000);
    let sent = async {
        let mut sent = 0;
        loop {
            use tokio::io::AsyncWriteExt;
            match stream.write(requests.as_bytes()).await {
                Ok(written) => sent += written,
                Err(_) => return sent,
            }
        }
    };
    // It takes what fits into the buffers, then an idle time; never all that there is to send.
    let sent = tokio::time::timeout(lb_testkit::DEADLINE, sent).await.expect("is cut off");
    assert!((sent as u64) < HELD_BYTES_MAX, "{sent}");
    stage.log.wait_until("its end", |lines| lines.iter().any(|line| line.status == 200)).await;
}

/// What a backend says before its answer fills the way to the client as well.
#[tokio::test]
async fn a_client_that_reads_no_interim_response_is_cut_off() {
    let (mango, stage) = setup(r#"body_idle = "150ms""#).await;
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(1000));
    mango.behave(Behaviour::own().interim(hint.repeat(100)));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(stage.addr()).await.unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    let cut_off = async {
        use tokio::io::AsyncWriteExt;
        while stream.write(requests.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(lb_testkit::DEADLINE, cut_off).await.expect("is cut off");
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    const LENGTH: u64 = 12 << 20;
    let (mango, stage) = setup(r#"body_idle = "600ms""#).await;
    mango.behave(Behaviour::pattern(LENGTH));
    let stream = {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.connect(stage.addr()).await.unwrap()
    };
    let mut client = tokio::io::BufReader::with_capacity(512 << 10, stream);
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut total = 0;
    let mut buffer = vec![0; 512 << 10];
    loop {
        let began = std::time::Instant::now();
        let mut taken = 0;
        while taken < 512 << 10 {
            let read = client.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            taken += read;
        }
        if taken == 0 {
            break;
        }
        total += taken as u64;
        tokio::time::sleep((SHORT / 4).saturating_sub(began.elapsed())).await;
    }
    assert!(total > LENGTH, "{total}");
    let lines = stage.log.wait_for(1).await;
    assert_eq!((lines[0].status, lines[0].response_bytes), (200, LENGTH));
    assert!(lines[0].duration > Duration::from_millis(600));
}
