//! Errors of TOML's own grammar, told in words for someone who never read it.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use super::{
    key::quoted,
    problem::{Position, Problem},
    source::Source,
};
use crate::limits::PROBLEMS_MAX;

/// Most parts of a dotted key. Keys and brackets nest tables in tables, and the deepest nest that the
/// parser lets through with this bound can be taken down again on any thread's stack.
const KEY_PARTS_MAX: usize = 16;

/// What is wrong with a file's grammar, and what can be trusted of the rest.
#[derive(Default)]
pub(super) struct Syntax {
    /// With the offsets where they stand; the first one of each line, for the others mostly follow from it.
    pub(super) problems: Vec<(usize, Problem)>,
    /// The lines, from 0, that have one.
    pub(super) lines: BTreeSet<usize>,
    /// The line, from 0, from which on nothing can be trusted, because a bracket or the like is missing.
    pub(super) lost_from: Option<usize>,
}

impl Syntax {
    pub(super) fn of(errors: &[toml::de::Error], source: &Source<'_>) -> Self {
        let mut placed: Vec<_> =
            errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
        placed.sort_by_key(|(span, _)| span.start);
        let mut syntax = Self::default();
        let mut is_repeated = false;
        for (span, message) in placed {
            let line = source.line(span.start);
            is_repeated &= !source.line_text(line).trim_start().starts_with('[');
            let is_duplicate = message == "duplicate key";
            // The keys of a table that is there twice are there twice as well.
            if (is_repeated && is_duplicate) || !syntax.lines.insert(line) {
                continue;
            }
            let found = source.text.get(span.clone()).unwrap_or("");
            let problem = match message {
                _ if is_duplicate => duplicate(found, line, source, syntax.problems.len() < PROBLEMS_MAX),
                _ if message.starts_with("string values must be quoted") => unquoted(found),
                _ if is_about_number(message) => {
                    not_a_number(word_at(source.line_text(line), span.start - source.start(line)))
                }
                _ => {
                    syntax.lost_from = syntax.lost_from.or(Some(line));
                    ungrammatical(message)
                }
            };
            is_repeated |= is_duplicate && source.line_text(line).trim_start().starts_with('[');
            syntax
                .problems
                .push((span.start, Problem { position: Some(source.position(span.start)), ..problem }));
            if is_unclosed(message) {
                break;
            }
        }
        syntax
    }
}

/// Whether all that follows an error is taken for the inside of an array or an inline table.
fn is_unclosed(message: &str) -> bool {
    ["array", "inline table", "between key-value pairs"].iter().any(|place| message.contains(place))
        && !message.starts_with("unclosed array table")
}

/// Whether an error is about the inside of a bare value. What begins like a number is taken for one.
fn is_about_number(message: &str) -> bool {
    const STARTS: [&str; 10] = [
        "`_` may only",
        "integers with",
        "invalid date",
        "invalid float",
        "invalid integer",
        "invalid time",
        "radix must",
        "redundant",
        "unexpected leading zero",
        "unexpected sign",
    ];
    STARTS.iter().any(|start| message.starts_with(start))
}

/// The bare value of which one byte is at `offset` in `line`.
fn word_at(line: &str, offset: usize) -> &str {
    let ends = [' ', '\t', ',', '=', '[', ']', '{', '}', '#'];
    let (before, after) = line.split_at_checked(offset).unwrap_or((line, ""));
    let start = before.rfind(ends).map_or(0, |at| at + 1);
    let end = offset + after.find(ends).unwrap_or(after.len());
    line.get(start..end).unwrap_or("")
}

fn not_a_number(word: &str) -> Problem {
    let is_text = word.bytes().any(|byte| !byte.is_ascii_digit());
    let found = format!("{} without quotes", bare(word));
    problem(found, "a number, or text in quotes", is_text.then(|| word.into()))
}

/// `text` as it stands, but safe for a terminal.
fn bare(text: &str) -> String {
    let quoted = quoted(text);
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("").into()
}

fn problem(found: String, expected: impl Into<String>, nearest: Option<String>) -> Problem {
    Problem { position: None, key: String::new(), found, expected: expected.into(), nearest }
}

fn unquoted(found: &str) -> Problem {
    let text = found.trim();
    if text.is_empty() {
        return problem("no value".into(), "one after the \"=\"", None);
    }
    problem(format!("{} without quotes", bare(text)), "text in quotes", Some(text.into()))
}

fn duplicate(key: &str, line: usize, source: &Source<'_>, is_shown: bool) -> Problem {
    let here = uncommented(source.line_text(line));
    let is_header = here.starts_with('[');
    let earlier = match is_header {
        // Looking for the other one takes long in a long file.
        _ if !is_shown => None,
        true => (0..line).rev().find(|&earlier| uncommented(source.line_text(earlier)) == here),
        false => earlier_key(key, line, source),
    };
    let earlier = earlier.map(|line| format!(" (also in line {})", line + 1)).unwrap_or_default();
    let what = if is_header { here } else { key };
    problem(format!("{} again{earlier}", bare(what)), "each key and each table once", None)
}

/// A header without what follows it.
fn uncommented(line: &str) -> &str {
    line.split('#').next().unwrap_or("").trim()
}

/// The line of the same table that sets `key` before `line` does.
fn earlier_key(key: &str, line: usize, source: &Source<'_>) -> Option<usize> {
    let is_in_table = |line: &usize| !source.line_text(*line).trim_start().starts_with('[');
    let sets_key = |text: &str| text.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    (0..line).rev().take_while(is_in_table).find(|&earlier| sets_key(source.line_text(earlier)))
}

fn ungrammatical(message: &str) -> Problem {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, "valid TOML"));
    if message.starts_with("missing comma between array elements") {
        return problem("neither a comma nor the end of the array".into(), "`,` or `]`", None);
    }
    let expected = match expected {
        "nothing" => "valid TOML",
        "newline, `#`" => "the end of the line",
        other => other,
    };
    problem(format!("a syntax error ({what})"), expected, None)
}

/// The problem of the first key that has too many parts.
pub(super) fn overlong_key(text: &str) -> Option<Problem> {
    let mut dots = 0;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = match letter {
            '#' => &rest[line_end(rest)..],
            '"' | '\'' => after_string(rest),
            _ => &rest[letter.len_utf8()..],
        };
        match letter {
            '.' => dots += 1,
            '=' | ',' | '[' | ']' | '{' | '}' | '\n' => dots = 0,
            _ => {}
        }
        if dots >= KEY_PARTS_MAX {
            let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
            let position = Some(Position { line, column: 1 });
            let expected = format!("at most {KEY_PARTS_MAX}");
            return Some(Problem { position, ..problem("a key of too many parts".into(), expected, None) });
        }
    }
    None
}

fn line_end(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// What follows the string, of one line or of many, that `text` begins with.
fn after_string(text: &str) -> &str {
    let quote = &text[..1];
    let triple = if quote == "\"" { "\"\"\"" } else { "'''" };
    let (open, is_multiline) = if text.starts_with(triple) { (triple, true) } else { (quote, false) };
    let mut rest = &text[open.len()..];
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(open) {
            return after;
        }
        if letter == '\n' && !is_multiline {
            return rest;
        }
        rest = &rest[letter.len_utf8()..];
        if letter == '\\' && quote == "\"" {
            rest = rest
                .chars()
                .next()
                .filter(|&next| next != '\n' || is_multiline)
                .map_or(rest, |next| &rest[next.len_utf8()..]);
        }
    }
    rest
}
