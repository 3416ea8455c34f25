//! Faults over time: what each does to its backend, and when it changes.

use lb_core::{prng::Prng, time::nanos};

use super::{
    law::{exponential, nanos as rounded},
    model::{Fault, Trouble},
    station::FULL_SPEED,
};

/// Steps in which a cold start recovers.
const COLD_START_STEPS: u32 = 50;
/// Least time between two changes, in nanoseconds, so that time goes on.
const STEP_NANOS_MIN: u64 = 1000;
/// Slowest speed that is not a stop, in millionths.
const SPEED_MIN: u64 = 1;

/// What a fault does to a backend now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    /// Its speed is multiplied by this, in millionths.
    pub(super) speed: u64,
    pub(super) refuses: bool,
    pub(super) unreachable: bool,
    pub(super) drained: bool,
    pub(super) failing: Option<Failing>,
}

/// Requests that are answered with an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Failing {
    /// In 2^-64.
    pub(super) share: u64,
    pub(super) status: u16,
    /// Nanoseconds; none: after the usual service.
    pub(super) after: Option<u64>,
    pub(super) seen_by_checks: bool,
}

impl Condition {
    /// Nothing is wrong.
    pub(super) const GOOD: Self =
        Self { speed: FULL_SPEED, refuses: false, unreachable: false, drained: false, failing: None };

    /// Both at once.
    pub(super) fn and(self, other: Self) -> Self {
        let speed = u128::from(self.speed) * u128::from(other.speed) / u128::from(FULL_SPEED);
        let stopped = self.speed == 0 || other.speed == 0;
        Self {
            speed: if stopped { 0 } else { u64::try_from(speed).unwrap_or(u64::MAX).max(SPEED_MIN) },
            refuses: self.refuses || other.refuses,
            unreachable: self.unreachable || other.unreachable,
            drained: self.drained || other.drained,
            failing: self.failing.or(other.failing),
        }
    }
}

/// A fault at one backend.
pub(super) struct Strike<'a> {
    trouble: &'a Trouble,
    /// Which fault.
    pub(super) fault: u32,
    pub(super) backend: u32,
    pub(super) from: u64,
    /// When it ends; `u64::MAX` for never.
    pub(super) until: u64,
    prng: Prng,
    phase: u32,
    pub(super) condition: Condition,
}

/// What follows from a step of a strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stepped {
    /// When it changes next.
    pub(super) next: Option<u64>,
    /// Whether what is at the backend is reset.
    pub(super) resets: bool,
}

/// All faults as strikes at single backends. Each has its own generator, so that one more does not disturb
/// the others.
pub(super) fn strikes<'a>(faults: &'a [Fault], prng: &mut Prng) -> Vec<Strike<'a>> {
    let mut strikes = Vec::new();
    for (index, fault) in (0..).zip(faults) {
        for (place, &backend) in (0u64..).zip(&fault.backends) {
            let from = nanos(fault.from).saturating_add(nanos(fault.stagger).saturating_mul(place));
            strikes.push(Strike {
                trouble: &fault.trouble,
                fault: index,
                backend,
                from,
                until: fault.length.map_or(u64::MAX, |length| from.saturating_add(nanos(length))),
                prng: prng.fork(strikes.len() as u64),
                phase: 0,
                condition: Condition::GOOD,
            });
        }
    }
    strikes
}

