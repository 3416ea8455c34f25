//! The report as one page: figures and charts in SVG, without scripts and without anything from elsewhere.

use std::fmt::{Display, Write};

use lb_core::pool::Change;
use lb_testkit::sim::{
    CaseOutcome, Outcome,
    scenario::{Metric, duration_text},
};

use super::{Report, table};

/// A chart's size in its own units; the page scales it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for the labels.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;
/// Backends that a map of loads has rows for.
const ROWS_MAX: usize = 64;
/// Backends whose table is not folded up.
const ROWS_OPEN_MAX: usize = 8;
/// Letters of a backend's name beside its row.
const NAME_LETTERS: usize = 8;
/// Colours that are told apart with most kinds of colour blindness (Okabe and Ito 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--soft:#8882}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:0 1rem 3rem}\
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2.5rem}h3{font-size:1rem;margin:1.5rem 0 .3rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto;display:block}\
svg text{font:11px system-ui,sans-serif;fill:currentColor}.axis{stroke:var(--line);fill:none}\
.line{fill:none;stroke-width:1.6}.fault{fill:var(--soft)}.key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;\
font-size:.9rem;margin:.3rem 0}.key i{display:inline-block;width:.9em;height:.9em;margin-right:.35em;\
vertical-align:-.1em;border-radius:2px}.bad{color:#d55e00;font-weight:600}pre{white-space:pre-wrap;font-size:.9rem}\
@media(max-width:40rem){svg{overflow:visible}svg text{font-size:19px}svg text.row{font-size:15px}\
table{font-size:.8rem}th,td{padding:.25rem .3rem}th:first-child,td:first-child{position:sticky;left:0;background:Canvas}}";

/// Text that is no markup.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

pub(super) fn page(report: &Report) -> String {
    let title = Text(&report.scenario.name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<pre>{}</pre>\n",
        Text(&table::heading(report))
    );
    for outcomes in table::by_load(report) {
        if let Some(load) = outcomes[0].case.load {
            let _ = writeln!(page, "<h2>Load {load}</h2>");
        }
        page += &figures(report, &outcomes);
        page += &key(&outcomes);
        for (title, q) in [("Latency over time, median", 0.5), ("Latency over time, 99th percentile", 0.99)] {
            let _ = write!(page, "<h3>{title}</h3>{}", latencies(&outcomes, q));
        }
        let _ = write!(page, "<h3>Good answers over time</h3>{}", goodput(&outcomes));
        for outcome in &outcomes {
            let (name, pooled) = (Text(&outcome.case.variant), &outcome.pooled);
            let _ =
                write!(page, "<h3>Tries at each backend: {name}</h3>{}{}", loads(pooled), backends(pooled));
            if !pooled.errors.is_empty() {
                let _ = write!(page, "<h3>Errors: {name}</h3>{}", failures(pooled));
            }
        }
    }
    page += &verdicts(report);
    page += "<p>Charts show the first seed; tables all of them. Grey stretches are faults. In the maps of loads a \
             darker cell has more tries, a cross is a backend taken out, a ring one that came back.</p>\n</body></html>\n";
    page
}

fn figures(report: &Report, outcomes: &[&CaseOutcome]) -> String {
    let columns = table::columns(report);
    let mut head = vec![String::new()];
    head.extend(columns.iter().map(Metric::to_string));
    head.push(format!("{} against the best", report.rank));
    let ranked = table::ranked(report.rank, outcomes);
    let rows = ranked.iter().enumerate().map(|(place, outcome)| {
        let mut row = vec![outcome.case.variant.clone()];
        row.extend(columns.iter().map(|&metric| metric.text(outcome.figure(metric))));
        row.push(if place == 0 { String::new() } else { table::against(report.rank, outcome, ranked[0]) });
        row
    });
    grid(head, rows)
}

/// Each backend's part; folded up where it is long.
fn backends(outcome: &Outcome) -> String {
    let (places, note) = table::shown(outcome);
    let rows = places.iter().map(|&place| {
        let backend = &outcome.backends[place];
        [
            backend.name.to_string(),
            backend.tries.to_string(),
            format!("{:.2}%", outcome.share(place) * 100.0),
            format!("{:.1}%", outcome.utilisation(place) * 100.0),
        ]
    });
    let open = if places.len() > ROWS_OPEN_MAX { "" } else { " open" };
    let note = note.map(|note| format!("<p>{note}.</p>")).unwrap_or_default();
    let rows = grid(["", "tries", "share", "utilisation"], rows);
    format!("<details{open}><summary>Share and utilisation</summary>{rows}{note}</details>\n")
}

/// What requests got in place of good answers.
fn failures(outcome: &Outcome) -> String {
    let rows = outcome.errors.iter().map(|(failure, &count)| {
        let share = count as f64 / outcome.requests.max(1) as f64;
        [failure.to_string(), count.to_string(), format!("{:.2}%", share * 100.0)]
    });
    grid(["", "requests", "of all"], rows)
}

/// A table, which scrolls by itself where it is wider than the page.
fn grid<T: AsRef<str>, R: IntoIterator<Item = String>>(
    head: impl IntoIterator<Item = T>,
    rows: impl Iterator<Item = R>,
) -> String {
    let mut text = String::from("<div class=\"wide\"><table><tr>");
    head.into_iter().for_each(|cell| text += &format!("<th>{}</th>", Text(cell.as_ref())));
    for row in rows {
        text += "</tr><tr>";
        row.into_iter().for_each(|cell| text += &format!("<td>{}</td>", Text(&cell)));
    }
    text + "</tr></table></div>\n"
}

fn verdicts(report: &Report) -> String {
    if report.verdicts.is_empty() {
        return String::new();
    }
    let mut text = String::from("<h2>Expected</h2><pre>");
    for verdict in &report.verdicts {
        let class = if verdict.holds { "" } else { " class=\"bad\"" };
        let _ = writeln!(text, "<span{class}>{}</span>", Text(&verdict.text));
    }
    text + "</pre>\n"
}

fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

fn key(outcomes: &[&CaseOutcome]) -> String {
    let mut text = String::from("<div class=\"key\">");
    for (place, outcome) in outcomes.iter().enumerate() {
        let _ = write!(
            text,
            "<span><i style=\"background:{}\"></i>{}</span>",
            colour(place),
            Text(&outcome.case.variant)
        );
    }
    text + "</div>\n"
}

/// Where a value lies between the ends of an axis.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share = (value - self.least) / (self.most - self.least).max(f64::MIN_POSITIVE);
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }
}

