//! What is wrong with a configuration, for the person who must put it right.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::key::quoted;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong, and how it would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; none for what stands nowhere, and for a configuration that was built in code.
    pub position: Option<Position>,
    /// The key path, such as `pool.mango.backends[1].weight` (indexes from 0); empty where no key is to
    /// blame, as for errors of syntax.
    pub key: String,
    /// What was found, ready to be read after "found".
    pub found: String,
    /// What would be right, ready to be read after "expected".
    pub expected: String,
    /// The valid name or value that is closest to what was found.
    pub nearest: Option<String>,
}

/// `12:5: pool.mango.algorithm: found "x", expected one of a, b; did you mean "a"?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {}?", quoted(nearest)),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The first ones, at most [`PROBLEMS_MAX`](crate::limits::PROBLEMS_MAX).
    pub list: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
}

impl Problems {
    /// For printing: a line for each problem, led by the name of the file.
    ///
    /// ```
    /// let problems = lb_core::config::Config::load("workers = 0").unwrap_err();
    /// let lines = problems.in_file("lb.toml").to_string();
    /// assert!(lines.contains("lb.toml:1:11: workers: found 0, expected an integer from 1 to 1024"));
    /// ```
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile { problems: self, file: Some(file) }
    }
}

/// A line for each problem, without a file's name.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        InFile { problems: self, file: None }.fmt(f)
    }
}

impl core::error::Error for Problems {}

struct InFile<'a> {
    problems: &'a Problems,
    file: Option<&'a str>,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.list.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = self.file {
                let space = if problem.position.is_some() { "" } else { " " };
                write!(f, "{file}:{space}")?;
            }
            write!(f, "{problem}")?;
        }
        match (self.problems.omitted, self.file) {
            (0, _) => Ok(()),
            (more, Some(file)) => write!(f, "\n{file}: and {more} more"),
            (more, None) => write!(f, "\nand {more} more"),
        }
    }
}
