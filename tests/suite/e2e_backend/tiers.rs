//! Backup pools, panic, and outliers by success rate, end to end.

use lb_testkit::Behaviour;

use crate::support::{Setup, Tested, two};

const CHECKS: &str = "health_check = { path = \"/healthcheck\", interval = \"20ms\" }";

#[tokio::test]
async fn a_backup_stands_in_and_steps_back() -> Tested {
    let [a, b] = two().await;
    let setup = Setup::default().backend("a", a.addr(), "").backend("b", b.addr(), "priority = 1");
    let lb = setup.pool(CHECKS).start();
    assert_eq!(lb.who_answers(5).await?, ["a"; 5]);
    a.behave_for_health(Behaviour::fail());
    lb.changed("a down", 1).await;
    assert_eq!(lb.who_answers(5).await?, ["b"; 5]);
    a.behave_normally();
    lb.changed("a up", 1).await;
    assert_eq!(lb.who_answers(5).await?, ["a"; 5]);
    Ok(())
}

#[tokio::test]
async fn panic_takes_those_that_are_down() -> Tested {
    let [a, b] = two().await;
    for backend in [&a, &b] {
        backend.behave_for_health(Behaviour::fail());
    }
    let lb = Setup::over(&[&a, &b]).pool(&format!("{CHECKS}\npanic_percent = 50")).start();
    lb.changed("a down", 1).await;
    lb.changed("b down", 1).await;
    let mut answers = lb.who_answers(4).await?;
    answers.sort();
    assert_eq!(answers, ["a", "a", "b", "b"]);
    Ok(())
}

/// Every other answer of `a` is a 500, which no run of failures ever finds.
#[tokio::test]
async fn a_backend_that_fails_now_and_then_is_found_by_its_rate() -> Tested {
    let [a, b] = two().await;
    let c = crate::support::backend("c").await;
    let pool = "[pool.mango.outlier]\nconsecutive_failures = 0\ninterval = \"300ms\"\nmin_requests = 5\n\
                min_backends = 3\nrobust = { floor_percent = 10 }";
    let lb = Setup::over(&[&a, &b, &c]).pool(pool).start();
    let mut client = lb.client().await;
    while lb.changes().is_empty() {
        a.behave_next(1, Behaviour::fail());
        for _ in 0..6 {
            client.get("/", "mango").await?;
        }
    }
    assert_eq!(lb.changes(), ["mango a ejected for 10s: success rate below the median"]);
    assert!(!lb.who_answers(6).await?.contains(&"a".to_owned()));
    Ok(())
}
