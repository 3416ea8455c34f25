//! Prequal: endpoints are probed all the time, and a request goes to the fastest of those that are not too
//! busy (Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: Introducing Prequal",
//! NSDI 2024).
//!
//! - Each request asks for some probes of endpoints drawn at random; their answers (requests in flight, at
//!   all balancers, and latency) wait in a small pool. Nobody waits for a probe.
//! - An answer is *hot* if its requests in flight are above a quantile of those seen lately. Of the cold
//!   ones the least latency wins, and where all are hot the fewest in flight.
//! - An answer grows old: it is dropped after `age`, or after it was used some times, and for each request
//!   some are removed, the oldest and the worst in turns. A use counts as one more in flight.
//! - What failed a request has its answers dropped, and until it answers one again its further ones count as a
//!   second slow, which decays: who fails at once has little in flight and would draw requests otherwise.
//! - With fewer than two answers it is the less loaded of two at random.
//!
//! In-band fallback: an endpoint that leaves three probes in a row unanswered is taken as one that does not
//! know them. Drawn for a probe, it is not asked but judged by what this balancer has seen itself: its own
//! requests in flight there and a decaying peak of latencies. After 10 s it is asked again.

use alloc::{collections::VecDeque, vec::Vec};

use super::{Roster, Sample, Verdict, View, draw::Draw, fixed::Decay, p2c, peak_ewma::Cost};
use crate::{
    config,
    limits::{CHOICES_MAX, PROBES_DUE_MAX},
    pool::EndpointId,
    prng::Prng,
    time::{Duration, Instant, nanos},
};

/// Answers whose requests in flight make the quantile.
const WINDOW: usize = 64;
/// Most often that one answer is used. The formula of the paper has no answer for pools with few
/// endpoints.
const USES_MAX: u64 = 16;
/// Unanswered probes in a row that make an endpoint a silent one.
const SILENT_AFTER: u32 = 3;
/// How long a silent one is not asked.
const SILENT_FOR: Duration = Duration::from_secs(10);
/// How long what was seen of an endpoint counts.
const SEEN_DECAY: Duration = Duration::from_secs(10);
/// What a failure counts as at least.
const ERROR_NANOS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct Prequal {
    probe_percent: u32,
    remove_percent: u32,
    hot_percent: u32,
    pool_max: usize,
    age: Duration,
    /// Oldest first.
    answers: Vec<Answer>,
    /// Requests in flight of the last answers, a ring.
    window: Vec<u32>,
    window_next: usize,
    due: VecDeque<EndpointId>,
    /// Parts of a probe, in percent, that are not due yet.
    probe_carry: u32,
    remove_carry: u32,
    removes_oldest: bool,
    decay: Decay,
    /// By slot.
    seen: Vec<Seen>,
}

/// A probe's answer, as long as it is good.
#[derive(Clone, Copy, Debug)]
struct Answer {
    id: EndpointId,
    in_flight: u32,
    latency_nanos: u64,
    at: Instant,
    uses: u64,
}

/// What this balancer has seen of an endpoint itself.
#[derive(Clone, Copy, Debug)]
struct Seen {
    id: EndpointId,
    unanswered: u32,
    ask_again: Instant,
    cost: Option<Cost>,
    /// Its last request failed.
    fails: bool,
}

impl Prequal {
    pub(super) fn new(config: &config::Prequal) -> Self {
        Self {
            probe_percent: config.probe_percent,
            remove_percent: config.remove_percent,
            hot_percent: config.hot_percent,
            pool_max: config.answers as usize,
            age: config.age,
            answers: Vec::new(),
            window: Vec::new(),
            window_next: 0,
            due: VecDeque::new(),
            probe_carry: 0,
            remove_carry: 0,
            removes_oldest: true,
            decay: Decay::new(nanos(SEEN_DECAY)),
            seen: Vec::new(),
        }
    }

    /// One more may be picked. What is known of it stays known.
    pub(super) fn admit(&mut self, id: EndpointId) {
        let fresh = Seen { id, unanswered: 0, ask_again: Instant::ZERO, cost: None, fails: false };
        let slot = id.slot as usize;
        if self.seen.len() <= slot {
            self.seen.resize(slot + 1, fresh);
        }
        if self.seen[slot].id != id {
            self.seen[slot] = fresh;
        }
    }

