//! Single stories here, any order of events in `model`.

mod model;
mod policies;
mod queueing;
mod saturation;

use alloc::{format, string::ToString, vec, vec::Vec};
use core::net::SocketAddr;

use rstest::rstest;

use super::*;
use crate::{
    config::{Algorithm, Backend, BackendAddress, HealthCheck, InitialHealth, Outlier},
    health::CheckFailure,
    limits::TRANSITIONS_MAX,
    time::Duration,
};

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn backend(port: u16) -> Backend {
    Backend::at(BackendAddress::Ip(addr(port)), format!("b{port}"))
}

fn named(host: &str) -> Backend {
    let address = BackendAddress::Name { host: host.into(), port: 80 };
    Backend::at(address, host)
}

fn config(ports: impl IntoIterator<Item = u16>) -> config::Pool {
    config::Pool { backends: ports.into_iter().map(backend).collect(), ..config::Pool::default() }
}

fn checked(config: config::Pool) -> config::Pool {
    config::Pool { health_check: Some(HealthCheck::default()), ..config }
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn pool(config: &config::Pool) -> Pool {
    Pool::new("fruit".into(), config, Prng::new(1), at(0))
}

impl Pool {
    /// The ports of so many picks, each finished at once.
    fn ports(&mut self, picks: usize, now: Instant) -> Vec<u16> {
        (0..picks).filter_map(|_| self.once(Outcome::Success, now)).collect()
    }

    fn once(&mut self, outcome: Outcome, now: Instant) -> Option<u16> {
        let ticket = self.pick(Ask::default(), now)?;
        let port = ticket.addr().port();
        self.finish(ticket, outcome, now);
        Some(port)
    }

    fn id_of(&self, port: u16) -> EndpointId {
        self.status_of(port).endpoint
    }

    fn status_of(&self, port: u16) -> EndpointStatus {
        self.endpoints().find(|status| status.addr.port() == port).unwrap()
    }

    /// Fails requests until the endpoint is ejected, or should be.
    fn fail(&mut self, port: u16, now: Instant) {
        let id = self.id_of(port);
        for _ in 0..self.config.outlier.consecutive_failures {
            let ticket = self.take(id, now).unwrap();
            self.finish(ticket, Outcome::ConnectFailed, now);
        }
    }

    fn changes(&mut self) -> Vec<alloc::string::String> {
        core::iter::from_fn(|| self.poll_transition())
            .map(|transition| format!("{} {}", transition.name, transition.change))
            .collect()
    }
}

#[test]
fn two_backends_alternate() {
    assert_eq!(pool(&config([1, 2])).ports(5, at(0)), [1, 2, 1, 2, 1]);
}

#[test]
fn an_empty_pool_gives_none() {
    let mut pool = pool(&config([]));
    assert!(pool.pick(Ask::default(), at(0)).is_none());
    assert_eq!(pool.next_wake(), None);
}

#[test]
fn fewest_in_flight_wins() {
    let mut pool = pool(&config::Pool { algorithm: Algorithm::LeastRequest, ..config([1, 2, 3]) });
    let held: Vec<Ticket> = (0..9).filter_map(|_| pool.pick(Ask::default(), at(0))).collect();
    assert!(pool.endpoints().all(|status| status.in_flight == 3));
    for ticket in held.into_iter().filter(|ticket| ticket.addr().port() == 3) {
        pool.finish(ticket, Outcome::Success, at(0));
    }
    assert_eq!(pool.ports(4, at(0)), [3, 3, 3, 3]);
    assert_eq!(pool.in_flight(), 6);
}

#[test]
fn tried_ones_are_avoided_where_there_are_others() {
    let mut pool = pool(&config([1, 2]));
    let (first, second) = (pool.id_of(1), pool.id_of(2));
    for (tried, expected) in [(&[first][..], [2, 2]), (&[second], [1, 1]), (&[first, second], [2, 1])] {
        let ports = [(); 2].map(|()| {
            let ticket = pool.pick(Ask { tried, key: None }, at(0)).unwrap();
            let port = ticket.addr().port();
            pool.finish(ticket, Outcome::Cancelled, at(0));
            port
        });
        assert_eq!(ports, expected);
    }
}

#[rstest]
#[case(AdminState::Drain, 1)]
#[case(AdminState::Maint, 1)]
#[case(AdminState::Ready, 0)]
fn what_takes_no_traffic_is_not_picked(#[case] state: AdminState, #[case] weight: u32) {
    let mut config = config([1, 2]);
    (config.backends[0].state, config.backends[0].weight) = (state, weight);
    let mut pool = pool(&config);
    assert_eq!(pool.ports(3, at(0)), [2, 2, 2]);
    assert!(!pool.status_of(1).eligible());
}

#[test]
fn an_operator_drains_and_returns_a_backend() {
    let mut pool = pool(&config([1, 2]));
    assert!(!pool.set_state("b3", AdminState::Drain, at(0)));
    assert!(pool.set_state("b1", AdminState::Drain, at(0)));
    assert_eq!(pool.ports(2, at(0)), [2, 2]);
    pool.reconfigure(&config([1, 2, 3]), at(0));
    assert!(!pool.ports(9, at(0)).contains(&1), "a reload that does not say otherwise keeps it");
    pool.set_state("b1", AdminState::Ready, at(0));
    assert!(pool.ports(9, at(0)).contains(&1));
    assert_eq!(pool.changes(), ["b1 state drain", "b3 added", "b1 state ready"]);
    let mut file = config([1, 2]);
    file.backends[1].state = AdminState::Maint;
    pool.set_state("b2", AdminState::Drain, at(1));
    pool.reconfigure(&file, at(1));
    assert_eq!(pool.status_of(2).state, AdminState::Maint, "what the file says anew counts");
}

// Active checks.

#[test]
fn checks_take_down_and_bring_up() {
    let mut pool = pool(&checked(config([1, 2])));
    let due: Vec<Check> = core::iter::from_fn(|| pool.poll_check(at(2))).collect();
    assert_eq!(due.len(), 2, "the first round is spread over 20 % of 10 s");
    assert_eq!(pool.poll_check(at(100)), None, "one at a time for each endpoint");
    pool.on_check(pool.id_of(1), Err(CheckFailure::Status(500)), at(3));
    pool.on_check(pool.id_of(2), Ok(()), at(3));
    assert_eq!(pool.ports(3, at(3)), [2, 2, 2]);
    let wake = pool.next_wake().unwrap();
    assert!(at(10) <= wake && wake <= at(14), "{wake:?}");
    pool.on_check(pool.id_of(1), Ok(()), at(12));
    assert_eq!(pool.ports(2, at(12)), [1, 2]);
    assert_eq!(pool.changes(), ["b1 down: status 500", "b1 up"]);
}

#[test]
fn a_pool_may_begin_down() {
    let check = HealthCheck { initial: InitialHealth::Down, ..HealthCheck::default() };
    let mut pool = pool(&config::Pool { health_check: Some(check), ..config([1, 2]) });
    assert!(pool.pick(Ask::default(), at(0)).is_none());
    pool.on_check(pool.id_of(2), Ok(()), at(0));
    assert_eq!(pool.ports(2, at(0)), [2, 2]);
    pool.reconfigure(&config([1, 2]), at(1));
    assert_eq!(pool.ports(2, at(1)), [1, 2], "without checks nobody is down");
}

#[test]
fn maintenance_is_not_checked_and_drain_is() {
    let mut pool = pool(&checked(config([1, 2])));
    pool.set_state("b1", AdminState::Maint, at(0));
    pool.set_state("b2", AdminState::Drain, at(0));
    let due: Vec<u16> =
        core::iter::from_fn(|| pool.poll_check(at(9))).map(|check| check.addr.port()).collect();
    assert_eq!(due, [2]);
    pool.on_check(pool.id_of(1), Err(CheckFailure::Connect), at(9));
    pool.set_state("b1", AdminState::Ready, at(9));
    assert_eq!(pool.ports(2, at(9)), [1, 1]);
    assert!(pool.poll_check(at(11)).is_some_and(|check| check.name.as_ref() == "b1"));
}

#[test]
fn a_result_for_one_that_left_is_ignored() {
    let mut pool = pool(&checked(config([1, 2])));
    let gone = pool.id_of(1);
    while pool.poll_check(at(2)).is_some() {}
    pool.reconfigure(&checked(config([2])), at(2));
    pool.reconfigure(&checked(config([1, 2])), at(2));
    pool.on_check(gone, Err(CheckFailure::Timeout), at(2));
    assert_ne!(pool.id_of(1), gone);
    assert!(pool.status_of(1).eligible());
}

#[test]
fn one_that_left_is_not_checked_while_its_tickets_are_out() {
    let mut pool = pool(&checked(config([1])));
    let held = pool.pick(Ask::default(), at(0)).unwrap();
    let check = pool.poll_check(at(2)).unwrap();
    pool.reconfigure(&checked(config([])), at(2));
    pool.on_check(check.endpoint, Err(CheckFailure::Closed), at(2));
    assert_eq!((pool.poll_check(at(99)), pool.next_wake()), (None, None));
    assert_eq!(pool.changes(), ["b1 removed"]);
    pool.finish(held, Outcome::Success, at(3));
}

#[test]
fn a_reload_changes_the_pace_of_checks() {
    let mut pool = pool(&checked(config([1])));
    while let Some(check) = pool.poll_check(at(2)) {
        pool.on_check(check.endpoint, Ok(()), at(2));
    }
    assert!(pool.next_wake() > Some(at(9)));
    pool.reconfigure(&checked(config([1])), at(2));
    assert!(pool.next_wake() > Some(at(9)), "another reload does not");
    let hasty = HealthCheck { interval: Duration::from_secs(1), ..HealthCheck::default() };
    pool.reconfigure(&config::Pool { health_check: Some(hasty), ..config([1]) }, at(2));
    assert!(pool.next_wake() < Some(at(4)));
}

#[test]
fn coming_up_clears_the_failures_before() {
    let mut pool = pool(&checked(config([1, 2])));
    let id = pool.id_of(1);
    for _ in 0..4 {
        let ticket = pool.pick(Ask { tried: &[pool.id_of(2)], key: None }, at(0)).unwrap();
        pool.finish(ticket, Outcome::Reset, at(0));
    }
    pool.on_check(id, Err(CheckFailure::Connect), at(1));
    pool.on_check(id, Ok(()), at(2));
    let ticket = pool.pick(Ask { tried: &[pool.id_of(2)], key: None }, at(2)).unwrap();
    pool.finish(ticket, Outcome::Reset, at(2));
    assert!(pool.status_of(1).eligible());
}

// Ejection.

#[test]
fn an_ejected_backend_returns_by_itself() {
    let mut pool = pool(&config([1, 2]));
    pool.fail(1, at(0));
    assert_eq!(pool.ports(3, at(9)), [2, 2, 2]);
    assert_eq!(pool.status_of(1).ejected_until, Some(at(10)));
    assert_eq!(pool.next_wake(), Some(at(10)));
    pool.wake(at(10));
    assert_eq!(pool.next_wake(), None);
    assert_eq!(pool.changes(), ["b1 ejected for 10s: connect_failed", "b1 returned from ejection"]);
    assert_eq!(pool.ports(2, at(10)), [1, 2]);
    pool.fail(1, at(10));
    assert_eq!(pool.status_of(1).ejected_until, Some(at(30)), "the second one is longer");
    assert!(pool.ports(2, at(30)).contains(&1), "picks look at the time themselves");
}

#[rstest]
#[case::one_of_one(50, &[1], &[1], &[])]
#[case::two_of_two(50, &[1, 2], &[1, 2], &[1])]
#[case::all_when_all_may(100, &[1, 2], &[1, 2], &[1, 2])]
#[case::five(50, &[1, 2, 3, 4, 5], &[5, 4, 3, 2, 1], &[4, 5])]
#[case::a_tenth_of_nine(10, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1, 2], &[])]
fn the_cap_holds(
    #[case] percent: u32,
    #[case] ports: &[u16],
    #[case] failing: &[u16],
    #[case] ejected: &[u16],
) {
    let outlier = Outlier { max_ejected_percent: percent, ..Outlier::default() };
    let mut pool = pool(&config::Pool { outlier, ..config(ports.iter().copied()) });
    for &port in failing {
        pool.fail(port, at(1));
    }
    let out: Vec<u16> = pool.endpoints().filter(|s| !s.eligible()).map(|s| s.addr.port()).collect();
    assert_eq!(out, ejected);
}

#[test]
fn the_last_eligible_one_stays() {
    let mut pool = pool(&checked(config([1, 2, 3])));
    pool.on_check(pool.id_of(1), Err(CheckFailure::Connect), at(0));
    pool.on_check(pool.id_of(2), Err(CheckFailure::Connect), at(0));
    pool.fail(3, at(0));
    assert_eq!(pool.ports(2, at(0)), [3, 3]);
}

#[test]
fn a_smaller_pool_ends_ejections() {
    let mut pool = pool(&config([1, 2, 3, 4]));
    pool.fail(1, at(0));
    pool.fail(2, at(1));
    pool.reconfigure(&config([1, 2, 3]), at(2));
    assert_eq!((pool.status_of(1).ejected_until, pool.status_of(2).ejected_until), (None, Some(at(11))));
    pool.set_state("b2", AdminState::Maint, at(3));
    assert_eq!(pool.status_of(2).ejected_until, None, "nothing to be ejected from");
    let off = Outlier { consecutive_failures: 0, ..Outlier::default() };
    pool.fail(1, at(3));
    pool.reconfigure(&config::Pool { outlier: off, ..config([1, 2, 3]) }, at(4));
    assert!(pool.endpoints().all(|status| status.ejected_until.is_none()));
}

#[test]
fn only_coming_up_ends_an_ejection_early() {
    let mut pool = pool(&checked(config([1, 2])));
    pool.fail(1, at(0));
    pool.on_check(pool.id_of(1), Ok(()), at(1));
    assert_eq!(pool.ports(2, at(1)), [2, 2], "the checks never saw what traffic sees");
    pool.on_check(pool.id_of(1), Err(CheckFailure::Connect), at(2));
    pool.on_check(pool.id_of(1), Ok(()), at(3));
    assert_eq!(pool.ports(2, at(3)), [1, 2]);
}

// Slow start.

#[test]
fn a_newcomer_starts_slowly() {
    let slow_start = config::SlowStart { window: Duration::from_secs(60), ..config::SlowStart::default() };
    let slow = |ports| config::Pool { slow_start, ..config(ports) };
    let mut pool = pool(&slow(1..2));
    assert_eq!(pool.next_wake(), None, "a new pool does not");
    pool.reconfigure(&slow(1..3), at(100));
    let mut share = |second| pool.ports(1100, at(second)).into_iter().filter(|&port| port == 2).count();
    assert_eq!([100, 130, 160, 1000].map(&mut share), [100, 367, 550, 550]);
    assert_eq!(pool.next_wake(), None);
}

// Names and reloads.

#[test]
fn names_become_endpoints_when_they_are_resolved() {
    let mut pool = pool(&config::Pool { backends: vec![named("kiwi"), backend(9)], ..config([]) });
    assert_eq!(pool.names_to_resolve().collect::<Vec<_>>(), [("kiwi", 80)]);
    assert_eq!(pool.ports(2, at(0)), [9, 9], "starting does not wait for them");
    pool.resolved("kiwi", 80, &[addr(2), addr(1), addr(2)], at(0));
    let ids = [pool.id_of(1), pool.id_of(2)];
    assert_eq!(pool.ports(6, at(0)), [1, 2, 9, 1, 2, 9]);
    pool.resolved("kiwi", 80, &[], at(0));
    pool.resolved("kiwi", 81, &[addr(5)], at(0));
    pool.resolved("plum", 80, &[addr(5)], at(0));
    pool.resolved("kiwi", 80, &[addr(1), addr(2)], at(0));
    assert_eq!([pool.id_of(1), pool.id_of(2)], ids, "another order is no news");
    pool.resolved("kiwi", 80, &[addr(2), addr(3)], at(0));
    assert_eq!(pool.id_of(2), ids[1]);
    assert_eq!(pool.changes(), ["kiwi added", "kiwi added", "kiwi added", "kiwi removed"]);
    pool.reconfigure(&config::Pool { backends: vec![named("kiwi")], ..config([]) }, at(0));
    assert_eq!(pool.id_of(2), ids[1], "a reload does not wait for the resolver");
}

#[test]
fn a_reload_keeps_what_stays() {
    let mut pool = pool(&checked(config([1, 2, 3, 4])));
    pool.on_check(pool.id_of(2), Err(CheckFailure::Connect), at(0));
    pool.fail(3, at(0));
    let held = pool.pick(Ask::default(), at(0)).unwrap();
    assert_eq!(held.addr().port(), 1);
    let before: Vec<EndpointStatus> = (1..5).map(|port| pool.status_of(port)).collect();
    pool.reconfigure(&checked(config([5, 4, 3, 2, 1])), at(1));
    assert_eq!((1..5).map(|port| pool.status_of(port)).collect::<Vec<_>>(), before);
    assert_eq!(pool.ports(3, at(1)), [5, 4, 1], "the round goes on after the one that was picked");
    pool.finish(held, Outcome::Success, at(1));
}

#[test]
fn one_that_left_vanishes_with_its_last_ticket() {
    let mut pool = pool(&config([1, 2]));
    let (first, second) =
        (pool.pick(Ask::default(), at(0)).unwrap(), pool.pick(Ask::default(), at(0)).unwrap());
    let gone = first.endpoint();
    pool.reconfigure(&config([2]), at(1));
    assert_eq!((pool.endpoints().count(), pool.in_flight()), (1, 2));
    pool.reconfigure(&config([1, 2]), at(2));
    assert_eq!(pool.status_of(1).in_flight, 0, "a successor begins anew");
    pool.finish(first, Outcome::ConnectFailed, at(2));
    pool.finish(second, Outcome::Success, at(2));
    assert_eq!(pool.in_flight(), 0);
    assert_eq!(pool.changes(), ["b1 removed", "b1 added"]);
    pool.reconfigure(&config([1, 2, 3]), at(3));
    let reused = pool.id_of(3);
    assert_eq!(reused.slot, gone.slot);
    assert_ne!(reused, gone);
}

#[test]
fn a_reload_may_change_the_algorithm() {
    let mut pool = pool(&config([1, 2]));
    let held = pool.pick(Ask::default(), at(0)).unwrap();
    pool.reconfigure(&config::Pool { algorithm: Algorithm::LeastRequest, ..config([1, 2]) }, at(0));
    assert_eq!(pool.ports(3, at(0)), [2, 2, 2]);
    pool.finish(held, Outcome::Success, at(0));
}

#[test]
fn untold_transitions_are_bounded() {
    let mut pool = pool(&config([1]));
    for turn in 0..TRANSITIONS_MAX {
        let state = if turn % 2 == 0 { AdminState::Drain } else { AdminState::Ready };
        pool.set_state("b1", state, at(0));
    }
    assert_eq!(pool.transitions_lost(), 0);
    pool.set_state("b1", AdminState::Maint, at(0));
    assert_eq!(pool.transitions_lost(), 1);
    assert_eq!(pool.changes().len(), TRANSITIONS_MAX);
    assert_eq!(pool.name().to_string(), "fruit");
}

/// Names say where a key goes; neither the order of the file nor another address does.
#[test]
fn keys_follow_names_across_reloads() {
    let hashing = |backends: Vec<Backend>| config::Pool {
        algorithm: Algorithm::RingHash,
        backends,
        ..config::Pool::default()
    };
    let name = |port: u16, name: &str| Backend { name: name.into(), ..backend(port) };
    let names = |pool: &mut Pool| -> Vec<_> {
        let ticket =
            |key: u64| pool.pick(Ask { key: Some(crate::hash::mix(key)), tried: &[] }, at(1)).unwrap();
        let tickets: Vec<Ticket> = (0..200).map(ticket).collect();
        let names = tickets.iter().map(|ticket| ticket.name().clone()).collect();
        tickets.into_iter().for_each(|ticket| pool.finish(ticket, Outcome::Success, at(1)));
        names
    };
    let mut pool = pool(&hashing([name(1, "a"), name(2, "b"), name(3, "c")].into()));
    let before = names(&mut pool);
    pool.reconfigure(&hashing([name(3, "c"), name(7, "b"), name(1, "a")].into()), at(1));
    assert_eq!(names(&mut pool), before);
    pool.reconfigure(&hashing([name(3, "c"), name(7, "x"), name(1, "a")].into()), at(1));
    let renamed = names(&mut pool);
    assert!(before.iter().zip(&renamed).all(|(a, b)| a == b || &**a == "b" || &**b == "x"));
    assert!(before.iter().zip(&renamed).filter(|(a, b)| &***a == "b" && &***b != "x").count() > 0);
}

/// The latency of an answer ends with its head; one that breaks off later is a failure all the same.
#[test]
fn a_head_ends_the_latency() {
    let mut pool = pool(&config::Pool { algorithm: Algorithm::PeakEwma, ..config([1, 2]) });
    let streamed = pool.id_of(1);
    let mut ticket = pool.take(streamed, at(0)).unwrap();
    pool.answered(&mut ticket, 200, at(0) + Duration::from_millis(10));
    pool.finish(ticket, Outcome::Success, at(5));
    let slow = pool.id_of(2);
    let ticket = pool.take(slow, at(5)).unwrap();
    pool.finish(ticket, Outcome::Success, at(5) + Duration::from_millis(50));
    assert_eq!(pool.ports(9, at(6)), [1; 9], "10 ms beside 50 ms, not 5 s");
    let mut ticket = pool.take(streamed, at(6)).unwrap();
    pool.answered(&mut ticket, 200, at(6));
    pool.finish(ticket, Outcome::Reset, at(7));
    assert_eq!(pool.ports(9, at(7)), [2; 9]);
}
