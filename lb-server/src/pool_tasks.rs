//! What a pool needs done in the background: active checks and probes when they are due, and names
//! resolved.

mod probes;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header, response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lb_core::{
    config::HealthCheck,
    exchange::PoolHandle,
    health::{self, CheckFailure},
    pool::Check,
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, spawn_local},
};

use crate::{clock::Clock, net::Net, snapshot::SharedPool};

/// Starts the pool's background tasks on the current thread's `LocalSet`.
pub(crate) fn start(pool: &SharedPool, net: &Net, clock: Clock) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![spawn_local(watch(pool.clone(), net.clone(), clock))];
    if pool.with(|state| state.names_to_resolve().next().is_some()) {
        tasks.push(spawn_local(resolve(pool.clone(), net.clone(), clock)));
    }
    tasks
}

/// Wakes the pool when it wants to be, and starts the checks that are due.
async fn watch(pool: SharedPool, net: Net, clock: Clock) {
    loop {
        let now = clock.now();
        let (checks, config, next) = pool.with(|state| {
            state.wake(now);
            probes::start(&pool, &net, state, clock);
            let checks: Vec<Check> = std::iter::from_fn(|| state.poll_check(now)).collect();
            (checks, state.config().health_check.clone(), state.next_wake())
        });
        if let Some(config) = config {
            for check in checks {
                spawn_local(run_check(pool.clone(), net.clone(), config.clone(), check, clock));
            }
        }
        let sleep = async {
            match next {
                Some(at) => tokio::time::sleep(at.since(clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = sleep => {}
            () = pool.changed.notified() => {}
        }
    }
}

/// Checks that run at once, over all pools; further ones wait for their turn.
const CHECKS_MAX: usize = 512;
static CHECKS: Semaphore = Semaphore::const_new(CHECKS_MAX);

async fn run_check(pool: SharedPool, net: Net, config: HealthCheck, check: Check, clock: Clock) {
    // It is never closed; without a permit the check would still be made.
    let _permit = CHECKS.acquire().await;
    let result = match tokio::time::timeout(config.timeout, ask(&net, &config, &check)).await {
        Err(_) => Err(CheckFailure::Timeout),
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(status)) => health::judge(&config, status),
    };
    pool.with(|state| state.on_check(check.endpoint, result, clock.now()));
    pool.changed.notify_one();
}

/// One check: the status that came.
async fn ask(net: &Net, config: &HealthCheck, check: &Check) -> Result<u16, CheckFailure> {
    let host = config.host.as_deref().unwrap_or(&check.authority);
    let answer = get(net, check.addr, &config.path, host, "lb-health-check").await?;
    Ok(answer.status.as_u16())
}

/// One GET on a connection of its own: the head of what came.
async fn get(
    net: &Net,
    addr: SocketAddr,
    path: &str,
    host: &str,
    agent: &'static str,
) -> Result<response::Parts, CheckFailure> {
    let stream = net.connect(addr).await.map_err(|_| CheckFailure::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| CheckFailure::Closed)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse().map_err(|_| CheckFailure::Invalid)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| CheckFailure::Invalid)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let asking = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| if error.is_parse() { CheckFailure::Invalid } else { CheckFailure::Closed })?;
        Ok(response.into_parts().0)
    };
    tokio::select! {
        biased;
        head = asking => head,
        // The connection's end is told to the request first; this only drives it.
        () = async { let _ = connection.await; std::future::pending::<()>().await } => Err(CheckFailure::Closed),
    }
}

/// Resolves the pool's names now and again, for ever. A name that cannot be resolved keeps the
/// addresses that it had.
async fn resolve(pool: SharedPool, net: Net, clock: Clock) {
    loop {
        let (names, interval) = pool.with(|state| {
            let names: Vec<(String, u16)> =
                state.names_to_resolve().map(|(host, port)| (host.to_owned(), port)).collect();
            (names, state.config().resolve_interval)
        });
        // Side by side: one name whose server is silent must not hold up the others.
        let lookups: Vec<_> = names
            .into_iter()
            .map(|(host, port)| spawn_local(look_up(pool.clone(), net.clone(), host, port, clock)))
            .collect();
        for lookup in lookups {
            let _ = lookup.await; // only a panic ends it early, and has been told then
        }
        tokio::time::sleep(interval).await;
    }
}

async fn look_up(pool: SharedPool, net: Net, host: String, port: u16, clock: Clock) {
    match tokio::time::timeout(RESOLVE_TIMEOUT, net.resolve(&host, port)).await {
        Ok(Ok(mut addresses)) => {
            addresses.sort_unstable();
            addresses.dedup();
            pool.with(|state| state.resolved(&host, port, &addresses, clock.now()));
            pool.changed.notify_one();
        }
        Ok(Err(error)) => {
            tracing::warn!(pool = %pool.name, host, %error, "cannot resolve a backend's name");
        }
        Err(_) => tracing::warn!(pool = %pool.name, host, "resolving a backend's name takes too long"),
    }
}

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
