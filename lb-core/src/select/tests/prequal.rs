//! Prequal: how often answers are used, who is hot, what is removed, and endpoints that do not answer.

use super::*;
use crate::config::Prequal;

fn config(prequal: Prequal) -> config::Pool {
    config::Pool { prequal, ..using(Algorithm::Prequal) }
}

/// Nothing is removed and no probe is due by itself.
fn quiet() -> config::Pool {
    config(Prequal { remove_percent: 0, probe_percent: 1, ..Prequal::default() })
}

impl Bench {
    fn prequal(&self) -> &crate::select::prequal::Prequal {
        match &self.picker.selector {
            Selector::Prequal(prequal) => prequal,
            _ => unreachable!(),
        }
    }

    fn answer(&mut self, slot: usize, answer: Option<(u32, u64)>) {
        self.picker.on_probe(id(slot), answer, &mut self.prng, self.now);
    }
}

/// The figures of the paper for 100 endpoints and 16 answers, and its formula's ends.
#[rstest]
#[case(300, 100, 100, 1.3158)]
#[case(100, 25, 100, 3.3898)]
#[case(50, 25, 100, 11.7647)]
#[case::no_gain(100, 100, 100, 16.0)]
#[case::few_endpoints(300, 100, 20, 1.6)]
#[case::fewer(300, 100, 10, 2.5)]
#[case::two(300, 100, 2, 16.0)]
#[case::never_below_one(1000, 0, 1000, 1.0)]
fn uses_of_an_answer(#[case] probe: u32, #[case] remove: u32, #[case] endpoints: usize, #[case] uses: f64) {
    let settings = Prequal { probe_percent: probe, remove_percent: remove, ..Prequal::default() };
    let bench = Bench::with(&config(settings), &[1, 1]);
    let got = bench.prequal().uses_of(endpoints);
    assert!((got - uses).abs() < 5e-5, "{got} for {uses}");
}

#[test]
fn the_fastest_of_the_cold_then_the_least_busy_of_the_hot() {
    let mut bench = Bench::with(&quiet(), &[1; 40]);
    // What was seen lately says that up to 5 in flight are usual.
    for round in 0..64 {
        bench.answer(10 + round % 30, Some((round as u32 % 6, 1)));
    }
    bench.now = at(2000); // too old to be used, not to be learned from
    bench.answer(0, Some((9, 10)));
    bench.answer(1, Some((2, 300)));
    bench.answer(2, Some((3, 200)));
    assert_eq!(bench.pick(), 2, "cold and faster than 1; 0 is faster still, but hot");
    let mut bench_of_hot = Bench::with(&quiet(), &[1; 40]);
    for round in 0..64 {
        bench_of_hot.answer(10 + round % 30, Some((0, 1)));
    }
    bench_of_hot.now = at(2000);
    bench_of_hot.answer(0, Some((9, 10)));
    bench_of_hot.answer(1, Some((7, 300)));
    assert_eq!(bench_of_hot.pick(), 1);
}

/// Each use counts as one more in flight, until others are better or the answer is used up.
#[test]
fn uses_add_up() {
    let mut bench = Bench::with(&quiet(), &[1; 40]);
    bench.answer(0, Some((1, 10)));
    bench.answer(1, Some((3, 20)));
    assert_eq!([bench.pick(), bench.pick()], [0, 0], "1 and 2 in flight are cold below 3, as 3 is seen");
    assert!(bench.counts(100)[1] > 10);
    assert!(bench.prequal().slots().len() < 2, "16 uses each, then they are gone");
}

#[test]
fn answers_grow_old_and_are_replaced() {
    let mut bench = Bench::with(&quiet(), &[1; 16]);
    for slot in [0, 1, 2, 0, 3, 4] {
        bench.answer(slot, Some((1, 10)));
    }
    assert_eq!(bench.prequal().slots(), [2, 0, 3, 4], "a quarter of the endpoints, each once, the latest");
    bench.now = at(999);
    bench.answer(5, Some((1, 1)));
    bench.pick();
    assert_eq!(bench.prequal().slots(), [0, 3, 4, 5]);
    bench.now = at(1000);
    bench.pick();
    assert_eq!(bench.prequal().slots(), [5]);
}

