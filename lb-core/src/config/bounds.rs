//! From where to where each number of a configuration may go.

use alloc::{format, string::String};
use core::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::values::{duration_text, size_text};
use crate::limits;

pub(super) type Range<T> = RangeInclusive<T>;

pub(super) const WORKERS: Range<u32> = 1..=limits::WORKERS_MAX;
pub(super) const WEIGHT: Range<u32> = 0..=limits::WEIGHT_MAX;
pub(super) const PERCENT: Range<u32> = 0..=100;
pub(super) const PRIORITY: Range<u32> = 0..=limits::PRIORITY_MAX;
/// Of a percentage that may be more than the whole, but not nothing.
pub(super) const FACTOR: Range<u32> = 1..=10_000;
pub(super) const OVERPROVISIONING: Range<u32> = 100..=10_000;
pub(super) const PERCENT_NOT_NONE: Range<u32> = 1..=100;
pub(super) const TRIES: Range<u32> = 1..=limits::TRIES_MAX;
pub(super) const COUNT: Range<u32> = 1..=limits::COUNT_MAX;
pub(super) const HEADER_FIELDS: Range<u32> = 1..=limits::HEADER_FIELDS_MAX;
pub(super) const COUNT_OR_NONE: Range<u32> = 0..=limits::COUNT_MAX;
pub(super) const CHOICES: Range<u32> = 1..=limits::CHOICES_MAX;
pub(super) const RING_POINTS: Range<u32> = 1..=limits::RING_POINTS_PER_WEIGHT_MAX;
pub(super) const MAGLEV_ENTRIES: Range<u32> = 2..=limits::MAGLEV_ENTRIES_MAX;
pub(super) const BALANCE_PERCENT: Range<u32> = 101..=limits::BALANCE_PERCENT_MAX;
pub(super) const STATUS: Range<u16> = 100..=599;
pub(super) const SERVER_ERROR: Range<u16> = 500..=599;
pub(super) const HEAD_SIZE: Range<u64> = 256..=limits::HEAD_BYTES_MAX;
pub(super) const URI_SIZE: Range<u64> = 16..=limits::HEAD_BYTES_MAX;
pub(super) const BODY_SIZE: Range<u64> = 0..=limits::BODY_BYTES_MAX;

const LONGEST: Duration = Duration::from_secs(limits::DURATION_SECONDS_MAX);
/// Of what must end some time, but not at once.
pub(super) const TIMEOUT: Range<Duration> = Duration::from_millis(1)..=LONGEST;
/// Of what may be switched off by zero.
pub(super) const DELAY: Range<Duration> = Duration::ZERO..=LONGEST;
/// Of how long a session lives: cookies count whole seconds.
pub(super) const SESSION: Range<Duration> = Duration::from_secs(1)..=LONGEST;
/// Of what is done over and over again.
pub(super) const INTERVAL: Range<Duration> = Duration::from_millis(10)..=LONGEST;

/// Reads after "expected".
pub(super) fn integer<T: Display>(range: &Range<T>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

/// Reads after "expected".
pub(super) fn duration(range: &Range<Duration>) -> String {
    format!("a duration from {} to {}", duration_text(*range.start()), duration_text(*range.end()))
}

/// Reads after "expected".
pub(super) fn size(range: &Range<u64>) -> String {
    format!("a size from {} to {}", size_text(*range.start()), size_text(*range.end()))
}
