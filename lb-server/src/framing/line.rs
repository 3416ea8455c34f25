//! Cuts a byte stream into lines that end in CRLF, wherever the stream's own pieces were cut.

use crate::byte_marks::ControlBytes;

/// What the stream holds next. `line` never has the CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A whole line; it and its CRLF end after the first `consumed` of the new bytes.
    Complete { line: &'a [u8], consumed: usize },
    /// The line so far. It is kept; `ended` when a CR has come and only the LF is missing.
    Partial { line: &'a [u8], ended: bool },
    /// A byte that no line may have, or one too many; `line` is what stands before it, `ended` as above.
    Bad { line: &'a [u8], ended: bool, flaw: Flaw },
}

/// Why a line is [`Next::Bad`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    BareCr,
    BareLf,
    Control,
    TooLong,
}

/// The lines of one piece of a stream.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    control_bytes: ControlBytes<'a>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, control_bytes: ControlBytes::of(bytes) }
    }

    /// The line at `at` without its CRLF, if it lies in the piece whole and nothing is wrong with it: what
    /// [`Lines::next`] would give for nearly all lines.
    pub(super) fn whole(&mut self, at: usize, bytes_max: usize) -> Option<&'a [u8]> {
        let end = self.control_bytes.next(at)?;
        let ends_well = self.bytes.get(end..end + 2)? == b"\r\n" && end + 2 - at <= bytes_max;
        ends_well.then(|| &self.bytes[at..end])
    }

    /// The line that `carry` (what earlier pieces held of it) and the piece from `at` on (which is never its
    /// end) give together. `bytes_max` bounds it, CRLF included.
    ///
    /// The verdict depends on the line's bytes only, not on where it was cut: the first byte that cannot
    /// stand decides, and past the bound that is the first byte beyond it.
    pub(super) fn next<'c>(&mut self, carry: &'c mut Vec<u8>, at: usize, bytes_max: usize) -> Next<'c>
    where
        'a: 'c,
    {
        let bytes = &self.bytes[at..];
        if carry.is_empty() {
            let found = judge(bytes, self.control_bytes.next(at).map(|found| found - at), bytes_max);
            if let Next::Partial { .. } = found {
                carry.extend_from_slice(bytes);
            }
            return found;
        }
        let held = carry.len();
        let news = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |lf| lf + 1);
        // One byte beyond the bound is enough to see that the line is too long.
        let room = bytes_max.saturating_add(1).saturating_sub(held);
        carry.extend_from_slice(&bytes[..news.min(room)]);
        // The only byte among those held that is not settled yet is a CR at their end.
        let first_control = ControlBytes::of(carry).next(held - 1);
        match judge(carry, first_control, bytes_max) {
            Next::Complete { line, consumed } => Next::Complete { line, consumed: consumed - held },
            other => other,
        }
    }
}

/// `Lines::next` for a line that lies in one piece, whose first control byte stands at `first_control`.
fn judge(text: &[u8], first_control: Option<usize>, bytes_max: usize) -> Next<'_> {
    let Some(at) = first_control.filter(|at| *at < bytes_max) else {
        return if text.len() > bytes_max {
            Next::Bad { line: &text[..bytes_max], ended: false, flaw: Flaw::TooLong }
        } else {
            Next::Partial { line: text, ended: false }
        };
    };
    let line = &text[..at];
    match (text[at], text.get(at + 1)) {
        (b'\r', None) => Next::Partial { line, ended: true },
        (b'\r', Some(_)) if at + 1 >= bytes_max => Next::Bad { line, ended: true, flaw: Flaw::TooLong },
        (b'\r', Some(b'\n')) => Next::Complete { line, consumed: at + 2 },
        (b'\r', Some(_)) => Next::Bad { line, ended: true, flaw: Flaw::BareCr },
        (b'\n', _) => Next::Bad { line, ended: false, flaw: Flaw::BareLf },
        _ => Next::Bad { line, ended: false, flaw: Flaw::Control },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_counts_the_crlf() {
        let next = |text: &'static [u8]| Lines::of(text).next(Box::leak(Box::default()), 0, 4);
        assert_eq!(next(b"ab\r\nx"), Next::Complete { line: b"ab", consumed: 4 });
        assert_eq!(next(b"abc\r"), Next::Partial { line: b"abc", ended: true });
        assert_eq!(next(b"abc\r\n"), Next::Bad { line: b"abc", ended: true, flaw: Flaw::TooLong });
        assert_eq!(next(b"abcd"), Next::Partial { line: b"abcd", ended: false });
        assert_eq!(next(b"abcde"), Next::Bad { line: b"abcd", ended: false, flaw: Flaw::TooLong });
    }
}
