//! Reading TOML by hand: values and tables that know their key path and report what is wrong with them.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::{
    Backend, BackendAddress, Listener, Route, StatusRange,
    bounds::{self, Range},
    key::{Path, listed, quoted},
    report::{Finding, Report},
    suggest,
    values::{self, Wrong},
};

/// A value and where it stands. Its readers give none after they have reported what is wrong with it.
#[derive(Clone)]
pub struct Node<'a> {
    pub(super) path: Path,
    value: &'a DeValue<'a>,
    report: &'a Report,
}

impl<'a> Node<'a> {
    /// What is to be reported when this is something else than `expected`.
    #[must_use]
    pub fn wrong(&self, expected: impl Into<String>) -> Finding {
        Finding::new(self.path.clone(), describe(self.value), expected)
    }

    /// Reports it.
    pub fn report(&self, finding: Finding) {
        self.report.add(finding);
    }

    fn refuse<T>(&self, expected: impl Into<String>) -> Option<T> {
        self.report(self.wrong(expected));
        None
    }

    /// The text that this is, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// Whether this is a table.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether this is an array or a table without anything in it.
    pub(super) fn is_empty(&self) -> bool {
        self.value.as_array().is_some_and(|items| items.is_empty())
            || self.value.as_table().is_some_and(|table| table.is_empty())
    }

    /// A text.
    pub fn string(&self, expected: &str) -> Option<String> {
        self.as_str().map(ToString::to_string).or_else(|| self.refuse(expected))
    }

    /// A truth value.
    pub fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.refuse("true or false"))
    }

    /// An integer within a range.
    pub fn integer<T: TryFrom<u64> + PartialOrd + core::fmt::Display>(&self, range: &Range<T>) -> Option<T> {
        let number = self
            .value
            .as_integer()
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        let number =
            number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
        number.or_else(|| {
            // A number in quotes is the usual slip.
            let meant = self
                .as_str()
                .and_then(|text| text.parse().ok())
                .and_then(|number: u64| T::try_from(number).ok());
            let hint =
                if meant.is_some_and(|number| range.contains(&number)) { ", without quotes" } else { "" };
            self.refuse(format!("{}{hint}", bounds::integer(range)))
        })
    }

    /// A number, with or without a point, within a range.
    pub fn number(&self, range: &Range<f64>) -> Option<f64> {
        let text = match self.value {
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        let number = text.and_then(|text| text.replace('_', "").parse().ok());
        number
            .filter(|number| range.contains(number))
            .or_else(|| self.refuse(format!("a number from {} to {}", range.start(), range.end())))
    }

    /// A text of a certain form.
    pub(super) fn parsed<T>(&self, parse: fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let number = self.value.as_integer().map(|number| number.as_str());
        match self.as_str().map(parse) {
            Some(Ok(value)) => Some(value),
            Some(Err(wrong)) => {
                self.report(self.wrong(wrong.expected).nearest(wrong.nearest));
                None
            }
            // A bare number is refused as its text would be, which tells how to write it.
            None => {
                let wrong =
                    parse(number.unwrap_or("")).err().unwrap_or_else(|| Wrong::expected("text in quotes"));
                self.report(self.wrong(wrong.expected).nearest(wrong.nearest));
                None
            }
        }
    }

    /// A duration, such as `"250ms"`, within a range.
    pub fn duration(&self, range: &Range<Duration>) -> Option<Duration> {
        let duration = self.parsed(values::duration)?;
        if range.contains(&duration) { Some(duration) } else { self.refuse(bounds::duration(range)) }
    }

    pub(super) fn size(&self, range: &Range<u64>) -> Option<u64> {
        let size = self.parsed(values::size)?;
        if range.contains(&size) { Some(size) } else { self.refuse(bounds::size(range)) }
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let found = self.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if let Some((_, value)) = found {
            return Some(*value);
        }
        let names = || words.iter().map(|(word, _)| *word);
        let nearest = self.as_str().and_then(|text| self.report.suggest(text, names()));
        self.report(self.wrong(format!("one of {}", listed(names().map(quoted)))).nearest(nearest));
        None
    }

    /// The elements of an array.
    pub fn items(&self, expected: &str) -> Option<Vec<Node<'a>>> {
        let Some(items) = self.value.as_array() else { return self.refuse(expected) };
        let node = |(index, item): (usize, &'a toml::Spanned<DeValue<'a>>)| Node {
            path: self.path.index(index),
            value: item.get_ref(),
            report: self.report,
        };
        Some(items.iter().enumerate().map(node).collect())
    }

    /// The elements of an array, or the value itself as the only one.
    pub fn one_or_more(&self, expected: &str) -> Option<Vec<Node<'a>>> {
        if self.value.is_array() { self.items(expected) } else { Some([self.clone()].into()) }
    }

    /// What `read` makes of the array's elements; `T`'s placeholder where one is wrong, so that the others
    /// keep their places.
    pub(super) fn list<T: Placeholder>(
        &self,
        expected: &str,
        read: impl Fn(&Node<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        Some(self.items(expected)?.iter().map(|item| read(item).unwrap_or_else(T::placeholder)).collect())
    }

    /// A table.
    pub fn table(&self, expected: &str) -> Option<Table<'a>> {
        let Some(table) = self.value.as_table() else { return self.refuse(expected) };
        Some(Table::new(self.path.clone(), table, self.report))
    }

    /// The entries of a table whose keys are free: each with its key.
    pub fn entries(&self, expected: &str) -> Option<Vec<(&'a str, Node<'a>)>> {
        let Some(table) = self.value.as_table() else { return self.refuse(expected) };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let node =
            |(key, value): (&'a toml::Spanned<toml::de::DeString<'a>>, &'a toml::Spanned<DeValue<'a>>)| {
                let name: &'a str = key.get_ref();
                (name, Node { path: self.path.name(name), value: value.get_ref(), report: self.report })
            };
        Some(entries.into_iter().map(node).collect())
    }
}

