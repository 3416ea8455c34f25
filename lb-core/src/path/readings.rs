//! How else a backend might read a path: what the firewall judges besides the path itself.
//!
//! Some programs decode `%2F`, take `\` for a slash, cut `;params` off each segment or decode twice.
//! A rule that only looked at the path as forwarded could be walked around through them.

use alloc::vec::Vec;

use super::{Segments, hex_value};

/// How far programs may differ about a path in normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// Every program reads the same.
    None,
    /// Escapes that are plain characters to some.
    Characters,
    /// What some take for the end of a segment or of a path, or for the beginning of an escape.
    Structure,
}

/// The bytes that any doubt begins with.
static DOUBTFUL: [bool; 256] = {
    let mut doubtful = [false; 256];
    doubtful[b';' as usize] = true;
    doubtful[b'\\' as usize] = true;
    doubtful[b'%' as usize] = true;
    doubtful
};

/// How far programs may differ about this path, which is in normal form.
pub(crate) fn doubt(path: &str) -> Doubt {
    let bytes = path.as_bytes();
    // Nearly always.
    if !bytes.iter().fold(false, |seen, &byte| seen | DOUBTFUL[usize::from(byte)]) {
        return Doubt::None;
    }
    let mut doubt = Doubt::None;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b';' | b'\\' => return Doubt::Structure,
            b'%' => match bytes.get(at + 1..at + 3) {
                // / \ ; % ? # and the first bytes of overlong UTF-8.
                Some(b"2F" | b"5C" | b"3B" | b"25" | b"3F" | b"23" | b"C0" | b"C1") => {
                    return Doubt::Structure;
                }
                _ => doubt = Doubt::Characters,
            },
            _ => {}
        }
    }
    doubt
}

/// The loosest reading of a path: decoded until nothing is left to decode, cut at everything that some
/// program takes for a slash, freed of parameters, slashes merged, dot segments removed.
///
/// Every stricter reading is a coarser split of this one, so that a rule that holds for it holds here.
/// There are two exceptions, which the fields `open` and `dots` tell.
#[derive(Debug)]
pub(crate) struct Reading {
    path: Vec<u8>,
    /// Parameters contain what may be the slash that ends them: in `/a;x%2Fb/c` they end there for one
    /// program (`/a/b/c`) and at the plain slash for another (`/a/c`). Only this many bytes of `path`
    /// are certain then; what follows may be anything.
    open: Option<usize>,
    /// A dot segment came out that the normal form hides: nothing is certain.
    pub(crate) dots: bool,
}

impl Reading {
    pub(crate) fn of(path: &str) -> Self {
        let bytes = path.as_bytes();
        let mut segments = Segments::with_capacity(bytes.len());
        let mut open = None;
        let mut decoded = Vec::new();
        for segment in bytes.strip_prefix(b"/").unwrap_or(bytes).split(|&byte| byte == b'/') {
            decoded.clear();
            decode_deeply(segment, &mut decoded);
            let mut in_parameters = false;
            for part in decoded.split(is_separator) {
                if in_parameters && open.is_none() {
                    open = Some(segments.path.len());
                }
                let name = without_parameters(part);
                in_parameters |= name.len() < part.len();
                segments.push(name);
            }
        }
        let dots = segments.dots;
        Self { path: segments.finish(), open, dots }
    }

    /// The form in which a rule's path is compared with readings.
    pub(crate) fn of_rule(path: &str) -> Vec<u8> {
        Self::of(path).path
    }

    /// The path: all of it, or only what is certain of a path that may go on in any way.
    pub(crate) fn certain(&self) -> Certain<'_> {
        match self.open {
            None => Certain::All(&self.path),
            Some(end) => Certain::Beginning(self.path.get(..end).unwrap_or(&self.path)),
        }
    }
}

/// What is certain of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certain<'a> {
    All(&'a [u8]),
    /// Whole segments without a slash at the end; empty for nothing.
    Beginning(&'a [u8]),
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|byte| matches!(byte, b';' | b'?' | b'#'));
    &segment[..end.unwrap_or(segment.len())]
}

/// Appends `segment`, decoding what has become an escape at the end of `out` as long as there is one.
/// Each step shortens `out`, so the work is linear.
fn decode_deeply(segment: &[u8], out: &mut Vec<u8>) {
    for &byte in segment {
        out.push(byte);
        while let Some((length, value)) = escape_at_end(out) {
            out.truncate(out.len() - length);
            out.push(value);
        }
    }
}

/// Length and meaning of an escape, or of a two-byte overlong form of an ASCII character, at the end.
fn escape_at_end(bytes: &[u8]) -> Option<(usize, u8)> {
    match *bytes {
        [.., b'%', high, low] => hex_value(high).zip(hex_value(low)).map(|(high, low)| (3, high << 4 | low)),
        [.., lead @ (0xc0 | 0xc1), tail @ 0x80..=0xbf] => Some((2, (lead & 1) << 6 | (tail & 0x3f))),
        _ => None,
    }
}
