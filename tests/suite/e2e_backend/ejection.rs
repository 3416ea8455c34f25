//! Passive health: a backend that fails real traffic is left out for a while.

use std::time::{Duration, Instant};

use lb_testkit::{Backend, Behaviour};
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, backend, two};

fn ejecting(backends: &[&Backend], outlier: &str) -> Setup {
    Setup::over(backends).pool(&format!(
        "outlier = {{ consecutive_failures = 3, {outlier} }}\n\
         retry = {{ tries = 1 }}\ntimeouts = {{ response_head = \"100ms\" }}"
    ))
}

async fn requests(lb: &Lb, count: usize) -> std::io::Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(lb.get("/").await?.status());
    }
    Ok(statuses)
}

#[rstest]
#[case::status_500(Behaviour::fail(), 500)]
#[case::reset(Behaviour::reset(), 502)]
#[case::silence(Behaviour::hang(), 504)]
#[case::garbage(Behaviour::garbage(), 502)]
#[tokio::test]
async fn failures_in_a_row_eject(#[case] behaviour: Behaviour, #[case] status: u16) -> Tested {
    let [a, b] = two().await;
    let lb = ejecting(&[&a, &b], "base_ejection = \"60s\"").start();
    a.behave(behaviour);
    let statuses = requests(&lb, 6).await?;
    assert_eq!(statuses.iter().filter(|&&got| got == status).count(), 3, "{statuses:?}");
    lb.changed("mango a ejected for 60s", 1).await;
    assert_eq!(lb.who_answers(6).await?, ["b"; 6]);
    assert_eq!(a.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn refused_connections_eject() -> Tested {
    let [a, b] = two().await;
    let lb = ejecting(&[&a, &b], "base_ejection = \"60s\"").start();
    a.stop().await;
    requests(&lb, 6).await?;
    lb.changed("mango a ejected", 1).await;
    a.restart().await?;
    assert_eq!(lb.who_answers(6).await?, ["b"; 6]);
    Ok(())
}

/// Truncated bodies count, too, although their heads were fine.
#[tokio::test]
async fn broken_bodies_eject() -> Tested {
    let [a, b] = two().await;
    let lb = ejecting(&[&a, &b], "base_ejection = \"60s\"").start();
    a.behave(Behaviour::truncated(1000, 10));
    for count in 1..=6 {
        let _ = lb.get("/").await;
        lb.lines(count).await;
    }
    lb.changed("mango a ejected", 1).await;
    Ok(())
}

#[tokio::test]
async fn a_success_between_failures_begins_anew() -> Tested {
    let a = backend("a").await;
    let lb = ejecting(&[&a], "max_ejected_percent = 100").start();
    for _ in 0..3 {
        a.behave_next(2, Behaviour::fail());
        assert_eq!(requests(&lb, 3).await?, [500, 500, 200]);
    }
    assert_eq!(lb.changes(), [""; 0]);
    Ok(())
}

/// It returns when its time is up, stays while it does well, and the next time is longer.
#[tokio::test]
async fn ejections_end_and_grow() -> Tested {
    let [a, b] = two().await;
    let lb = ejecting(&[&a, &b], "base_ejection = \"200ms\"").start();
    a.behave(Behaviour::fail());
    requests(&lb, 6).await?;
    lb.changed("mango a ejected for 200ms", 1).await;
    let began = Instant::now();
    lb.changed("mango a returned from ejection", 1).await;
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    requests(&lb, 6).await?;
    lb.changed("mango a ejected for 400ms", 1).await;
    a.behave_normally();
    lb.changed("mango a returned from ejection", 2).await;
    let mut both = lb.who_answers(2).await?;
    both.sort();
    assert_eq!(both, ["a", "b"]);
    Ok(())
}

/// Half of two is one: the other one stays, however it fails.
#[tokio::test]
async fn no_more_than_the_share_is_out_at_once() -> Tested {
    let [a, b] = two().await;
    a.behave(Behaviour::fail());
    b.behave(Behaviour::fail());
    let lb = ejecting(&[&a, &b], "base_ejection = \"60s\"").start();
    assert_eq!(requests(&lb, 20).await?, [500; 20], "never a 503");
    let out = lb.changes();
    assert_eq!(out.len(), 1, "{out:?}");
    Ok(())
}

#[tokio::test]
async fn a_backend_that_is_alone_stays() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::fail());
    let lb = ejecting(&[&a], "").start();
    assert_eq!(requests(&lb, 10).await?, [500; 10]);
    assert_eq!((a.requests().len(), lb.changes().len()), (10, 0));
    Ok(())
}

#[tokio::test]
async fn zero_switches_it_off() -> Tested {
    let [a, b] = two().await;
    a.behave(Behaviour::fail());
    let pool = "outlier = { consecutive_failures = 0 }";
    let lb = Setup::over(&[&a, &b]).pool(pool).start();
    let statuses = requests(&lb, 20).await?;
    assert_eq!(statuses.iter().filter(|&&status| status == 500).count(), 10);
    Ok(())
}

/// What the client did is not held against the backend.
#[tokio::test]
async fn clients_that_leave_do_not_eject() -> Tested {
    let [a, b] = two().await;
    let lb = ejecting(&[&a, &b], "").start();
    a.behave(Behaviour::pattern(1 << 30).paced(1000, Duration::from_millis(5)));
    b.behave(Behaviour::pattern(1 << 30).paced(1000, Duration::from_millis(5)));
    for count in 1..=12 {
        let mut client = lb.client().await;
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        assert_eq!(client.head().await?.map(|head| head.status()), Some(200));
        client.reset();
        lb.lines(count).await;
    }
    assert_eq!(lb.changes(), [""; 0]);
    Ok(())
}
