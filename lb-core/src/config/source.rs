//! The text of a file: from key paths and byte offsets to lines and columns.

use alloc::vec::Vec;

use toml::de::{DeTable, DeValue};

use super::{
    key::{Path, Step},
    problem::Position,
};

/// Which part of what a key path names is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

/// A file's text, and what was read from it.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    root: &'a DeTable<'a>,
    /// The offset of each line's first byte.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, root: &'a DeTable<'a>) -> Self {
        let after_newlines =
            text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1);
        Self { text, root, lines: core::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line, from 0, that the byte at `offset` stands in.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset).saturating_sub(1)
    }

    /// The text of a line, counted from 0, without what ends it.
    pub(super) fn line_text(&self, line: usize) -> &'a str {
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        self.lines.get(line).and_then(|&start| self.text.get(start..end)).unwrap_or("").trim_end_matches('\r')
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let before = self.lines.get(line).and_then(|&start| self.text.get(start..offset)).unwrap_or("");
        Position { line: line + 1, column: before.chars().filter(|&letter| letter != '\u{feff}').count() + 1 }
    }

    /// The offset of what `path` names or, where the file has no such thing, of the innermost table
    /// around it that the file has; none if that is the file itself.
    pub(super) fn find(&self, path: &Path, part: Part) -> Option<usize> {
        let (first, rest) = path.steps().split_first()?;
        let Step::Name(name) = first else { return None };
        let (mut key_at, mut value) = entry(self.root, name)?;
        let mut value_at = value.span().start;
        let mut missing = false;
        for step in rest {
            let found = match (step, value.get_ref()) {
                (Step::Name(name), DeValue::Table(table)) => entry(table, name),
                (Step::Index(index), DeValue::Array(items)) => {
                    items.get(*index).map(|item| (item.span().start, item))
                }
                _ => None,
            };
            let Some((next_key_at, next)) = found else {
                missing = true;
                break;
            };
            (key_at, value, value_at) = (next_key_at, next, next.span().start);
        }
        Some(if part == Part::Key && !missing { key_at } else { value_at })
    }
}

type Value<'a> = toml::Spanned<DeValue<'a>>;

/// The entry called `name`, or else one that differs in case only (names of header fields are read in
/// lower case).
fn entry<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(usize, &'a Value<'a>)> {
    let exact = table.get_key_value(name);
    let found = exact.or_else(|| table.iter().find(|(key, _)| key.get_ref().eq_ignore_ascii_case(name)));
    found.map(|(key, value)| (key.span().start, value))
}
