//! What being full does to an algorithm: an endpoint at its cap is passed over, and nothing else.

use alloc::string::String;

use proptest::prelude::*;

use super::*;

/// Ports of requests one after the other, each alone, where the lists are made anew while it is served: as when
/// a timer looks at the pool.
fn alone(pool: &mut Pool, count: usize) -> Vec<u16> {
    let mut once = |_| {
        let ticket = pool.pick(Ask::default(), at(0)).unwrap();
        pool.wake(at(0));
        let port = ticket.addr().port();
        pool.finish(ticket, Outcome::Success, at(0));
        pool.wake(at(0));
        port
    };
    (0..count).map(&mut once).collect()
}

/// A cap that no request ever waits for changes nothing.
#[rstest]
fn a_round_goes_on_where_it_was(
    #[values(Algorithm::RoundRobin, Algorithm::Tijdeman)] algorithm: Algorithm,
    #[values(&[1, 1], &[1, 1, 1], &[2, 1], &[5, 1, 1], &[1, 2, 3, 4],
        &[1, 101, 3, 3, 101, 1, 1, 1, 1, 101, 50, 101])]
    weights: &[u32],
) {
    let backends = (1..).zip(weights).map(|(port, &weight)| Backend { weight, ..backend(port) });
    let free = config::Pool { backends: backends.collect(), algorithm, ..config::Pool::default() };
    let capped = config::Pool { max_in_flight: 1, ..free.clone() };
    let period = weights.iter().sum::<u32>() as usize;
    assert_eq!(alone(&mut pool(&capped), 3 * period), alone(&mut pool(&free), 3 * period));
}

/// Tables are made of all members: the keys of one that is full walk on, all others stay, and they are back when it
/// is free again.
#[rstest]
fn only_the_keys_of_a_full_one_move(
    #[values(Algorithm::RingHash, Algorithm::Maglev, Algorithm::Rendezvous, Algorithm::JumpHash)]
    algorithm: Algorithm,
) {
    let mut pool = pool(&config::Pool { algorithm, max_in_flight: 2, ..config(1..=5) });
    let places = |pool: &mut Pool| -> Vec<u16> {
        let mut place = |key: u64| {
            let ticket = pool.pick(Ask { key: Some(crate::hash::mix(key)), tried: &[] }, at(0)).unwrap();
            let port = ticket.addr().port();
            pool.finish(ticket, Outcome::Success, at(0));
            port
        };
        (0..200).map(&mut place).collect()
    };
    let before = places(&mut pool);
    let id = pool.id_of(3);
    let held = [(); 2].map(|()| pool.take(id, at(0)).unwrap());
    let during = places(&mut pool);
    assert!(during.iter().all(|&port| port != 3));
    assert!(before.iter().zip(&during).all(|(&before, during)| before == 3 || before == *during));
    held.into_iter().for_each(|ticket| pool.finish(ticket, Outcome::Success, at(0)));
    assert_eq!(places(&mut pool), before);
}

/// What is known of latencies outlives being full: after it, the slow one is not taken for a new one.
#[test]
fn a_slow_one_that_was_full_is_still_slow() {
    let mut pool = pool(&config::Pool { algorithm: Algorithm::PeakEwma, max_in_flight: 2, ..config([1, 2]) });
    for (port, seconds) in [(1, 5), (2, 1)] {
        let mut ticket = pool.take(pool.id_of(port), at(0)).unwrap();
        pool.answered(&mut ticket, 200, at(seconds));
        pool.finish(ticket, Outcome::Success, at(seconds));
    }
    let id = pool.id_of(1);
    let held = [(); 2].map(|()| pool.take(id, at(5)).unwrap());
    assert_eq!(pool.ports(3, at(5)), [2, 2, 2]);
    held.into_iter().for_each(|ticket| pool.finish(ticket, Outcome::Cancelled, at(5)));
    assert_eq!(pool.ports(9, at(5)), [2; 9]);
}

/// All but join-idle-queue, which has the idle in the order in which they became so, or in that of the list once this
/// was made anew: another draw by the same law.
const ALGORITHMS: [Algorithm; 11] = [
    Algorithm::Random,
    Algorithm::RoundRobin,
    Algorithm::Tijdeman,
    Algorithm::LeastRequest,
    Algorithm::P2c,
    Algorithm::PeakEwma,
    Algorithm::RingHash,
    Algorithm::Maglev,
    Algorithm::Rendezvous,
    Algorithm::JumpHash,
    Algorithm::Prequal,
];

/// How the lists of a pool are brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// By what filled and freed, when the next request comes.
    Learn,
    /// The same at once, as when a timer looks at the pool.
    LearnAtOnce,
    /// By being made anew whenever one filled or freed.
    MadeAnew,
}

