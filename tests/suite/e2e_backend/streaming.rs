//! Bodies stream both ways, in the framing that they came in, in constant memory.

use std::{path::Path, time::Duration};

use lb_testkit::{Backend, Behaviour, Digest, Framing, Gate, Port, RawClient};
use rstest::rstest;

use crate::support::{Lb, Process, Setup, Tested, backend};

const LENGTH_BYTES: u64 = (1 << 20) + 1;

async fn send_chunked(client: &mut RawClient, length_bytes: u64, trailers: &str) -> Tested {
    let mut sent = 0;
    while sent < length_bytes {
        let piece = lb_testkit::pattern(sent, length_bytes);
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(&piece);
        chunk.extend_from_slice(b"\r\n");
        client.send(chunk).await?;
        sent += piece.len() as u64;
    }
    client.send(format!("0\r\n{trailers}\r\n")).await
}

#[rstest]
#[case::length(false)]
#[case::chunked(true)]
#[tokio::test]
async fn an_upload_arrives_as_it_was_sent(
    #[case] chunked: bool,
    #[values(0, 1, LENGTH_BYTES)] length: u64,
) -> Tested {
    let a = backend("a").await;
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    if chunked {
        client.send("PUT / HTTP/1.1\r\nHost: mango\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
        send_chunked(&mut client, length, "").await?;
    } else {
        client.send(format!("PUT / HTTP/1.1\r\nHost: mango\r\nContent-Length: {length}\r\n\r\n")).await?;
        client.send_pattern(length).await?;
    }
    assert_eq!(client.response().await?.status(), 200);
    let seen = &a.requests()[0];
    assert_eq!((seen.body.length_bytes, seen.body.digest()), (length, Digest::of_pattern(length)));
    assert!(seen.body.is_complete());
    let framing = (seen.header("transfer-encoding"), seen.header("content-length"));
    let text = length.to_string();
    assert_eq!(framing, if chunked { (Some("chunked"), None) } else { (None, Some(text.as_str())) });
    assert_eq!(lb.lines(1).await[0].request_bytes, length);
    Ok(())
}

#[rstest]
#[case::length(Framing::Length, Some(true))]
#[case::chunked(Framing::Chunked, Some(false))]
#[case::until_close(Framing::UntilClose, None)]
#[tokio::test]
async fn a_download_arrives_as_it_was_sent(
    #[case] framing: Framing,
    #[case] has_length: Option<bool>,
    #[values(0, 1, LENGTH_BYTES)] length: u64,
    #[values("1.1", "1.0")] version: &str,
) -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(length).framing(framing));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send(format!("GET / HTTP/{version}\r\nHost: mango\r\n\r\n")).await?;
    let answer = client.response().await?;
    assert_eq!((answer.body.length_bytes, answer.body.digest()), (length, Digest::of_pattern(length)));
    assert!(answer.body.is_complete(), "{answer}");
    match (has_length, version) {
        (Some(true), _) => assert_eq!(answer.header("content-length"), Some(length.to_string().as_str())),
        (_, "1.0") => assert!(!answer.head.headers.has("transfer-encoding"), "{answer}"),
        (Some(false), _) => assert_eq!(answer.header("transfer-encoding"), Some("chunked")),
        (None, _) => {}
    }
    assert_eq!(lb.lines(1).await[0].response_bytes, length);
    Ok(())
}

/// A first piece is passed on while the rest is still to come, in both directions.
#[tokio::test]
async fn nothing_waits_for_a_body_to_be_whole() -> Tested {
    let port = Port::free()?;
    let listener = port.listen()?;
    let lb = Setup::default().backend("raw", port.addr(), "").start();
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await?;
    let mut server = RawClient::over(listener.accept().await?.0);
    let head = server.head().await?.expect("the request's head while its body is not whole");
    assert!(head.headers.lists("transfer-encoding", "chunked"));
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nanswer\r\n").await?;
    let head = client.head().await?.expect("the answer's head while its body is not whole");
    assert_eq!(head.status(), 200);
    client.send("0\r\n\r\n").await?;
    server.send("0\r\n\r\n").await?;
    let body = client.body(&head, "POST").await?;
    assert!(body.is_complete() && body.text() == "answer");
    Ok(())
}

