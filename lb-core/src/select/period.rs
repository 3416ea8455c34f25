//! The period of a weighted round: picked once, then played again and again.

use alloc::vec::Vec;

use super::Candidate;
use crate::limits::ROUND_PICKS_MAX;

/// Turns that may be taken before their time, on behalf of requests that avoid whose turn it is. As much
/// as this, times a period, may have to be looked through for one of them.
const AHEAD_MAX: usize = 32;

/// The picks from one state of the credits to the same state.
#[derive(Clone, Debug, Default)]
pub(super) struct Period {
    /// Its length in picks: `W / gcd`; 0 if that is too long to be remembered.
    length: usize,
    picks: Vec<u32>,
    /// The credits at its beginning.
    start: Vec<i64>,
    /// Whether it is known to end where it began.
    plays: bool,
    /// The turn that is next; a turn is a place in `picks`, or one in the next round if it is past its
    /// end.
    next: usize,
    /// Later turns that were taken already, rising.
    ahead: Vec<usize>,
}

impl Period {
    /// Begins to remember, with these credits.
    pub(super) fn record<'a>(
        candidates: impl Iterator<Item = &'a Candidate> + Clone,
        credits: &[i64],
    ) -> Self {
        let total: u64 = candidates.clone().map(|candidate| u64::from(candidate.weight)).sum();
        let common = candidates.fold(0, |common, candidate| gcd(common, candidate.weight.into()));
        let length = total.checked_div(common).filter(|&length| length <= ROUND_PICKS_MAX);
        let mut period = Self { length: length.unwrap_or(0) as usize, ..Self::default() };
        period.restart(credits);
        period
    }

    /// Begins to remember anew.
    pub(super) fn restart(&mut self, credits: &[i64]) {
        self.picks.clear();
        if self.length > 0 {
            self.start.clear();
            self.start.extend_from_slice(credits);
        }
    }

    /// Adds a pick, after which the credits are these.
    pub(super) fn add(&mut self, index: usize, credits: &[i64]) {
        if self.length == 0 {
            return;
        }
        self.picks.push(index as u32);
        if self.picks.len() == self.length {
            self.plays = self.start == credits;
            if !self.plays {
                self.restart(credits);
            }
        }
    }

    pub(super) fn plays(&self) -> bool {
        self.plays
    }

    /// The next turn of one that is not left out. Where others are passed their turns are kept, and this one
    /// is taken from its place, so that each endpoint has its turns of the period whoever is avoided. Those
    /// that are passed for too long lose a turn.
    pub(super) fn play(&mut self, is_left_out: impl Fn(usize) -> bool) -> Option<usize> {
        // After the last that was taken there is a whole period of free turns.
        let end = self.ahead.last().map_or(self.next, |&last| last + 1) + self.length;
        let turns = self.next..end;
        let mut passed = self.ahead.iter().copied().peekable();
        let free = turns.filter(|&turn| passed.next_if(|&taken| taken == turn).is_none());
        let (turn, index) = free.map(|turn| (turn, self.at(turn))).find(|&(_, index)| !is_left_out(index))?;
        if turn == self.next {
            self.advance();
        } else if let Err(place) = self.ahead.binary_search(&turn) {
            self.ahead.insert(place, turn);
            if self.ahead.len() > AHEAD_MAX {
                self.advance();
            }
        }
        Some(index)
    }

    fn at(&self, turn: usize) -> usize {
        self.picks[turn % self.length] as usize
    }

    /// To the next turn that was not taken.
    fn advance(&mut self) {
        let gone =
            1 + self.ahead.iter().zip(self.next + 1..).take_while(|(taken, turn)| *taken == turn).count();
        self.ahead.drain(..gone - 1);
        self.next += gone;
        if self.next >= self.length {
            self.next -= self.length;
            self.ahead.iter_mut().for_each(|turn| *turn -= self.length);
        }
    }

    /// Ends it: `credits` become what its picks so far leave of them.
    pub(super) fn stop<'a>(
        &mut self,
        candidates: impl Iterator<Item = &'a Candidate> + Clone,
        credits: &mut Vec<i64>,
    ) {
        if !self.plays {
            return;
        }
        let taken = (0..self.next).chain(self.ahead.iter().copied());
        let total: i64 = candidates.clone().map(|candidate| i64::from(candidate.weight)).sum();
        let count = (self.next + self.ahead.len()) as i64;
        credits.clear();
        credits.extend(
            self.start
                .iter()
                .zip(candidates)
                .map(|(start, candidate)| start + count * i64::from(candidate.weight)),
        );
        taken.for_each(|turn| credits[self.at(turn)] -= total);
        self.plays = false;
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
