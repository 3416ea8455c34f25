//! Many networks, one question: is this address in one of them?

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// A set of addresses, made of networks. Looking one up takes time logarithmic in their number. A
/// v4-mapped v6 address is its v4 address, and a network of such is a v4 network.
///
/// ```
/// use lb_core::ip_set::IpSet;
/// let set = IpSet::new(&["10.0.0.0/8".parse().unwrap()]);
/// assert!(set.contains("10.1.2.3".parse().unwrap()));
/// assert!(set.contains("::ffff:10.1.2.3".parse().unwrap()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl IpSet {
    /// The addresses of all these networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match (network.network(), network.broadcast()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
                        (Some(first), Some(last)) => v4.push((first.to_bits(), last.to_bits())),
                        _ => v6.push((first.to_bits(), last.to_bits())),
                    }
                }
                _ => {}
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// Whether the address is in one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(Ipv6Addr::to_bits(address)),
        }
    }

    /// Whether no address is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }
}

/// First and last of each range; sorted and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges<N>(Vec<(N, N)>);

impl<N: Copy + Ord> Ranges<N> {
    fn new(mut ranges: Vec<(N, N)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let overlaps = next.0 <= kept.1;
            if overlaps {
                kept.1 = kept.1.max(next.1);
            }
            overlaps
        });
        Self(ranges)
    }

    fn contains(&self, number: N) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= number);
        after.checked_sub(1).is_some_and(|at| number <= self.0[at].1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mapped_networks_are_v4_networks_and_wider_ones_are_not() {
        let set = IpSet::new(&["::ffff:10.0.0.0/104".parse().unwrap()]);
        assert!(set.contains("10.200.0.1".parse().unwrap()));
        let all_v6 = IpSet::new(&["::/0".parse().unwrap()]);
        assert!(!all_v6.contains("10.0.0.1".parse().unwrap()));
        assert!(!all_v6.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(IpSet::new(&[]).is_empty() && !set.is_empty() && !all_v6.is_empty());
    }

    /// Few distinct bits, so that networks nest, touch and overlap.
    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = (0u32..4, 0u32..4).prop_map(|(high, low)| IpAddr::V4((high << 30 | low).into()));
        let v6 = (0u128..4, 0u128..4).prop_map(|(high, low)| IpAddr::V6((high << 126 | low).into()));
        let mapped = (0u32..4).prop_map(|low| format!("::ffff:0.0.0.{low}").parse().unwrap());
        prop_oneof![v4, v6, mapped]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        let edges = prop_oneof![0u8..3, 29u8..33];
        (address(), edges).prop_map(|(address, length)| {
            let address = address.to_canonical();
            let length = if address.is_ipv6() && length > 2 { length + 96 } else { length };
            IpNet::new(address, length).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn equals_a_scan(networks in proptest::collection::vec(network(), 0..8), addresses in proptest::collection::vec(address(), 16)) {
            let set = IpSet::new(&networks);
            for address in addresses {
                prop_assert_eq!(set.contains(address), crate::config::contains(&networks, address), "{}", address);
            }
        }
    }
}
