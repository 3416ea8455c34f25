//! Probes: a backend says how busy and how fast it is, in the fields of a response.
//!
//! `X-Requests-In-Flight` is the number of requests that it is working on, from wherever they came, and
//! `X-Latency-Micros` how many microseconds requests take at about this load. Both are decimal numbers; the
//! response has a 2xx status. Anything else counts as no answer.

use std::time::Duration;

use http::response;
use lb_core::{
    exchange::PoolHandle,
    pool::{Pool, Probe, ProbeAnswer},
};
use tokio::{sync::Semaphore, task::spawn_local};

use super::get;
use crate::{clock::Clock, net::Net, snapshot::SharedPool};

/// Probes that are on at once, over all pools; further ones are not sent, for they would come too late.
const PROBES_MAX: usize = 256;
static PROBES: Semaphore = Semaphore::const_new(PROBES_MAX);

/// Sends the probes that are due in `state`, the state of `pool`.
pub(super) fn start(pool: &SharedPool, net: &Net, state: &mut Pool, clock: Clock) {
    while let Some(probe) = state.poll_probe() {
        let config = &state.config().prequal;
        if let Ok(permit) = PROBES.try_acquire() {
            let (pool, net) = (pool.clone(), net.clone());
            let (path, timeout) = (config.path.clone(), config.timeout);
            spawn_local(async move {
                let answer = tokio::time::timeout(timeout, ask(&net, &path, &probe)).await.ok().flatten();
                pool.with(|state| state.on_probe(probe.endpoint, answer, clock.now()));
                drop(permit);
            });
        }
    }
}

async fn ask(net: &Net, path: &str, probe: &Probe) -> Option<ProbeAnswer> {
    let head = get(net, probe.addr, path, &probe.authority, "lb-probe").await.ok()?;
    read(&head)
}

fn read(head: &response::Parts) -> Option<ProbeAnswer> {
    let number = |name| head.headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let in_flight = number("x-requests-in-flight")?;
    let latency = Duration::from_micros(number("x-latency-micros")?);
    let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
    head.status.is_success().then_some(ProbeAnswer { in_flight, latency })
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)]) -> Option<ProbeAnswer> {
        let response = fields
            .iter()
            .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
        read(&response.body(()).ok()?.into_parts().0)
    }

    #[test]
    fn what_a_backend_says_of_itself() {
        let (busy, fast) = (("X-Requests-In-Flight", "7"), ("X-Latency-Micros", "1500"));
        let expected = ProbeAnswer { in_flight: 7, latency: Duration::from_micros(1500) };
        assert_eq!(answer(200, &[busy, fast]), Some(expected));
        assert_eq!(answer(204, &[fast, busy]), Some(expected));
        assert_eq!(answer(404, &[busy, fast]), None);
        assert_eq!(answer(200, &[busy]), None);
        assert_eq!(answer(200, &[busy, ("X-Latency-Micros", "-1")]), None);
        assert_eq!(answer(200, &[("X-Requests-In-Flight", "many"), fast]), None);
        let huge = answer(200, &[("X-Requests-In-Flight", "99999999999"), fast]);
        assert_eq!(huge.map(|answer| answer.in_flight), Some(u32::MAX));
    }
}
