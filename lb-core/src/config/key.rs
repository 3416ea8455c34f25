//! Where a value stands: key paths such as `pool.mango.backends[1].weight`.

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

/// One step of a key path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Name(String),
    /// From 0.
    Index(usize),
}

/// A key path from the root of the file; displayed as a person would write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(Vec<Step>);

impl Path {
    /// The path of the whole file.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// This path and one name more.
    pub(super) fn name(&self, name: &str) -> Self {
        self.join(Step::Name(name.to_owned()))
    }

    /// This path and one index more, from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        self.join(Step::Index(index))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The path of what this one stands in; none for the root.
    pub(super) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, rest)| Self(rest.to_vec()))
    }

    /// The path in lower case, for comparing names that were normalised with names as written.
    pub(super) fn folded(&self) -> Self {
        let fold = |step: &Step| match step {
            Step::Name(name) => Step::Name(name.to_ascii_lowercase()),
            Step::Index(index) => Step::Index(*index),
        };
        Self(self.0.iter().map(fold).collect())
    }

    /// The last step, if it is a name.
    pub(super) fn last_name(&self) -> Option<&str> {
        match self.0.last()? {
            Step::Name(name) => Some(name),
            Step::Index(_) => None,
        }
    }

    fn join(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }
}

/// Names that TOML wants in quotes are quoted.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Name(name) => {
                    let dot = if place == 0 { "" } else { "." };
                    let name = if is_bare(name) { name.clone() } else { quoted(name) };
                    write!(f, "{dot}{name}")?;
                }
            }
        }
        Ok(())
    }
}

/// Whether TOML takes `name` as a key without quotes.
fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `text` in quotes, safe for a terminal, and cut where it gets long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let mut shown = String::from("\"");
    for (place, letter) in text.chars().enumerate() {
        if place == SHOWN_CHARS_MAX {
            shown.push_str("...");
            break;
        }
        match letter {
            '\'' => shown.push('\''),
            letter => shown.extend(letter.escape_debug()),
        }
    }
    shown.push('"');
    shown
}

/// `a, b, c`
pub(super) fn listed<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_they_are_written() {
        let path = Path::root().name("pool").name("mango").name("backends").index(1).name("weight");
        assert_eq!(path.to_string(), "pool.mango.backends[1].weight");
        assert_eq!(Path::root().name("pool").name("a b\n").to_string(), r#"pool."a b\n""#);
        assert!(path.starts_with(&Path::root().name("pool")));
        assert_eq!(Path::root().name("workers").parent(), Some(Path::root()));
        assert_eq!(Path::root().parent(), None);
    }

    #[test]
    fn long_and_wild_text_is_tamed() {
        assert_eq!(quoted("it's\u{1b}[31m"), r#""it's\u{1b}[31m""#);
        assert_eq!(quoted(&"x".repeat(500)).len(), 80 + 3 + 2);
    }
}
