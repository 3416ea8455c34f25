//! The period of a weighted round: picked once, then played again and again.

use alloc::vec::Vec;

use crate::limits::ROUND_PICKS_MAX;

/// Turns that may be taken before their time, on behalf of requests that avoid whose turn it is. As much
/// as this, times a period, may have to be looked through for one of them.
const AHEAD_MAX: usize = 32;

/// The picks from one state of the credits to the same state. Endpoints are known by their indexes.
#[derive(Clone, Debug, Default)]
pub(super) struct Period {
    /// Its length in picks: `W / gcd`; 0 if that is too long to be remembered.
    length: usize,
    /// What all weights can be divided by.
    common: i64,
    picks: Vec<u32>,
    /// How often each is in `picks`.
    counts: Vec<u32>,
    /// Somebody was picked more often than his share of a period: it will not end where it began.
    is_exceeded: bool,
    /// Whether it is known to end where it began.
    plays: bool,
    /// The turn that is next; a turn is a place in `picks`, or one in the next round if it is past its
    /// end.
    next: usize,
    /// Later turns that were taken already, rising.
    ahead: Vec<usize>,
}

impl Period {
    /// Begins to remember picks among weights with this sum and this greatest common divisor; indexes are below
    /// `end`. O(1) for each pick that was remembered so far.
    pub(super) fn begin(&mut self, end: usize, (total, common): (i64, i64)) {
        self.restart();
        self.counts.resize(end, 0);
        let length = total.checked_div(common).and_then(|length| u64::try_from(length).ok());
        self.length = length.filter(|&length| length <= ROUND_PICKS_MAX).unwrap_or(0) as usize;
        self.common = common;
        self.plays = false;
        self.next = 0;
        self.ahead.clear();
    }

    /// Begins to remember anew.
    pub(super) fn restart(&mut self) {
        for index in self.picks.drain(..) {
            self.counts[index as usize] = 0;
        }
        self.is_exceeded = false;
    }

    /// Adds a pick of one with this weight. The credits are back where they were once each was taken as often as
    /// is its share, which is so after `length` picks unless somebody was taken more often.
    pub(super) fn add(&mut self, index: usize, weight: i64) {
        if self.length == 0 {
            return;
        }
        self.picks.push(index as u32);
        let count = &mut self.counts[index];
        *count += 1;
        self.is_exceeded |= i64::from(*count) * self.common > weight;
        if self.picks.len() == self.length {
            self.plays = !self.is_exceeded;
            if !self.plays {
                self.restart();
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

    /// Ends it, and tells of the turns of a round that was begun: how many there were, and whose.
    pub(super) fn stop(&mut self) -> Option<(i64, impl Iterator<Item = usize>)> {
        if !core::mem::take(&mut self.plays) {
            return None;
        }
        let count = (self.next + self.ahead.len()) as i64;
        let turns = (0..self.next).chain(self.ahead.iter().copied());
        Some((count, turns.map(|turn| self.at(turn))))
    }
}
