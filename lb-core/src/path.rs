//! The path of a request, in the one form that is judged, routed and forwarded.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;

use crate::limits::PATH_BYTES_MAX;

#[cfg(test)]
pub(crate) mod backend;
mod readings;
#[cfg(test)]
mod tests;

pub(crate) use readings::{Certain, Doubt, Reading, doubt};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// Longer than [`PATH_BYTES_MAX`].
    TooLong,
    /// A `%` that two hexadecimal digits do not follow.
    BadEscape,
    /// `%00`, which ends the path for some programs and not for others.
    Nul,
    /// A control character, a space, `?`, `#`, or one outside of ASCII.
    BadByte,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with '/'",
            Self::TooLong => "the path is too long",
            Self::BadEscape => "a '%' in the path is not followed by two hexadecimal digits",
            Self::Nul => "the path contains %00",
            Self::BadByte => "the path contains a character that must be percent-encoded",
        })
    }
}

/// The normal form of a path (RFC 3986, section 6.2.2): escapes of unreserved characters are decoded
/// and the others in upper case, repeated slashes are merged, dot segments removed (without ever
/// climbing above the root). A trailing slash stays. Borrows where nothing had to be changed.
///
/// Slashes are merged before dot segments are resolved: `/a//../b` is `/b`.
///
/// # Errors
/// See [`PathError`].
///
/// ```
/// use lb_core::path::normalise;
/// assert_eq!(normalise("/a/%2e%2e//%6dessages/").unwrap(), "/messages/");
/// assert_eq!(normalise("/a%2fb").unwrap(), "/a%2Fb");
/// ```
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if is_normal(bytes)? {
        return Ok(Cow::Borrowed(path));
    }
    let mut segments = Segments::with_capacity(bytes.len());
    for segment in unescape(bytes)?[1..].split(|&byte| byte == b'/') {
        segments.push(segment);
    }
    // All of it is ASCII by now, so that the conversion cannot fail.
    String::from_utf8(segments.finish()).map(Cow::Owned).map_err(|_| PathError::BadByte)
}

/// Whether the path, which begins with `/`, is in normal form. An error may go unnoticed where the
/// answer is no.
fn is_normal(path: &[u8]) -> Result<bool, PathError> {
    if is_plain(path) {
        return Ok(true);
    }
    let mut at = 1;
    let mut segment_begins = true;
    while let Some(&byte) = path.get(at) {
        match byte {
            b'/' if segment_begins => return Ok(false),
            b'.' if segment_begins && begins_with_dots(&path[at..]) => return Ok(false),
            b'%' => {
                let (value, upper) = escape(&path[at..])?;
                if is_unreserved(value) || !upper {
                    return Ok(false);
                }
                at += 2;
            }
            byte => check_byte(byte)?,
        }
        segment_begins = byte == b'/';
        at += 1;
    }
    Ok(true)
}

/// Whether there is nothing in the path that would have to be looked at twice, as in nearly all: no escape, no
/// byte that must be escaped, and no segment that is empty or begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    let (mut seen, mut before) = (0, 0);
    for &byte in path {
        let class = CLASSES[usize::from(byte)];
        // A slash or a dot behind a slash.
        seen |= class | (class * (before & SLASH)) << 3;
        before = class;
    }
    seen < OTHER
}

const SLASH: u8 = 1;
const DOT: u8 = 2;
/// An escape, or a byte that must be escaped.
const OTHER: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        classes[byte as usize] = match byte {
            b'/' => SLASH,
            b'.' => DOT,
            b'%' | b'?' | b'#' => OTHER,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn begins_with_dots(rest: &[u8]) -> bool {
    matches!(rest, b"." | b".." | [b'.', b'/', ..] | [b'.', b'.', b'/', ..])
}

fn check_byte(byte: u8) -> Result<(), PathError> {
    match byte {
        0..=b' ' | 0x7f.. | b'?' | b'#' => Err(PathError::BadByte),
        _ => Ok(()),
    }
}

/// The byte that the escape at the beginning stands for, and whether it is written in upper case.
fn escape(rest: &[u8]) -> Result<(u8, bool), PathError> {
    let Some(&[high, low]) = rest.get(1..3) else { return Err(PathError::BadEscape) };
    match hex_value(high).zip(hex_value(low)) {
        Some((0, 0)) => Err(PathError::Nul),
        Some((h, l)) => Ok((h << 4 | l, !(high.is_ascii_lowercase() || low.is_ascii_lowercase()))),
        None => Err(PathError::BadEscape),
    }
}

/// Decodes the escapes of unreserved characters, and checks every byte.
fn unescape(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        if byte == b'%' {
            let (value, _) = escape(&path[at..])?;
            if is_unreserved(value) {
                out.push(value);
            } else {
                push_escaped(&mut out, value);
            }
            at += 3;
        } else {
            check_byte(byte)?;
            out.push(byte);
            at += 1;
        }
    }
    Ok(out)
}

/// A path that grows by segments; repeated slashes and dot segments vanish on the way.
struct Segments {
    path: Vec<u8>,
    /// The path so far ends with a slash that is not written yet.
    slash: bool,
    /// There was a dot segment.
    dots: bool,
}

impl Segments {
    fn with_capacity(bytes: usize) -> Self {
        Self { path: Vec::with_capacity(bytes), slash: true, dots: false }
    }

    fn push(&mut self, segment: &[u8]) {
        self.slash = true;
        match segment {
            b"" => {}
            b"." => self.dots = true,
            b".." => {
                self.dots = true;
                let parent = self.path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                self.path.truncate(parent);
            }
            segment => {
                self.path.push(b'/');
                self.path.extend_from_slice(segment);
                self.slash = false;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.slash {
            self.path.push(b'/');
        }
        self.path
    }
}

/// The normal form of a path of the configuration, where what must be percent-encoded may be written
/// plainly and the first slash may be left out.
pub(crate) fn of_config(text: &str) -> String {
    let mut encoded = Vec::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        encoded.push(b'/');
    }
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let literal = match byte {
            b'%' => escape(&bytes[at..]).is_ok(),
            byte => check_byte(byte).is_ok(),
        };
        if literal { encoded.push(byte) } else { push_escaped(&mut encoded, byte) }
    }
    let encoded = String::from_utf8_lossy(&encoded);
    // Only what no request can have is left to fail here: %00 and a path beyond all bounds.
    normalise(&encoded).map_or_else(|_| encoded.clone().into_owned(), Cow::into_owned)
}

/// `path` without one trailing slash: the form in which prefixes are kept, the root being empty.
pub(crate) fn as_prefix(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// What follows `prefix` (without a trailing slash) if it is `path` or whole segments at its beginning.
pub(crate) fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// RFC 3986, section 2.3.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `%XX`
pub(crate) fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}
