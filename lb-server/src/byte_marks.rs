//! Where certain bytes of a text stand: control bytes, which end its lines and of which no other may be in one;
//! those that few names of fields have; those that a string of JSON cannot have as they are.
//!
//! A head is searched for control bytes once, 64 at a time, and not once for each of its lines: what a search
//! from a line's beginning found behind the line's end is kept.

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// The control bytes (0x00 to 0x1F and 0x7F, but not HTAB) of a text, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct ControlBytes<'a> {
    text: &'a [u8],
    /// Where the block begins that `marks` is of; a block before the text at first.
    block: usize,
    /// A bit for each control byte of the block that has not been passed, the first byte's the lowest.
    marks: u64,
}

impl<'a> ControlBytes<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        Self { text, block: 0usize.wrapping_sub(BLOCK), marks: 0 }
    }

    /// The place of the first one at or after `from`, which must not be before what was asked for earlier.
    #[inline]
    pub(crate) fn next(&mut self, from: usize) -> Option<usize> {
        let passed = from.wrapping_sub(self.block);
        if passed < BLOCK {
            self.marks &= u64::MAX << passed;
        } else {
            self.load(from)?;
        }
        while self.marks == 0 {
            self.load(self.block + BLOCK)?;
        }
        Some(self.block + self.marks.trailing_zeros() as usize)
    }

    /// Goes on to the block that begins at `at`, if there is one.
    fn load(&mut self, at: usize) -> Option<()> {
        let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
        self.block = at;
        self.marks = match rest.first_chunk() {
            Some(block) => marks(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                marks(&block)
            }
        };
        Some(())
    }
}

/// A bit for each control byte of the block.
fn marks(block: &[u8; BLOCK]) -> u64 {
    let (sixteens, _) = block.as_chunks::<16>();
    sixteens.iter().rev().fold(0, |marks, bytes| marks << 16 | u64::from(control_marks(bytes)))
}

/// How many ASCII letters and hyphens stand before the first other byte.
pub(crate) fn letters_and_hyphens(bytes: &[u8; 16]) -> usize {
    other_marks(bytes).trailing_zeros().min(16) as usize
}

/// How many bytes stand before the first that a string of JSON has to escape, or that is not ASCII.
pub(crate) fn plain_json(text: &[u8]) -> usize {
    let (sixteens, rest) = text.as_chunks::<16>();
    let marked = sixteens.iter().map(json_marks).enumerate().find(|(_, marks)| *marks != 0);
    if let Some((index, marks)) = marked {
        return 16 * index + marks.trailing_zeros() as usize;
    }
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    text.len() - rest.len() + (json_marks(&last).trailing_zeros() as usize).min(rest.len())
}

#[cfg(target_arch = "x86_64")]
fn json_marks(bytes: &[u8; 16]) -> u16 {
    // SAFETY: every x86-64 has SSE2.
    #[allow(unsafe_code)]
    unsafe {
        sse2::json_marks(bytes)
    }
}

#[cfg(target_arch = "x86_64")]
fn control_marks(bytes: &[u8; 16]) -> u16 {
    // SAFETY: every x86-64 has SSE2.
    #[allow(unsafe_code)]
    unsafe {
        sse2::control_marks(bytes)
    }
}

#[cfg(target_arch = "x86_64")]
fn other_marks(bytes: &[u8; 16]) -> u16 {
    // SAFETY: every x86-64 has SSE2.
    #[allow(unsafe_code)]
    unsafe {
        sse2::other_marks(bytes)
    }
}

#[cfg(not(target_arch = "x86_64"))]
use bytewise::{control_marks, json_marks, other_marks};

