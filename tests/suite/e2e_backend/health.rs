//! Active checks: what they ask, how often, and what follows.

use std::time::{Duration, Instant};

use lb_testkit::{Backend, Behaviour, End, OnAccept};
use rstest::rstest;

use crate::support::{Setup, Tested, backend, two};

const FAST: &str = "interval = \"50ms\", timeout = \"5s\"";

fn checked(backends: &[&Backend], check: &str) -> Setup {
    Setup::over(backends)
        .pool(&format!("health_check = {{ path = \"/healthcheck\", {check} }}\nretry = {{ tries = 1 }}"))
}

#[tokio::test]
async fn asks_as_configured() -> Tested {
    let a = backend("a").await;
    let _lb = checked(&[&a], FAST).start();
    a.wait_for_health_checks(2).await?;
    let check = &a.health_checks()[0];
    assert_eq!((check.method(), check.target()), ("GET", "/healthcheck"));
    assert_eq!(check.header("host"), Some(a.addr().to_string().as_str()));
    assert_eq!(check.header("user-agent"), Some("lb-health-check"));
    assert_eq!(a.requests().len(), 0, "nothing else is asked");
    Ok(())
}

#[tokio::test]
async fn asks_another_path_of_another_host() -> Tested {
    let a = Backend::mango().name("a").health_path("/up").start().await?;
    let check = "health_check = { path = \"/up?deep=1\", host = \"health.mango.com\", interval = \"50ms\" }";
    let _lb = Setup::over(&[&a]).pool(check).start();
    a.wait_for_health_checks(1).await?;
    let check = &a.health_checks()[0];
    assert_eq!((check.target(), check.header("host")), ("/up?deep=1", Some("health.mango.com")));
    Ok(())
}

