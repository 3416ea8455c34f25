//! Connections to backends: used again, the last one first, no more than may be kept, not for ever.

use lb_testkit::{Backend, Behaviour, End, Gate, RawClient};

use crate::support::{Lb, Setup, Tested, backend};

#[tokio::test]
async fn one_client_after_another_uses_one_connection() -> Tested {
    let a = backend("a").await;
    let lb = Lb::over(&[&a]);
    for _ in 0..10 {
        // Each on a connection of its own.
        lb.get("/").await?;
    }
    let seen: Vec<_> = a.requests().iter().map(|request| (request.connection, request.nth)).collect();
    assert_eq!(seen, (0..10).map(|nth| (0, nth)).collect::<Vec<_>>());
    Ok(())
}

/// Holds `count` requests at the backend at once, then lets them go.
async fn at_once(lb: &Lb, a: &Backend, count: usize) -> Tested {
    let gate = Gate::default();
    a.behave(Behaviour::own().held_by(&gate));
    let before = a.requests().len();
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..count {
        let mut client = lb.client().await;
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        clients.push(client);
    }
    a.wait_for_requests(before + count).await?;
    gate.open_for_all();
    for client in &mut clients {
        assert_eq!(client.response().await?.status(), 200);
    }
    a.behave_normally();
    lb.lines(before + count).await;
    Ok(())
}

#[tokio::test]
async fn no_more_than_the_limit_are_kept() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("limits = { idle_connections = 2 }").start();
    at_once(&lb, &a, 6).await?;
    let left = a.wait_for_connections(|connections| connections.open <= 2).await?;
    assert_eq!((left.open, left.total), (2, 6));
    at_once(&lb, &a, 2).await?;
    assert_eq!(a.connections().total, 6, "the two are used");
    Ok(())
}

#[tokio::test]
async fn with_a_limit_of_none_every_request_has_its_own() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("limits = { idle_connections = 0 }").start();
    for _ in 0..3 {
        lb.get("/").await?;
    }
    assert_eq!(a.wait_for_connections(|connections| connections.open == 0).await?.total, 3);
    Ok(())
}

/// Last in, first out: under low load the others are left to run out.
#[tokio::test]
async fn the_one_used_last_is_used_first() -> Tested {
    let a = backend("a").await;
    let lb = Lb::over(&[&a]);
    at_once(&lb, &a, 4).await?;
    for _ in 0..6 {
        lb.get("/").await?;
    }
    let used: Vec<_> = a.requests()[4..].iter().map(|request| request.connection).collect();
    assert!(used.windows(2).all(|pair| pair[0] == pair[1]), "{used:?}");
    assert_eq!(a.connections().open, 4);
    Ok(())
}

#[tokio::test]
async fn an_unused_one_is_closed_in_time() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("timeouts = { keep_alive = \"100ms\" }").start();
    lb.get("/").await?;
    assert_eq!(a.wait_for_connections(|connections| connections.open == 0).await?.total, 1);
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}

/// Also one whose time is up but that was not swept yet.
#[tokio::test]
async fn one_that_the_backend_ends_is_not_used_again() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::own().end(End::Announce));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    let answer = client.get("/", "mango").await?;
    assert!(!answer.head.headers.has("connection"), "the backend's wish is not the client's: {answer}");
    client.get("/", "mango").await?;
    assert_eq!(a.requests()[1].connection, 1);
    Ok(())
}

/// Workers do not lend each other connections, and need none to.
#[tokio::test]
async fn each_worker_keeps_its_own() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("workers = 3").start();
    // Connections are dealt out to the worker that has the fewest.
    let mut clients = [lb.client().await, lb.client().await, lb.client().await];
    for _ in 0..5 {
        for client in &mut clients {
            client.get("/", "mango").await?;
        }
    }
    assert_eq!(a.connections().total, 3);
    Ok(())
}
