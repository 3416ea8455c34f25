//! A stable hash: the same number for the same bytes, on every platform and in every version.

/// FNV-1a over 64 bits (Fowler, Noll, Vo), finished by [`mix`] so that the low bits are as good as
/// the high ones.
///
/// Not keyed: whoever chooses the bytes can make two of them collide. Tables of this crate whose keys
/// come from clients compare whole keys, and bound what a collision may cost.
///
/// ```
/// use lb_core::hash::hash;
/// assert_eq!(hash(b"mango"), hash(b"mango"));
/// assert_ne!(hash(b"mango"), hash(b"apple"));
/// ```
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let state = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |state: u64, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(state)
}

/// Spreads each bit of a number over all others; one to one (the finaliser of SplitMix64: Steele, Lea
/// and Flood, "Fast splittable pseudorandom number generators", 2014).
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is part of the format of what is kept across versions: it must never change.
    #[test]
    fn the_hash_is_pinned() {
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c), "FNV-1a's published vector for `a`");
        assert_eq!(hash(b"foobar"), mix(0x8594_4171_f739_67e8), "FNV-1a's published vector for `foobar`");
    }

    #[test]
    fn low_bits_of_similar_keys_differ() {
        let mut seen = [0u32; 64];
        for n in 0..6400u32 {
            seen[(hash(alloc::format!("host{n}.example").as_bytes()) & 63) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (50..170).contains(&n)), "{seen:?}");
    }
}
