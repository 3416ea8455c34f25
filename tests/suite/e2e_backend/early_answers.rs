//! A backend that answers before it has the whole request.

use std::time::Duration;

use lb_server::Shutdown;
use lb_testkit::{Behaviour, Digest, End};
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Lb, Setup, Tested, backend, slow_client};

/// The client hears it while it still sends.
#[rstest]
#[case::refusal(Behaviour::reply(413, "too large").early(), 413)]
#[case::answer(Behaviour::reply(200, "fine").early(), 200)]
#[case::refusal_and_close(Behaviour::reply(413, "too large").early().end(End::Announce), 413)]
#[tokio::test]
async fn reaches_the_client_before_the_body_is_sent(
    #[case] behaviour: Behaviour,
    #[case] status: u16,
) -> Tested {
    let a = backend("a").await;
    a.behave(behaviour);
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 100000\r\n\r\npart").await?;
    let answer = client.response().await?;
    assert_eq!(answer.status(), status, "{answer}");
    assert!(answer.body.is_complete());
    assert_eq!(lb.line().await, format!("{status} - a 1"));
    Ok(())
}

/// The balancer is not stuck with such a request: whatever the client does next, others are served.
#[tokio::test]
async fn the_connection_to_the_backend_is_not_used_for_others() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reply(403, "no").early());
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 10\r\n\r\nhalf ").await?;
    assert_eq!(client.response().await?.status(), 403);
    // `GET / HTTP` would be the rest of the body on a connection that was given to another too early.
    assert_eq!(lb.get("/").await?.status(), 200);
    let seen = a.requests();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].connection != seen[1].connection, "{} {}", seen[0], seen[1]);
    Ok(())
}

/// Both directions flow at once: the answer's end is seen although the request's end never comes.
#[tokio::test]
async fn both_directions_flow_at_once() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 20).early());
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await?;
    let head = client.head().await?.expect("a head while the request is not complete");
    assert_eq!(head.status(), 200);
    client.send("6\r\n world\r\n").await?;
    let body = client.body(&head, "POST").await?;
    assert!(body.is_complete() && body.length_bytes == 1 << 20);
    Ok(())
}

/// The backend answers and closes without reading an upload that is larger than all buffers.
#[tokio::test]
async fn an_upload_that_nobody_reads_is_answered() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::reply(413, "too large").early().end(End::Announce));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 3000000\r\n\r\n").await?;
    let _ = client.send_pattern(3_000_000).await; // the balancer may end the connection before
    let answer = client.response().await?;
    assert_eq!((answer.status(), answer.body.text().as_str()), (413, "too large"), "{answer}");
    Ok(())
}

/// sim-net, seed 1066: the backend ended behind its answer, and the connection to the client with it.
#[rstest]
#[tokio::test]
async fn the_next_request_is_answered_though_nobody_takes_the_upload(
    #[values(End::Close, End::Reset)] end: End,
) -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reply(403, "no").early().end(end));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 200000\r\n\r\n").await?;
    assert_eq!(client.response().await?.status(), 403);
    a.wait_for_connections(|connections| connections.open == 0).await?;
    client.send_pattern(200_000).await?;
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    Ok(())
}

/// ... but there is no waiting for it where nothing can follow: the client said so, or was never told to send the body,
/// so that what comes may be anything.
#[rstest]
#[case::last("Connection: close", End::Close)] // a backend that stays may want it
#[case::held_back("Expect: 100-continue", End::Close)]
#[case::held_back_from_one_that_stays("Expect: 100-continue", End::Keep)]
#[tokio::test]
async fn an_upload_that_nobody_takes_is_not_waited_for_where_nothing_can_follow(
    #[case] field: &str,
    #[case] end: End,
) -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reply(403, "no").early().end(end));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await.deadline(Duration::from_millis(1500));
    client
        .send(format!("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 200000\r\n{field}\r\n\r\n"))
        .await?;
    assert_eq!(client.response().await?.status(), 403);
    assert_eq!(client.read_to_end().await?, b"");
    Ok(())
}

