//! Tiers of priority: which share of the traffic each gets, and when one panics.
//!
//! The arithmetic is Envoy's ("Priority levels", "Panic threshold" in its documentation). A tier of which a
//! share `h` is healthy can carry `1.4 * h` of the traffic (the factor is the overprovisioning), at most
//! all of it. Traffic goes to the first tier as far as that carries it, what is left to the second, and so
//! on. When all tiers together cannot carry all of it, each gets a share in proportion.

use alloc::{vec, vec::Vec};

/// How many endpoints of a tier there are, and how many of them are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierHealth {
    /// At most `total`.
    pub healthy: usize,
    /// Those that the configuration and the operator let serve.
    pub total: usize,
}

/// What a tier gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierLoad {
    /// Its share of the traffic in percent. Those of all tiers add up to 100, or to 0 when nobody serves.
    pub percent: u32,
    /// Whether all of its endpoints take traffic, healthy or not.
    pub panics: bool,
}

/// What each of `tiers`, the preferred one first, gets. `overprovisioning_percent` is a hundred times the
/// factor, at least 100; `panic_percent` is the share of healthy endpoints below which a tier panics, 0 for
/// never. A tier panics only while all together cannot carry the traffic: the next one helps first.
#[must_use]
pub fn loads(tiers: &[TierHealth], overprovisioning_percent: u32, panic_percent: u32) -> Vec<TierLoad> {
    let health: Vec<u32> = tiers.iter().map(|tier| capacity(*tier, overprovisioning_percent)).collect();
    let normal = health.iter().fold(0u32, |sum, &health| sum.saturating_add(health)).min(100);
    let panics = |tier: &TierHealth| normal < 100 && tier.total > 0 && is_below(*tier, panic_percent);
    if normal == 0 && tiers.iter().any(panics) {
        return everyone(tiers);
    }
    let mut left = if normal == 0 { 0 } else { 100 };
    let mut loads: Vec<TierLoad> = tiers
        .iter()
        .zip(&health)
        .map(|(tier, &health)| {
            let percent = (health * 100).checked_div(normal).unwrap_or(0).min(left);
            left -= percent;
            TierLoad { percent, panics: panics(tier) }
        })
        .collect();
    // What the division left over goes, one by one, to those that it cost the most.
    let mut by_cost: Vec<usize> = (0..loads.len()).collect();
    by_cost.sort_by_key(|&tier| core::cmp::Reverse((health[tier] * 100).checked_rem(normal)));
    for tier in by_cost.into_iter().take(left as usize) {
        loads[tier].percent += 1;
    }
    loads
}

/// How much of the traffic a tier can carry, in percent.
fn capacity(tier: TierHealth, overprovisioning_percent: u32) -> u32 {
    let healthy = tier.healthy.min(tier.total) as u128 * u128::from(overprovisioning_percent);
    let percent = healthy.checked_div(tier.total as u128).unwrap_or(0);
    u32::try_from(percent).unwrap_or(100).min(100)
}

fn is_below(tier: TierHealth, percent: u32) -> bool {
    (tier.healthy as u128) * 100 < tier.total as u128 * u128::from(percent)
}

/// Nobody is healthy and all panic: shares by how many endpoints there are.
fn everyone(tiers: &[TierHealth]) -> Vec<TierLoad> {
    let all: u128 = tiers.iter().map(|tier| tier.total as u128).sum();
    let mut loads = vec![TierLoad { percent: 0, panics: true }; tiers.len()];
    let mut left = 100;
    for (load, tier) in loads.iter_mut().zip(tiers) {
        load.percent = (tier.total as u128 * 100).checked_div(all).unwrap_or(0) as u32;
        left -= load.percent;
    }
    if let Some((first, _)) = loads.iter_mut().zip(tiers).find(|(_, tier)| tier.total > 0) {
        first.percent += left;
    }
    loads
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn of(percents: &[usize]) -> Vec<TierHealth> {
        percents.iter().map(|&healthy| TierHealth { healthy, total: 100 }).collect()
    }

    fn percents(loads: &[TierLoad]) -> Vec<u32> {
        loads.iter().map(|load| load.percent).collect()
    }

    /// The tables of Envoy's documentation on priority levels.
    #[rstest]
    #[case(&[100, 100], &[100, 0])]
    #[case(&[72, 100], &[100, 0])]
    #[case(&[71, 100], &[99, 1])]
    #[case(&[50, 100], &[70, 30])]
    #[case(&[25, 100], &[35, 65])]
    #[case(&[25, 25], &[50, 50])]
    #[case(&[0, 100], &[0, 100])]
    #[case(&[100, 25, 100], &[100, 0, 0])]
    #[case(&[50, 100, 100], &[70, 30, 0])]
    #[case(&[25, 25, 100], &[35, 35, 30])]
    #[case(&[25, 25, 20], &[36, 36, 28])]
    #[case(&[0, 0], &[0, 0])]
    #[case(&[100], &[100])]
    #[case(&[1], &[100])]
    fn shares(#[case] healthy: &[usize], #[case] expected: &[u32]) {
        assert_eq!(percents(&loads(&of(healthy), 140, 0)), expected);
    }

    /// In Envoy's text, 20 and 30 is what the tiers can carry: without overprovisioning, their health.
    #[test]
    fn shares_in_proportion() {
        assert_eq!(percents(&loads(&of(&[20, 30]), 100, 0)), [40, 60]);
    }

    #[rstest]
    #[case::the_next_tier_helps(&[10, 100], 50, &[false, false], &[14, 86])]
    #[case::both_are_short(&[25, 25], 50, &[true, true], &[50, 50])]
    #[case::only_one_is_low(&[5, 60], 50, &[true, false], &[8, 92])]
    #[case::nobody(&[0, 0], 50, &[true, true], &[50, 50])]
    #[case::off(&[0, 0], 0, &[false, false], &[0, 0])]
    #[case::at_the_threshold(&[50], 50, &[false], &[100])]
    #[case::below_it(&[49], 50, &[true], &[100])]
    fn panic(
        #[case] healthy: &[usize],
        #[case] percent: u32,
        #[case] panics: &[bool],
        #[case] expected: &[u32],
    ) {
        let loads = loads(&of(healthy), 140, percent);
        assert_eq!(percents(&loads), expected);
        assert_eq!(loads.iter().map(|load| load.panics).collect::<Vec<_>>(), panics);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_go_to_those_that_can_carry_them(
            tiers in prop::collection::vec((0usize..50, 0usize..50), 0..6), over in 100u32..1000, panic in 0u32..=100,
        ) {
            let tiers: Vec<TierHealth> =
                tiers.iter().map(|&(a, b)| TierHealth { healthy: a.min(b), total: a.max(b) }).collect();
            let loads = loads(&tiers, over, panic);
            let sum: u32 = loads.iter().map(|load| load.percent).sum();
            let serves = tiers.iter().any(|tier| tier.healthy > 0);
            let in_panic = panic > 0 && tiers.iter().any(|tier| tier.total > 0);
            prop_assert_eq!(sum, if serves || in_panic { 100 } else { 0 });
            let mut carried = 0;
            for (tier, load) in tiers.iter().zip(&loads) {
                prop_assert!(load.percent == 0 || tier.healthy > 0 || load.panics);
                prop_assert!(!load.panics || panic > 0);
                // Nobody gets anything while those before can carry it all.
                if carried >= 100 { prop_assert_eq!(load.percent, 0); }
                carried += capacity(*tier, over);
            }
        }
    }
}