fn time_axis(outcome: &Outcome) -> Axis {
    let end = outcome.series.width as f64 * outcome.series.buckets.len() as f64;
    Axis { least: 0.0, most: end, from: LEFT, to: WIDTH - RIGHT }
}

fn chart(label: &str, height: f64, content: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{content}</svg>\n",
        Text(label)
    )
}

/// The stretches of the faults and the ticks of the time.
fn background(outcome: &Outcome, time: &Axis, height: f64) -> String {
    let mut text = String::new();
    let bottom = height - BOTTOM;
    for fault in &outcome.faults {
        let (from, to) =
            (time.at(fault.from as f64), fault.until.map_or(time.to, |until| time.at(until as f64)));
        let _ = write!(
            text,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            (to - from).max(1.0),
            bottom - TOP
        );
    }
    let _ = write!(text, "<path class=\"axis\" d=\"M{LEFT} {bottom}H{}\"/>", time.to);
    for step in 0..=4 {
        let at = time.most * f64::from(step) / 4.0;
        let anchor = if step == 4 { "end" } else { "middle" };
        let _ = write!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            time.at(at),
            height - 8.0,
            duration_text(at)
        );
    }
    text
}

/// A line through points; a gap where there is none.
fn line(points: impl Iterator<Item = Option<(f64, f64)>>, colour: &str) -> String {
    let (mut path, mut pen_is_down) = (String::new(), false);
    for point in points {
        if let Some((x, y)) = point {
            let _ = write!(path, "{}{x:.1} {y:.1}", if pen_is_down { 'L' } else { 'M' });
        }
        pen_is_down = point.is_some();
    }
    format!("<path class=\"line\" stroke=\"{colour}\" d=\"{path}\"/>")
}

/// Quantiles of latency, on a logarithmic axis.
fn latencies(outcomes: &[&CaseOutcome], q: f64) -> String {
    let value = |bucket: &lb_testkit::sim::Bucket| {
        (bucket.latency.count() > 0).then(|| bucket.latency.quantile(q).max(1.0))
    };
    let all = || outcomes.iter().flat_map(|outcome| &outcome.pooled.series.buckets).filter_map(value);
    let least = all().fold(f64::INFINITY, f64::min);
    let most = all().fold(0.0, f64::max);
    if most == 0.0 {
        return "<p>No request was answered.</p>".into();
    }
    // Whole decades of a third each, so that the labels are round.
    let (low, high) = (least.log10().floor(), most.log10().ceil());
    let axis = Axis { least: low, most: high.max(low + 1.0), from: HEIGHT - BOTTOM, to: TOP };
    let time = time_axis(&outcomes[0].pooled);
    let mut text = background(&outcomes[0].pooled, &time, HEIGHT);
    for decade in (axis.least as i32)..=(axis.most as i32) {
        let y = axis.at(f64::from(decade));
        let _ = write!(
            text,
            "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            time.to,
            LEFT - 6.0,
            y + 4.0,
            duration_text(10f64.powi(decade))
        );
    }
    for (place, outcome) in outcomes.iter().enumerate() {
        let series = &outcome.pooled.series;
        let point = |(index, bucket)| {
            let x = time.at((index as f64 + 0.5) * series.width as f64);
            value(bucket).map(|value| (x, axis.at(value.log10())))
        };
        text += &line(series.buckets.iter().enumerate().map(point), colour(place));
    }
    chart("latency over time", HEIGHT, &text)
}

