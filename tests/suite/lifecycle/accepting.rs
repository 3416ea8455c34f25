//! Connections over workers.

use lb_server::{Options, Server};
use lb_testkit::{Port, RawClient};
use tokio::task::JoinSet;

use crate::support::{Lb, Setup, Tested, backend, valid};

/// Waits until so many connections are open.
async fn opened(lb: &Lb, count: usize) -> Vec<usize> {
    loop {
        let connections: Vec<usize> = lb.server().workers().iter().map(|it| it.connections).collect();
        if connections.iter().sum::<usize>() == count {
            return connections;
        }
        tokio::task::yield_now().await;
    }
}

fn difference(connections: &[usize]) -> usize {
    connections.iter().max().unwrap_or(&0) - connections.iter().min().unwrap_or(&0)
}

#[tokio::test]
async fn few_connections_are_spread_evenly() -> Tested {
    let a = backend("a").await;
    for workers in [1, 2, 3, 8] {
        let lb = Setup::over(&[&a]).top(&format!("workers = {workers}")).start();
        let mut clients = Vec::new();
        for count in 1..=16 {
            clients.push(lb.client().await);
            let connections = opened(&lb, count).await;
            assert!(difference(&connections) <= 1, "{connections:?}");
        }
        for client in &mut clients {
            assert_eq!(client.get("/", "mango").await?.status(), 200);
        }
    }
    Ok(())
}

/// All at once, so that workers decide without knowing of each other's last decision.
#[tokio::test]
async fn many_connections_are_spread_evenly() -> Tested {
    const CLIENTS: usize = 400;
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("workers = 4").start();
    let mut opening: JoinSet<_> = (0..CLIENTS).map(|_| RawClient::connect(lb.addr())).collect();
    let mut clients = Vec::new();
    while let Some(client) = opening.join_next().await {
        clients.push(client??);
    }
    let connections = opened(&lb, CLIENTS).await;
    assert!(difference(&connections) <= CLIENTS / 4 / 8, "{connections:?}");
    for client in &mut clients {
        assert_eq!(client.get("/", "mango").await?.status(), 200);
    }
    Ok(())
}

/// Those that leave are not counted on.
#[tokio::test]
async fn what_leaves_makes_room() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).top("workers = 2").start();
    let mut clients = Vec::new();
    for count in 1..=8 {
        clients.push(lb.client().await);
        opened(&lb, count).await;
    }
    for round in 0..8 {
        drop(clients.remove(round % 4));
        opened(&lb, 7).await;
        clients.push(lb.client().await);
        let connections = opened(&lb, 8).await;
        // Who leaves may be of the emptier worker, but the next one fills the gap.
        assert!(difference(&connections) <= 2, "{connections:?}");
    }
    Ok(())
}

/// The bound on connections holds for all workers together.
#[tokio::test]
async fn the_limit_is_exact_over_workers() -> Tested {
    const MOST: usize = 5;
    let a = backend("a").await;
    let listener = format!("limits = {{ connections = {MOST} }}");
    let lb = Setup::over(&[&a]).top("workers = 4").listener(&listener).start();
    let mut opening: JoinSet<_> = (0..4 * MOST).map(|_| RawClient::connect(lb.addr())).collect();
    let mut clients = Vec::new();
    while let Some(client) = opening.join_next().await {
        clients.push(client??);
    }
    opened(&lb, MOST).await;
    let refusals = lb.lines(3 * MOST).await;
    assert!(refusals.iter().all(|line| line.to_string().starts_with("503 too_many_connections")));
    let mut statuses = Vec::new();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
        statuses.push(client.response().await?.status());
    }
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), MOST, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == 503).count(), 3 * MOST, "{statuses:?}");
    Ok(())
}

/// Workers share an address with each other, and with nobody else.
#[tokio::test]
async fn a_second_server_does_not_start_on_the_same_address() -> Tested {
    let a = backend("a").await;
    let port = Port::free()?;
    let setup = Setup::over(&[&a]).top("workers = 2").listener(&format!("bind = \"{}\"", port.addr()));
    let lb = setup.start();
    let second = Server::start(&valid(&setup.toml()), Options::default());
    let error = second.err().expect("the address is taken").to_string();
    assert!(error.contains(&port.addr().to_string()), "{error}");
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}
