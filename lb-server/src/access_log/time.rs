//! Points in time as logs write them, in UTC.

use std::time::{Duration, SystemTime};

use super::text::push_padded;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The last second that a year of four digits can name.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A point in time, taken apart. What lies before 1970 counts as its first instant, what lies after 9999
/// as the last.
struct Civil {
    year: u64,
    /// From 0.
    month: usize,
    day: u64,
    /// Hour, minute and second.
    clock: [u64; 3],
    millisecond: u64,
}

impl Civil {
    fn new(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = since_epoch.as_secs().min(SECONDS_MAX);
        let (year, month, day) = date(seconds / 86_400);
        Self {
            year,
            month,
            day,
            clock: [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60],
            millisecond: u64::from(since_epoch.subsec_millis()),
        }
    }
}

/// Year, month (from 0) and day (from 1) of a day counted from 1970-01-01.
///
/// Counting from 1600-03-01 instead puts each leap day at the end of a year, and the beginning of a cycle of
/// 400 years (146,097 days) at 0.
fn date(days: u64) -> (u64, usize, u64) {
    const DAYS_1600_TO_1970: u64 = 135_080;
    let days = days + DAYS_1600_TO_1970;
    let (cycle, day) = (days / 146_097, days % 146_097);
    // The last century of a cycle, and the last year of a leap cycle, have a day more: hence the minima.
    let century = (day / 36_524).min(3);
    let day = day - century * 36_524;
    let (leap_cycle, day) = (day / 1461, day % 1461);
    let year = (day / 365).min(3);
    let mut day = day - year * 365;
    let mut year = 1600 + cycle * 400 + century * 100 + leap_cycle * 4 + year;
    let mut month = 2;
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    if month >= 12 {
        (year, month) = (year + 1, month - 12);
    }
    (year, month, day + 1)
}

/// `2026-11-21T14:37:26.123Z` (RFC 3339).
pub(super) fn push_rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let civil = Civil::new(time);
    push_padded(out, civil.year, 4);
    out.push(b'-');
    push_padded(out, civil.month as u64 + 1, 2);
    out.push(b'-');
    push_padded(out, civil.day, 2);
    out.push(b'T');
    push_clock(out, civil.clock);
    out.push(b'.');
    push_padded(out, civil.millisecond, 3);
    out.push(b'Z');
}

/// `21/Nov/2026:14:37:26 +0000` (the common log format).
pub(super) fn push_clf(out: &mut Vec<u8>, time: SystemTime) {
    let civil = Civil::new(time);
    push_padded(out, civil.day, 2);
    out.push(b'/');
    out.extend_from_slice(MONTHS[civil.month].as_bytes());
    out.push(b'/');
    push_padded(out, civil.year, 4);
    out.push(b':');
    push_clock(out, civil.clock);
    out.extend_from_slice(b" +0000");
}

fn push_clock(out: &mut Vec<u8>, [hour, minute, second]: [u64; 3]) {
    push_padded(out, hour, 2);
    out.push(b':');
    push_padded(out, minute, 2);
    out.push(b':');
    push_padded(out, second, 2);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn both(seconds: u64, milliseconds: u64) -> (String, String) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + milliseconds);
        let (mut rfc3339, mut clf) = (Vec::new(), Vec::new());
        push_rfc3339(&mut rfc3339, time);
        push_clf(&mut clf, time);
        (String::from_utf8(rfc3339).expect("ASCII"), String::from_utf8(clf).expect("ASCII"))
    }

    #[rstest]
    #[case(0, 0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000")]
    #[case(951_782_399, 7, "2000-02-28T23:59:59.007Z", "28/Feb/2000:23:59:59 +0000")]
    #[case(951_868_799, 999, "2000-02-29T23:59:59.999Z", "29/Feb/2000:23:59:59 +0000")]
    #[case(951_868_800, 0, "2000-03-01T00:00:00.000Z", "01/Mar/2000:00:00:00 +0000")]
    #[case(4_107_542_400, 0, "2100-03-01T00:00:00.000Z", "01/Mar/2100:00:00:00 +0000")]
    #[case(SECONDS_MAX, 0, "9999-12-31T23:59:59.000Z", "31/Dec/9999:23:59:59 +0000")]
    #[case(SECONDS_MAX + 1, 0, "9999-12-31T23:59:59.000Z", "31/Dec/9999:23:59:59 +0000")]
    fn known_times(
        #[case] seconds: u64,
        #[case] milliseconds: u64,
        #[case] rfc3339: &str,
        #[case] clf: &str,
    ) {
        assert_eq!(both(seconds, milliseconds), (rfc3339.to_owned(), clf.to_owned()));
    }

    #[test]
    fn before_1970_is_1970() {
        let mut out = Vec::new();
        push_rfc3339(&mut out, SystemTime::UNIX_EPOCH - Duration::from_secs(5));
        assert_eq!(out, b"1970-01-01T00:00:00.000Z");
    }

    /// Every day to the year 9999, against a calendar that only counts on.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for days in 0..=SECONDS_MAX / 86_400 {
            assert_eq!(date(days), (year, month, day), "day {days}");
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                1 => 28 + u64::from(is_leap),
                3 | 5 | 8 | 10 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month == 12 {
                (year, month) = (year + 1, 0);
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_httpdate(seconds in 0..SECONDS_MAX) {
            let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            let [_, day, month, year, clock, _] = date.split(' ').collect::<Vec<_>>()[..] else {
                return Err(TestCaseError::fail("a date in six parts"));
            };
            prop_assert_eq!(both(seconds, 0).1, format!("{day}/{month}/{year}:{clock} +0000"));
        }
    }
}
