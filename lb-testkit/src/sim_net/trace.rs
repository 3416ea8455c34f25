//! What happened, in order: a digest of all of it, and its lines as text.

use std::{collections::VecDeque, fmt};

/// Lines that are kept as text: all of a usual run.
const LINES_MAX: usize = 100_000;
/// Lines that are shown.
const SHOWN_MAX: usize = 400;

/// The events of a run. Two runs are the same when their digests are.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    digest: crate::Digest,
    events: u64,
    last: VecDeque<String>,
}

impl Trace {
    pub(super) fn add(&mut self, line: String) {
        self.digest.update(line.as_bytes());
        self.digest.update(b"\n");
        self.events += 1;
        if self.last.len() == LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The fingerprint of all events.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// All lines, from the first one on.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    /// How many there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// The last lines.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.last.len().saturating_sub(SHOWN_MAX);
        if self.events > SHOWN_MAX as u64 {
            writeln!(f, "... the last {} of {} events:", self.last.len() - hidden, self.events)?;
        }
        self.last.iter().skip(hidden).try_for_each(|line| writeln!(f, "{line}"))
    }
}
