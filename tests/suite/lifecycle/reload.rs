//! A new configuration while the old one runs.

use std::io::ErrorKind;

use lb_testkit::{Behaviour, DEADLINE, Gate, Port, RawClient};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::support::{Setup, Tested, backend, two};

async fn is_refused(addr: std::net::SocketAddr) -> bool {
    RawClient::connect(addr).await.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[tokio::test]
async fn new_connections_and_old_ones_get_the_new_routes() -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a]).start();
    let mut old = lb.client().await;
    old.get("/", "mango").await?;
    lb.reload(&Setup::over(&[&b]).toml()).await.expect("a good configuration");
    old.get("/", "mango").await?;
    lb.get("/").await?;
    assert_eq!((a.requests().len(), b.requests().len()), (1, 2));
    Ok(())
}

/// What was learnt of the backends that stay is kept.
#[tokio::test]
async fn health_and_ejections_are_kept() -> Tested {
    let [a, b] = two().await;
    let c = backend("c").await;
    let pool = "outlier = { consecutive_failures = 2, base_ejection = \"5m\" }\n\
                health_check = { path = \"/healthcheck\", interval = \"30s\", jitter_percent = 1 }";
    let setup = |backends: &[&lb_testkit::Backend]| Setup::over(backends).pool(pool).toml();
    a.behave_for_health(Behaviour::fail());
    let lb = crate::support::Lb::start(&setup(&[&a, &b, &c]));
    lb.changed("mango a down", 1).await;
    b.behave_for_traffic(Behaviour::fail());
    while lb.changes().iter().all(|change| !change.contains("mango b ejected")) {
        lb.get("/").await?;
    }
    let d = backend("d").await;
    lb.reload(&setup(&[&a, &b, &d])).await.expect("a good configuration");
    a.forget_requests();
    b.forget_requests();
    assert_eq!(lb.who_answers(6).await?, ["d"; 6]);
    assert_eq!((a.requests().len(), b.requests().len()), (0, 0));
    assert!(lb.changes().iter().any(|change| change == "mango c removed"), "{:?}", lb.changes());
    assert!(lb.changes().iter().any(|change| change == "mango d added"), "{:?}", lb.changes());
    Ok(())
}

/// In-flight counts are kept: the backend that is busy still counts as busy.
#[tokio::test]
async fn counts_are_kept() -> Tested {
    let [a, b] = two().await;
    let toml = Setup::over(&[&a, &b]).pool("algorithm = \"least_request\"").toml();
    let lb = crate::support::Lb::start(&toml);
    let gate = Gate::default();
    a.behave(Behaviour::own().held_by(&gate));
    let mut clients = Vec::new();
    while a.requests().is_empty() {
        let mut client = lb.client().await;
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        tokio::select! {
            seen = a.wait_for_requests(1) => drop(seen?),
            answer = client.response() => drop(answer?),
        }
        clients.push(client);
    }
    lb.reload(&toml).await.expect("a good configuration");
    assert_eq!(lb.who_answers(20).await?, ["b"; 20], "a has a request in flight");
    gate.open_for_all();
    let answer = clients.last_mut().expect("the one that waits").response().await?;
    assert_eq!(answer.status(), 200);
    assert!(lb.who_answers(40).await?.contains(&"a".to_owned()), "and none any more");
    Ok(())
}

