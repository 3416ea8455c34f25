//! Requests that wait for a backend with a free slot: in order, in time, across workers.

use std::time::Duration;

use lb_testkit::{Backend, Behaviour, Gate, RawClient};
use rstest::rstest;
use tokio::task::JoinSet;

use crate::support::{Lb, Setup, Tested, backend, two};

const ONE_AT_A_TIME: &str = "max_in_flight = 1\nqueue = { length = 10, timeout = \"10s\" }";

/// A backend that answers one request each time that the gate is opened.
async fn gated(name: &str) -> (Backend, Gate) {
    let (backend, gate) = (backend(name).await, Gate::default());
    backend.behave(Behaviour::own().held_by(&gate));
    (backend, gate)
}

/// Sends `GET target` on a connection of its own and does not wait for the answer.
async fn ask(lb: &Lb, target: &str) -> std::io::Result<RawClient> {
    let mut client = lb.client().await;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: mango\r\n\r\n")).await?;
    Ok(client)
}

/// Until so many requests wait.
async fn until_waiting(lb: &Lb, count: usize) {
    let looking = async {
        while lb.server().pools()[0].waiting != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looking).await.expect("requests that wait");
}

/// With one worker and with several, which wake each other's waiters.
#[rstest]
#[tokio::test]
async fn first_in_first_out(#[values(1, 4)] workers: u32) -> Tested {
    let (a, gate) = gated("a").await;
    let lb = Setup::over(&[&a]).top(&format!("workers = {workers}")).pool(ONE_AT_A_TIME).start();
    let mut clients = vec![ask(&lb, "/0").await?];
    a.wait_for_requests(1).await?;
    for number in 1..=8 {
        clients.push(ask(&lb, &format!("/{number}")).await?);
        until_waiting(&lb, number).await;
    }
    assert_eq!(a.requests().len(), 1, "never more than one at a time");
    for (number, client) in clients.iter_mut().enumerate() {
        gate.open(1);
        assert_eq!(client.response().await?.status(), 200);
        let seen = a.requests().iter().map(|request| request.target().to_owned()).collect::<Vec<_>>();
        assert_eq!(seen[..=number], (0..=number).map(|n| format!("/{n}")).collect::<Vec<_>>());
    }
    lb.lines(9).await;
    lb.assert_idle();
    Ok(())
}

#[tokio::test]
async fn more_than_may_wait_are_shed() -> Tested {
    let (a, gate) = gated("a").await;
    let lb = Setup::over(&[&a]).pool("max_in_flight = 1\nqueue = { length = 1, timeout = \"10s\" }").start();
    let mut first = ask(&lb, "/").await?;
    a.wait_for_requests(1).await?;
    let mut second = ask(&lb, "/").await?;
    until_waiting(&lb, 1).await;
    let shed = lb.get("/").await?;
    assert_eq!((shed.status(), shed.header("x-lb-reason")), (503, Some("queue_full")));
    assert_eq!(shed.header("retry-after"), Some("1"));
    gate.open(2);
    assert_eq!((first.response().await?.status(), second.response().await?.status()), (200, 200));
    Ok(())
}

#[tokio::test]
async fn a_wait_ends_in_time() -> Tested {
    let (a, gate) = gated("a").await;
    let pool = "max_in_flight = 1\nqueue = { length = 5, timeout = \"50ms\" }";
    let lb = Setup::over(&[&a]).pool(pool).start();
    let mut first = ask(&lb, "/").await?;
    a.wait_for_requests(1).await?;
    let late = lb.get("/").await?;
    assert_eq!((late.status(), late.header("x-lb-reason")), (503, Some("queue_timeout")));
    assert_eq!(late.header("retry-after"), Some("1"));
    gate.open(1);
    assert_eq!(first.response().await?.status(), 200);
    assert_eq!(a.requests().len(), 1);
    lb.lines(2).await;
    lb.assert_idle();
    Ok(())
}

#[tokio::test]
async fn the_routes_timeout_ends_a_wait() -> Tested {
    let (a, _gate) = gated("a").await;
    let lb = Setup::over(&[&a]).pool(ONE_AT_A_TIME).route("timeout = \"100ms\"").start();
    let _first = ask(&lb, "/").await?;
    a.wait_for_requests(1).await?;
    let late = lb.get("/").await?;
    assert_eq!((late.status(), late.header("x-lb-reason")), (504, Some("request_timeout")));
    Ok(())
}

