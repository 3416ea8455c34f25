//! Where problems are gathered while a configuration is read and checked, before they get positions.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::cell::RefCell;

use super::{
    key::{Path, quoted},
    problem::{Problem, Problems},
    source::{Part, Source},
    suggest,
};
use crate::limits::PROBLEMS_MAX;

/// A problem by key path, before it has a position.
#[derive(Clone, Debug)]
pub struct Finding {
    path: Path,
    part: Part,
    found: String,
    expected: String,
    nearest: Option<String>,
    /// Where the thing stands first that `path` repeats.
    first: Option<Path>,
    /// What must have been read well for this to mean anything.
    rests_on: Option<Path>,
    /// Whether something is missing, so that a file which breaks off says nothing about it.
    is_absence: bool,
}

impl Finding {
    pub(super) fn new(path: Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            path,
            part: Part::Value,
            found: found.into(),
            expected: expected.into(),
            nearest: None,
            first: None,
            rests_on: None,
            is_absence: false,
        }
    }

    /// `path` is not there.
    pub(super) fn absent(path: Path, expected: impl Into<String>) -> Self {
        Self { is_absence: true, ..Self::new(path, "nothing", expected) }
    }

    pub(super) fn at_key(self) -> Self {
        Self { part: Part::Key, ..self }
    }

    /// With the valid name or value that is closest to what was found.
    #[must_use]
    pub fn nearest(self, nearest: Option<impl Into<String>>) -> Self {
        Self { nearest: nearest.map(Into::into), ..self }
    }

    pub(super) fn first_in(self, first: Path) -> Self {
        Self { first: Some(first), ..self }
    }

    pub(super) fn resting_on(self, path: Path) -> Self {
        Self { rests_on: Some(path), ..self }
    }

    fn into_problem(self, source: Option<&Source<'_>>) -> Problem {
        let offset = source.and_then(|source| source.find(&self.path, self.part));
        let position = source.zip(offset).map(|(source, offset)| source.position(offset));
        let spelled = source.map_or_else(|| self.path.clone(), |source| source.spelled(&self.path));
        let mut found = match (self.path.last_name(), spelled.last_name()) {
            (Some(name), Some(spelled)) if self.found == quoted(name) => quoted(spelled),
            _ => self.found,
        };
        if let Some(first) = &self.first {
            let offset = source.and_then(|source| source.find(first, Part::Value));
            let line =
                source.zip(offset).map(|(source, offset)| format!(", line {}", source.line(offset) + 1));
            found.push_str(&format!(" (first in {first}{})", line.unwrap_or_default()));
        }
        let Self { expected, nearest, .. } = self;
        Problem { position, key: spelled.to_string(), found, expected, nearest }
    }
}

/// The problems found so far. It can be written to through a shared reference, so that readers of
/// different parts of a file may hold it at once.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: RefCell<Vec<Finding>>,
    broken: RefCell<BTreeSet<Path>>,
}

impl Report {
    pub(super) fn add(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    pub(super) fn add_all(&self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.borrow_mut().extend(findings);
    }

    /// Remembers that what `path` names could not be read, though no problem is reported under this name.
    pub(super) fn mark_broken(&self, path: Path) {
        self.broken.borrow_mut().insert(path);
    }

    /// The candidate nearest to `word`, of which there may be many. When there are more problems than anyone
    /// is shown, nothing: the search is slow.
    pub(super) fn suggest<'a>(
        &self,
        word: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.findings.borrow().len() > PROBLEMS_MAX { None } else { suggest::nearest(word, names) }
    }

    /// Adds what `later` found, except where it is only a consequence: its place, something within it or
    /// something around it could not be read in the first place.
    pub(super) fn add_independent(&self, later: Self) {
        let mut broken: BTreeSet<Path> = self.broken.take().iter().map(Path::folded).collect();
        broken.extend(self.findings.borrow().iter().map(|finding| finding.path.folded()));
        let touches = |path: &Path| {
            let path = path.folded();
            let within = broken.range(path.clone()..).next().is_some_and(|found| found.starts_with(&path));
            within || core::iter::successors(Some(path), Path::parent).any(|around| broken.contains(&around))
        };
        let independent = later.findings.into_inner().into_iter().filter(|finding| {
            let rests_well = finding.rests_on.as_ref().is_none_or(|path| !broken.contains(path));
            rests_well && !touches(&finding.path) && !finding.first.as_ref().is_some_and(touches)
        });
        self.findings.borrow_mut().extend(independent);
    }

    /// Drops what a file of broken syntax says nothing about: what is missing, what may stand further down,
    /// what stands in a line of `lines` (from 0), and what stands at or after the line `until`.
    pub(super) fn keep_reliable(&self, source: &Source<'_>, lines: &BTreeSet<usize>, until: Option<usize>) {
        self.findings.borrow_mut().retain(|finding| {
            let line = source.find(&finding.path, finding.part).map(|offset| source.line(offset));
            let is_readable = |line| !lines.contains(&line) && until.is_none_or(|until| line < until);
            let may_be_lost = finding.is_absence || (finding.rests_on.is_some() && until.is_some());
            !may_be_lost && line.is_some_and(is_readable)
        });
    }

    /// All problems, those of `syntax` (with their offsets) included, in the order of the file; none if
    /// there are none.
    pub(super) fn into_problems(
        self,
        syntax: Vec<(usize, Problem)>,
        source: Option<&Source<'_>>,
    ) -> Option<Problems> {
        enum Entry {
            Syntax(Problem),
            Finding(Finding),
        }
        let of_syntax = syntax.into_iter().map(|(offset, problem)| (Some(offset), Entry::Syntax(problem)));
        let findings = self.findings.into_inner().into_iter().map(|finding| {
            let offset = source.and_then(|source| source.find(&finding.path, finding.part));
            (offset, Entry::Finding(finding))
        });
        let mut all: Vec<_> = of_syntax.chain(findings).collect();
        // What stands nowhere comes last: it concerns the file as a whole.
        all.sort_by_key(|(offset, _)| offset.unwrap_or(usize::MAX));
        let omitted = all.len().saturating_sub(PROBLEMS_MAX);
        let shown = all.into_iter().take(PROBLEMS_MAX).map(|(_, entry)| match entry {
            Entry::Syntax(problem) => problem,
            Entry::Finding(finding) => finding.into_problem(source),
        });
        let list: Vec<Problem> = shown.collect();
        (!list.is_empty()).then_some(Problems { list, omitted })
    }
}