#[test]
fn the_oldest_and_the_worst_are_removed_in_turns() {
    let settings = Prequal { remove_percent: 50, probe_percent: 1, hot_percent: 50, ..Prequal::default() };
    let mut bench = Bench::with(&config(settings), &[1; 24]);
    for (slot, in_flight) in [(0, 5), (1, 5), (2, 9), (3, 5), (4, 6), (5, 5)] {
        bench.answer(slot, Some((in_flight, 100 + slot as u64)));
    }
    bench.pick();
    assert_eq!(bench.prequal().slots(), [0, 1, 2, 3, 4, 5]);
    bench.pick();
    assert_eq!(bench.prequal().slots(), [1, 2, 3, 4, 5], "the oldest");
    bench.pick();
    bench.pick();
    assert_eq!(bench.prequal().slots(), [1, 3, 4, 5], "the busiest of the hot");
}

#[test]
fn a_failure_drops_the_answer() {
    let mut bench = Bench::with(&quiet(), &[1; 12]);
    (0..3).for_each(|slot| bench.answer(slot, Some((1, 10))));
    bench.observe(1, 1, Verdict::Failed);
    bench.observe(2, 1, Verdict::CutShort);
    assert_eq!(bench.prequal().slots(), [0, 2]);
}

#[test]
fn probes_are_due_by_request_and_bounded() {
    let mut bench = Bench::with(&config(Prequal { probe_percent: 250, ..Prequal::default() }), &[1; 10]);
    let due = |bench: &mut Bench| -> Vec<EndpointId> {
        bench.pick();
        core::iter::from_fn(|| bench.picker.poll_probe()).collect()
    };
    let counts: Vec<usize> = (0..4).map(|_| due(&mut bench).len()).collect();
    assert_eq!(counts, [2, 3, 2, 3]);
    assert!(!bench.picker.has_probes());
    let three = loop {
        let probes = due(&mut bench);
        if probes.len() == 3 {
            break probes;
        }
    };
    assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2], "distinct endpoints");
    bench.counts(1000);
    let waiting = core::iter::from_fn(|| bench.picker.poll_probe()).count();
    assert_eq!(waiting, crate::limits::PROBES_DUE_MAX);
}

/// Nobody answers probes: after three each they are not asked, and what requests tell takes their place, so
/// that the slow one gets next to nothing. After a while they are asked again.
#[test]
fn what_does_not_answer_is_judged_by_its_requests() {
    let mut bench = Bench::with(&config(Prequal::default()), &[1; 6]);
    let (mut asked, mut counts) = ([0; 6], [0; 6]);
    let mut open: Vec<(u64, usize)> = Vec::new();
    for step in 0..2000 {
        bench.now = at(step * 4);
        for (_, slot) in open.extract_if(.., |(end, _)| *end <= step * 4) {
            bench.add_load(slot, -1);
            bench.observe(slot, if slot == 0 { 500 } else { 20 }, Verdict::Answered);
        }
        let slot = bench.pick();
        counts[slot] += 1;
        bench.add_load(slot, 1);
        open.push((step * 4 + if slot == 0 { 500 } else { 20 }, slot));
        while let Some(probed) = bench.picker.poll_probe() {
            asked[probed.slot as usize] += 1;
            bench.answer(probed.slot as usize, None);
        }
    }
    assert_eq!(asked, [3; 6]);
    assert!(counts[0] < 100 && counts[1..].iter().all(|&count| count > 300), "{counts:?}");
    bench.now = at(20_000);
    bench.counts(50);
    assert!(bench.picker.has_probes());
}

/// One of ten fails at once and says that it is idle: each failure drops its answer, so that it gets no
/// more than what a fair share is.
#[test]
fn a_sinkhole_is_no_attraction() {
    let mut bench = Bench::with(&config(Prequal::default()), &[1; 10]);
    let mut counts = [0; 10];
    for step in 0..4000 {
        bench.now = at(step * 2);
        let slot = bench.pick();
        counts[slot] += 1;
        let (millis, verdict) = if slot == 0 { (0, Verdict::Failed) } else { (20, Verdict::Answered) };
        bench.observe(slot, millis, verdict);
        while let Some(probed) = bench.picker.poll_probe() {
            let slot = probed.slot as usize;
            bench.answer(slot, Some(if slot == 0 { (0, 1) } else { (3, 20_000_000) }));
        }
    }
    assert!(counts[0] < 440, "{counts:?}");
}
