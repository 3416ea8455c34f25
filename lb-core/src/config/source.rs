//! The text of a file: from key paths and byte offsets to lines and columns.

use alloc::vec::Vec;

use toml::de::{DeString, DeTable, DeValue};

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

    /// The offset of a line's first byte, the line counted from 0.
    pub(super) fn start(&self, line: usize) -> usize {
        self.lines.get(line).copied().unwrap_or(self.text.len())
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
        let mut value: Option<&Value<'_>> = None;
        let mut key_at = None;
        for step in path.steps() {
            let Some((at, next)) = self.step(value, step) else {
                return value.map(|value| value.span().start);
            };
            (key_at, value) = (at.map(|key| key.span().start), Some(next));
        }
        let value_at = value.map(|value| value.span().start);
        if part == Part::Key { key_at.or(value_at) } else { value_at }
    }

    /// `path` with its names as the file spells them.
    pub(super) fn spelled(&self, path: &Path) -> Path {
        let (mut spelled, mut value, mut is_lost) = (Path::root(), None, false);
        for step in path.steps() {
            let found = if is_lost { None } else { self.step(value, step) };
            spelled = match (step, found) {
                (Step::Index(index), _) => spelled.index(*index),
                (Step::Name(_), Some((Some(key), _))) => spelled.name(key.get_ref()),
                (Step::Name(name), _) => spelled.name(name),
            };
            is_lost = found.is_none();
            value = found.map(|(_, value)| value);
        }
        spelled
    }

    /// What one step leads to from `value`, or from the root, with its key if it has one.
    fn step(
        &self,
        value: Option<&'a Value<'a>>,
        step: &Step,
    ) -> Option<(Option<&'a Key<'a>>, &'a Value<'a>)> {
        match (step, value.map(toml::Spanned::get_ref)) {
            (Step::Name(name), None) => entry(self.root, name),
            (Step::Name(name), Some(DeValue::Table(table))) => entry(table, name),
            (Step::Index(index), Some(DeValue::Array(items))) => {
                return items.get(*index).map(|item| (None, item));
            }
            _ => None,
        }
        .map(|(key, value)| (Some(key), value))
    }
}

type Key<'a> = toml::Spanned<DeString<'a>>;
type Value<'a> = toml::Spanned<DeValue<'a>>;

/// The entry called `name`, or else one that differs in case only (names of header fields are read in
/// lower case).
fn entry<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(&'a Key<'a>, &'a Value<'a>)> {
    let exact = table.get_key_value(name);
    exact.or_else(|| table.iter().find(|(key, _)| key.get_ref().eq_ignore_ascii_case(name)))
}
