//! Tiers, panic, outliers by rate, and sticky sessions, as a pool puts them together.

use alloc::collections::BTreeMap;

use super::*;
use crate::{
    config::{Robust, SuccessRate},
    sticky::{Handle, Signer},
};

/// So many backends of each priority, on ports from 1 on.
fn tiered(counts: &[u16]) -> config::Pool {
    let mut port = 0;
    let mut backends = Vec::new();
    for (priority, &count) in (0..).zip(counts) {
        for _ in 0..count {
            port += 1;
            backends.push(Backend { priority, ..backend(port) });
        }
    }
    checked(config::Pool { backends, ..config::Pool::default() })
}

impl Pool {
    fn take_down(&mut self, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            self.on_check(self.id_of(port), Err(CheckFailure::Connect), at(0));
        }
    }

    /// Of a thousand picks, how many went to each priority of ten backends.
    fn per_mille_by_tens(&mut self) -> Vec<usize> {
        let mut shares = BTreeMap::new();
        for port in self.ports(1000, at(1)) {
            *shares.entry((port - 1) / 10).or_default() += 1;
        }
        (0..2).map(|tier| shares.get(&tier).copied().unwrap_or(0)).collect()
    }
}

fn assert_about(found: &[usize], percents: &[usize]) {
    for (found, percent) in found.iter().zip(percents) {
        // Four standard deviations of a share of a thousand.
        assert!(found.abs_diff(percent * 10) <= 64, "{found} of 1000, expected {percent} %");
    }
}

#[rstest]
#[case(0, &[100, 0])]
#[case(2, &[100, 0])]
#[case(5, &[70, 30])]
#[case(9, &[14, 86])]
#[case(10, &[0, 100])]
fn a_tier_that_is_short_gets_help(#[case] down: u16, #[case] percents: &[usize]) {
    let mut pool = pool(&tiered(&[10, 10]));
    pool.take_down(1..=down);
    let shares = pool.per_mille_by_tens();
    assert_about(&shares, percents);
    assert_eq!(shares[0] == 0, percents[0] == 0);
    assert_eq!(shares[1] == 0, percents[1] == 0);
}

/// The same key goes to the same tier.
#[test]
fn a_key_keeps_its_tier() {
    let mut pool = pool(&tiered(&[10, 10]));
    pool.take_down(1..=5);
    let mut tier = |key| {
        let ticket = pool.pick(Ask { key: Some(key), tried: &[] }, at(0)).unwrap();
        let port = ticket.addr().port();
        pool.finish(ticket, Outcome::Cancelled, at(0));
        port > 10
    };
    let backup = (0..1000).filter(|&key| {
        let first = tier(key);
        assert!((0..5).all(|_| tier(key) == first));
        first
    });
    assert_about(&[backup.count()], &[30]);
}

/// Only health lets the next tier help: a full one has its requests wait.
#[test]
fn a_full_tier_does_not_spill() {
    let mut pool = pool(&config::Pool { max_in_flight: 1, ..tiered(&[2, 2]) });
    let held: Vec<Ticket> = (0..3).filter_map(|_| pool.pick(Ask::default(), at(0))).collect();
    assert_eq!(held.iter().map(|ticket| ticket.addr().port()).collect::<Vec<_>>(), [1, 2]);
}

#[rstest]
#[case::off(0, &[])]
#[case::on(50, &[1, 2, 3])]
fn nobody_healthy(#[case] panic_percent: u32, #[case] expected: &[u16]) {
    let mut pool = pool(&config::Pool { panic_percent, ..checked(config([1, 2, 3])) });
    pool.take_down(1..=3);
    assert_eq!(pool.ports(3, at(0)), expected);
}

#[test]
fn below_the_threshold_all_take_traffic() {
    let mut pool = pool(&config::Pool { panic_percent: 50, ..checked(config(1..=10)) });
    pool.take_down(1..=5);
    assert_eq!(pool.ports(10, at(0)).iter().filter(|&&port| port <= 5).count(), 0);
    pool.take_down(6..=6);
    assert_eq!(pool.ports(10, at(0)).iter().filter(|&&port| port <= 6).count(), 6);
    pool.set_state("b1", AdminState::Drain, at(0));
    assert!(!pool.ports(18, at(0)).contains(&1), "panic does not overrule an operator");
}