impl Strike<'_> {
    /// Goes on at `now`, which is when it begins or what the last step said.
    pub(super) fn step(&mut self, now: u64) -> Stepped {
        let phase = self.phase;
        self.phase += 1;
        if now >= self.until {
            let was = std::mem::replace(&mut self.condition, Condition::GOOD);
            // What was accepted and never answered: the connections break in the end.
            let hung = matches!(self.trouble, Trouble::Hang) && was.speed == 0;
            return Stepped { next: None, resets: hung };
        }
        let mut resets = false;
        let next = match self.trouble {
            Trouble::Slow { factor } => {
                self.condition.speed = slowed(*factor);
                self.until
            }
            // Without an end there is nothing to recover towards.
            Trouble::ColdStart { factor } if self.until == u64::MAX => {
                self.condition.speed = slowed(*factor);
                self.until
            }
            Trouble::ColdStart { factor } => {
                let left = f64::from(COLD_START_STEPS.saturating_sub(phase)) / f64::from(COLD_START_STEPS);
                self.condition.speed = slowed(1.0 + (factor - 1.0) * left);
                let (length, next) = (u128::from(self.until - self.from), u128::from(phase) + 1);
                let offset = u64::try_from(length * next / u128::from(COLD_START_STEPS)).unwrap_or(u64::MAX);
                self.from.saturating_add(offset).max(now + STEP_NANOS_MIN)
            }
            Trouble::Fail { share, status, after, seen_by_checks } => {
                self.condition.failing = Some(Failing {
                    share: if *share >= 1.0 { u64::MAX } else { (share * 2f64.powi(64)) as u64 },
                    status: *status,
                    after: after.map(nanos),
                    seen_by_checks: *seen_by_checks,
                });
                self.until
            }
            Trouble::Hang | Trouble::Pause => {
                self.condition.speed = 0;
                self.until
            }
            Trouble::Pauses { every, length } => {
                let pauses = phase % 2 == 1;
                self.condition.speed = if pauses { 0 } else { FULL_SPEED };
                let gap = if pauses { nanos(*length) } else { self.draw(nanos(*every)) };
                now.saturating_add(gap.max(STEP_NANOS_MIN))
            }
            Trouble::Down => {
                self.condition.refuses = true;
                resets = true;
                self.until
            }
            Trouble::Unreachable => {
                self.condition.unreachable = true;
                self.until
            }
            Trouble::Flap { down, up } => {
                resets = phase.is_multiple_of(2);
                self.condition.refuses = resets;
                now.saturating_add(nanos(if resets { *down } else { *up }).max(STEP_NANOS_MIN))
            }
            Trouble::Antagonist { factors, dwell } => {
                let place = if phase == 0 { 0 } else { self.other_than_last(factors.len()) };
                self.phase = 1 + place as u32;
                self.condition.speed =
                    (factors.get(place).map_or(FULL_SPEED, |factor| share(*factor))).max(SPEED_MIN);
                now.saturating_add(self.draw(nanos(*dwell)).max(STEP_NANOS_MIN))
            }
            Trouble::Drain => {
                self.condition.drained = true;
                self.until
            }
        };
        Stepped { next: Some(next.min(self.until)).filter(|&at| at < u64::MAX), resets }
    }

    fn draw(&mut self, mean: u64) -> u64 {
        rounded(exponential(&mut self.prng) * mean as f64)
    }

    /// A place below `count` other than the one that `phase` had before this step.
    fn other_than_last(&mut self, count: usize) -> usize {
        let last = (self.phase - 2) as usize;
        let draw = self.prng.below(count.saturating_sub(1) as u64) as usize;
        if draw >= last && count > 1 { draw + 1 } else { draw }
    }
}

fn slowed(factor: f64) -> u64 {
    share(1.0 / factor.max(1e-6)).max(SPEED_MIN)
}