/// What is in flight in a pool that is gone is finished by the rules it began with.
#[tokio::test]
async fn a_removed_pool_finishes_what_it_has() -> Tested {
    let [a, b] = two().await;
    let setup = Setup::over(&[&b]);
    let more = format!(
        "[pool.old]\nbackends = [\"{}\"]\nhealth_check = {{ interval = \"20ms\" }}\n\
         [[route]]\nmatch = {{ path = \"/old\" }}\npool = \"old\"\n",
        a.addr()
    );
    let lb = crate::support::Lb::start(&(setup.toml() + &more));
    let gate = Gate::default();
    a.behave_for_traffic(Behaviour::own().held_by(&gate));
    let mut client = lb.client().await;
    client.send("GET /old HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    a.wait_for_requests(1).await?;
    lb.reload(&setup.toml()).await.expect("a good configuration");
    assert_eq!(lb.get("/old").await?.status(), 200);
    assert_eq!((a.requests().len(), b.requests().len()), (1, 1), "the new rule is in force");
    gate.open_for_all();
    assert_eq!(client.response().await?.status(), 200);
    let line = lb.line_where("of the old pool", |line| line.backend.as_deref() != Some("b")).await;
    assert_eq!((line.status, line.tries), (200, 1));
    Ok(())
}

#[tokio::test]
async fn listeners_come_and_go() -> Tested {
    let a = backend("a").await;
    let (first, second) = (Port::free()?, Port::free()?);
    let setup = Setup::over(&[&a]).listener(&format!("bind = \"{}\"", first.addr()));
    let listener = |port: &Port| format!("[[listener]]\nbind = \"{}\"\n", port.addr());
    let lb = setup.start();
    assert!(is_refused(second.addr()).await);
    let mut kept = lb.client().await;
    kept.get("/", "mango").await?;

    lb.reload(&(setup.toml() + &listener(&second))).await.expect("a good configuration");
    let mut new = RawClient::connect(second.addr()).await?;
    assert_eq!(new.get("/", "mango").await?.status(), 200);
    assert_eq!(kept.get("/", "mango").await?.status(), 200, "the old listener's connections stay");

    lb.reload(&setup.toml()).await.expect("a good configuration");
    let gone = async {
        while !is_refused(second.addr()).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the second listener is closed");
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}

/// The new address includes the old one, or is a part of it: neither is without a listener for a moment.
#[tokio::test]
async fn a_listener_moves_between_overlapping_addresses() -> Tested {
    let a = backend("a").await;
    let port = Port::free()?;
    let number = port.addr().port();
    let setup = |ip: &str| {
        Setup::over(&[&a]).top("workers = 2").listener(&format!("bind = \"{ip}:{number}\"")).toml()
    };
    let lb = crate::support::Lb::start(&setup("127.0.0.1"));
    for ip in ["0.0.0.0", "127.0.0.1", "[::]", "127.0.0.1"] {
        let mut kept = RawClient::connect(port.addr()).await?;
        lb.reload(&setup(ip)).await.expect("a good configuration");
        assert_eq!(kept.get("/", "mango").await?.status(), 200);
        assert_eq!(RawClient::connect(port.addr()).await?.get("/", "mango").await?.status(), 200);
        assert!(is_refused(([127, 0, 0, 2], number).into()).await == (ip == "127.0.0.1"), "{ip}");
    }
    Ok(())
}

/// All or nothing: not even the listeners that could be bound stay.
#[tokio::test]
async fn a_listener_that_cannot_be_bound_changes_nothing() -> Tested {
    let [a, b] = two().await;
    let (first, second, taken) = (Port::free()?, Port::free()?, Port::free()?);
    let _taken = taken.listen()?;
    let bind = |port: &Port| format!("bind = \"{}\"", port.addr());
    let lb = Setup::over(&[&a]).listener(&bind(&first)).start();
    let bad = Setup::over(&[&b]).listener(&bind(&first)).toml()
        + &format!("[[listener]]\n{}\n[[listener]]\n{}\n", bind(&second), bind(&taken));
    for _ in 0..3 {
        let error = lb.reload(&bad).await.expect_err("an address is taken").to_string();
        assert!(error.contains(&taken.addr().to_string()), "{error}");
        let gone = async {
            while !is_refused(second.addr()).await {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, gone).await.expect("the listener that could be bound is closed again");
        assert_eq!(lb.get("/").await?.status(), 200);
    }
    assert_eq!((a.requests().len(), b.requests().len()), (3, 0));
    // And it is not stuck: a good one is still taken.
    lb.reload(&Setup::over(&[&b]).listener(&bind(&first)).toml()).await.expect("a good configuration");
    assert_eq!(lb.get("/").await?.status(), 200);
    assert_eq!(b.requests().len(), 1);
    Ok(())
}

/// Limits and timeouts of a listener that stays are the new ones.
#[tokio::test]
async fn a_kept_listener_gets_its_new_settings() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).start();
    let post = "POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = lb.client().await;
    client.send(post).await?;
    assert_eq!(client.response().await?.status(), 200);
    lb.reload(&Setup::over(&[&a]).listener("limits = { body = \"4B\" }").toml())
        .await
        .expect("a good configuration");
    let mut client = lb.client().await;
    client.send(post).await?;
    assert_eq!(client.response().await?.status(), 413);
    Ok(())
}

/// Requests that run all the while do not notice.
#[tokio::test]
async fn under_traffic_no_request_fails() -> Tested {
    let [a, b] = two().await;
    let c = backend("c").await;
    let check = "health_check = { path = \"/healthcheck\", interval = \"20ms\" }";
    let setups = [
        Setup::over(&[&a, &b]).top("workers = 2").toml(),
        Setup::over(&[&b, &c]).top("workers = 2").pool(check).toml(),
        Setup::over(&[&c, &a]).top("workers = 2").pool("algorithm = \"least_request\"").toml(),
        Setup::over(&[&a]).top("workers = 2").pool("algorithm = \"p2c\"").toml(),
    ];
    let lb = crate::support::Lb::start(&setups[0]);
    let (end, ended) = watch::channel(false);
    let mut clients = JoinSet::new();
    for keep in [true, true, false, false] {
        let (addr, mut ended) = (lb.addr(), ended.clone());
        clients.spawn(async move {
            let mut client = RawClient::connect(addr).await?;
            let mut answers = 0;
            while !*ended.borrow_and_update() {
                let answer = client.get("/", "mango").await?;
                assert_eq!(answer.status(), 200, "{answer}");
                assert!(answer.body.is_complete());
                answers += 1;
                if !keep {
                    client = RawClient::connect(addr).await?;
                }
            }
            std::io::Result::Ok(answers)
        });
    }
    for round in 0..40 {
        lb.reload(&setups[round % setups.len()]).await.expect("a good configuration");
        let now = lb.lines(0).await.len();
        lb.lines(now + 5).await;
    }
    end.send_replace(true);
    while let Some(done) = clients.join_next().await {
        assert!(done?? > 0);
    }
    assert!(lb.lines(0).await.iter().all(|line| line.status == 200));
    Ok(())
}