#[test]
fn a_reload_moves_backends_between_tiers() {
    let mut pool = pool(&tiered(&[1, 1]));
    assert_eq!(pool.ports(2, at(0)), [1, 1]);
    pool.reconfigure(&tiered(&[2]), at(0));
    let both = pool.ports(4, at(0));
    assert!(both.contains(&1) && both.contains(&2));
    let mut swapped = tiered(&[1, 1]);
    (swapped.backends[0].priority, swapped.backends[1].priority) = (7, 3);
    pool.reconfigure(&swapped, at(0));
    assert_eq!(pool.ports(2, at(0)), [2, 2]);
}

// Success rates.

/// Requests to each of ten backends, of which those of the first `bad` fail in turns.
fn serve_badly(pool: &mut Pool, bad: u16, requests: usize) {
    for port in 1..=10 {
        let id = pool.id_of(port);
        for request in 0..requests {
            let Some(ticket) = pool.take(id, at(1)) else { continue };
            let fails = port <= bad && request % 2 == 0;
            pool.finish(ticket, if fails { Outcome::ServerError } else { Outcome::Success }, at(1));
        }
    }
}

#[rstest]
#[case::the_mean_rule_finds_two(Outlier { success_rate: Some(SuccessRate::default()), ..Outlier::default() }, 2, 2, 100)]
#[case::but_not_three(Outlier { success_rate: Some(SuccessRate::default()), ..Outlier::default() }, 3, 0, 100)]
#[case::the_robust_one_does(Outlier { robust: Some(Robust::default()), ..Outlier::default() }, 4, 4, 100)]
#[case::within_the_cap(Outlier { robust: Some(Robust::default()), max_ejected_percent: 30, ..Outlier::default() }, 4, 3, 100)]
#[case::with_enough_requests(Outlier { robust: Some(Robust::default()), ..Outlier::default() }, 4, 0, 99)]
#[case::off(Outlier::default(), 4, 0, 100)]
fn rates_are_compared(
    #[case] outlier: Outlier,
    #[case] bad: u16,
    #[case] ejected: usize,
    #[case] requests: usize,
) {
    let mut pool = pool(&config::Pool { outlier, ..config(1..=10) });
    serve_badly(&mut pool, bad, requests);
    assert!(pool.endpoints().all(|status| status.eligible()), "at the end of the interval");
    if outlier.compares() {
        assert_eq!(pool.next_wake(), Some(at(10)));
    }
    pool.wake(at(10));
    let out = pool.endpoints().filter(|status| !status.eligible()).count();
    assert_eq!(out, ejected);
    assert!(
        pool.ports(20, at(11)).iter().filter(|&&port| port <= bad).count() <= (bad as usize - ejected) * 4
    );
}

#[test]
fn an_ejection_by_rate_tells_why_and_grows() {
    let outlier = Outlier { robust: Some(Robust::default()), ..Outlier::default() };
    let mut pool = pool(&config::Pool { outlier, ..config(1..=10) });
    serve_badly(&mut pool, 1, 100);
    pool.wake(at(10));
    assert_eq!(pool.status_of(1).ejected_until, Some(at(20)));
    pool.wake(at(20));
    serve_badly(&mut pool, 1, 100);
    pool.wake(at(30));
    assert_eq!(pool.status_of(1).ejected_until, Some(at(50)), "the second one is longer");
    let why = "b1 ejected for 10s: success rate below the median";
    assert_eq!(pool.changes()[..2], [why, "b1 returned from ejection"]);
    pool.reconfigure(&config(1..=10), at(31));
    assert!(!pool.status_of(1).eligible(), "the other rule is still on");
    let off = Outlier { consecutive_failures: 0, ..Outlier::default() };
    pool.reconfigure(&config::Pool { outlier: off, ..config(1..=10) }, at(32));
    assert!(pool.status_of(1).eligible());
}

// Sticky sessions.

fn signer() -> Signer {
    Signer::new(b"0123456789abcdef", "fruit")
}

fn session(port: u16) -> Option<Handle> {
    Some(signer().handle(addr(port)))
}

fn sticky(config: &config::Pool) -> Pool {
    let mut pool = pool(config);
    pool.set_signer(Some(signer()), at(0));
    pool
}

impl Pool {
    /// Where requests of a session go, three times.
    fn stick(&mut self, session: Option<Handle>) -> Vec<u16> {
        let mut once = || match self.enter(Ask::default(), session, at(60), at(0)) {
            Entry::Ticket(ticket) => {
                let port = ticket.addr().port();
                self.finish(ticket, Outcome::Success, at(0));
                port
            }
            other => panic!("{other:?}"),
        };
        [(); 3].map(|()| once()).to_vec()
    }
}

