//! The Date of answers (RFC 9110 section 6.6.1), written once a second.

use std::{cell::Cell, time::SystemTime};

use lb_core::time::{Duration, Instant};

/// Bytes of every Date.
pub(crate) const DATE_BYTES: usize = 29;

/// The present second as a Date has it.
#[derive(Default)]
pub(crate) struct HttpDate {
    text: Cell<[u8; DATE_BYTES]>,
    /// When the next second begins.
    until: Cell<Instant>,
}

impl HttpDate {
    /// The date at `now`, the present time.
    pub(crate) fn at(&self, now: Instant) -> [u8; DATE_BYTES] {
        if now >= self.until.get() {
            self.renew(now, SystemTime::now());
        }
        self.text.get()
    }

    fn renew(&self, now: Instant, system: SystemTime) {
        let since_second = system.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        self.until.set(now + (Duration::from_secs(1) - Duration::from_nanos(u64::from(since_second))));
        let mut text = [b' '; DATE_BYTES];
        for (to, from) in text.iter_mut().zip(httpdate::fmt_http_date(system).bytes()) {
            *to = from;
        }
        self.text.set(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_lasts_until_its_second_ends() {
        let date = HttpDate::default();
        let (now, system) =
            (Instant::from_nanos(7), SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250));
        date.renew(now, system);
        assert_eq!(&date.text.get(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.until.get(), now + Duration::from_millis(750));
        assert_eq!(date.at(now), date.text.get(), "still the same second");
        assert_ne!(date.at(now + Duration::from_millis(750)), *b"Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
