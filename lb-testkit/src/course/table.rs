//! Who passes what, as a table for the guide.

use std::fmt;

use super::{Chapter, Counts, Peer};

/// What came of the chapters, for one balancer after the other. Displayed it is Markdown.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    counts: Vec<(Chapter, Counts)>,
}

/// The chapters that are columns: all that have a number.
const COLUMNS: [Chapter; 7] = [
    Chapter::Skeleton,
    Chapter::Routing,
    Chapter::Configuration,
    Chapter::Health,
    Chapter::Manipulating,
    Chapter::Algorithms,
    Chapter::Firewall,
];

impl Table {
    /// Adds what came of a chapter for this balancer.
    pub fn add(&mut self, name: &str, chapter: Chapter, counts: Counts) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.counts.push((chapter, counts)),
            None => self.rows.push(Row { name: name.to_owned(), counts: vec![(chapter, counts)] }),
        }
    }

    /// The line of this balancer, as it stands in the table.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<String> {
        self.rows.iter().find(|row| row.name == name).map(ToString::to_string)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = COLUMNS.map(|chapter| format!(" {} ({}) |", chapter.id(), chapter.cases().len()));
        writeln!(f, "| chapter (cases) |{}", titles.concat())?;
        write!(f, "|---|{}", "---|".repeat(COLUMNS.len()))?;
        self.rows.iter().try_for_each(|row| write!(f, "\n{row}"))
    }
}

/// `| nginx | | all | | 5, 5 not offered | ...`
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.name)?;
        for column in COLUMNS {
            match self.counts.iter().find(|(chapter, _)| *chapter == column) {
                Some((_, counts)) => write!(f, " {} |", cell(*counts))?,
                None => write!(f, " |")?,
            }
        }
        Ok(())
    }
}

fn cell(counts: Counts) -> String {
    let Counts { passed, failed, skipped, not_offered } = counts;
    if passed == counts.total() {
        return "all".into();
    }
    let others = [(failed, "failed"), (skipped, "skipped"), (not_offered, "not offered")];
    let others = others.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    format!("{passed} passed, {}", others.collect::<Vec<_>>().join(", "))
}

/// What the peers do not offer, as a Markdown list with the reasons.
#[must_use]
pub fn not_offered() -> String {
    let mut lines = Vec::new();
    for peer in Peer::ALL {
        for case in peer.chapters().into_iter().flat_map(Chapter::cases) {
            if let Some(reason) = peer.not_offered(case) {
                lines.push(format!(
                    "- {}, chapter {}, `{}`: {reason}.\n",
                    peer.name(),
                    case.chapter.id(),
                    case.name
                ));
            }
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::default();
        table.add("lb", Chapter::Routing, Counts { passed: 12, ..Counts::default() });
        table.add("x", Chapter::Health, Counts { passed: 5, not_offered: 3, failed: 2, skipped: 0 });
        let lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("| chapter (cases) | 1 (1) | 2 (12) |"), "{}", lines[0]);
        assert_eq!(lines[2], "| lb | | all | | | | | |");
        assert_eq!(table.line("x").unwrap(), "| x | | | | 5 passed, 2 failed, 3 not offered | | | |");
        assert!(lines.iter().all(|line| line.matches('|').count() == 9));
    }

    #[test]
    fn what_is_not_offered_names_cases_that_exist() {
        let list = not_offered();
        assert_eq!(list.lines().count(), 8, "{list}");
        assert!(list.lines().all(|line| line.starts_with("- nginx, chapter ")), "{list}");
    }
}