fn goodput(outcomes: &[&CaseOutcome]) -> String {
    let height = HEIGHT * 0.7;
    let axis = Axis { least: 0.0, most: 1.0, from: height - BOTTOM, to: TOP };
    let time = time_axis(&outcomes[0].pooled);
    let mut text = background(&outcomes[0].pooled, &time, height);
    for share in [0.0, 0.5, 1.0] {
        let y = axis.at(share);
        let _ = write!(
            text,
            "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}%</text>",
            time.to,
            LEFT - 6.0,
            y + 4.0,
            share * 100.0
        );
    }
    for (place, outcome) in outcomes.iter().enumerate() {
        let series = &outcome.pooled.series;
        let point = |(index, bucket): (usize, &lb_testkit::sim::Bucket)| {
            let x = time.at((index as f64 + 0.5) * series.width as f64);
            (bucket.requests > 0).then(|| (x, axis.at(bucket.good as f64 / bucket.requests as f64)))
        };
        text += &line(series.buckets.iter().enumerate().map(point), colour(place));
    }
    chart("share of good answers over time", height, &text)
}

/// The end of a name that is too long: addresses differ there.
fn short(name: &str) -> String {
    match name.chars().count() {
        count if count > NAME_LETTERS => {
            format!("…{}", name.chars().skip(count + 1 - NAME_LETTERS).collect::<String>())
        }
        _ => name.into(),
    }
}

/// A map: a row for each backend, time to the right, the more tries the darker. What balancers noticed stands
/// on it as marks.
fn loads(outcome: &Outcome) -> String {
    let rows = outcome.backends.len().min(ROWS_MAX);
    let row = (2.0 * HEIGHT / rows as f64).clamp(5.0, 18.0);
    let height = TOP + row * rows as f64 + BOTTOM;
    let time = time_axis(outcome);
    let most =
        outcome.series.buckets.iter().flat_map(|bucket| &bucket.tries).copied().max().unwrap_or(0).max(1);
    let mut text = background(outcome, &time, height);
    for (place, backend) in outcome.backends.iter().take(rows).enumerate() {
        let y = TOP + row * place as f64;
        if row >= 10.0 || place % 4 == 0 {
            let _ = write!(
                text,
                "<text class=\"row\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + row / 2.0 + 4.0,
                Text(&short(&backend.name))
            );
        }
        // Neighbours that look alike are one cell.
        let shades: Vec<u32> =
            outcome.series.buckets.iter().map(|bucket| bucket.tries[place] * 20 / most).collect();
        let mut start = 0;
        for end in 1..=shades.len() {
            if end < shades.len() && shades[end] == shades[start] {
                continue;
            }
            let (from, to) = (start as f64, end as f64);
            let width = outcome.series.width as f64;
            if shades[start] > 0 {
                let _ = write!(
                    text,
                    "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\" opacity=\"{:.2}\"/>",
                    time.at(from * width),
                    time.at(to * width) - time.at(from * width),
                    row - 1.0,
                    COLOURS[0],
                    f64::from(shades[start]) / 20.0
                );
            }
            start = end;
        }
    }
    for mark in outcome.marks.iter().filter(|mark| (mark.backend as usize) < rows) {
        let (x, y) = (time.at(mark.at as f64), TOP + row * (f64::from(mark.backend) + 0.5) - 0.5);
        let size = (row / 3.0).min(4.0);
        let shape = match mark.change {
            Change::Ejected { .. } | Change::Down(_) => {
                format!(
                    "<path d=\"M{:.1} {:.1}l{size} {size}m0 -{size}l-{size} {size}\"",
                    x - size / 2.0,
                    y - size / 2.0
                )
            }
            _ => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\"", size / 2.0),
        };
        let _ = write!(
            text,
            "{shape} fill=\"none\" stroke=\"{}\" stroke-width=\"1.3\"><title>{}</title></{}>",
            COLOURS[1],
            Text(&format!("{}: balancer {}: {}", duration_text(mark.at as f64), mark.balancer, mark.change)),
            if shape.starts_with("<path") { "path" } else { "circle" }
        );
    }
    let left_out = outcome.backends.len() - rows;
    let note = if left_out > 0 {
        format!("<p>{left_out} further backends are left out.</p>")
    } else {
        String::new()
    };
    chart("tries at each backend over time", height, &text) + &note
}
