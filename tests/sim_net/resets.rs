//! A short exchange, broken at every byte of it, on each of its connections and in each direction.

use std::ops::RangeInclusive;

use lb_testkit::sim_net::{Options, ResetAfter, Side};
use rstest::rstest;

use crate::{
    check,
    plan::{Ask, Framing, Link, Plan, Session, Theme},
};

/// More bytes than any of these exchanges has in one direction.
const BYTES_MAX: u64 = 2_000;

fn ask(method: &'static str, upload: Option<(usize, bool)>, framing: Framing) -> Ask {
    Ask { method, upload, framing, ..Ask::get(1, 25) }
}

/// Two backends, one client, two requests over one connection, of which the first is the one that breaks.
fn plan(ask: &Ask, breaks: (Link, ResetAfter), segment_bytes: RangeInclusive<usize>) -> Plan {
    let mut plan = Plan::plain(Theme::Resets, breaks.1.bytes);
    plan.network = Options { seed: breaks.1.bytes, latency_us: 10..=900, segment_bytes, window_bytes: 4096 };
    (plan.backends, plan.clients, plan.tries, plan.budget_floor) = (2, 1, 3, 3);
    (plan.health, plan.outlier, plan.route_ms) = (None, None, Some(5_000));
    (plan.connect_ms, plan.head_ms, plan.body_idle_ms, plan.backend_keep_alive_ms) =
        (1_000, 2_000, 2_000, 60_000);
    let second = Ask { id: 2, think_ms: 50, ..ask.clone() };
    plan.sessions =
        vec![Session { client: 0, start_ms: 0, keeps_cookies: false, asks: vec![ask.clone(), second] }];
    plan.faults = Vec::new();
    plan.breaks = Some(breaks);
    plan.probes = 2;
    plan
}

#[rstest]
fn every_byte(
    #[values(Link::OfClient, Link::OfBackend)] link: Link,
    #[values(Side::Client, Side::Server)] toward: Side,
    #[values(
        ask("GET", None, Framing::Length),
        ask("GET", None, Framing::Chunked),
        ask("GET", None, Framing::Close),
        Ask { is_10: true, ..ask("GET", None, Framing::Close) },
        ask("POST", Some((20, false)), Framing::Length),
        ask("PUT", Some((20, true)), Framing::Chunked),
        Ask { expects: true, ..ask("POST", Some((20, true)), Framing::Length) },
        Ask { half_closes: true, ..ask("GET", None, Framing::Chunked) },
    )]
    ask: Ask,
    // In pieces a head is the HTTP library's; whole it is served without it.
    #[values(1..=40, 1448..=1448)] segment_bytes: RangeInclusive<usize>,
) {
    for bytes in 0..BYTES_MAX {
        let plan = plan(&ask, (link, ResetAfter { toward, bytes }), segment_bytes.clone());
        let outcome = check(&plan);
        if outcome.breaks == 0 {
            assert!(bytes > 60, "{bytes} bytes are not all of an exchange");
            assert_eq!(outcome.sums.whole as u64, outcome.sums.requests as u64, "{outcome}");
            return;
        }
        // Until its answer begins, a request without a body breaks for nobody but its backend.
        let is_early = link == Link::OfBackend && toward == Side::Server;
        if is_early && ask.method == "GET" {
            assert_eq!((outcome.sums.broken, outcome.sums.refused), (0, 0), "{bytes} bytes: {outcome}");
        }
    }
    panic!("{BYTES_MAX} bytes do not do");
}
