//! Round robin across worker threads, and the guide's failover with traffic running.

use lb_testkit::{Backend, Behaviour, RawClient};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{Lb, Setup, Tested, two};

/// Requests that come one after the other alternate, whichever workers serve them.
#[tokio::test]
async fn alternates_exactly_across_workers() -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).top("workers = 4").start();
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..4 {
        clients.push(lb.client().await);
    }
    for count in 0..50 {
        // Not in step with the two backends: each worker serves both.
        let client = &mut clients[count * 7 % 4];
        assert_eq!(client.get("/", "mango").await?.status(), 200);
    }
    let lines = lb.lines(50).await;
    assert!(lines.windows(2).all(|pair| pair[0].backend != pair[1].backend), "{lines:?}");
    assert_eq!((a.requests().len(), b.requests().len()), (25, 25));
    Ok(())
}

/// At once from many connections: the counts are still exact.
#[tokio::test]
async fn shares_exactly_under_concurrency() -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).top("workers = 4").start();
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let mut client = lb.client().await;
        clients.spawn(async move {
            for _ in 0..25 {
                let answer = client.get("/", "mango").await?;
                assert_eq!(answer.status(), 200, "{answer}");
            }
            Tested::Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    assert_eq!((a.requests().len(), b.requests().len()), (100, 100));
    Ok(())
}

/// Keeps asking until told to end; gives how many answers it got, all good.
async fn ask_on(mut client: RawClient, mut end: watch::Receiver<bool>) -> std::io::Result<u32> {
    let mut answers = 0;
    while !*end.borrow_and_update() {
        let answer = client.get("/", "localhost").await?;
        assert_eq!(answer.status(), 200, "after {answers}: {answer}");
        answers += 1;
    }
    Ok(answers)
}

async fn answers(lb: &Lb, more: usize) {
    let now = lb.lines(0).await.len();
    lb.lines(now + more).await;
}

/// The guide's walk: three backends, one dies, comes back, another one fails its checks and recovers;
/// who uses the balancer all the while never sees a failure.
#[tokio::test]
async fn the_guides_failover_loses_no_request() -> Tested {
    let all = [
        Backend::guide("backend1").start().await?,
        Backend::guide("backend2").start().await?,
        Backend::guide("backend3").start().await?,
    ];
    let pool = "health_check = { path = \"/health\", interval = \"100ms\", timeout = \"5s\" }\n\
                retry = { budget_floor = 100 }";
    let lb = Setup::over(&all.each_ref()).top("workers = 2").pool(pool).start();
    let (end, ended) = watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(ask_on(lb.client().await, ended.clone()));
    }
    answers(&lb, 50).await;
    for round in 1..=3 {
        all[0].stop().await;
        lb.changed("mango backend1 down", round).await;
        answers(&lb, 50).await;
        all[0].restart().await?;
        lb.changed("mango backend1 up", round).await;
        answers(&lb, 50).await;
    }
    all[1].behave_for_health(Behaviour::fail());
    lb.changed("mango backend2 down: status 500", 1).await;
    answers(&lb, 50).await;
    all[1].behave_normally();
    lb.changed("mango backend2 up", 1).await;
    answers(&lb, 50).await;
    end.send_replace(true);
    while let Some(done) = clients.join_next().await {
        assert!(done?? > 0);
    }
    assert!(lb.lines(0).await.iter().all(|line| line.status == 200));
    Ok(())
}
