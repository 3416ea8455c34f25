//! Tables for a terminal and for the documentation.

use std::fmt::Write as _;

use crate::{
    cell::{Cell, Finding, Table, count},
    lab::Lab,
};

/// The columns of a cell: target, measured, tolerance, z.
fn columns(cell: &Cell) -> [String; 4] {
    match &cell.finding {
        Finding::Near { target, measured, tolerance, z, is_clean } => {
            let mark = if *is_clean { "" } else { "~" };
            [
                number(*target),
                number(*measured),
                format!("± {}", number(*tolerance)),
                format!("{mark}{z:+.2}"),
            ]
        }
        Finding::Same { target, measured } => {
            [target.clone(), measured.clone(), "exact".into(), String::new()]
        }
        Finding::Within { low, high, measured } => [
            format!("{} to {}", number(*low), number(*high)),
            number(*measured),
            "bounds".into(),
            String::new(),
        ],
    }
}

/// Five significant digits.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let decimals = (4 - value.abs().log10().floor() as i32).clamp(0, 9);
    let text = format!("{value:.*}", decimals as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A table for a terminal; failed cells are marked.
pub(crate) fn lines(table: &Table) -> String {
    let mut text = format!("\n{}\n", table.title);
    for cell in &table.cells {
        let [target, measured, tolerance, z] = columns(cell);
        let mark = if cell.passed() { "  " } else { "X " };
        let _ = writeln!(text, "{mark}{:<44} {target:>14} {measured:>14} {tolerance:>12} {z:>7}", cell.name);
    }
    text
}

/// The page for the documentation.
pub(crate) fn markdown(tables: &[Table], lab: &Lab) -> String {
    let (passed, failed) = count(tables);
    let mut text = String::from(INTRODUCTION);
    let _ = writeln!(
        text,
        "**{passed} passed, {failed} failed**, with {} requests over {} seeds for a cell{}.",
        lab.requests,
        lab.seeds,
        if lab.is_fast { " (the fast part)" } else { "" }
    );
    for table in tables {
        let _ = write!(text, "\n## {}\n\n{}\n\n", table.title, table.about);
        text.push_str("| | target | measured | tolerance | z | |\n|---|---|---|---|---|---|\n");
        for cell in &table.cells {
            let [target, measured, tolerance, z] = columns(cell);
            let mark = if cell.passed() { "" } else { "**failed**" };
            let _ = writeln!(text, "| {} | {target} | {measured} | {tolerance} | {z} | {mark} |", cell.name);
        }
    }
    text
}

const INTRODUCTION: &str = "# Validation

Written by `cargo xtask validate`. The simulator drives the code that serves traffic; here it is held
against what is known: closed forms of queueing theory, exact sequences, published tables. The unit of time
is the mean service time, `rho` the utilisation of each server.

A tolerance is the half width of the interval that misses one time in a thousand (Student's t over
independent seeds), and no less than 0.3 % of the target. `z` is the difference in standard errors, on the
normal scale; `~` marks estimates or targets that are not free of bias, whose scores are not part of the test
of the scores at the end. Seeds are fixed: each run gives this page again.

";