/// What stands in a list for an element that could not be read. It is never seen outside: its problem was
/// reported.
pub(super) trait Placeholder {
    fn placeholder() -> Self;
}

impl Placeholder for String {
    fn placeholder() -> Self {
        Self::new()
    }
}

impl Placeholder for u16 {
    fn placeholder() -> Self {
        0
    }
}

impl Placeholder for IpNet {
    fn placeholder() -> Self {
        Self::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))
    }
}

impl Placeholder for StatusRange {
    fn placeholder() -> Self {
        Self { first: 200, last: 200 }
    }
}

impl Placeholder for Backend {
    fn placeholder() -> Self {
        Self::at(BackendAddress::Ip(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)), "?")
    }
}

impl Placeholder for Listener {
    fn placeholder() -> Self {
        Self::at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }
}

impl Placeholder for Route {
    fn placeholder() -> Self {
        Self::to("")
    }
}

/// What a value is, in words that read after "found".
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(items) if items.is_empty() => "an empty array".into(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A table of which each key has a meaning; keys that nobody asked for are problems.
pub struct Table<'a> {
    path: Path,
    table: &'a DeTable<'a>,
    report: &'a Report,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, Finding)>,
}

impl<'a> Table<'a> {
    pub(super) fn new(path: Path, table: &'a DeTable<'a>, report: &'a Report) -> Self {
        Self { path, table, report, known: Vec::new(), missing: Vec::new() }
    }

    /// The value of `name`, if it is there.
    pub fn get(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let value = self.table.get(name)?;
        Some(Node { path: self.path.name(name), value: value.get_ref(), report: self.report })
    }

    /// The value of `name`; reports when it is not there.
    pub fn required(&mut self, name: &'static str, expected: &str) -> Option<Node<'a>> {
        let node = self.get(name);
        if node.is_none() {
            self.missing.push((name, Finding::absent(self.path.name(name), expected)));
        }
        node
    }

    /// Reads `name` into `slot`, which keeps its default if the key is not there, or wrong.
    pub fn set<T>(&mut self, name: &'static str, slot: &mut T, read: impl FnOnce(&Node<'a>) -> Option<T>) {
        if let Some(value) = self.get(name).as_ref().and_then(read) {
            *slot = value;
        }
    }

    /// Reports the keys that nobody asked for. One that was probably meant to be a known key stands for it:
    /// that the known key is missing goes without saying then.
    pub fn finish(self) {
        let Self { path, table, report, known, missing } = self;
        let mut meant: Vec<&str> = Vec::new();
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let free = known.iter().copied().filter(|name| !table.contains_key(*name));
            let nearest = suggest::nearest(key.get_ref(), free);
            if let Some(name) = nearest {
                report.mark_broken(path.name(name));
                meant.push(name);
            }
            let expected = format!("one of {}", listed(&known));
            report.add(
                Finding::new(path.name(key.get_ref()), "an unknown key", expected).at_key().nearest(nearest),
            );
        }
        for (_, finding) in missing.into_iter().filter(|(name, _)| !meant.contains(name)) {
            report.add(finding);
        }
    }
}
