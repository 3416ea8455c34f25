//! Shutting down: what is in flight is finished, within bounds; nothing new is taken.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_server::Shutdown;
use lb_testkit::{Behaviour, DEADLINE, Gate, RawClient};
use tokio::{net::TcpStream, time::timeout};

use crate::support::{Lb, Setup, Tested, backend};

/// Waits until connecting is refused.
async fn refused(addr: SocketAddr) {
    let refusing = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, refusing).await.expect("the listener is closed");
}

async fn held(lb: &Lb, a: &lb_testkit::Backend, gate: &Gate) -> std::io::Result<RawClient> {
    a.behave(Behaviour::own().held_by(gate));
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    a.wait_for_requests(1).await?;
    Ok(client)
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_nothing_new_taken() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("workers = 2").start();
    let gate = Gate::default();
    let mut idle = lb.client().await;
    assert_eq!(idle.get("/", "mango").await?.status(), 200);
    let mut silent = lb.client().await;
    a.forget_requests();
    let mut client = held(&lb, &a, &gate).await?;
    let ending = async {
        let outcome = lb.shutdown().await;
        assert_eq!(outcome, Shutdown::Clean);
    };
    let story = async {
        refused(lb.addr()).await;
        // Connections without a request end at once, while the other one is still in flight.
        assert_eq!(idle.closed().await?, b"");
        assert_eq!(silent.closed().await?, b"");
        drop((idle, silent));
        assert_eq!(lb.lines(0).await.len(), 1);
        gate.open_for_all();
        let answer = client.response().await?;
        assert_eq!(answer.status(), 200, "{answer}");
        assert!(answer.head.headers.lists("connection", "close"), "{answer}");
        assert_eq!(client.closed().await?, b"");
        drop(client);
        Tested::Ok(())
    };
    let ((), done) = tokio::join!(ending, story);
    done?;
    a.wait_for_connections(|connections| connections.open == 0).await?;
    assert_eq!(lb.lines(2).await[1].status, 200);
    Ok(())
}

/// A request that the system has taken in, though nobody here has seen it yet, is served as well.
#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_served() -> Tested {
    const CLIENTS: usize = 50;
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("workers = 2").start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = lb.client().await;
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        clients.push(client);
    }
    let story = async {
        for mut client in clients {
            assert_eq!(client.response().await?.status(), 200);
        }
        Tested::Ok(())
    };
    let (outcome, served) = tokio::join!(lb.shutdown(), story);
    assert_eq!(outcome, Shutdown::Clean);
    served
}

/// Both bodies may still have a long way to go.
#[tokio::test]
async fn bodies_in_flight_are_finished() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 20).paced(1 << 16, Duration::from_millis(10)).early());
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("PUT / HTTP/1.1\r\nHost: mango\r\nContent-Length: 10\r\n\r\nhello").await?;
    let head = client.head().await?.expect("a head");
    let story = async {
        refused(lb.addr()).await;
        client.send("world").await?;
        let body = client.body(&head, "PUT").await;
        drop(client);
        body
    };
    let (outcome, body) = tokio::join!(lb.shutdown(), story);
    let body = body?;
    assert!(body.is_complete() && body.length_bytes == 1 << 20);
    assert_eq!(outcome, Shutdown::Clean);
    Ok(())
}

#[tokio::test]
async fn it_is_bounded() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("shutdown_timeout = \"200ms\"").start();
    let gate = Gate::default();
    let mut client = held(&lb, &a, &gate).await?;
    let began = Instant::now();
    assert_eq!(lb.shutdown().await, Shutdown::Forced(1));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The client sees a broken connection, not an answer.
    assert_eq!(client.closed().await?, b"");
    a.wait_until("that it was given up", |requests| requests.iter().all(|request| request.abandoned)).await?;
    assert_eq!(lb.line().await, "499 client_left a 1");
    Ok(())
}

/// A body that is cut off by force is visibly broken.
#[tokio::test]
async fn a_body_that_is_cut_off_is_seen_to_be() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 30).paced(1000, Duration::from_millis(5)));
    let lb = Setup::over(&[&a]).top("shutdown_timeout = \"50ms\"").start();
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.0\r\nHost: mango\r\n\r\n").await?;
    let head = client.head().await?.expect("a head");
    assert_eq!(lb.shutdown().await, Shutdown::Forced(1));
    assert!(!client.body(&head, "GET").await?.is_complete());
    Ok(())
}

/// Without a length, only a reset tells HTTP/1.0 clients.
#[tokio::test]
async fn a_body_until_close_that_is_cut_off_is_seen_to_be() -> Tested {
    let a = backend("a").await;
    let endless = Behaviour::pattern(1 << 30).framing(lb_testkit::Framing::Chunked);
    a.behave(endless.paced(1000, Duration::from_millis(5)));
    let lb = Setup::over(&[&a]).top("shutdown_timeout = \"50ms\"").start();
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.0\r\nHost: mango\r\n\r\n").await?;
    let head = client.head().await?.expect("a head");
    assert_eq!(lb.shutdown().await, Shutdown::Forced(1));
    let body = client.body(&head, "GET").await?;
    assert!(!body.is_complete(), "taken for a whole body of {} bytes", body.length_bytes);
    Ok(())
}

#[tokio::test]
async fn force_ends_it_at_once() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("shutdown_timeout = \"1h\"").start();
    let gate = Gate::default();
    let mut client = held(&lb, &a, &gate).await?;
    let force = async {
        refused(lb.addr()).await;
        lb.server().force();
    };
    let (outcome, ()) = tokio::join!(timeout(DEADLINE, lb.shutdown()), force);
    // Connections that were made to see it begin may count as well.
    assert!(matches!(outcome.expect("it does not wait"), Shutdown::Forced(1..)));
    assert_eq!(client.closed().await?, b"");
    Ok(())
}

#[tokio::test]
async fn a_second_time_has_nothing_to_do() -> Tested {
    let a = backend("a").await;
    let lb = Lb::over(&[&a]);
    assert_eq!(lb.shutdown().await, Shutdown::Clean);
    assert_eq!(lb.shutdown().await, Shutdown::Clean);
    assert!(lb.reload(&Setup::over(&[&a]).toml()).await.is_err());
    let connected = RawClient::connect(lb.addr()).await.map(drop).map_err(|error| error.kind());
    assert_eq!(connected, Err(ErrorKind::ConnectionRefused));
    Ok(())
}

/// Its address is free when it has ended: the next one can start there.
#[tokio::test]
async fn the_address_is_free_afterwards() -> Tested {
    let a = backend("a").await;
    let port = lb_testkit::Port::free()?;
    let setup = Setup::over(&[&a]).listener(&format!("bind = \"{}\"", port.addr()));
    for _ in 0..3 {
        let lb = setup.start();
        assert_eq!(lb.get("/").await?.status(), 200);
        assert_eq!(lb.shutdown().await, Shutdown::Clean);
        refused(lb.addr()).await;
    }
    Ok(())
}
