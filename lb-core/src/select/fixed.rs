//! Exponentials and logarithms in fixed point: the same bits on every machine.
//!
//! Both look up eight bits of their argument in a table and add the rest by a short series.

/// `2^(-i/256)` in parts of 2^63.
const POWERS: [u64; 256] = powers();
/// `log2(1 + i/256)` in parts of 2^56.
const LOGARITHMS: [u64; 256] = logarithms();
/// `ln 2` in parts of 2^32.
const LN_2: u64 = 0xB172_17F8;
/// `1 / ln 2` in parts of 2^62.
const LOG2_E_62: u64 = 0x5C55_1D94_AE0B_F85D;
/// `1 / ln 2` in parts of 2^96.
const LOG2_E_96: u128 = 0x1_7154_7652_B82F_E177_7D0F_FDA0;

const fn powers() -> [u64; 256] {
    // 2^(-1/256) is the eighth square root of 1/2; its powers are exact to some 2^-55.
    let mut root: u128 = 1 << 62;
    let mut roots = 0;
    while roots < 8 {
        root = (root << 63).isqrt();
        roots += 1;
    }
    let mut table = [0; 256];
    let mut power: u128 = 1 << 63;
    let mut index = 0;
    while index < 256 {
        table[index] = power as u64;
        power = (power * root) >> 63;
        index += 1;
    }
    table
}

const fn logarithms() -> [u64; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        // Squaring doubles a logarithm: each carry is its next bit.
        let mut number: u128 = (256 + index as u128) << 55;
        let mut logarithm = 0;
        let mut bit = 0;
        while bit < 56 {
            number = (number * number) >> 63;
            logarithm <<= 1;
            if number >> 64 > 0 {
                number >>= 1;
                logarithm |= 1;
            }
            bit += 1;
        }
        table[index] = logarithm;
        index += 1;
    }
    table
}

/// How fast something decays: by a factor of e in each time constant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decay {
    /// Halvings for each nanosecond, in parts of 2^96.
    rate: u128,
    /// After so long nothing is left of 64 bits.
    end_nanos: u64,
}

impl Decay {
    pub(super) fn new(time_constant_nanos: u64) -> Self {
        let time_constant = time_constant_nanos.max(1);
        Self { rate: LOG2_E_96 / u128::from(time_constant), end_nanos: time_constant.saturating_mul(45) }
    }

    /// `value * e^(-elapsed / time constant)`, rounded down; exact to one part in 2^32.
    pub(super) fn apply(self, value: u64, elapsed_nanos: u64) -> u64 {
        if elapsed_nanos >= self.end_nanos {
            return 0;
        }
        // Halvings in parts of 2^32; below 65 * 2^32, as the end is 45 time constants away.
        let halvings = ((u128::from(elapsed_nanos) * self.rate) >> 64) as u64;
        let (whole, part) = (halvings >> 32, halvings as u32);
        let rest = u128::from(part & 0x00ff_ffff) * u128::from(LN_2); // in parts of 2^64, below 2^56
        let square = (rest * rest) >> 64;
        let cube = (square * rest) >> 64;
        let series = (1 << 64) - rest + square / 2 - cube / 6;
        let mantissa = (u128::from(POWERS[(part >> 24) as usize]) * series) >> 64;
        ((u128::from(value) * mantissa) >> (63 + whole)) as u64
    }
}

/// `-log2(number / 2^64)` in parts of 2^56; 64 for 0. Exact to some 2^-47.
pub(super) fn minus_log2(number: u64) -> u64 {
    if number == 0 {
        return 64 << 56;
    }
    let zeros = number.leading_zeros();
    let fraction = (number << zeros) << 1; // the number is (1 + fraction / 2^64) * 2^(63 - zeros)
    let index = fraction >> 56;
    // (1 + fraction) = (1 + index / 256) * (1 + rest), rest in parts of 2^64 and below 2^56.
    let rest = u128::from(((fraction & ((1 << 56) - 1)) << 8) / (256 + index));
    let square = (rest * rest) >> 64;
    let cube = (square * rest) >> 64;
    let fourth = (cube * rest) >> 64;
    let fifth = (fourth * rest) >> 64;
    let natural = rest - square / 2 + cube / 3 - fourth / 4 + fifth / 5;
    let logarithm = LOGARITHMS[index as usize] + ((natural * u128::from(LOG2_E_62)) >> 70) as u64;
    // The series ends too soon by some 2^-50, which must not go below nothing.
    ((u64::from(zeros) + 1) << 56).saturating_sub(logarithm).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(minus_log2(1 << 63), 1 << 56);
        assert_eq!(minus_log2(1), 64 << 56);
        assert!(minus_log2(u64::MAX) < 1 << 9);
        let decay = Decay::new(10_000_000_000);
        assert_eq!(decay.apply(100_000_000, 0), 100_000_000);
        assert_eq!(decay.apply(u64::MAX, 0), u64::MAX);
        assert_eq!(decay.apply(u64::MAX, u64::MAX), 0);
        assert_eq!(decay.apply(100_000_000, 6_931_471_806), 50_000_000, "half after ln 2 time constants");
        assert_eq!(decay.apply(100_000_000, 1_000_000_000), 90_483_741, "e^-0.1");
    }

    proptest! {
        /// Oracle: the machine's floating point.
        #[test]
        fn decay_is_exponential(value: u64, tau in 1u64..1 << 50, part in 0u64..40_000) {
            let elapsed = (u128::from(tau) * u128::from(part) / 1000) as u64;
            let decay = Decay::new(tau);
            let expected = value as f64 * (-(elapsed as f64) / tau as f64).exp();
            let got = decay.apply(value, elapsed) as f64;
            prop_assert!((got - expected).abs() <= 2.0 + expected * 1e-9, "{} for {}", got, expected);
        }

        #[test]
        fn decay_never_grows(value: u64, tau in 1u64..1 << 50, times in prop::array::uniform2(0u64..1 << 55)) {
            let decay = Decay::new(tau);
            let (early, late) = (times[0].min(times[1]), times[0].max(times[1]));
            prop_assert!(decay.apply(value, late) <= decay.apply(value, early));
        }

        #[test]
        fn logarithms_are_right(number in 1u64.., zeros in 0u32..63) {
            let number = (number >> zeros).max(1);
            let expected = 64.0 - (number as f64).log2();
            let got = minus_log2(number) as f64 / (1u64 << 56) as f64;
            prop_assert!((got - expected).abs() < 1e-13 + expected * 1e-14, "{} for {}", got, expected);
        }
    }
}
