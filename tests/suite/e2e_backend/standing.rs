//! Which backends may be picked by an operator's word: state, weight, slow start.

use std::time::Duration;

use lb_testkit::{Behaviour, Gate};
use rstest::rstest;

use crate::support::{Setup, Tested, two};

#[rstest]
#[case::drain("state = \"drain\"")]
#[case::maint("state = \"maint\"")]
#[case::weight_0("weight = 0")]
#[tokio::test]
async fn takes_no_new_requests(#[case] more: &str) -> Tested {
    let [a, b] = two().await;
    let lb = Setup::default().backend("a", a.addr(), more).backend("b", b.addr(), "").start();
    assert_eq!(lb.who_answers(6).await?, ["b"; 6]);
    assert_eq!(a.connections().total, 0);
    Ok(())
}

/// Not even as the last resort.
#[rstest]
#[case::drain("state = \"drain\"")]
#[case::maint("state = \"maint\"")]
#[case::weight_0("weight = 0")]
#[tokio::test]
async fn alone_it_leaves_a_503(#[case] more: &str) -> Tested {
    let [a, _] = two().await;
    let lb = Setup::default().backend("a", a.addr(), more).start();
    assert_eq!(lb.get("/").await?.status(), 503);
    assert_eq!(a.requests().len(), 0);
    Ok(())
}

/// A reload drains: what is in flight is finished, what is new goes elsewhere, checks go on.
#[rstest]
#[case::drain("state = \"drain\"", true)]
#[case::maint("state = \"maint\"", false)]
#[case::weight_0("weight = 0", true)]
#[tokio::test]
async fn what_is_in_flight_is_finished(#[case] more: &str, #[case] is_checked: bool) -> Tested {
    let [a, b] = two().await;
    let setup = |more: &str| {
        Setup::default()
            .backend("a", a.addr(), more)
            .backend("b", b.addr(), "")
            .pool("health_check = { path = \"/healthcheck\", interval = \"20ms\" }")
    };
    let lb = setup("").start();
    let gate = Gate::default();
    a.behave_for_traffic(Behaviour::own().held_by(&gate));
    b.behave_for_traffic(Behaviour::own().held_by(&gate));
    let mut clients = [lb.client().await, lb.client().await];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    }
    a.wait_for_requests(1).await?;
    b.wait_for_requests(1).await?;
    lb.reload(&setup(more).toml()).await.expect("a good configuration");
    gate.open_for_all();
    for client in &mut clients {
        assert_eq!(client.response().await?.status(), 200);
    }
    assert_eq!(lb.who_answers(4).await?, ["b"; 4]);
    if is_checked {
        a.wait_for_health_checks(2).await?;
    } else {
        b.wait_for_health_checks(1).await?; // one of `a` that was under way is over by now
        let checked = a.health_checks().len();
        b.wait_for_health_checks(5).await?;
        assert!(a.health_checks().len() <= checked + 1, "a backend in maintenance is left alone");
    }
    lb.reload(&setup("").toml()).await.expect("a good configuration");
    let mut both = lb.who_answers(2).await?;
    both.sort();
    assert_eq!(both, ["a", "b"]);
    Ok(())
}

#[rstest]
#[case::round_robin("round_robin", 0)]
#[case::random("random", 60)]
#[case::p2c("p2c", 100)]
#[tokio::test]
async fn weights_share_the_traffic(#[case] algorithm: &str, #[case] tolerance: usize) -> Tested {
    let [a, b] = two().await;
    let lb = Setup::default()
        .backend("a", a.addr(), "weight = 3")
        .backend("b", b.addr(), "")
        .pool(&format!("algorithm = \"{algorithm}\""))
        .start();
    let answers = lb.who_answers(400).await?;
    let to_a = answers.iter().filter(|name| *name == "a").count();
    // P2C of two idle ones goes by weight and load: it only has to prefer the heavier one.
    assert!(to_a.abs_diff(300) <= tolerance, "{to_a} of 400");
    Ok(())
}

/// A backend that came up begins with a small share.
#[tokio::test]
async fn slow_start_begins_with_a_small_share() -> Tested {
    let [a, b] = two().await;
    a.behave_for_health(Behaviour::fail());
    let pool = "slow_start = \"10m\"\n\
                health_check = { path = \"/healthcheck\", interval = \"20ms\", initial = \"down\" }";
    let lb = Setup::over(&[&a, &b]).pool(pool).start();
    lb.changed("mango b up", 1).await;
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    // Both began at about the same time; now `b` is full-grown by a reload that leaves it alone.
    let answers = lb.who_answers(60).await?;
    let to_a = answers.iter().filter(|name| *name == "a").count();
    assert!((20..=40).contains(&to_a), "both are at the beginning of their slow start: {to_a} of 60");
    Ok(())
}

/// One that was there from the start has its full share; the one that returns has not.
#[tokio::test]
async fn slow_start_is_for_those_that_return() -> Tested {
    let [a, b] = two().await;
    let pool = "slow_start = \"10m\"\nhealth_check = { path = \"/healthcheck\", interval = \"20ms\" }";
    let lb = Setup::over(&[&a, &b]).pool(pool).start();
    b.wait_for_health_checks(1).await?;
    a.behave_for_health(Behaviour::fail());
    lb.changed("mango a down", 1).await;
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    let answers = lb.who_answers(110).await?;
    let to_a = answers.iter().filter(|name| *name == "a").count();
    assert!((5..=20).contains(&to_a), "a tenth of what the other one gets, not {to_a} of 110");
    Ok(())
}

/// ... and grows to its full share.
#[tokio::test]
async fn slow_start_ends() -> Tested {
    let [a, b] = two().await;
    let pool = "slow_start = \"300ms\"\nhealth_check = { path = \"/healthcheck\", interval = \"20ms\" }";
    let lb = Setup::over(&[&a, &b]).pool(pool).start();
    b.wait_for_health_checks(1).await?;
    a.behave_for_health(Behaviour::fail());
    lb.changed("mango a down", 1).await;
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    let full = async {
        loop {
            let answers = lb.who_answers(10).await?;
            if answers.iter().filter(|name| *name == "a").count() == 5 {
                return Tested::Ok(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), full).await?
}
