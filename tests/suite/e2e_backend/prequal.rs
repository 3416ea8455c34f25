//! Probes: sent besides requests, believed, and done without.

use std::time::Duration;

use lb_testkit::{Backend, Behaviour};

use crate::support::{Setup, Tested, two};

fn load(in_flight: &str, latency_micros: &str) -> Behaviour {
    Behaviour::status(200)
        .header("X-Requests-In-Flight", in_flight)
        .header("X-Latency-Micros", latency_micros)
}

/// The probes that have arrived.
fn probes(backends: [&Backend; 2]) -> usize {
    let at =
        |backend: &Backend| backend.requests().iter().filter(|request| request.path() == "/load").count();
    backends.into_iter().map(at).sum()
}

/// The backend that says that it is busy and slow gets next to nothing, once probes were answered.
#[tokio::test]
async fn the_faster_one_gets_more() -> Tested {
    let [a, b] = two().await;
    a.behave_at("/load", load("50", "900000"));
    b.behave_at("/load", load("0", "10"));
    let lb = Setup::over(&[&a, &b])
        .pool("algorithm = \"prequal\"\nprequal = { age = \"60s\", timeout = \"10s\", probe_percent = 100, remove_percent = 25 }")
        .start();
    let mut by_b = 0;
    for asked in 1..=200 {
        by_b += usize::from(lb.who_answers(1).await? == ["b"]);
        // Each request is worth a probe. However slow the machine is, they do not fall behind.
        while probes([&a, &b]) + 2 < asked {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(by_b > 140, "{by_b} of 200; an even split would be 100, give or take 7");
    Ok(())
}

/// Backends that know of no probes are judged by what the balancer has seen of them itself.
#[tokio::test]
async fn without_answers_the_slower_one_is_left() -> Tested {
    let [a, b] = two().await;
    for backend in [&a, &b] {
        backend.behave_at("/load", Behaviour::status(404));
    }
    let lb = Setup::over(&[&a, &b]).pool("algorithm = \"prequal\"").start();
    let answers = lb.who_answers(30).await?;
    let preferred = answers.last().cloned().unwrap_or_default();
    let slow = if preferred == "a" { &a } else { &b };
    slow.behave(Behaviour::own().after(Duration::from_millis(100)));
    let answers = lb.who_answers(20).await?;
    let by_slow = answers.iter().filter(|answer| **answer == preferred).count();
    assert!(by_slow < 10, "{by_slow} of 20 by the one that is slow now: {answers:?}");
    Ok(())
}