/// Sixteen bytes at a time, by instructions that touch no memory but that of their arguments. Eight bytes at a
/// time in plain words take two to three times as long.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    #[target_feature(enable = "sse2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        let (halves, _) = bytes.as_chunks::<8>();
        _mm_set_epi64x(i64::from_le_bytes(halves[1]), i64::from_le_bytes(halves[0]))
    }

    /// A bit for each control byte but HTAB, the first byte's the lowest.
    #[target_feature(enable = "sse2")]
    pub(super) fn control_marks(bytes: &[u8; 16]) -> u16 {
        let text = load(bytes);
        let is_below_space = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1f)), text);
        let is_tab = _mm_cmpeq_epi8(text, _mm_set1_epi8(0x09));
        let is_delete = _mm_cmpeq_epi8(text, _mm_set1_epi8(0x7f));
        _mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(is_tab, is_below_space), is_delete)) as u16
    }

    /// A bit for each control byte, quote, backslash, and byte beyond ASCII.
    #[target_feature(enable = "sse2")]
    pub(super) fn json_marks(bytes: &[u8; 16]) -> u16 {
        let text = load(bytes);
        // As signed numbers those beyond ASCII are below all others.
        let is_below_space = _mm_cmpgt_epi8(_mm_set1_epi8(b' ' as i8), text);
        let is_delete = _mm_cmpeq_epi8(text, _mm_set1_epi8(0x7f));
        let is_quote = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'"' as i8));
        let is_backslash = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'\\' as i8));
        let is_out = _mm_or_si128(is_below_space, is_delete);
        _mm_movemask_epi8(_mm_or_si128(is_out, _mm_or_si128(is_quote, is_backslash))) as u16
    }

    /// A bit for each byte that is neither a letter nor a hyphen.
    #[target_feature(enable = "sse2")]
    pub(super) fn other_marks(bytes: &[u8; 16]) -> u16 {
        let text = load(bytes);
        // Bytes beyond ASCII are below all others here.
        let lower = _mm_or_si128(text, _mm_set1_epi8(0x20));
        let is_letter = _mm_and_si128(
            _mm_cmpgt_epi8(lower, _mm_set1_epi8(b'a' as i8 - 1)),
            _mm_cmpgt_epi8(_mm_set1_epi8(b'z' as i8 + 1), lower),
        );
        let is_hyphen = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'-' as i8));
        !_mm_movemask_epi8(_mm_or_si128(is_letter, is_hyphen)) as u16
    }
}

/// The same byte by byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod bytewise {
    fn marks(bytes: &[u8; 16], is_marked: impl Fn(u8) -> bool) -> u16 {
        bytes.iter().rev().fold(0, |marks, &byte| marks << 1 | u16::from(is_marked(byte)))
    }

    pub(super) fn control_marks(bytes: &[u8; 16]) -> u16 {
        marks(bytes, |byte| byte.is_ascii_control() && byte != b'\t')
    }

    pub(super) fn json_marks(bytes: &[u8; 16]) -> u16 {
        marks(bytes, |byte| !matches!(byte, b' '..=b'~') || byte == b'"' || byte == b'\\')
    }

    pub(super) fn other_marks(bytes: &[u8; 16]) -> u16 {
        marks(bytes, |byte| !byte.is_ascii_alphabetic() && byte != b'-')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn are_those_that_a_plain_search_finds(
            text in prop::collection::vec(prop_oneof![20 => 0x20u8..=0xff, 1 => any::<u8>()], 0..300),
            steps in prop::collection::vec(0usize..90, 0..20),
        ) {
            let plain = |from: usize| {
                let is_control = |&at: &usize| text[at] != b'\t' && text[at].is_ascii_control();
                (from..text.len()).find(is_control)
            };
            let mut control_bytes = ControlBytes::of(&text);
            let mut from = 0;
            for step in steps {
                prop_assert_eq!(control_bytes.next(from), plain(from), "from {}", from);
                prop_assert_eq!(control_bytes.next(from), plain(from), "asked again from {}", from);
                from += step;
            }
        }
    }

    #[test]
    fn every_byte_in_every_place() {
        for byte in 0..=0xff {
            for at in 0..BLOCK + 1 {
                let mut text = [b'x'; BLOCK + 1];
                text[at] = byte;
                let is_control = matches!(byte, 0..=0x08 | 0x0a..=0x1f | 0x7f);
                assert_eq!(ControlBytes::of(&text).next(0), is_control.then_some(at), "{byte} at {at}");
            }
            for at in 0..16 {
                let mut text = [b'x'; 16];
                text[at] = byte;
                let is_of_name = matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'-');
                assert_eq!(letters_and_hyphens(&text), if is_of_name { 16 } else { at }, "{byte} at {at}");
                let is_plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                assert_eq!(plain_json(&text), if is_plain { 16 } else { at }, "{byte} at {at}");
                assert_eq!(plain_json(&text[..=at]), if is_plain { at + 1 } else { at }, "{byte} at the end");
                assert_eq!(json_marks(&text), bytewise::json_marks(&text), "{byte} at {at}");
                assert_eq!(other_marks(&text), bytewise::other_marks(&text), "{byte} at {at}");
                assert_eq!(control_marks(&text), bytewise::control_marks(&text), "{byte} at {at}");
            }
        }
    }
}
