//! What a person reads after a chapter has run.

use std::fmt;

use super::{Case, Chapter, Miss, Verdict};

/// The verdicts of a chapter's cases.
#[derive(Debug)]
pub struct Report {
    chapter: Chapter,
    verdicts: Vec<(&'static Case, Verdict)>,
}

/// How many cases there are of each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The balancer did what the course says.
    pub passed: usize,
    /// It did not.
    pub failed: usize,
    /// They could not be tried.
    pub skipped: usize,
    /// The balancer does not do that, and is known not to.
    pub not_offered: usize,
}

impl Counts {
    /// All cases.
    #[must_use]
    pub const fn total(self) -> usize {
        self.passed + self.failed + self.skipped + self.not_offered
    }

    fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Ok(()) => &mut self.passed,
            Err(Miss::Failed(_)) => &mut self.failed,
            Err(Miss::Skipped(_)) => &mut self.skipped,
            Err(Miss::NotOffered(_)) => &mut self.not_offered,
        } += 1;
    }
}

/// `7 passed, 1 failed, 0 skipped`, with `, 2 not offered` where there are any.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, not_offered } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")?;
        if *not_offered > 0 { write!(f, ", {not_offered} not offered") } else { Ok(()) }
    }
}

impl Report {
    pub(super) fn new(chapter: Chapter) -> Self {
        Self { chapter, verdicts: Vec::new() }
    }

    pub(super) fn add(&mut self, case: &'static Case, verdict: Verdict) {
        self.verdicts.push((case, verdict));
    }

    /// The cases in order, with what came of each.
    #[must_use]
    pub fn verdicts(&self) -> &[(&'static Case, Verdict)] {
        &self.verdicts
    }

    /// The names of the cases that failed, in order.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.verdicts.iter().filter(|(_, verdict)| matches!(verdict, Err(Miss::Failed(_))));
        failed.map(|(case, _)| case.name).collect()
    }

    /// How many passed, failed, were skipped and are not offered.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.verdicts.iter().for_each(|(_, verdict)| counts.add(verdict));
        counts
    }

    /// Whether no case failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.counts().failed == 0
    }
}

/// A line for each case, more for those that did not pass, and a summary.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.chapter)?;
        for (case, verdict) in &self.verdicts {
            writeln!(f, "{}", Told { case, verdict })?;
        }
        write!(f, "{}", self.counts())
    }
}

/// A case with its verdict, as a report tells it: without a line's end.
#[derive(Debug)]
pub struct Told<'a> {
    /// The case.
    pub case: &'a Case,
    /// What came of it.
    pub verdict: &'a Verdict,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Ok(()) => "ok  ",
            Err(Miss::Failed(_)) => "FAIL",
            Err(Miss::Skipped(_)) => "skip",
            Err(Miss::NotOffered(_)) => "n/o ",
        };
        write!(f, "{word} {}: {}", self.case.name, self.case.sentence)?;
        if let Err(miss) = self.verdict { write!(f, "\n{miss}") } else { Ok(()) }
    }
}