/// Who leaves the queue makes room at once, and nobody is sent in its place.
#[tokio::test]
async fn a_client_that_leaves_is_out_of_the_queue() -> Tested {
    let (a, gate) = gated("a").await;
    let lb = Setup::over(&[&a]).pool(ONE_AT_A_TIME).start();
    let mut first = ask(&lb, "/1").await?;
    a.wait_for_requests(1).await?;
    let second = ask(&lb, "/2").await?;
    until_waiting(&lb, 1).await;
    let mut third = ask(&lb, "/3").await?;
    until_waiting(&lb, 2).await;
    second.reset();
    until_waiting(&lb, 1).await;
    gate.open(2);
    assert_eq!((first.response().await?.status(), third.response().await?.status()), (200, 200));
    let seen: Vec<_> = a.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(seen, ["/1", "/3"]);
    lb.lines(3).await;
    lb.assert_idle();
    Ok(())
}

/// A reload that allows more lets in who waits.
#[tokio::test]
async fn a_reload_lets_in_who_waits() -> Tested {
    let (a, gate) = gated("a").await;
    let setup = |max: u32| {
        Setup::over(&[&a])
            .pool(&format!("max_in_flight = {max}\nqueue = {{ length = 10, timeout = \"10s\" }}"))
    };
    let lb = setup(1).start();
    let mut clients = [ask(&lb, "/").await?, ask(&lb, "/").await?, ask(&lb, "/").await?];
    until_waiting(&lb, 2).await;
    lb.reload(&setup(2).toml()).await.expect("a valid configuration");
    a.wait_for_requests(2).await?;
    assert_eq!((a.requests().len(), lb.server().pools()[0].waiting), (2, 1));
    gate.open(3);
    for client in &mut clients {
        assert_eq!(client.response().await?.status(), 200);
    }
    Ok(())
}

/// One of two refuses connections: its requests wait for the other one, and none is lost.
#[tokio::test]
async fn a_retry_waits() -> Tested {
    let [a, b] = two().await;
    let gate = Gate::default();
    b.behave(Behaviour::own().held_by(&gate));
    a.stop().await;
    let pool = format!("{ONE_AT_A_TIME}\noutlier = {{ consecutive_failures = 0 }}");
    let lb = Setup::over(&[&a, &b]).pool(&pool).start();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(ask(&lb, "/").await?);
    }
    until_waiting(&lb, 3).await;
    gate.open_for_all();
    for client in &mut clients {
        assert_eq!(client.response().await?.status(), 200);
    }
    assert_eq!(b.requests().len(), 4);
    lb.lines(4).await;
    lb.assert_idle();
    Ok(())
}

/// Many clients on several workers, and two backends of two slots each: none ever has more, and all are
/// answered.
#[tokio::test]
async fn a_crowd_is_served_within_the_caps() -> Tested {
    let [(a, gate_a), (b, gate_b)] = [gated("a").await, gated("b").await];
    let pool = "max_in_flight = 2\nqueue = { length = 1000, timeout = \"30s\" }";
    let lb = Setup::over(&[&a, &b]).top("workers = 3").pool(pool).start();
    let mut crowd = JoinSet::new();
    for _ in 0..30 {
        let mut client = lb.client().await;
        crowd.spawn(async move {
            for _ in 0..3 {
                assert_eq!(client.get("/", "mango").await.expect("an answer").status(), 200);
            }
        });
    }
    until_waiting(&lb, 26).await;
    a.wait_for_requests(2).await?;
    b.wait_for_requests(2).await?;
    assert_eq!((a.requests().len(), b.requests().len()), (2, 2));
    gate_a.open(1);
    a.wait_for_requests(3).await?;
    assert_eq!((a.requests().len(), b.requests().len()), (3, 2));
    gate_a.open_for_all();
    gate_b.open_for_all();
    crowd.join_all().await;
    assert_eq!(a.requests().len() + b.requests().len(), 90);
    lb.lines(90).await;
    lb.assert_idle();
    Ok(())
}

/// The adaptive limit sheds what is above it while it measures.
#[tokio::test]
async fn the_adaptive_limit_sheds() -> Tested {
    let (a, gate) = gated("a").await;
    let lb = Setup::over(&[&a]).pool("concurrency = { min = 2 }").start();
    let mut clients = [ask(&lb, "/").await?, ask(&lb, "/").await?];
    a.wait_for_requests(2).await?;
    let shed = lb.get("/").await?;
    assert_eq!((shed.status(), shed.header("x-lb-reason")), (503, Some("concurrency_limit")));
    gate.open_for_all();
    for client in &mut clients {
        assert_eq!(client.response().await?.status(), 200);
    }
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}
