//! For tests: programs that read paths in their own ways.

use alloc::{format, string::String, vec::Vec};

use proptest::prelude::*;

/// A backend with its own idea of paths: one of all combinations of what is seen in the wild.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backend {
    decodes: u8,
    backslash: bool,
    cuts_first: bool,
    cuts_later: bool,
    merges: bool,
    resolves_dots: bool,
}

impl Backend {
    /// Whether it takes the path for `/m` or something below.
    pub(crate) fn reads_m(self, path: &str) -> bool {
        self.reads(path).iter().find(|segment| !segment.is_empty()).is_some_and(|segment| segment == b"m")
    }

    /// The segments that it takes a path for.
    fn reads(self, path: &str) -> Vec<Vec<u8>> {
        let cut = |path: Vec<u8>| -> Vec<u8> {
            let segments = path
                .split(|&byte| byte == b'/')
                .map(|segment| segment.split(|&byte| byte == b';').next().unwrap_or_default());
            segments.collect::<Vec<_>>().join(&b'/')
        };
        let mut path = path.as_bytes().to_vec();
        if self.cuts_first {
            path = cut(path);
        }
        for _ in 0..self.decodes {
            path = decode_once(&path);
        }
        if self.backslash {
            path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        }
        if self.cuts_later {
            path = cut(path);
        }
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for segment in path[1..].split(|&byte| byte == b'/') {
            match segment {
                b"" if self.merges => {}
                b"." if self.resolves_dots => {}
                b".." if self.resolves_dots => drop(segments.pop()),
                segment => segments.push(segment.to_vec()),
            }
        }
        segments
    }
}

fn decode_once(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'%').then(|| after.get(..2)).flatten();
        let value = escape.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        out.push(value.unwrap_or(first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    out
}

prop_compose! {
    pub(crate) fn backend()(
        decodes in 0u8..4, backslash: bool, cuts_first: bool, cuts_later: bool, merges: bool, resolves_dots: bool,
    ) -> Backend {
        Backend { decodes, backslash, cuts_first, cuts_later, merges, resolves_dots }
    }
}

/// Paths of the segments `m` and `x`, with what programs differ about in between.
pub(crate) fn dodges() -> impl Strategy<Value = String> {
    let pieces = "(/|m|x|\\.\\.|\\.|%2[fF]|%5c|\\\\|;|%3b|%25|%2525|2f|2e|%6d|6d|%){0,9}";
    pieces.prop_map(|path| format!("/{path}"))
}
