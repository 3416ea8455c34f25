//! A connection that waits for a request gives its buffers back, and nobody notices.

use std::time::{Duration, Instant};

use lb_core::reason::Reason;
use lb_server::Shutdown;
use lb_testkit::{Backend, Behaviour, DEADLINE, Gate, RawClient};
use lb_tests::{Setup, Stage};
use rstest::rstest;
use tokio::{task::JoinSet, time::timeout};

use super::{assert_last_answer, assert_line};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn setup(timeouts: &str) -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).listener(&format!("timeouts = {{ {timeouts} }}")).start();
    (mango, stage)
}

/// Waits until so many connections are open, and so many of them are parked.
async fn counts(stage: &Stage, connections: usize, parked: usize) {
    let reached = async {
        loop {
            let workers = stage.server.workers();
            let sum = (
                workers.iter().map(|worker| worker.connections).sum::<usize>(),
                workers.iter().map(|worker| worker.parked).sum::<usize>(),
            );
            if sum == (connections, parked) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, reached)
        .await
        .unwrap_or_else(|_| panic!("not {connections}, {parked}: {:?}", stage.server.workers()));
}

/// A client whose connection has carried a request and is parked.
async fn parked(stage: &Stage) -> RawClient {
    let mut client = stage.client().await;
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
    counts(stage, 1, 1).await;
    client
}

#[tokio::test]
async fn a_connection_is_parked_before_and_between_requests() {
    let (mango, stage) = setup("").await;
    let mut client = stage.client().await;
    counts(&stage, 1, 1).await;
    for _ in 0..3 {
        assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
        counts(&stage, 1, 1).await;
    }
    assert_eq!(mango.requests().len(), 3);
    drop(client);
    counts(&stage, 0, 0).await;
}

#[tokio::test]
async fn a_request_in_flight_keeps_its_connection_awake() {
    let (mango, stage) = setup("").await;
    let gate = Gate::default();
    mango.behave_next(1, Behaviour::own().held_by(&gate));
    let mut held = stage.client().await;
    held.send(GET).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    // Another connection comes to rest and is parked meanwhile.
    let mut other = stage.client().await;
    assert_eq!(other.get("/", "a").await.unwrap().status(), 200);
    counts(&stage, 2, 1).await;
    gate.open_for_all();
    assert_eq!(held.response().await.unwrap().status(), 200);
    counts(&stage, 2, 2).await;
}

/// Requests that come just when the connection is being parked are neither lost nor served twice.
#[tokio::test]
async fn requests_around_the_moment_of_parking_are_served() {
    const CLIENTS: u64 = 40;
    let (mango, stage) = setup("").await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = stage.client().await;
        clients.spawn(async move {
            for _ in 0..3 {
                assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
                tokio::time::sleep(Duration::from_millis(490 + number)).await;
            }
            assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(mango.requests().len() as u64, 4 * CLIENTS);
}

#[rstest]
#[case::pipelined(&["GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"], 2)]
#[case::in_pieces(&["GET / HT", "TP/1.1\r\nHost: a\r\n\r", "\n"], 1)]
#[case::after_an_empty_line(&["\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"], 1)]
#[case::after_half_an_empty_line(&["\r", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"], 1)]
#[case::with_a_body(&["PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", "cd"], 1)]
#[tokio::test]
async fn what_comes_after_parking_is_read_whole(#[case] pieces: &[&str], #[case] answers: usize) {
    let (mango, stage) = setup("").await;
    let mut client = parked(&stage).await;
    for piece in pieces {
        client.send(piece).await.unwrap();
        // Longer than it takes to be parked again.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    for _ in 0..answers {
        assert_eq!(client.response().await.unwrap().status(), 200);
    }
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
    assert_eq!(mango.requests().len(), 2 + answers);
}

#[rstest]
#[case::first(true)]
#[case::later(false)]
#[tokio::test]
async fn a_parked_client_that_leaves_is_noticed(#[case] orderly: bool, #[values(true, false)] used: bool) {
    let (_mango, stage) = setup("").await;
    let mut client = if used { parked(&stage).await } else { stage.client().await };
    counts(&stage, 1, 1).await;
    if orderly {
        client.finish_sending().await.unwrap();
        assert_eq!(client.closed().await.unwrap(), b"");
    } else {
        client.reset();
    }
    counts(&stage, 0, 0).await;
    assert_eq!(stage.log.lines().len(), usize::from(used), "nothing but the request is worth a line");
}

/// The client's last request comes with its end.
#[tokio::test]
async fn a_parked_client_that_asks_and_closes_its_end_gets_its_answer() {
    let (_mango, stage) = setup("").await;
    let mut client = parked(&stage).await;
    client.send(GET).await.unwrap();
    client.finish_sending().await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    counts(&stage, 0, 0).await;
}

#[tokio::test]
async fn parked_connections_end_with_the_server() {
    // Clients that keep their ends open: they are waited for, but not for long.
    let (_mango, stage) = setup("").await;
    let mut used = parked(&stage).await;
    let mut unused = stage.client().await;
    counts(&stage, 2, 2).await;
    assert_eq!(stage.server.shutdown().await, Shutdown::Clean);
    assert_eq!(used.closed().await.unwrap(), b"");
    assert_eq!(unused.closed().await.unwrap(), b"");
}

/// The time for a head begins with its first byte, not when the connection was parked.
#[tokio::test]
async fn a_head_that_stalls_after_parking_is_answered_408() {
    let (_mango, stage) = setup(r#"request_head = "300ms", keep_alive = "1h""#).await;
    let mut client = parked(&stage).await;
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\n").await.unwrap();
    assert_last_answer(&mut client, Reason::RequestHeadTimeout).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    let line = &stage.log.wait_for(2).await[1];
    assert_line(line, Reason::RequestHeadTimeout);
    assert!(line.duration >= Duration::from_millis(300) && line.duration < Duration::from_secs(5));
}

/// The time to keep a connection begins with the end of its last request, however often it is parked.
#[tokio::test]
async fn parking_does_not_prolong_keep_alive() {
    const KEEP_ALIVE: Duration = Duration::from_millis(2500);
    let (_mango, stage) = setup(r#"keep_alive = "2500ms", request_head = "2500ms""#).await;
    let mut client = parked(&stage).await;
    let answered = Instant::now();
    // An empty line is no request, but unparks; until it is parked again.
    for _ in 0..2 {
        client.send("\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let parked = answered.elapsed();
    assert_eq!(client.closed().await.unwrap(), b"");
    let kept = answered.elapsed();
    assert!(kept < parked + KEEP_ALIVE, "closed {kept:?} after the answer, parked at {parked:?}");
    // `answered` is some 500 ms after the answer.
    assert!(kept >= Duration::from_millis(1500), "{kept:?}");
}
