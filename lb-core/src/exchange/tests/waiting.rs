//! Requests that wait for a slot, as their drivers see it.

use rstest::rstest;

use super::*;
use crate::config::{Concurrency, PoolLimits, Queue};

/// So many backends of one slot each, and a queue of two that waits for 5 s.
fn capped(backends: u16) -> config::Pool {
    let queue = Queue { length: 2, timeout: Duration::from_secs(5) };
    config::Pool { max_in_flight: 1, queue, ..config(backends) }
}

fn waits(exchange: &mut Exchange<Handle>, now: Instant) -> Waiting {
    match exchange.next(now) {
        Next::Wait(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

fn woken(pool: &Handle) -> Vec<WaiterId> {
    core::iter::from_fn(|| pool.borrow_mut().poll_woken()).collect()
}

/// Answers a try to its end.
fn serve(mut exchange: Exchange<Handle>, now: Instant) {
    exchange.on(response(200), now);
    exchange.finish(End::Complete, now);
}

#[test]
fn the_next_in_the_queue_gets_a_slot_that_is_free_again() {
    let pool = handle(&capped(1));
    let mut first = begin(&pool, GET);
    port(&mut first);
    let (mut second, mut third) = (begin(&pool, GET), begin(&pool, GET));
    let waiting = waits(&mut second, at(1));
    assert_eq!(waiting.until, at(5000));
    assert_eq!(waits(&mut second, at(2)), waiting, "asked again, the same");
    let behind = waits(&mut third, at(2));
    assert_eq!(begin(&pool, GET).next(at(2)), Next::Reply(Reason::QueueFull));
    assert_eq!((held(&pool), pool.borrow().waiting()), ((1, 3), 2));

    serve(first, at(10));
    assert_eq!(woken(&pool), [waiting.id]);
    assert_eq!((held(&pool).0, pool.borrow().waiting()), (1, 1), "the slot is held for it");
    assert!(matches!(begin(&pool, GET).next(at(10)), Next::Wait(_)), "nobody overtakes");
    let Next::Try(attempt) = second.next(at(11)) else { panic!() };
    assert_eq!((attempt.connect_by, second.tries()), (at(3011), 1));
    serve(second, at(20));
    assert_eq!(woken(&pool), [behind.id]);
    assert_eq!(port(&mut third), 1);
}

#[rstest]
#[case::of_the_queue(60_000, 5000, Reason::QueueTimeout)]
#[case::of_the_request(2000, 2000, Reason::RequestTimeout)]
fn a_wait_ends_in_time(#[case] deadline: u64, #[case] until: u64, #[case] reason: Reason) {
    let pool = handle(&capped(1));
    let _busy = begin(&pool, GET);
    let mut late = begin(&pool, Facts { deadline: at(deadline), ..GET });
    assert_eq!(waits(&mut late, at(0)).until, at(until));
    assert_eq!(waits(&mut late, at(until - 1)).until, at(until));
    assert_eq!(late.next(at(until)), Next::Reply(reason));
    assert_eq!(late.next(at(until)), Next::Reply(reason));
    assert_eq!((held(&pool), pool.borrow().waiting(), late.tries()), ((1, 1), 0, 0));
}

#[test]
fn who_is_late_gets_nothing_that_another_could_use() {
    let pool = handle(&capped(1));
    let first = begin(&pool, GET);
    let mut late = begin(&pool, Facts { deadline: at(100), ..GET });
    let mut next = begin(&pool, GET);
    let (late_id, next_id) = (waits(&mut late, at(0)).id, waits(&mut next, at(0)).id);
    drop(first);
    assert_eq!(woken(&pool), [late_id], "dropping is at the last time that was told");
    serve(late, at(100));
    assert_eq!(woken(&pool), [next_id]);

    let pool = handle(&capped(1));
    let mut first = begin(&pool, GET);
    port(&mut first);
    let mut late = begin(&pool, Facts { deadline: at(100), ..GET });
    let mut next = begin(&pool, GET);
    let (late_id, next_id) = (waits(&mut late, at(0)).id, waits(&mut next, at(0)).id);
    serve(first, at(100));
    assert_eq!(woken(&pool), [late_id, next_id]);
    assert_eq!(late.next(at(100)), Next::Reply(Reason::RequestTimeout));
    assert_eq!(port(&mut next), 1);
}

#[test]
fn who_leaves_makes_room_at_once() {
    let pool = handle(&capped(1));
    let first = begin(&pool, GET);
    let (second, mut third) = (begin(&pool, GET), begin(&pool, GET));
    waits(&mut third, at(0));
    drop(second);
    assert_eq!(pool.borrow().waiting(), 1);
    let fourth = begin(&pool, GET);
    assert_eq!(pool.borrow().waiting(), 2);
    // A slot that was granted and not taken goes on to the next.
    drop(first);
    assert_eq!(woken(&pool).len(), 1);
    drop(third);
    assert_eq!((woken(&pool).len(), pool.borrow().waiting(), held(&pool)), (1, 0, (1, 1)));
    drop(fourth);
    assert_eq!(held(&pool), (0, 0));
}

/// The first backend refuses; the second one is busy with somebody else.
#[test]
fn a_retry_waits_behind_those_that_wait() {
    let pool = handle(&capped(2));
    let (mut first, second) = (begin(&pool, GET), begin(&pool, GET));
    let mut third = begin(&pool, GET);
    waits(&mut third, at(0));
    assert_eq!(port(&mut first), 1);
    assert_eq!(first.on(REFUSED, at(1)), Step::Retry);
    assert_eq!(port(&mut third), 1, "takes the slot that the retry gave back");
    let waiting = waits(&mut first, at(1));
    assert_eq!((first.tries(), first.endpoint_name().map(|name| &**name)), (1, Some("b1")));
    serve(second, at(2));
    assert!(woken(&pool).contains(&waiting.id));
    assert_eq!((port(&mut first), first.tries()), (2, 2));
}

/// The backend that refused is free, and no reason to be tried again while there is another one.
#[test]
fn a_retry_waits_for_another_backend() {
    let pool = handle(&capped(2));
    let (mut first, second) = (begin(&pool, GET), begin(&pool, GET));
    assert_eq!(port(&mut first), 1);
    assert_eq!(first.on(REFUSED, at(1)), Step::Retry);
    waits(&mut first, at(1));
    assert_eq!(port(&mut begin(&pool, GET)), 1, "somebody else may use what it does not want");
    drop(second);
    assert_eq!(port(&mut first), 2);
}

#[test]
fn an_answer_that_is_there_is_better_than_a_wait() {
    let retry = Retry { on_status: [503].into(), ..Retry::default() };
    let pool = handle(&config::Pool { retry, ..capped(2) });
    let (mut first, _second) = (begin(&pool, GET), begin(&pool, GET));
    port(&mut first);
    assert_eq!(first.on(response(503), at(1)), Step::Forward);
}

#[test]
fn without_a_queue_the_cap_sheds() {
    let pool = handle(&config::Pool { queue: Queue::default(), ..capped(1) });
    let _first = begin(&pool, GET);
    assert_eq!(begin(&pool, GET).next(at(0)), Next::Reply(Reason::QueueFull));
    pool.borrow_mut().set_state("b1", config::AdminState::Maint, at(0));
    assert_eq!(begin(&pool, GET).next(at(0)), Next::Reply(Reason::NoHealthyBackend));
}

#[rstest]
#[case(0, Next::Reply(Reason::ConcurrencyLimit))]
#[case(1, Next::Wait(Waiting { id: WaiterId::first(), until: at(5000) }))]
fn the_adaptive_limit_sheds_or_queues(#[case] length: u32, #[case] fourth: Next) {
    let concurrency = Some(Concurrency::default());
    let queue = Queue { length, ..Queue::default() };
    let pool = handle(&config::Pool { concurrency, queue, ..config(9) });
    let _three: Vec<_> = (0..3).map(|_| begin(&pool, GET)).collect();
    let mut exchange = begin(&pool, GET);
    assert_eq!(exchange.next(at(0)), fourth);
    assert_eq!(pool.borrow().adaptive_limit(), Some(3));
}

/// Latencies are told by the heads of answers, and a limit that grows lets in who waits.
#[test]
fn a_limit_that_grows_lets_in_who_waits() {
    let concurrency = Concurrency { min_latency_requests: 1, ..Concurrency::default() };
    let queue = Queue { length: 100, ..Queue::default() };
    let pool = handle(&config::Pool { concurrency: Some(concurrency), queue, ..config(9) });
    let mut now = at(0);
    let mut busy: Vec<_> = (0..20).map(|_| begin(&pool, GET)).collect();
    for _ in 0..40 {
        now = now + Duration::from_millis(50);
        for mut exchange in core::mem::take(&mut busy) {
            match exchange.next(now) {
                Next::Try(_) if exchange.on(response(200), now) == Step::Forward => {
                    exchange.finish(End::Complete, now);
                    let facts = Facts { deadline: now + Duration::from_secs(60), ..GET };
                    busy.push(Exchange::begin(pool.clone(), facts, now).unwrap());
                }
                Next::Wait(_) => busy.push(exchange),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(pool.borrow().adaptive_limit() > Some(10), "{:?}", pool.borrow().adaptive_limit());
}

#[test]
fn those_that_wait_are_pending() {
    let limits = PoolLimits { pending: 2, ..PoolLimits::default() };
    let pool = handle(&config::Pool { limits, ..capped(1) });
    let (_first, _second) = (begin(&pool, GET), begin(&pool, GET));
    assert_eq!(Exchange::begin(pool.clone(), GET, at(0)).err(), Some(Reason::TooManyPending));
}