fn share(of_full_speed: f64) -> u64 {
    rounded(of_full_speed * FULL_SPEED as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn fault(trouble: Trouble, seconds: Option<u64>) -> Fault {
        Fault {
            backends: vec![3, 5],
            from: Duration::from_secs(10),
            length: seconds.map(Duration::from_secs),
            stagger: Duration::from_secs(2),
            trouble,
        }
    }

    /// The strike at the first backend: time, condition and whether it resets, step by step.
    fn course(fault: &Fault, steps: usize) -> Vec<(u64, Condition, bool)> {
        let mut strikes = strikes(std::slice::from_ref(fault), &mut Prng::new(1));
        let strike = &mut strikes[0];
        let (mut now, mut course) = (strike.from, Vec::new());
        for _ in 0..steps {
            let Stepped { next, resets } = strike.step(now);
            course.push((now, strike.condition, resets));
            let Some(next) = next else { break };
            assert!(next > now);
            now = next;
        }
        course
    }

    #[test]
    fn strikes_follow_each_other() {
        let fault = fault(Trouble::Pause, Some(5));
        let strikes = strikes(std::slice::from_ref(&fault), &mut Prng::new(1));
        let times: Vec<_> = strikes
            .iter()
            .map(|strike| (strike.backend, strike.from / SECOND, strike.until / SECOND))
            .collect();
        assert_eq!(times, [(3, 10, 15), (5, 12, 17)]);
    }

    #[rstest]
    #[case::slow(Trouble::Slow { factor: 10.0 }, Condition { speed: 100_000, ..Condition::GOOD }, false, false)]
    #[case::pause(Trouble::Pause, Condition { speed: 0, ..Condition::GOOD }, false, false)]
    #[case::hang(Trouble::Hang, Condition { speed: 0, ..Condition::GOOD }, false, true)]
    #[case::down(Trouble::Down, Condition { refuses: true, ..Condition::GOOD }, true, false)]
    #[case::unreachable(Trouble::Unreachable, Condition { unreachable: true, ..Condition::GOOD }, false, false)]
    #[case::drain(Trouble::Drain, Condition { drained: true, ..Condition::GOOD }, false, false)]
    fn begins_and_ends(
        #[case] trouble: Trouble,
        #[case] condition: Condition,
        #[case] resets_first: bool,
        #[case] resets_last: bool,
    ) {
        let ended = course(&fault(trouble.clone(), Some(5)), 9);
        let (start, end) = (10 * SECOND, 15 * SECOND);
        assert_eq!(ended, [(start, condition, resets_first), (end, Condition::GOOD, resets_last)]);
        assert_eq!(course(&fault(trouble, None), 9), [(start, condition, resets_first)]);
    }

    #[test]
    fn a_cold_start_recovers_evenly() {
        let course = course(&fault(Trouble::ColdStart { factor: 5.0 }, Some(50)), 99);
        assert_eq!(course.len(), 51);
        for (step, &(at, condition, _)) in course.iter().enumerate() {
            assert_eq!(at, (10 + step as u64) * SECOND);
            let slowness = 1.0 + 4.0 * (50.0 - step as f64) / 50.0;
            assert!((condition.speed as f64 - 1e6 / slowness).abs() <= 1.0, "{step}: {condition:?}");
        }
    }

    #[test]
    fn a_cold_start_without_end_does_not_recover() {
        let course = course(&fault(Trouble::ColdStart { factor: 5.0 }, None), 99);
        assert_eq!(course, [(10 * SECOND, Condition { speed: 200_000, ..Condition::GOOD }, false)]);
    }

    /// However short the times are, time goes on.
    #[test]
    fn no_time_is_no_standstill() {
        let zero = Duration::ZERO;
        for trouble in [
            Trouble::Flap { down: zero, up: zero },
            Trouble::Pauses { every: zero, length: zero },
            Trouble::Antagonist { factors: vec![1.0, 0.5], dwell: zero },
        ] {
            let course = course(&fault(trouble, None), 1001);
            assert!(course[1000].0 - course[0].0 >= 1000 * STEP_NANOS_MIN);
        }
    }

    #[test]
    fn flaps_and_pauses_alternate() {
        let flap = Trouble::Flap { down: Duration::from_secs(5), up: Duration::from_secs(15) };
        let seen: Vec<_> = course(&fault(flap, Some(30)), 9)
            .into_iter()
            .map(|(at, condition, resets)| (at / SECOND, condition.refuses, resets))
            .collect();
        assert_eq!(
            seen,
            [(10, true, true), (15, false, false), (30, true, true), (35, false, false), (40, false, false)]
        );
        let pauses = Trouble::Pauses { every: Duration::from_secs(5), length: Duration::from_millis(200) };
        let course = course(&fault(pauses, None), 2001);
        for pair in course.windows(2).filter(|pair| pair[0].1.speed == 0) {
            assert_eq!(pair[1].0 - pair[0].0, SECOND / 5);
        }
        let mean = (course[2000].0 - course[0].0) as f64 / 1000.0 / 1e9;
        assert!((mean - 5.2).abs() < 3.29 * 5.0 / f64::sqrt(1000.0), "{mean}");
    }

    #[test]
    fn an_antagonist_goes_to_another_factor_each_time() {
        let trouble = Trouble::Antagonist { factors: vec![1.0, 0.5, 0.2], dwell: Duration::from_secs(1) };
        let course = course(&fault(trouble, None), 3000);
        assert_eq!(course[0].1.speed, FULL_SPEED);
        assert!(course.windows(2).all(|pair| pair[0].1.speed != pair[1].1.speed));
        for speed in [1_000_000, 500_000, 200_000] {
            let share = course.iter().filter(|step| step.1.speed == speed).count() as f64 / 3000.0;
            assert!((share - 1.0 / 3.0).abs() < 0.04, "{speed}: {share}");
        }
    }

    #[test]
    fn conditions_add_up() {
        let slow = Condition { speed: 500_000, ..Condition::GOOD };
        let down = Condition { refuses: true, ..Condition::GOOD };
        assert_eq!(slow.and(slow).and(down), Condition { speed: 250_000, refuses: true, ..Condition::GOOD });
        assert_eq!(slow.and(Condition { speed: 0, ..Condition::GOOD }).speed, 0);
    }
}
