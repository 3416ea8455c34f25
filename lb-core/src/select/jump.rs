//! Jump consistent hashing (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014): a
//! key's bucket among n follows from the key and n alone.
//!
//! Buckets are numbered, and only the last can come or go at the price of 1/n of the keys: so the order of
//! the members is their numbering, and one that takes another's place in it takes its keys.
//!
//! A bucket may decline: one that may not be picked always does, one that is lighter than the heaviest with
//! the odds of its weight. The key is then changed and jumps again. So `P(i) = w_i / W`, what one endpoint
//! declines spreads over all others, and being down, or a change of a weight other than the greatest, moves
//! keys to that endpoint or from it only. A key that all have declined [`JUMPS_MAX`] times is placed by
//! rendezvous hashing, which has the same shares and moves as little.

use alloc::vec::Vec;

use super::{Candidate, View, rendezvous};
use crate::{hash::mix, prng::Prng};

/// How often a key jumps. With half of the members down one in four billion needs more.
const JUMPS_MAX: u64 = 32;

#[derive(Debug, Default)]
pub(crate) struct Jump {
    /// By bucket.
    members: Vec<Candidate>,
    /// The greatest weight.
    heaviest: u32,
}

impl Jump {
    pub(super) fn rebuild(&mut self, members: &[Candidate]) {
        self.heaviest = members.iter().map(|member| member.weight).max().unwrap_or(0);
        self.members = members.to_vec();
    }

    /// O(log n) for each jump.
    pub(super) fn pick(&self, view: View<'_>, prng: &mut Prng) -> Option<usize> {
        let key = view.key.unwrap_or_else(|| prng.next_u64());
        let takes = |turn: u64| {
            let key = if turn == 0 { key } else { mix(key ^ mix(turn)) };
            let member = self.members.get(bucket(key, self.members.len() as u64) as usize)?;
            let index = view.roster.index(member.id).filter(|&index| !view.skips(index))?;
            self.accepts(view.candidate(index).weight, key).then_some(index)
        };
        (0..JUMPS_MAX).find_map(takes).or_else(|| rendezvous::pick(View { key: Some(key), ..view }, prng))
    }

    /// Whether one of this weight takes this key.
    fn accepts(&self, weight: u32, key: u64) -> bool {
        let chance = mix(key ^ 0x6a75_6d70_6564) >> 32;
        chance * u64::from(self.heaviest) < u64::from(weight) << 32
    }
}

/// The bucket of a key among `count`, which is at least 1 and below 2^31.
///
/// The steps of the paper: from bucket b a key jumps to `(b + 1) / r` for r uniform in (0, 1], as long as
/// that is one of the buckets. The paper divides floating-point numbers; here the quotient is exact.
fn bucket(mut key: u64, count: u64) -> u64 {
    let (mut bucket, mut next) = (0, 0);
    while next < count {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) << 31) / ((key >> 33) + 1);
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of other implementations: Guava's for keys of 0 to 19 among 100, and its single ones.
    #[test]
    fn known_answers() {
        let among_hundred = [0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83];
        assert!((0..).zip(among_hundred).all(|(key, expected)| bucket(key, 100) == expected));
        assert_eq!(bucket(10_863_919_174_838_991, 11), 6);
        assert_eq!(bucket(2_016_238_256_797_177_309, 11), 3);
        assert_eq!(bucket(1_673_758_223_894_951_030, 11), 5);
        assert_eq!([2, 2201, 2202].map(|key| bucket(key, 100_001)), [80_343, 22_152, 15_018]);
        assert_eq!(bucket(256, 1024), 520);
    }

    /// One bucket more takes keys from the others and gives none to them.
    #[test]
    fn buckets_come_one_after_the_other() {
        for key in 0..200 {
            let mut last = 0;
            for count in 1..=300 {
                let now = bucket(mix(key), count);
                assert!(now == last || now == count - 1, "{key} among {count}: {last}, then {now}");
                last = now;
            }
        }
    }
}
