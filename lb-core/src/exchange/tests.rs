mod waiting;

use alloc::{format, vec::Vec};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    config::{self, Backend, BackendAddress, Outlier, Retry},
    prng::Prng,
};

type Handle = Rc<RefCell<Pool>>;

fn config(backends: u16) -> config::Pool {
    let backends = (1..=backends).map(|port| {
        Backend::at(BackendAddress::Ip(SocketAddr::from(([127, 0, 0, 1], port))), format!("b{port}"))
    });
    config::Pool { backends: backends.collect(), ..config::Pool::default() }
}

fn handle(config: &config::Pool) -> Handle {
    Rc::new(RefCell::new(Pool::new("fruit".into(), config, Prng::new(1), Instant::ZERO)))
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

const GET: Facts = Facts { idempotent: true, deadline: Instant::from_nanos(60_000_000_000), key: None };
const POST: Facts = Facts { idempotent: false, ..GET };

fn begin(pool: &Handle, facts: Facts) -> Exchange<Handle> {
    Exchange::begin(pool.clone(), facts, at(0)).unwrap()
}

fn failed(kind: FailureKind, sent: Sent) -> Event {
    Event::Failed(Failure { kind, sent, reused: false })
}

const REFUSED: Event =
    Event::Failed(Failure { kind: FailureKind::Connect, sent: Sent::Nothing, reused: false });

fn response(status: u16) -> Event {
    Event::Response { status, sent: Sent::Head }
}

/// The port of the next try.
fn port(exchange: &mut Exchange<Handle>) -> u16 {
    match exchange.next(at(0)) {
        Next::Try(attempt) => attempt.addr.port(),
        other => panic!("{other:?}"),
    }
}

/// In flight and pending.
fn held(pool: &Handle) -> (u64, u32) {
    let pool = pool.borrow();
    (pool.in_flight(), pool.pending())
}

#[test]
fn a_response_is_forwarded() {
    let pool = handle(&config(2));
    let mut exchange = begin(&pool, GET);
    assert_eq!(exchange.endpoint_name(), None);
    let Next::Try(attempt) = exchange.next(at(5)) else { panic!() };
    assert_eq!((attempt.fresh, attempt.connect_by), (false, at(3005)));
    assert_eq!(exchange.next(at(9)), Next::Try(attempt), "asked again, the same");
    assert_eq!(held(&pool), (1, 1));
    assert_eq!(exchange.on(response(200), at(9)), Step::Forward);
    assert_eq!(held(&pool), (1, 0));
    assert_eq!(exchange.endpoint_name().map(|name| &**name), Some("b1"));
    exchange.finish(End::Complete, at(9));
    assert_eq!(held(&pool), (0, 0));
}

/// Which failures are tried again, on two backends.
#[rstest]
#[case(POST, FailureKind::Connect, Sent::Nothing, None)]
#[case(POST, FailureKind::ConnectTimeout, Sent::Nothing, None)]
#[case(POST, FailureKind::Closed, Sent::Nothing, None)]
#[case(POST, FailureKind::Closed, Sent::Head, Some(Reason::BackendReset))]
#[case(POST, FailureKind::HeadTimeout, Sent::Head, Some(Reason::ResponseHeadTimeout))]
#[case(GET, FailureKind::Closed, Sent::Head, None)]
#[case(GET, FailureKind::Invalid, Sent::Head, None)]
#[case(GET, FailureKind::HeadTimeout, Sent::Head, None)]
#[case(GET, FailureKind::Closed, Sent::Body, Some(Reason::BackendReset))]
#[case(GET, FailureKind::Invalid, Sent::Body, Some(Reason::BackendInvalid))]
fn what_is_retried(
    #[case] facts: Facts,
    #[case] kind: FailureKind,
    #[case] sent: Sent,
    #[case] reply: Option<Reason>,
) {
    let pool = handle(&config(2));
    let mut exchange = begin(&pool, facts);
    assert_eq!(port(&mut exchange), 1);
    let step = exchange.on(failed(kind, sent), at(1));
    match reply {
        None => {
            assert_eq!(step, Step::Retry);
            assert_eq!(exchange.endpoint_name().map(|name| &**name), Some("b1"));
            assert_eq!(port(&mut exchange), 2, "on another backend");
            assert_eq!(exchange.tries(), 2);
            assert_eq!(held(&pool), (1, 1));
        }
        Some(reason) => {
            assert_eq!(step, Step::Reply(reason));
            assert_eq!(exchange.next(at(1)), Next::Reply(reason));
            assert_eq!(exchange.endpoint_name().map(|name| &**name), Some("b1"));
            assert_eq!(held(&pool), (0, 0), "given back before the client is answered");
        }
    }
}

#[rstest]
#[case(GET, Sent::Head, true)]
#[case(POST, Sent::Nothing, true)]
#[case(POST, Sent::Head, false)]
#[case(GET, Sent::Body, false)]
fn a_stale_connection_is_healed_once(#[case] facts: Facts, #[case] sent: Sent, #[case] heals: bool) {
    let one_try = Retry { tries: 1, budget_percent: 0, budget_floor: 0, ..Retry::default() };
    let one_failure = Outlier { consecutive_failures: 1, max_ejected_percent: 100, ..Outlier::default() };
    let pool = handle(&config::Pool { retry: one_try, outlier: one_failure, ..config(2) });
    let stale = Event::Failed(Failure { kind: FailureKind::Closed, sent, reused: true });
    let mut exchange = begin(&pool, facts);
    assert_eq!(port(&mut exchange), 1);
    if heals {
        assert_eq!(exchange.on(stale, at(1)), Step::Retry);
        let Next::Try(attempt) = exchange.next(at(1)) else { panic!() };
        assert_eq!((attempt.addr.port(), attempt.fresh, exchange.tries()), (1, true, 1));
        assert_eq!(exchange.endpoint_name().map(|name| &**name), Some("b1"));
        assert!(pool.borrow().endpoints().all(|status| status.eligible()), "nobody is blamed");
    }
    assert_eq!(exchange.on(stale, at(2)), Step::Reply(Reason::BackendReset));
    assert!(!pool.borrow().endpoints().all(|status| status.eligible()), "the second time it is");
}

#[test]
fn tries_are_used_up() {
    let pool = handle(&config(5));
    let mut exchange = begin(&pool, GET);
    for expected in 1..=2 {
        assert_eq!(port(&mut exchange), expected);
        assert_eq!(exchange.on(REFUSED, at(1)), Step::Retry);
    }
    assert_eq!(port(&mut exchange), 3);
    assert_eq!(exchange.on(REFUSED, at(1)), Step::Reply(Reason::ConnectFailed));
    assert_eq!(exchange.endpoint_name().map(|name| &**name), Some("b3"));
}

#[test]
fn a_single_backend_that_refuses_gives_its_own_reason() {
    let all = Outlier { consecutive_failures: 2, max_ejected_percent: 100, ..Outlier::default() };
    let pool = handle(&config::Pool { outlier: all, ..config(1) });
    let mut exchange = begin(&pool, GET);
    assert_eq!(port(&mut exchange), 1);
    assert_eq!(exchange.on(REFUSED, at(0)), Step::Retry);
    assert_eq!(port(&mut exchange), 1, "the only one there is");
    assert_eq!(exchange.on(REFUSED, at(0)), Step::Reply(Reason::ConnectFailed));
    assert_eq!(begin(&pool, GET).next(at(0)), Next::Reply(Reason::NoHealthyBackend));
    assert_eq!(held(&pool), (0, 0));
}

#[test]
fn the_budget_is_used_up() {
    let retry = Retry { budget_percent: 50, budget_floor: 0, ..Retry::default() };
    let pool = handle(&config::Pool { retry, ..config(2) });
    let retried = (0..20).filter(|_| {
        let mut exchange = begin(&pool, GET);
        port(&mut exchange);
        exchange.on(failed(FailureKind::Invalid, Sent::Head), at(0)) == Step::Retry
    });
    assert_eq!(retried.count(), 10);
}

/// Most of a pool dies at once, before checks can tell: nothing of a request had gone out, so trying
/// elsewhere adds to nobody's load, and the budget, for all that it is empty, has no say. (It had, and requests
/// were lost once two of three backends were gone.)
#[rstest]
#[case::refused(FailureKind::Connect)]
#[case::unreachable(FailureKind::ConnectTimeout)]
fn a_try_that_never_left_costs_no_budget(
    #[case] kind: FailureKind,
    #[values(config::FundedBy::Requests, config::FundedBy::Successes)] funded_by: config::FundedBy,
) {
    let retry = Retry { budget_percent: 0, budget_floor: 0, funded_by, ..Retry::default() };
    let pool = handle(&config::Pool { retry, ..config(3) });
    for facts in [GET, POST] {
        for _ in 0..100 {
            let mut exchange = begin(&pool, facts);
            while port(&mut exchange) != 3 {
                assert_eq!(exchange.on(failed(kind, Sent::Nothing), at(0)), Step::Retry);
            }
            assert_eq!(exchange.on(response(200), at(0)), Step::Forward);
            exchange.finish(End::Complete, at(0));
        }
    }
    let mut exchange = begin(&pool, GET);
    port(&mut exchange);
    let reset = failed(FailureKind::Closed, Sent::Head);
    assert_eq!(exchange.on(reset, at(0)), Step::Reply(Reason::BackendReset), "that one pays");
}

/// The guide's walk: one of two backends dies under load, and nobody notices. Then nothing goes to it
/// but what asks whether it is back.
#[rstest]
#[case(1)]
#[case(50)]
fn a_backend_may_die_unnoticed(#[case] concurrency: usize) {
    let pool = handle(&config(2));
    let mut wasted = 0;
    for round in 0..1000 {
        let now = at(round * 10);
        let facts = Facts { deadline: now + Duration::from_secs(60), ..GET };
        let mut wave: Vec<Exchange<Handle>> =
            (0..concurrency).map(|_| Exchange::begin(pool.clone(), facts, now).unwrap()).collect();
        while let Some(mut exchange) = wave.pop() {
            let Next::Try(attempt) = exchange.next(now) else { panic!("round {round}") };
            let dead = attempt.addr.port() == 1 && round >= 100;
            wasted += usize::from(dead);
            match exchange.on(if dead { REFUSED } else { response(200) }, now) {
                Step::Forward => exchange.finish(End::Complete, now),
                Step::Retry => wave.push(exchange),
                Step::Reply(reason) => panic!("round {round}: {reason}"),
            }
        }
    }
    assert!(wasted <= 5.max(concurrency), "{wasted}");
}

#[test]
fn the_deadline_ends_it() {
    let pool = handle(&config(2));
    let mut exchange = begin(&pool, GET);
    assert_eq!(exchange.next(GET.deadline), Next::Reply(Reason::RequestTimeout));
    assert_eq!((held(&pool), exchange.tries()), ((0, 0), 0));

    let mut exchange = begin(&pool, GET);
    let Next::Try(attempt) = exchange.next(at(59_000)) else { panic!() };
    assert_eq!(attempt.connect_by, at(60_000));
    let timeout = failed(FailureKind::HeadTimeout, Sent::Head);
    assert_eq!(exchange.on(timeout, at(60_000)), Step::Reply(Reason::RequestTimeout));
}

/// Who is to blame for a deadline of 10 s: the first try, which had all of it; not a retry that began a
/// moment before it, unless what ended that was no timeout.
#[rstest]
#[case(FailureKind::HeadTimeout, None, Reason::RequestTimeout, &[1])]
#[case(FailureKind::HeadTimeout, Some(9900), Reason::RequestTimeout, &[1])]
#[case(FailureKind::ConnectTimeout, Some(9900), Reason::RequestTimeout, &[1])]
#[case(FailureKind::ConnectTimeout, Some(6000), Reason::RequestTimeout, &[1, 2])]
#[case(FailureKind::Closed, Some(9900), Reason::BackendReset, &[1, 2])]
fn the_deadline_is_not_blamed_on_a_late_try(
    #[case] kind: FailureKind,
    #[case] retried: Option<u64>,
    #[case] reason: Reason,
    #[case] blamed: &[usize],
) {
    let outlier = Outlier { consecutive_failures: 1, ..Outlier::default() };
    let pool = handle(&config::Pool { outlier, ..config(4) });
    let mut exchange = begin(&pool, Facts { deadline: at(10_000), ..GET });
    port(&mut exchange);
    if let Some(millis) = retried {
        assert_eq!(exchange.on(failed(FailureKind::Invalid, Sent::Head), at(millis)), Step::Retry);
        assert!(matches!(exchange.next(at(millis)), Next::Try(_)));
    }
    assert_eq!(exchange.on(failed(kind, Sent::Head), at(10_000)), Step::Reply(reason));
    let pool = pool.borrow();
    let ejected = (1..).zip(pool.endpoints()).filter(|(_, status)| !status.eligible());
    assert_eq!(ejected.map(|(place, _)| place).collect::<Vec<usize>>(), blamed);
}

#[rstest]
#[case(GET, 503, Sent::Head, Step::Retry)]
#[case(GET, 500, Sent::Head, Step::Forward)]
#[case(GET, 503, Sent::Body, Step::Forward)]
#[case(POST, 503, Sent::Head, Step::Forward)]
fn listed_statuses_are_retried(
    #[case] facts: Facts,
    #[case] status: u16,
    #[case] sent: Sent,
    #[case] step: Step,
) {
    let retry = Retry { tries: 2, on_status: [503].into(), ..Retry::default() };
    let pool = handle(&config::Pool { retry, ..config(2) });
    let mut exchange = begin(&pool, facts);
    port(&mut exchange);
    assert_eq!(exchange.on(Event::Response { status, sent }, at(1)), step);
    assert_eq!(exchange.endpoint_name().map(|name| &**name), Some("b1"));
    if step == Step::Retry {
        assert_eq!(port(&mut exchange), 2);
        assert_eq!(exchange.on(response(503), at(1)), Step::Forward, "better a 503 than none");
    }
    assert_eq!(held(&pool), (1, 0));
}

/// Of two backends, five exchanges that end so eject the first one, or do not.
#[rstest]
#[case(200, End::Complete, false)]
#[case(404, End::Complete, false)]
#[case(500, End::Complete, true)]
#[case(599, End::Complete, true)]
#[case(200, End::Truncated, true)]
#[case(200, End::BodyTimeout, true)]
#[case(200, End::ClientLeft, false)]
#[case(404, End::ClientLeft, false)]
#[case(502, End::ClientLeft, true)]
fn the_end_judges_the_backend(#[case] status: u16, #[case] end: End, #[case] ejects: bool) {
    let pool = handle(&config(2));
    for _ in 0..9 {
        let mut exchange = begin(&pool, GET);
        let first = port(&mut exchange) == 1;
        assert_eq!(exchange.on(response(if first { status } else { 200 }), at(0)), Step::Forward);
        exchange.finish(if first { end } else { End::Complete }, at(0));
    }
    let ejected = pool.borrow().endpoints().any(|status| !status.eligible());
    assert_eq!(ejected, ejects);
}

#[test]
fn too_many_pending_are_refused() {
    let limits = config::PoolLimits { pending: 2, ..config::PoolLimits::default() };
    let pool = handle(&config::Pool { limits, ..config(1) });
    let (mut first, second) = (begin(&pool, GET), begin(&pool, GET));
    let refused = |pool: &Handle| Exchange::begin(pool.clone(), GET, at(0)).err();
    assert_eq!(refused(&pool), Some(Reason::TooManyPending));
    port(&mut first);
    first.on(response(200), at(0));
    assert_eq!(refused(&pool), None, "one with a response does not count");
    drop(second);
    drop(first);
    assert_eq!(held(&pool), (0, 0));
}

/// One event of one of several exchanges.
#[derive(Clone, Debug)]
enum Op {
    Begin { idempotent: bool, millis: u64 },
    Next { which: usize },
    On { which: usize, event: Event },
    Finish { which: usize, end: End },
    Drop { which: usize },
    Reload { backends: u16, tries: u32, max_in_flight: u32 },
    Wait { millis: u64 },
}

fn any_event() -> impl Strategy<Value = Event> {
    let sent = prop::sample::select(&[Sent::Nothing, Sent::Head, Sent::Body][..]);
    let kind = prop::sample::select(
        &[
            FailureKind::Connect,
            FailureKind::ConnectTimeout,
            FailureKind::Closed,
            FailureKind::Invalid,
            FailureKind::HeadTimeout,
        ][..],
    );
    let status = prop::sample::select(&[200u16, 404, 500, 503][..]);
    prop_oneof![
        2 => (kind, sent.clone(), any::<bool>())
            .prop_map(|(kind, sent, reused)| Event::Failed(Failure { kind, sent, reused })),
        1 => (status, sent).prop_map(|(status, sent)| Event::Response { status, sent }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let which = any::<usize>();
    let end = prop::sample::select(&[End::Complete, End::Truncated, End::BodyTimeout, End::ClientLeft][..]);
    prop_oneof![
        3 => (any::<bool>(), 0u64..20_000).prop_map(|(idempotent, millis)| Op::Begin { idempotent, millis }),
        5 => which.prop_map(|which| Op::Next { which }),
        5 => (which, any_event()).prop_map(|(which, event)| Op::On { which, event }),
        1 => (which, end).prop_map(|(which, end)| Op::Finish { which, end }),
        1 => which.prop_map(|which| Op::Drop { which }),
        1 => (0u16..5, 1u32..4, 0u32..4).prop_map(
            |(backends, tries, max_in_flight)| Op::Reload { backends, tries, max_in_flight }
        ),
        1 => (0u64..9000).prop_map(|millis| Op::Wait { millis }),
    ]
}

fn reloaded(backends: u16, tries: u32, max_in_flight: u32) -> config::Pool {
    let retry = Retry { tries, on_status: [503].into(), ..Retry::default() };
    let queue = config::Queue { length: 3, timeout: Duration::from_secs(5) };
    config::Pool { retry, max_in_flight, queue, ..config(backends) }
}

/// What the model knows of an exchange: its facts, the methods' right to be sent again, how often it
/// was tried, and whether a response was passed on or a reason given.
struct Life {
    exchange: Exchange<Handle>,
    facts: Facts,
    tries: Vec<Attempt>,
    /// What the last step allows: `next`, `on` or nothing.
    asked: bool,
    over: bool,
    forwards: bool,
}

proptest! {
    /// Any order of events, misuse and drops included: what is held is what is alive, and in the end
    /// nothing is; nothing is sent again that may not be; nothing is tried past its deadline.
    #[test]
    fn any_order_of_events_balances(ops in prop::collection::vec(any_op(), 0..150)) {
        let pool = handle(&reloaded(3, 3, 2));
        let (mut lives, mut now) = (Vec::<Life>::new(), at(0));
        for op in ops {
            let count = lives.len().max(1);
            match op {
                Op::Begin { idempotent, millis } => {
                    let facts = Facts { idempotent, deadline: now + Duration::from_millis(millis), key: None };
                    let exchange = Exchange::begin(pool.clone(), facts, now).unwrap();
                    let tries = Vec::new();
                    lives.push(Life { exchange, facts, tries, asked: false, over: false, forwards: false });
                }
                Op::Next { which } => if let Some(life) = lives.get_mut(which % count) {
                    match life.exchange.next(now) {
                        Next::Try(attempt) => {
                            prop_assert!(!life.over && now < life.facts.deadline);
                            prop_assert!(attempt.connect_by <= life.facts.deadline);
                            if !life.asked {
                                let last = life.tries.last().map(|last| last.endpoint);
                                prop_assert!(!attempt.fresh || last == Some(attempt.endpoint));
                                life.tries.push(attempt);
                            }
                            life.asked = true;
                        }
                        Next::Wait(waiting) => {
                            prop_assert!(!life.over && now < waiting.until);
                            prop_assert!(waiting.until <= life.facts.deadline);
                        }
                        Next::Reply(_) => life.over |= !life.forwards,
                    }
                    let counted = life.tries.iter().filter(|attempt| !attempt.fresh).count();
                    prop_assert!(life.tries.len() - counted <= 1, "healed once");
                    prop_assert_eq!(life.exchange.tries() as usize, counted);
                    prop_assert!(counted <= 3);
                },
                Op::On { which, event } => if let Some(life) = lives.get_mut(which % count) {
                    let (Event::Failed(Failure { sent, .. }) | Event::Response { sent, .. }) = event;
                    let step = life.exchange.on(event, now);
                    if life.asked && step == Step::Retry {
                        prop_assert!(may_resend(sent, life.facts.idempotent));
                    }
                    life.asked &= step != Step::Retry;
                    life.over |= matches!(step, Step::Reply(_));
                    life.forwards |= step == Step::Forward;
                },
                Op::Finish { which, end } if !lives.is_empty() => {
                    lives.swap_remove(which % count).exchange.finish(end, now);
                }
                Op::Drop { which } if !lives.is_empty() => drop(lives.swap_remove(which % count)),
                Op::Finish { .. } | Op::Drop { .. } => {}
                Op::Reload { backends, tries, max_in_flight } => {
                    pool.borrow_mut().reconfigure(&reloaded(backends, tries, max_in_flight), now);
                }
                Op::Wait { millis } => now = now + Duration::from_millis(millis),
            }
            let pending = lives.iter().filter(|life| !life.over && !life.forwards).count();
            prop_assert_eq!(held(&pool).1 as usize, pending);
            prop_assert!(pool.borrow().waiting() <= pending);
            prop_assert!(held(&pool).0 <= lives.iter().filter(|life| !life.over).count() as u64);
        }
        drop(lives);
        prop_assert_eq!(held(&pool), (0, 0));
        prop_assert_eq!(pool.borrow().waiting(), 0);
        prop_assert_eq!(pool.borrow_mut().poll_woken(), None);
        let loads: u32 = pool.borrow().endpoints().map(|status| status.in_flight).sum();
        prop_assert_eq!(loads, 0);
    }
}
