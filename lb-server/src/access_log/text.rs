//! Numbers and hostile strings as text, without `core::fmt` where it would cost.

use std::io::Write as _;
use std::net::IpAddr;

use crate::byte_marks::plain_json;

/// The digits of `number`.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    push_padded(out, number, 1);
}

/// The digits of `number`, at least `digits_min` (1 to 20) of them, by leading zeros.
pub(super) fn push_padded(out: &mut Vec<u8>, mut number: u64, digits_min: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || digits.len() - start < digits_min {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

/// An address. IPv4 is what logs mostly hold.
pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(octet));
            }
        }
        // Writing to a vector does not fail.
        IpAddr::V6(ip) => write!(out, "{ip}").unwrap_or(()),
    }
}

/// A string of JSON, quotes included. What is not UTF-8 becomes U+FFFD.
pub(super) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Nearly always all of it.
    let (plain, rest) = text.split_at(plain_json(text));
    out.extend_from_slice(plain);
    for chunk in rest.utf8_chunks() {
        push_json_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn push_json_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| byte.is_ascii_control() || b"\"\\".contains(byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex(byte));
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A part of a `combined` line, as nginx escapes it: quotes, backslashes, control bytes and what is not
/// ASCII as `\xHH`. Nothing at all is `-`.
pub(super) fn push_combined(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        out.push(b'-');
    }
    for &byte in text {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\') {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            out.extend_from_slice(&hex(byte));
        }
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_standard_library(number: u64, digits in 1usize..=20) {
            prop_assert_eq!(text(|out| push_padded(out, number, digits)), format!("{number:0digits$}"));
            prop_assert_eq!(text(|out| push_number(out, number >> 50)), (number >> 50).to_string());
        }

        #[test]
        fn addresses_are_those_of_the_standard_library(ip: IpAddr) {
            prop_assert_eq!(text(|out| push_ip(out, ip)), ip.to_string());
        }

        #[test]
        fn json_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let json = text(|out| push_json(out, &bytes));
            prop_assert!(!json.contains(|char: char| char.is_ascii_control()));
            let read: String = serde_json::from_str(&json).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn combined_reads_back(bytes in prop::collection::vec(any::<u8>(), 1..50)) {
            let line = text(|out| push_combined(out, &bytes));
            prop_assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'));
            let mut parts = line.split("\\x");
            let mut read = parts.next().unwrap_or_default().as_bytes().to_vec();
            for part in parts {
                read.push(u8::from_str_radix(&part[..2], 16).expect("hexadecimal"));
                read.extend_from_slice(&part.as_bytes()[2..]);
            }
            prop_assert_eq!(read, bytes);
        }
    }
}
