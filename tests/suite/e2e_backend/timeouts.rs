//! How long a backend may take: to be connected to, for its head, in its body, and in all.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use lb_testkit::{Backend, Behaviour, Gate, OnAccept};
use rstest::rstest;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Setup, Tested, backend};

/// An address where connecting hangs: its listener never accepts, and its queue is full.
struct Full {
    _listener: Socket,
    _queued: Vec<Socket>,
    addr: SocketAddr,
}

impl Full {
    fn new() -> std::io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(0)?;
        let addr = listener.local_addr()?.as_socket().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let mut queued = Vec::new();
        // The kernel takes a few whatever is asked for; then it leaves SYNs unanswered.
        while TcpStream::connect_timeout(&addr, Duration::from_millis(150))
            .map(|stream| queued.push(stream.into()))
            .is_ok()
        {
            assert!(queued.len() < 1000, "the queue gets full");
        }
        Ok(Self { _listener: listener, _queued: queued, addr })
    }
}

#[tokio::test]
async fn connecting_takes_too_long() -> Tested {
    let full = Full::new()?;
    let pool = "timeouts = { connect = \"100ms\" }\nretry = { tries = 1 }";
    let lb = Setup::default().backend("full", full.addr, "").pool(pool).start();
    let began = Instant::now();
    let answer = lb.get("/").await?;
    assert_eq!((answer.status(), answer.header("x-lb-reason")), (502, Some("connect_timeout")), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(lb.line().await, "502 connect_timeout full 1");
    Ok(())
}

/// Nothing was sent, so even a POST goes elsewhere.
#[tokio::test]
async fn connecting_takes_too_long_and_another_backend_is_there() -> Tested {
    let full = Full::new()?;
    let a = backend("a").await;
    let lb =
        Setup::over(&[&a]).backend("full", full.addr, "").pool("timeouts = { connect = \"50ms\" }").start();
    for _ in 0..2 {
        let mut client = lb.client().await;
        client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 5\r\n\r\nhello").await?;
        assert_eq!(client.response().await?.status(), 200);
    }
    let mut lines: Vec<_> = lb.lines(2).await.iter().map(ToString::to_string).collect();
    lines.sort();
    assert_eq!(lines, ["200 - a 1", "200 - a 2"]);
    assert!(a.requests().iter().all(|request| request.body.text() == "hello"));
    Ok(())
}

#[rstest]
#[case::never_answers(|a: &Backend| a.behave(Behaviour::hang()))]
#[case::never_reads(|a: &Backend| a.on_accept(OnAccept::Hang))]
#[case::only_begins(|a: &Backend| a.behave(Behaviour::raw("HTTP/1.1 200 O").end(lb_testkit::End::Hang)))]
#[case::only_100(|a: &Backend| a.behave(
    Behaviour::raw("HTTP/1.1 100 Continue\r\n\r\n").end(lb_testkit::End::Hang)
))]
#[tokio::test]
async fn the_head_takes_too_long(#[case] hang: fn(&Backend)) -> Tested {
    let a = backend("a").await;
    hang(&a);
    let pool = "timeouts = { response_head = \"150ms\" }\nretry = { tries = 1 }";
    let lb = Setup::over(&[&a]).pool(pool).start();
    let began = Instant::now();
    let mut client = lb.client().await;
    let answer = client.get("/", "mango").await?;
    assert_eq!(
        (answer.status(), answer.header("x-lb-reason")),
        (504, Some("response_head_timeout")),
        "{answer}"
    );
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(lb.line().await, "504 response_head_timeout a 1");
    a.wait_for_connections(|connections| connections.open == 0).await?;
    // The client's connection is good for more.
    a.on_accept(OnAccept::Serve);
    a.behave_normally();
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    Ok(())
}

/// The backend's time for its head begins when the request is sent: an upload may take longer.
#[tokio::test]
async fn a_slow_upload_is_not_the_backends_fault() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("timeouts = { response_head = \"300ms\" }").start();
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 8\r\n\r\n").await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..8 {
        ticks.tick().await;
        client.send("x").await?;
    }
    assert_eq!(client.response().await?.status(), 200);
    assert_eq!(a.requests()[0].body.text(), "xxxxxxxx");
    Ok(())
}

/// A body may take longer than its idle time, as long as it moves.
#[tokio::test]
async fn a_slow_body_that_moves_is_passed_on() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(8).paced(1, Duration::from_millis(100)));
    let lb =
        Setup::over(&[&a]).pool("timeouts = { response_head = \"300ms\", body_idle = \"300ms\" }").start();
    let answer = lb.get("/").await?;
    assert!(answer.body.is_complete() && answer.body.length_bytes == 8, "{answer}");
    Ok(())
}