#[test]
fn a_session_stays() {
    let mut pool = sticky(&config([1, 2, 3]));
    assert_eq!(pool.stick(session(2)), [2, 2, 2]);
    assert_eq!(pool.stick(session(3)), [3, 3, 3]);
    assert_eq!(pool.stick(session(9)), [1, 2, 3], "of a backend that is not there");
    pool.reconfigure(&config([3, 4, 2]), at(1));
    assert_eq!(pool.stick(session(2)), [2, 2, 2], "over a reload");
    pool.set_signer(None, at(1));
    let ports = pool.stick(session(2));
    assert!(ports.contains(&3) && ports.contains(&4), "{ports:?}");
}

#[rstest]
#[case::drained(AdminState::Drain, 1, true)]
#[case::of_no_weight(AdminState::Ready, 0, true)]
#[case::in_maintenance(AdminState::Maint, 1, false)]
fn a_backend_that_takes_nobody_new(#[case] state: AdminState, #[case] weight: u32, #[case] keeps: bool) {
    let mut config = config([1, 2]);
    (config.backends[0].state, config.backends[0].weight) = (state, weight);
    let mut pool = sticky(&config);
    assert_eq!(pool.stick(session(1)), if keeps { [1, 1, 1] } else { [2, 2, 2] });
    assert_eq!(pool.stick(None), [2, 2, 2]);
    assert!(!pool.renews_sessions(pool.id_of(1)) && pool.renews_sessions(pool.id_of(2)));
}

#[test]
fn a_session_moves_from_one_that_is_down_or_ejected() {
    let mut pool = sticky(&checked(config([1, 2, 3, 4])));
    pool.take_down([1]);
    assert!(!pool.stick(session(1)).contains(&1));
    pool.fail(2, at(0));
    assert!(!pool.stick(session(2)).contains(&2));
    pool.on_check(pool.id_of(1), Ok(()), at(0));
    assert_eq!(pool.stick(session(1)), [1, 1, 1], "and comes back with it");
}

#[test]
fn a_retry_of_a_session_goes_elsewhere() {
    let mut pool = sticky(&config([1, 2]));
    let tried = [pool.id_of(1)];
    match pool.enter(Ask { key: None, tried: &tried }, session(1), at(60), at(0)) {
        Entry::Ticket(ticket) => assert_eq!(ticket.addr().port(), 2),
        other => panic!("{other:?}"),
    }
}

/// It has its place in the queue, and does not hold up those behind it.
#[test]
fn a_session_waits_for_its_own_backend() {
    let queue = config::Queue { length: 2, ..config::Queue::default() };
    let mut pool = sticky(&config::Pool { max_in_flight: 1, queue, ..config([1, 2]) });
    let [first, second] = [(); 2].map(|()| pool.pick(Ask::default(), at(0)).unwrap());
    let mut wait = |session| match pool.enter(Ask::default(), session, at(60), at(0)) {
        Entry::Wait(id, _) => id,
        other => panic!("{other:?}"),
    };
    let (bound, any) = (wait(session(1)), wait(None));
    pool.finish(second, Outcome::Success, at(0));
    assert_eq!((pool.poll_woken(), pool.poll_woken()), (Some(any), None));
    assert!(matches!(pool.turn(any, at(0)), Turn::Granted(ticket) if ticket.addr().port() == 2));
    assert!(matches!(pool.turn(bound, at(0)), Turn::Waiting));
    pool.finish(first, Outcome::Success, at(0));
    assert!(matches!(pool.turn(bound, at(0)), Turn::Granted(ticket) if ticket.addr().port() == 1));
}

#[test]
fn a_session_whose_backend_goes_waits_for_any() {
    let queue = config::Queue { length: 2, ..config::Queue::default() };
    let mut pool = sticky(&config::Pool { max_in_flight: 1, queue, ..config([1, 2]) });
    let [_first, second] = [(); 2].map(|()| pool.pick(Ask::default(), at(0)).unwrap());
    let Entry::Wait(id, _) = pool.enter(Ask::default(), session(1), at(60), at(0)) else { panic!() };
    pool.set_state("b1", AdminState::Maint, at(0));
    assert!(matches!(pool.turn(id, at(0)), Turn::Waiting));
    pool.finish(second, Outcome::Success, at(0));
    assert!(matches!(pool.turn(id, at(0)), Turn::Granted(ticket) if ticket.addr().port() == 2));
}