    /// Answers of those that may not be picked are dropped.
    pub(super) fn forget_others(&mut self, roster: &Roster) {
        self.answers.retain(|answer| roster.index(answer.id).is_some());
        self.due.retain(|&id| roster.index(id).is_some());
    }

    /// O(m) for m answers that are kept.
    pub(super) fn pick(&mut self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        self.answers.retain(|answer| view.now.since(answer.at) < self.age);
        let best = self.best(&view);
        let picked = match best {
            Some(place) => self.use_answer(place, &view),
            None => p2c::pick(view, 2, prng),
        };
        self.remove_some();
        self.probe_some(&view, prng);
        picked
    }

    /// The place of the best answer; none where there are fewer than two.
    fn best(&self, view: &View<'_>) -> Option<usize> {
        let usable = |answer: &Answer| view.roster.index(answer.id).is_some_and(|index| !view.skips(index));
        let answers = || self.answers.iter().enumerate().filter(|(_, answer)| usable(answer));
        answers().nth(1)?;
        let hot_above = self.hot_above();
        let cold = answers().filter(|(_, answer)| answer.in_flight <= hot_above);
        cold.min_by_key(|(_, answer)| (answer.latency_nanos, answer.in_flight))
            .or_else(|| answers().min_by_key(|(_, answer)| (answer.in_flight, answer.latency_nanos)))
            .map(|(place, _)| place)
    }

    /// The quantile of requests in flight above which an answer is hot.
    fn hot_above(&self) -> u32 {
        let mut sorted = [0; WINDOW];
        let sorted = &mut sorted[..self.window.len()];
        sorted.copy_from_slice(&self.window);
        let place = sorted.len().saturating_sub(1) * self.hot_percent as usize / 100;
        if sorted.is_empty() { u32::MAX } else { *sorted.select_nth_unstable(place).1 }
    }

    fn use_answer(&mut self, place: usize, view: &View<'_>) -> Option<usize> {
        let answer = self.answers.get_mut(place)?;
        answer.in_flight = answer.in_flight.saturating_add(1);
        answer.uses = answer.uses.saturating_sub(1);
        let index = view.roster.index(answer.id);
        if answer.uses == 0 {
            self.answers.remove(place);
        }
        index
    }

    /// Removes the oldest and the worst in turns, `remove_percent` of one for each request.
    fn remove_some(&mut self) {
        self.remove_carry += self.remove_percent;
        while self.remove_carry >= 100 {
            self.remove_carry -= 100;
            let place =
                if self.removes_oldest { (!self.answers.is_empty()).then_some(0) } else { self.worst() };
            if let Some(place) = place {
                self.answers.remove(place);
            }
            self.removes_oldest = !self.removes_oldest;
        }
    }

    /// Of the hot ones the busiest, else the slowest.
    fn worst(&self) -> Option<usize> {
        let hot_above = self.hot_above();
        let answers = || self.answers.iter().enumerate();
        let hot = answers().filter(|(_, answer)| answer.in_flight > hot_above);
        hot.max_by_key(|(_, answer)| answer.in_flight)
            .or_else(|| answers().max_by_key(|(_, answer)| answer.latency_nanos))
            .map(|(place, _)| place)
    }

    /// Makes probes due, `probe_percent` of one for each request, of distinct endpoints.
    fn probe_some(&mut self, view: &View<'_>, prng: &mut Prng) {
        self.probe_carry += self.probe_percent;
        let mut draw = Draw::new(view.count(), []);
        for _ in 0..(self.probe_carry / 100).min(CHOICES_MAX) {
            let Some(rank) = draw.next(prng) else { break };
            let candidate = view.candidate(view.nth(rank));
            let seen = self.seen[candidate.id.slot as usize];
            if seen.unanswered < SILENT_AFTER || view.now >= seen.ask_again {
                if self.due.len() < PROBES_DUE_MAX {
                    self.due.push_back(candidate.id);
                }
            } else if let Some(cost) = seen.cost {
                let in_flight = view.in_flight[candidate.id.slot as usize];
                let latency_nanos = cost.at(self.decay, view.now);
                self.take(candidate.id, in_flight, latency_nanos, view.count(), prng, view.now);
            }
        }
        self.probe_carry %= 100;
    }