/// ... nor for long: it holds up nobody's end.
#[tokio::test]
async fn an_upload_that_nobody_takes_does_not_hold_up_a_shutdown() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reply(403, "no").early().end(End::Close));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 200000\r\n\r\n").await?;
    assert_eq!(client.response().await?.status(), 403);
    a.wait_for_connections(|connections| connections.open == 0).await?;
    let ended = tokio::time::timeout(Duration::from_secs(10), lb.shutdown()).await;
    assert_eq!(ended.expect("within the time that lingering takes"), Shutdown::Clean);
    Ok(())
}

/// ... but one that is long is not read to its end for that.
#[tokio::test]
async fn a_long_upload_that_nobody_takes_ends_the_connection() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reply(403, "no").early().end(End::Close));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 1000000000\r\n\r\n").await?;
    assert_eq!(client.response().await?.status(), 403);
    a.wait_for_connections(|connections| connections.open == 0).await?;
    assert!(client.send_pattern(1_000_000_000).await.is_err(), "all of it was taken");
    Ok(())
}

/// sim-net, seed 23168: the backend was silent behind its answer, and took nothing more; the client's connection stayed
/// for as long as the system waits for such a peer.
#[tokio::test]
async fn an_upload_that_a_silent_backend_does_not_take_is_given_up() -> Tested {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let idle = "timeouts = { body_idle = \"200ms\" }";
    let setup = Setup::default().backend("a", listener.local_addr()?, "");
    let lb = setup.listener(idle).pool(idle).start();
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 100000000\r\n\r\n").await?;
    let (mut backend, _) = listener.accept().await?;
    backend.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await?;
    assert_eq!(client.response().await?.status(), 403);
    let error = client.send_pattern(100_000_000).await.expect_err("nobody takes so much");
    assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    Ok(())
}

/// The request's body ends when all of the answer has come but its last piece has not left: the next
/// answer's head was written before that piece.
#[tokio::test]
async fn the_next_answer_waits_for_the_end_of_an_early_one() -> Tested {
    let a = backend("a").await;
    let stage = lb_tests::Setup::new(&[&a]).start();
    // How much goes out to a client that does not read, and what waits in front of it.
    a.behave_at("/much", Behaviour::pattern(64 << 20));
    let mut idle = slow_client(stage.addr()).await?;
    idle.write_all(b"GET /much HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(idle);
    let taken = stage.log.wait_for(1).await[0].response_bytes;
    // With the longest that the balancer takes whole, it is the last piece that waits: which that is differs
    // by a few pieces, and shorter ones tell nothing.
    for length in (0..24).map(|step| taken - (step << 14)) {
        let before = stage.log.lines().len();
        a.behave_at("/early", Behaviour::pattern(length).early());
        let mut client = slow_client(stage.addr()).await?;
        client.write_all(b"POST /early HTTP/1.1\r\nHost: mango\r\nContent-Length: 10\r\n\r\nhello").await?;
        let taken_whole = stage.log.wait_for(before + 1);
        if tokio::time::timeout(Duration::from_millis(100), taken_whole).await.is_err() {
            drop(client);
            stage.log.wait_for(before + 1).await;
            continue;
        }
        client.write_all(b"worldGET /next HTTP/1.1\r\nHost: mango\r\nConnection: close\r\n\r\n").await?;
        stage.log.wait_for(before + 2).await;
        let mut read = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut read)).await??;
        let body_at = find(&read, b"\r\n\r\n").expect("a head") + 4;
        let (body, next) = read[body_at..].split_at(length as usize);
        assert_eq!(Digest::of(body), Digest::of_pattern(length), "of {length} bytes");
        assert!(next.starts_with(b"HTTP/1.1 200"), "{}", next.escape_ascii());
    }
    Ok(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