/// Where so many requests go; a number finishes one that is under way, none begins one. One in five begins as if it
/// had been tried where the last two went.
fn trace(config: &config::Pool, ops: &[Option<usize>], lists: Lists) -> Vec<Option<u16>> {
    let mut pool = pool(config);
    let (mut held, mut ports): (Vec<Ticket>, Vec<Option<u16>>) = Default::default();
    for (key, op) in (0..).zip(ops) {
        match op {
            Some(which) if !held.is_empty() => {
                let ticket = held.swap_remove(which % held.len());
                pool.finish(ticket, Outcome::Success, at(0));
            }
            _ => {
                let last: Vec<EndpointId> = held.iter().rev().take(2).map(Ticket::endpoint).collect();
                let tried = if key % 5 == 4 { &last[..] } else { &[] };
                let ticket = pool.pick(Ask { key: Some(crate::hash::mix(key)), tried }, at(0));
                while pool.poll_probe().is_some_and(|probe| {
                    let answer =
                        ProbeAnswer { in_flight: probe.endpoint.slot, latency: Duration::from_millis(key) };
                    pool.on_probe(probe.endpoint, Some(answer), at(0));
                    true
                }) {}
                ports.push(ticket.as_ref().map(|ticket| ticket.addr().port()));
                held.extend(ticket);
            }
        }
        match lists {
            Lists::Learn => {}
            Lists::LearnAtOnce => pool.wake(at(0)),
            Lists::MadeAnew => pool.stale |= !pool.crossed.is_empty(),
        }
    }
    ports
}

/// Picks at the caps are those that they were when each that filled or freed had the lists made anew: the digests were
/// taken then. Random has equal weights here: with others, another draw by the same law took the place of the table. Prequal
/// has other defaults since, and jump hashing came later.
#[test]
fn traces_at_the_caps_are_pinned() {
    let digest = |algorithm: Algorithm| {
        let weights: &[u32] = if algorithm == Algorithm::Random { &[1] } else { &[1, 2, 3, 50, 2] };
        let mut ports = Vec::new();
        for seed in 0..40 {
            let mut prng = Prng::new(seed);
            let (count, weight) = (2 + prng.below(9), weights[prng.below(weights.len() as u64) as usize]);
            let backends = (1..=count as u16).map(|port| Backend {
                weight: if seed % 2 == 0 {
                    weight
                } else {
                    weights[prng.below(weights.len() as u64) as usize]
                },
                priority: u32::from(seed % 5 == 4 && port % 2 == 0),
                max_in_flight: Some(prng.below(4) as u32 + u32::from(seed % 3 > 0)),
                ..backend(port)
            });
            let config = config::Pool {
                backends: backends.collect(),
                algorithm,
                ring_hash: config::RingHash { points: 20, balance_factor: (seed % 4 == 0).then_some(125) },
                ..config::Pool::default()
            };
            let ops: Vec<Option<usize>> =
                (0..300).map(|_| (prng.below(9) < 3 + seed % 3).then(|| prng.next_u64() as usize)).collect();
            let picked = trace(&config, &ops, Lists::Learn);
            ports.extend(picked.into_iter().map(|port| port.unwrap_or(0) as u8));
        }
        assert!(ports.iter().filter(|&&port| port == 0).count() > 100, "the caps are reached");
        format!("{algorithm:?} {:016x}", crate::hash::hash(&ports))
    };
    let as_then = |algorithm: &Algorithm| !matches!(algorithm, Algorithm::Prequal | Algorithm::JumpHash);
    let digests: Vec<String> = ALGORITHMS.into_iter().filter(as_then).map(digest).collect();
    let pinned = [
        "Random 109632f01d598e19",
        "RoundRobin 397c8310b17af1c6",
        "Tijdeman 02f214a5a7d72a50",
        "LeastRequest d6b2ec9d7423631e",
        "P2c b8f01cb653867f47",
        "PeakEwma b8f01cb653867f47",
        "RingHash b4534d290032b3bc",
        "Maglev ab9a18a19a7422ae",
        "Rendezvous 940c3483dfdbeb76",
    ];
    assert_eq!(digests, pinned);
}

proptest! {
    /// Picks do not depend on when the lists learn who filled and freed, nor on whether they are made anew for it.
    /// (Prequal drops the answers of one that is known to be full; one that frees before it is known keeps them.)
    #[test]
    fn learning_who_is_full_is_making_the_lists_anew(
        algorithm in prop::sample::select(&ALGORITHMS[..]), weights in prop::collection::vec((prop::sample::select(&[1u32, 2, 3, 50, 101][..]), 0u32..2), 1..13),
        max_in_flight in 1u32..4, balance_factor in prop::option::of(101u32..200), ops in prop::collection::vec(prop::option::of(any::<usize>()), 0..300),
    ) {
        let backends = (1..).zip(weights).map(|(port, (weight, priority))| Backend { weight, priority, ..backend(port) });
        let config = config::Pool {
            backends: backends.collect(),
            algorithm,
            max_in_flight,
            ring_hash: config::RingHash { points: 20, balance_factor },
            ..config::Pool::default()
        };
        let learns = trace(&config, &ops, Lists::Learn);
        let at_once = trace(&config, &ops, Lists::LearnAtOnce);
        prop_assert!(at_once == learns || algorithm == Algorithm::Prequal, "{:?} {:?}", at_once, learns);
        prop_assert_eq!(&trace(&config, &ops, Lists::MadeAnew), &learns);
    }
}
