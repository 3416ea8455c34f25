//! Cuts a byte stream into lines that end in CRLF, wherever the stream's own pieces were cut.

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

/// The line that `carry` (what earlier pieces held of it) and `bytes` (never empty) give together.
/// `bytes_max` bounds it, CRLF included.
///
/// The verdict depends on the line's bytes only, not on where it was cut: the first byte that cannot
/// stand decides, and past the bound that is the first byte beyond it.
pub(super) fn next<'a>(carry: &'a mut Vec<u8>, bytes: &'a [u8], bytes_max: usize) -> Next<'a> {
    if carry.is_empty() {
        let found = analyse(bytes, 0, bytes_max);
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
    match analyse(carry, held - 1, bytes_max) {
        Next::Complete { line, consumed } => Next::Complete { line, consumed: consumed - held },
        other => other,
    }
}

/// `next` for a line that lies in one piece, whose first `from` bytes are known to be harmless.
fn analyse(text: &[u8], from: usize, bytes_max: usize) -> Next<'_> {
    let window = &text[..text.len().min(bytes_max)];
    let Some(at) = find_control(window, from) else {
        return if text.len() > bytes_max {
            Next::Bad { line: window, ended: false, flaw: Flaw::TooLong }
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

/// The place of the first control byte (0x00..=0x1F and 0x7F, but not HTAB) of `text` at or after `from`.
fn find_control(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += candidate(text.get(at..)?)?;
        if text[at] != b'\t' {
            return Some(at);
        }
        at += 1;
    }
}

/// The place of the first control byte, HTAB among them, eight bytes at a time.
fn candidate(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = control_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(u8::is_ascii_control).map(|at| words.len() * 8 + at)
}

/// The top bit of each byte that is a control byte. A borrow may add marks above a true one, so that only
/// the lowest is to be believed.
const fn control_marks(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below_space = word.wrapping_sub(ONES * 0x20);
    let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES);
    (below_space | delete) & !word & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_the_control_byte_that_a_plain_search_finds(
            text in prop::collection::vec(prop_oneof![8 => 0x20u8..=0xff, 1 => any::<u8>()], 0..40),
            from in 0usize..10,
        ) {
            let plain = text.iter().enumerate().skip(from)
                .find(|(_, byte)| **byte != b'\t' && byte.is_ascii_control()).map(|(at, _)| at);
            prop_assert_eq!(find_control(&text, from), plain);
        }
    }

    #[test]
    fn the_bound_counts_the_crlf() {
        let next = |text: &'static [u8]| next(Box::leak(Box::default()), text, 4);
        assert_eq!(next(b"ab\r\nx"), Next::Complete { line: b"ab", consumed: 4 });
        assert_eq!(next(b"abc\r"), Next::Partial { line: b"abc", ended: true });
        assert_eq!(next(b"abc\r\n"), Next::Bad { line: b"abc", ended: true, flaw: Flaw::TooLong });
        assert_eq!(next(b"abcd"), Next::Partial { line: b"abcd", ended: false });
        assert_eq!(next(b"abcde"), Next::Bad { line: b"abcd", ended: false, flaw: Flaw::TooLong });
    }
}
