//! What being full does to an algorithm: an endpoint at its cap is passed over, and nothing else.

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

/// Where so many requests go; a number finishes one that is under way, none begins one.
fn trace(config: &config::Pool, ops: &[Option<usize>], looks: bool) -> Vec<Option<u16>> {
    let mut pool = pool(config);
    let (mut held, mut ports): (Vec<Ticket>, Vec<Option<u16>>) = Default::default();
    for (key, op) in (0..).zip(ops) {
        match op {
            Some(which) if !held.is_empty() => {
                let ticket = held.swap_remove(which % held.len());
                pool.finish(ticket, Outcome::Success, at(0));
            }
            _ => {
                let ticket = pool.pick(Ask { key: Some(crate::hash::mix(key)), tried: &[] }, at(0));
                ports.push(ticket.as_ref().map(|ticket| ticket.addr().port()));
                held.extend(ticket);
            }
        }
        if looks {
            pool.wake(at(0));
        }
    }
    ports
}

proptest! {
    /// Picks do not depend on when a timer looks at the pool and has its lists made anew.
    #[test]
    fn a_look_at_the_pool_changes_nothing(
        algorithm in prop::sample::select(&ALGORITHMS[..]), weights in prop::collection::vec(prop::sample::select(&[1u32, 2, 3, 50, 101][..]), 1..13),
        max_in_flight in 1u32..4, ops in prop::collection::vec(prop::option::of(any::<usize>()), 0..300),
    ) {
        let backends = (1..).zip(weights).map(|(port, weight)| Backend { weight, ..backend(port) });
        let config =
            config::Pool { backends: backends.collect(), algorithm, max_in_flight, ..config::Pool::default() };
        prop_assert_eq!(trace(&config, &ops, true), trace(&config, &ops, false));
    }
}