/// The backend's time does not run while it is the client that keeps it waiting; else a few clients that
/// pause could have it ejected.
#[tokio::test]
async fn a_client_that_pauses_its_upload_is_not_held_against_the_backend() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("timeouts = { response_head = \"100ms\" }").start();
    let mut client = lb.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: mango\r\nContent-Length: 10\r\n\r\nhello").await?;
    a.wait_until("five bytes", |all| all.iter().any(|request| request.body.length_bytes == 5)).await?;
    tokio::time::sleep(Duration::from_millis(400)).await;
    client.send("world").await?;
    let answer = client.response().await?;
    assert_eq!(answer.status(), 200, "{answer}");
    assert_eq!(lb.line().await, "200 - a 1");
    Ok(())
}

/// The route's time is for the whole request: also for a head that is never late by its own measure.
#[tokio::test]
async fn the_whole_request_takes_too_long_before_the_head() -> Tested {
    let a = backend("a").await;
    let gate = Gate::default();
    a.behave(Behaviour::own().held_by(&gate));
    let lb = Setup::over(&[&a]).route("timeout = \"150ms\"").start();
    let began = Instant::now();
    let answer = lb.get("/").await?;
    assert_eq!((answer.status(), answer.header("x-lb-reason")), (504, Some("request_timeout")), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(lb.line().await, "504 request_timeout a 1");
    a.wait_until("that it was given up", |requests| requests.iter().all(|request| request.abandoned)).await?;
    assert_eq!(a.requests().len(), 1, "there is no time for another try");
    Ok(())
}

/// ... and for a body that keeps moving.
#[tokio::test]
async fn the_whole_request_takes_too_long_in_the_body() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 20).paced(1, Duration::from_millis(20)));
    let lb = Setup::over(&[&a]).route("timeout = \"200ms\"").start();
    match lb.get("/").await {
        Ok(answer) => assert!(answer.status() == 200 && !answer.body.is_complete(), "{answer}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    assert_eq!(lb.line().await, "200 request_timeout a 1");
    a.wait_until("that it was given up", |requests| requests.iter().all(|request| request.abandoned)).await?;
    Ok(())
}

/// ... and for one that only its client holds up.
#[tokio::test]
async fn the_whole_request_takes_too_long_for_a_slow_client() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 30));
    let outlier = "outlier = { consecutive_failures = 1, max_ejected_percent = 100 }";
    let lb = Setup::over(&[&a]).pool(outlier).route("timeout = \"300ms\"").start();
    let mut client = tokio::net::TcpStream::connect(lb.addr()).await?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    let mut buffer = vec![0; 256 << 10];
    let slow = async {
        while !matches!(client.read(&mut buffer).await, Ok(0) | Err(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), slow).await.expect("is cut off");
    assert_eq!(lb.line().await, "200 request_timeout a 1");
    assert!(lb.changes().is_empty(), "the backend is not to blame: {:?}", lb.changes());
    Ok(())
}

/// ... and for one that takes nothing. The time of a silent backend, long over by then, is not what counts.
#[tokio::test]
async fn the_whole_request_takes_too_long_for_a_client_that_does_not_read() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 30));
    let timeouts = "timeouts = { body_idle = \"50ms\" }";
    let lb = Setup::over(&[&a]).pool(timeouts).route("timeout = \"400ms\"").start();
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    assert_eq!(lb.line().await, "200 request_timeout a 1");
    assert!(lb.changes().is_empty(), "the backend is not to blame: {:?}", lb.changes());
    Ok(())
}

/// ... and for an upload that keeps moving.
#[tokio::test]
async fn the_whole_request_takes_too_long_in_the_upload() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).route("timeout = \"300ms\"").start();
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 1000000\r\n\r\n").await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut sent = 0;
    let line = loop {
        tokio::select! {
            line = lb.line() => break line,
            _ = ticks.tick() => {
                // Once the answer is there the balancer may take no more.
                let _ = client.send("x").await;
                sent += 1;
                assert!(sent < 900_000);
            }
        }
    };
    assert_eq!(line, "504 request_timeout a 1");
    assert_eq!(client.response().await?.status(), 504);
    a.wait_until("that it was given up", |requests| requests.iter().all(|request| request.abandoned)).await?;
    Ok(())
}
