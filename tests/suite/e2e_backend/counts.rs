//! The pool's books: after every fault nothing is in flight and nothing is pending.
//!
//! Seen from outside: with `least_request`, a backend whose count had leaked would get no request that
//! comes alone; with room for a single pending request, a leaked one would refuse all others.

use std::time::Duration;

use lb_testkit::{Behaviour, End, Framing, Gate};
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, two};

const POOL: &str = "algorithm = \"least_request\"\noutlier = { consecutive_failures = 0 }\n\
                    limits = { pending = 1 }\nretry = { tries = 1 }\n\
                    timeouts = { response_head = \"500ms\", body_idle = \"500ms\" }";

/// Both backends are picked again and again when requests come one by one.
async fn books_are_right(lb: &Lb) -> Tested {
    let mut answers = lb.who_answers(40).await?;
    answers.sort();
    answers.dedup();
    lb.assert_idle();
    // Each is picked by a fair draw: that one is missed by chance happens once in 2^39 runs.
    assert_eq!(answers, ["a", "b"]);
    Ok(())
}

#[rstest]
#[case::answer(Behaviour::own())]
#[case::status_500(Behaviour::fail())]
#[case::close(Behaviour::close())]
#[case::reset(Behaviour::reset())]
#[case::hang(Behaviour::hang())]
#[case::garbage(Behaviour::garbage())]
#[case::truncated(Behaviour::truncated(10_000, 10))]
#[case::reset_in_the_body(Behaviour::pattern(10_000).framing(Framing::Chunked).cut_after(10, End::Reset))]
#[case::hang_in_the_body(Behaviour::pattern(10_000).cut_after(10, End::Hang))]
#[case::announced_close(Behaviour::own().end(End::Announce))]
#[case::ambiguous(Behaviour::raw(
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
))]
#[tokio::test]
async fn after(#[case] behaviour: Behaviour) -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool(POOL).start();
    a.behave_next(2, behaviour.clone());
    b.behave_next(2, behaviour);
    let mut done = 0;
    while a.requests().len() < 2 || b.requests().len() < 2 {
        let _ = lb.get("/").await; // what the client sees of it is another test's concern
        done += 1;
        assert!(done < 200, "both backends are picked");
        lb.lines(done).await;
    }
    books_are_right(&lb).await
}

#[tokio::test]
async fn after_refused_connections() -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool(POOL).start();
    a.stop().await;
    b.stop().await;
    for _ in 0..8 {
        assert_eq!(lb.get("/").await?.status(), 502);
    }
    a.restart().await?;
    b.restart().await?;
    books_are_right(&lb).await
}

#[rstest]
#[case::before_the_head(false)]
#[case::in_the_body(true)]
#[tokio::test]
async fn after_clients_left(#[case] in_the_body: bool) -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool(&POOL.replace("500ms", "60s")).start();
    let gate = Gate::default();
    let behaviour = if in_the_body {
        Behaviour::pattern(1 << 30).paced(1000, Duration::from_millis(5))
    } else {
        Behaviour::own().held_by(&gate)
    };
    a.behave(behaviour.clone());
    b.behave(behaviour);
    let mut left = 0;
    while a.requests().len() < 2 || b.requests().len() < 2 {
        let mut client = lb.client().await;
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        let (at_a, at_b) = (a.requests().len(), b.requests().len());
        tokio::select! {
            arrived = a.wait_for_requests(at_a + 1) => drop(arrived?),
            arrived = b.wait_for_requests(at_b + 1) => drop(arrived?),
        }
        if in_the_body {
            assert_eq!(client.head().await?.map(|head| head.status()), Some(200));
        }
        client.reset();
        left += 1;
        assert!(left < 200, "both backends are picked");
        let log = lb.lines(left).await;
        let line = log[left - 1].to_string();
        assert!(line.starts_with("499 client_left"), "{line}");
    }
    for backend in [&a, &b] {
        backend.wait_until("that all were given up", |all| all.iter().all(|one| one.abandoned)).await?;
        backend.behave_normally();
    }
    books_are_right(&lb).await
}