    pub(super) fn has_probes(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn poll_probe(&mut self) -> Option<EndpointId> {
        self.due.pop_front()
    }

    /// Takes an answer (requests in flight, nanoseconds), or that there was none.
    pub(super) fn on_probe(
        &mut self,
        id: EndpointId,
        answer: Option<(u32, u64)>,
        roster: &Roster,
        prng: &mut Prng,
        now: Instant,
    ) {
        if roster.index(id).is_none() {
            return;
        }
        let seen = &mut self.seen[id.slot as usize];
        match answer {
            Some((in_flight, latency_nanos)) => {
                seen.unanswered = 0;
                self.take(id, in_flight, latency_nanos, roster.free.count(), prng, now);
            }
            None => {
                seen.unanswered = seen.unanswered.saturating_add(1);
                seen.ask_again = now + SILENT_FOR;
            }
        }
    }

    fn take(
        &mut self,
        id: EndpointId,
        in_flight: u32,
        latency_nanos: u64,
        endpoints: usize,
        prng: &mut Prng,
        at: Instant,
    ) {
        if self.window.len() < WINDOW {
            self.window.push(in_flight);
        } else {
            self.window[self.window_next] = in_flight;
            self.window_next = (self.window_next + 1) % WINDOW;
        }
        let seen = self.seen[id.slot as usize];
        let failed = seen.cost.filter(|_| seen.fails).map_or(0, |cost| cost.at(self.decay, at));
        let latency_nanos = latency_nanos.max(failed);
        let pool_max = self.answers_max(endpoints);
        let uses = self.uses(endpoints).draw(prng);
        self.answers.retain(|answer| answer.id != id);
        self.answers.push(Answer { id, in_flight, latency_nanos, at, uses });
        let surplus = self.answers.len().saturating_sub(pool_max);
        self.answers.drain(..surplus);
    }

    /// Answers that are kept, of no more than a quarter of the endpoints: of a half, an answer would be used four
    /// to eight times, and one that is old by then draws all balancers to the same endpoint. But with less than
    /// four, requests that come before the next answers find none. Two make a choice.
    fn answers_max(&self, endpoints: usize) -> usize {
        self.pool_max.min((endpoints / 4).max((endpoints / 2).min(4))).max(2)
    }

    /// How often an answer is used, so that the pool neither runs dry nor is full of old ones:
    /// `(1 + 1) / ((1 - m/n) * probes - removals)`, all for each request.
    fn uses(&self, endpoints: usize) -> Uses {
        let n = endpoints as u64;
        let m = self.answers_max(endpoints) as u64;
        let gain = n.saturating_sub(m) * u64::from(self.probe_percent);
        let parts = gain.saturating_sub(n * u64::from(self.remove_percent));
        let uses = Uses { number: 200 * n, parts };
        if uses.number >= USES_MAX * parts { Uses { number: USES_MAX, parts: 1 } } else { uses }
    }

    /// Error aversion, and what silent ones are judged by.
    pub(super) fn observe(&mut self, id: EndpointId, sample: Sample, now: Instant) {
        let Some(seen) = self.seen.get_mut(id.slot as usize).filter(|seen| seen.id == id) else { return };
        let before = seen.cost.map_or(0, |cost| cost.at(self.decay, now));
        let nanos = match sample.verdict {
            Verdict::Answered => sample.latency_nanos,
            Verdict::Failed => sample.latency_nanos.max(ERROR_NANOS).max(before),
            Verdict::CutShort => sample.latency_nanos.max(before),
        };
        let first = Cost { nanos: nanos.max(1), stamp: now };
        seen.cost = Some(seen.cost.map_or(first, |cost| cost.after(nanos.max(1), self.decay, now)));
        match sample.verdict {
            Verdict::Answered => seen.fails = false,
            Verdict::Failed => seen.fails = true,
            Verdict::CutShort => {}
        }
        if sample.verdict == Verdict::Failed {
            self.answers.retain(|answer| answer.id != id);
        }
    }
}

/// A number of uses: a fraction, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) number: u64,
    pub(super) parts: u64,
}

impl Uses {
    /// One of the two integers around it, so that the mean is right.
    fn draw(self, prng: &mut Prng) -> u64 {
        let (whole, rest) = (self.number / self.parts, self.number % self.parts);
        (whole + u64::from(rest > 0 && prng.below(self.parts) < rest)).max(1)
    }
}

#[cfg(test)]
impl Prequal {
    pub(super) fn uses_of(&self, endpoints: usize) -> f64 {
        let uses = self.uses(endpoints);
        (uses.number as f64 / uses.parts as f64).max(1.0)
    }

    /// Slots of the answers, oldest first.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.answers.iter().map(|answer| answer.id.slot).collect()
    }
}
