//! Durations as scenarios write them: with fractions, and down to nanoseconds.

use std::time::Duration;

/// Units with their lengths in nanoseconds.
const UNITS: [(&str, f64); 6] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
/// Longest duration, in nanoseconds: a year.
const DURATION_NANOS_MAX: f64 = 366.0 * 24.0 * 3600e9;

/// A number and a unit (`ns`, `us`, `ms`, `s`, `m`, `h`): `20ms`, `0.5ms`, `90s`. None for what is none, and
/// for more than a year.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|_| digits)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let nanos = number * length;
    (nanos <= DURATION_NANOS_MAX).then(|| Duration::from_nanos(nanos.round() as u64))
}

/// Some nanoseconds in the unit that suits, with three digits.
#[must_use]
pub fn duration_text(nanos: f64) -> String {
    let (unit, length) = UNITS[..4].iter().rev().find(|&&(_, length)| nanos >= length).unwrap_or(&UNITS[1]);
    let value = nanos / length;
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    if nanos == 0.0 { "0".into() } else { format!("{value:.digits$}{unit}") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("20ms", Some(20_000_000))]
    #[case("0.5ms", Some(500_000))]
    #[case("500us", Some(500_000))]
    #[case("7ns", Some(7))]
    #[case("1.5m", Some(90_000_000_000))]
    #[case("0s", Some(0))]
    #[case("366h", Some(366 * 3_600_000_000_000))]
    #[case("", None)]
    #[case("20", None)]
    #[case("ms", None)]
    #[case("-1s", None)]
    #[case("1e5s", None)]
    #[case("inf", None)]
    #[case("1.2.3s", None)]
    #[case("20 ms", None)]
    #[case("20sec", None)]
    #[case("99999999999h", None)]
    fn durations(#[case] text: &str, #[case] nanos: Option<u64>) {
        assert_eq!(duration(text).map(|duration| duration.as_nanos() as u64), nanos);
    }

    #[rstest]
    #[case(0.0, "0")]
    #[case(12.0, "12.0ns")]
    #[case(999.0, "999ns")]
    #[case(20e6, "20.0ms")]
    #[case(1.234e9, "1.23s")]
    #[case(250e3, "250us")]
    fn texts(#[case] nanos: f64, #[case] text: &str) {
        assert_eq!(duration_text(nanos), text);
    }
}