#[rstest]
#[case::status(|a: &Backend| a.behave_for_health(Behaviour::fail()), "down: status 500")]
#[case::redirect(|a: &Backend| a.behave_for_health(Behaviour::status(302)), "down: status 302")]
#[case::silence(|a: &Backend| a.behave_for_health(Behaviour::hang()), "down: timed out")]
#[case::no_reading(|a: &Backend| a.on_accept(OnAccept::Hang), "down: timed out")]
#[case::half_a_head(
    |a: &Backend| a.behave_for_health(Behaviour::raw("HTTP/1.1 200 O").end(End::Hang)), "down: timed out"
)]
#[case::close(|a: &Backend| a.behave_for_health(Behaviour::close()), "down: connection closed")]
#[case::reset(|a: &Backend| a.behave_for_health(Behaviour::reset()), "down: connection closed")]
#[case::garbage(|a: &Backend| a.behave_for_health(Behaviour::garbage()), "down: invalid answer")]
#[tokio::test]
async fn takes_out_and_brings_back(#[case] break_it: fn(&Backend), #[case] told: &str) -> Tested {
    let [a, b] = two().await;
    let lb = checked(&[&a, &b], "interval = \"50ms\", timeout = \"300ms\"").start();
    b.wait_for_health_checks(1).await?;
    break_it(&a);
    lb.changed(&format!("mango a {told}"), 1).await;
    assert_eq!(lb.who_answers(6).await?, ["b"; 6]);
    a.on_accept(OnAccept::Serve);
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    let mut both = lb.who_answers(2).await?;
    both.sort();
    assert_eq!(both, ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn a_refused_connection_takes_out() -> Tested {
    let [a, b] = two().await;
    // Before the first check, which would else be cut off in a connection that it had.
    a.stop().await;
    let lb = checked(&[&a, &b], FAST).start();
    lb.changed("mango a down: connection failed", 1).await;
    assert_eq!(lb.who_answers(4).await?, ["b"; 4]);
    a.restart().await?;
    lb.changed("mango a up", 1).await;
    Ok(())
}

/// `fall` failures in a row take out, `rise` passes in a row bring back; fewer do nothing.
#[tokio::test]
async fn counts_failures_and_passes_in_a_row() -> Tested {
    let a = backend("a").await;
    let lb = checked(&[&a], &format!("{FAST}, fall = 3, rise = 4")).start();
    a.wait_for_health_checks(2).await?;
    let failed_at = a.health_checks().len();
    a.behave_for_health(Behaviour::fail());
    lb.changed("mango a down", 1).await;
    let failed = a.health_checks().len() - failed_at;
    // The one that was under way may have passed; a fourth may have begun since.
    assert!((3..=5).contains(&failed), "{failed} checks to go down");
    let passed_at = a.health_checks().len();
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    let passed = a.health_checks().len() - passed_at;
    assert!((4..=6).contains(&passed), "{passed} checks to come up");
    Ok(())
}

#[tokio::test]
async fn a_failure_between_passes_does_nothing() -> Tested {
    let a = backend("a").await;
    let lb = checked(&[&a], &format!("{FAST}, fall = 2")).start();
    a.wait_for_health_checks(1).await?;
    for _ in 0..4 {
        // One check fails, the next one passes.
        a.behave_for_health(Behaviour::fail());
        let before = a.health_checks().len();
        a.wait_for_health_checks(1).await?;
        a.behave_for_health(Behaviour::own());
        a.wait_for_health_checks(2).await?;
        assert!(a.health_checks().len() > before);
    }
    // Two failing checks in a row could only come from this test being held up for a whole interval.
    assert!(lb.changes().len() <= 2, "{:?}", lb.changes());
    Ok(())
}

#[tokio::test]
async fn expects_the_statuses_that_are_listed() -> Tested {
    let a = backend("a").await;
    a.behave_for_health(Behaviour::status(404));
    let lb =
        checked(&[&a], &format!("{FAST}, expect_status = [404, \"300-399\"], initial = \"down\"")).start();
    lb.changed("mango a up", 1).await;
    a.behave_for_health(Behaviour::status(200));
    lb.changed("mango a down: status 200", 1).await;
    a.behave_for_health(Behaviour::status(302));
    lb.changed("mango a up", 2).await;
    Ok(())
}

/// Until the first check has passed, nothing is sent there.
#[tokio::test]
async fn may_begin_down() -> Tested {
    let a = backend("a").await;
    a.behave_for_health(Behaviour::fail());
    let lb = checked(&[&a], &format!("{FAST}, initial = \"down\"")).start();
    assert_eq!(lb.get("/").await?.status(), 503);
    a.wait_for_health_checks(2).await?;
    assert_eq!(lb.get("/").await?.status(), 503);
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    assert_eq!(lb.get("/").await?.status(), 200);
    assert_eq!(a.requests().len(), 1);
    Ok(())
}

/// Without a word on it a backend counts as up until a check says otherwise; the first one decides.
#[tokio::test]
async fn begins_up_and_the_first_check_decides() -> Tested {
    let a = backend("a").await;
    a.behave_for_health(Behaviour::fail());
    let lb = checked(&[&a], "interval = \"60s\", jitter_percent = 1, fall = 3").start();
    assert_eq!(lb.get("/").await?.status(), 200);
    lb.changed("mango a down: status 500", 1).await;
    assert_eq!(lb.get("/").await?.status(), 503);
    Ok(())
}

#[tokio::test]
async fn asks_once_for_each_interval() -> Tested {
    let a = backend("a").await;
    let began = Instant::now();
    let _lb = checked(&[&a], "interval = \"100ms\", jitter_percent = 10").start();
    a.wait_for_health_checks(6).await?;
    // Five intervals of at least 90 ms lie between six checks; how many more is the machine's load.
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    Ok(())
}

/// Checks go on while a check hangs elsewhere, and a hung one is given up.
#[tokio::test]
async fn one_that_hangs_does_not_hold_up_the_others() -> Tested {
    let [a, b] = two().await;
    a.behave_for_health(Behaviour::hang());
    let lb = checked(&[&a, &b], "interval = \"50ms\", timeout = \"1s\"").start();
    a.wait_for_health_checks(1).await?;
    b.wait_for_health_checks(5).await?;
    lb.changed("mango a down: timed out", 1).await;
    a.wait_for_health_checks(1).await?;
    assert_eq!(a.connections().total - a.connections().open, a.health_checks().len() as u64 - 1);
    Ok(())
}
