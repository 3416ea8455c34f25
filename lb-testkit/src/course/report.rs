//! What a person reads after a chapter has run.

use std::fmt;

use super::{Case, Chapter, Miss, Verdict};

/// The verdicts of a chapter's cases.
#[derive(Debug)]
pub struct Report {
    chapter: Chapter,
    verdicts: Vec<(&'static Case, Verdict)>,
}

impl Report {
    pub(super) fn new(chapter: Chapter) -> Self {
        Self { chapter, verdicts: Vec::new() }
    }

    pub(super) fn add(&mut self, case: &'static Case, verdict: Verdict) {
        self.verdicts.push((case, verdict));
    }

    /// The cases in order, with what came of each.
    pub fn verdicts(&self) -> &[(&'static Case, Verdict)] {
        &self.verdicts
    }

    /// How many passed, failed and were skipped.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Verdict) -> bool| self.verdicts.iter().filter(|(_, v)| wanted(v)).count();
        let failed = count(|verdict| matches!(verdict, Err(Miss::Failed(_))));
        let skipped = count(|verdict| matches!(verdict, Err(Miss::Skipped(_))));
        (self.verdicts.len() - failed - skipped, failed, skipped)
    }

    /// Whether no case failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.counts().1 == 0
    }
}

/// A line for each case, more for those that did not pass, and a summary.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.chapter)?;
        for (case, verdict) in &self.verdicts {
            let word = match verdict {
                Ok(()) => "ok  ",
                Err(Miss::Failed(_)) => "FAIL",
                Err(Miss::Skipped(_)) => "skip",
            };
            writeln!(f, "{word} {}: {}", case.name, case.sentence)?;
            if let Err(miss) = verdict {
                writeln!(f, "{miss}")?;
            }
        }
        let (passed, failed, skipped) = self.counts();
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