#[tokio::test]
async fn trailers_reach_the_backend() -> Tested {
    let a = backend("a").await;
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: mango\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        .await?;
    send_chunked(&mut client, 10, "X-Sum: 42\r\n").await?;
    assert_eq!(client.response().await?.status(), 200);
    assert_eq!(a.requests()[0].body.trailers.get("x-sum"), Some("42"));
    Ok(())
}

#[tokio::test]
async fn trailers_reach_the_client() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::own().header("Trailer", "X-Sum").trailer("X-Sum", "42"));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\nTE: trailers\r\nConnection: TE\r\n\r\n").await?;
    let answer = client.response().await?;
    assert_eq!(
        (answer.body.is_complete(), answer.body.trailers.get("x-sum")),
        (true, Some("42")),
        "{answer}"
    );
    // A client that cannot take them gets the rest.
    let answer = client.get("/", "mango").await?;
    assert!(answer.body.is_complete() && answer.body.text().starts_with("This is"), "{answer}");
    Ok(())
}

/// What lies in the system's buffers of two connections, with room to spare.
const BUFFERS_BYTES_MAX: u64 = 48 << 20;

#[tokio::test]
async fn a_backend_that_does_not_read_holds_the_client_back() -> Tested {
    let a = backend("a").await;
    let gate = Gate::default();
    a.behave(Behaviour::own().early().held_by(&gate));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: mango\r\nContent-Length: 1000000000\r\n\r\n").await?;
    let sent = client.send_until_stuck(Duration::from_millis(500), 1_000_000_000).await?;
    assert!(sent < BUFFERS_BYTES_MAX, "{sent} bytes were taken");
    // It goes on when the backend does.
    gate.open_for_all();
    client.send_pattern(BUFFERS_BYTES_MAX).await?;
    assert_eq!(client.response().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_backend_back() -> Tested {
    let port = Port::free()?;
    let listener = port.listen()?;
    let lb = Setup::default().backend("raw", port.addr(), "").start();
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    let mut server = RawClient::over(listener.accept().await?.0);
    server.head().await?;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await?;
    let sent = server.send_until_stuck(Duration::from_millis(500), 1_000_000_000).await?;
    assert!(sent < BUFFERS_BYTES_MAX, "{sent} bytes were taken");
    // When the client leaves, the backend's connection goes as well, promptly.
    client.reset();
    server.closed().await?;
    assert_eq!(lb.line().await, "499 client_left raw 1");
    Ok(())
}

/// Peak memory of a process, in KiB.
fn peak_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.id().to_string()).join("status"));
    let status = status.expect("Linux tells of its processes");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// 64 MiB (1 GiB with `LB_SLOW_TESTS=1`) each way, in each framing, through a balancer of its own
/// process: its memory does not grow with them.
#[tokio::test]
async fn large_bodies_take_constant_memory() -> Tested {
    let length: u64 = if std::env::var_os("LB_SLOW_TESTS").is_some() { 1 << 30 } else { 64 << 20 };
    let a: Backend = backend("a").await;
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    let before = peak_kib(&lb);

    client.send(format!("PUT / HTTP/1.1\r\nHost: mango\r\nContent-Length: {length}\r\n\r\n")).await?;
    client.send_pattern(length).await?;
    assert_eq!(client.response().await?.status(), 200);
    client.send("PUT / HTTP/1.1\r\nHost: mango\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    send_chunked(&mut client, length, "").await?;
    assert_eq!(client.response().await?.status(), 200);
    let digest = Digest::of_pattern(length);
    for upload in &a.requests()[1..] {
        assert_eq!((upload.body.length_bytes, upload.body.digest()), (length, digest));
    }

    for framing in [Framing::Length, Framing::Chunked] {
        a.behave(Behaviour::pattern(length).framing(framing));
        let answer = client.get("/", "mango").await?;
        assert!(answer.body.is_complete(), "{answer}");
        assert_eq!((answer.body.length_bytes, answer.body.digest()), (length, digest));
    }
    let grown = peak_kib(&lb) - before;
    println!("4 times {length} bytes; peak {} KiB, {grown} KiB of it for them", peak_kib(&lb));
    assert!(grown < 8 << 10, "{grown} KiB more for bodies of {length} bytes");
    drop(client);
    lb.terminate().await;
    Ok(())
}
