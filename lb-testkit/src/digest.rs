//! A fingerprint of bodies too long to keep, and the bytes of bodies too long to store.

use bytes::Bytes;

/// A 64-bit fingerprint of a byte stream, the same however the stream was cut into pieces. It notices
/// lost, repeated, swapped and changed bytes; it is no defence against an attacker.
///
/// ```
/// use lb_testkit::Digest;
/// let mut pieces = Digest::default();
/// pieces.update(b"hel");
/// pieces.update(b"lo");
/// assert_eq!(pieces.value(), Digest::of(b"hello"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Digest {
    state: u64,
    tail: [u8; 8],
    length_bytes: u64,
}

impl Digest {
    /// The fingerprint of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Self::default();
        digest.update(bytes);
        digest.value()
    }

    /// The fingerprint of the first `length_bytes` of [`pattern`].
    #[must_use]
    pub fn of_pattern(length_bytes: u64) -> u64 {
        let mut digest = Self::default();
        let mut offset = 0;
        while offset < length_bytes {
            let piece = pattern(offset, length_bytes);
            digest.update(&piece);
            offset += piece.len() as u64;
        }
        digest.value()
    }

    /// Takes the next piece of the stream.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let filled = (self.length_bytes % 8) as usize;
        self.length_bytes += bytes.len() as u64;
        if filled > 0 {
            let taken = bytes.len().min(8 - filled);
            self.tail[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            if filled + taken < 8 {
                return;
            }
            self.mix(u64::from_le_bytes(self.tail));
            bytes = &bytes[taken..];
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    /// The fingerprint of all that was taken so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        let mut end = self.clone();
        let filled = (self.length_bytes % 8) as usize;
        end.tail[filled..].fill(0);
        end.mix(u64::from_le_bytes(end.tail));
        end.mix(self.length_bytes);
        end.state
    }

    fn mix(&mut self, word: u64) {
        // Multiplication by an odd number and rotation are bijections: no word's influence is lost.
        self.state = (self.state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

const BLOCK_BYTES: usize = 1 << 16;

/// A piece of an endless stream of known bytes: from `offset` on, up to `end` at most, never empty
/// while `offset < end`. The stream repeats every 64 KiB, and no two of its 8-byte words are equal.
#[must_use]
pub fn pattern(offset: u64, end: u64) -> Bytes {
    static BLOCK: std::sync::OnceLock<Bytes> = std::sync::OnceLock::new();
    let block = BLOCK.get_or_init(|| {
        (0..BLOCK_BYTES as u64 / 8)
            .flat_map(|word| word.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(13).to_le_bytes())
            .collect()
    });
    let from = (offset % BLOCK_BYTES as u64) as usize;
    let wanted = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    block.slice(from..from + wanted.min(BLOCK_BYTES - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_value() {
        let bytes: Vec<u8> = (0..100u8).collect();
        for a in 0..bytes.len() {
            for b in a..bytes.len() {
                let mut digest = Digest::default();
                for piece in [&bytes[..a], &bytes[a..b], &bytes[b..]] {
                    digest.update(piece);
                }
                assert_eq!(digest.value(), Digest::of(&bytes), "cut at {a} and {b}");
            }
        }
    }

    #[test]
    fn lengths_and_changes_show() {
        let mut values: Vec<_> = (0..64).map(|n| Digest::of(&vec![0; n])).collect();
        values.extend((0..64).map(|n| Digest::of(&(0..64).map(|i| u8::from(i == n)).collect::<Vec<_>>())));
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), 128);
    }

    #[test]
    fn the_pattern_is_one_stream_wherever_it_is_cut() {
        let whole: Vec<u8> = (0..200_000).map(|offset| pattern(offset, offset + 1)[0]).collect();
        assert_eq!(Digest::of(&whole), Digest::of_pattern(200_000));
    }
}
