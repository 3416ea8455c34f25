//! A bar chart as SVG, light and dark.

use std::fmt::Write;

use super::measure::{Results, Sample, Spread};

const WIDTH: usize = 760;
const LEFT: usize = 110;
const RIGHT: usize = 130;
const TOP: usize = 76;
const BAR: usize = 15;
/// Of the caption.
const LINE: usize = 15;
const GROUP_GAP: usize = 14;
/// Bars longer than this are cut; the figure beside them tells.
const RATIO_MAX: f64 = 2.0;
const COLOURS: [(&str, &str); 4] =
    [("lb", "#d9480f"), ("nginx", "#2f9e44"), ("haproxy", "#1971c2"), ("caddy", "#868e96")];
const OTHER: &str = "#ae3ec9";

/// CPU time for each request over that of nginx, one group of bars a scenario.
pub(super) fn cpu(results: &[Results], caption: &[&str]) -> String {
    let groups: Vec<(String, Vec<Bar>)> =
        results.iter().map(|results| (results.scenario.name(), bars(results))).collect();
    let height: usize = groups.iter().map(|(_, bars)| bars.len() * BAR + GROUP_GAP).sum::<usize>();
    let height = height + TOP + 18 + LINE * caption.len();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>CPU time for each request, nginx = 1</title>\n\
         <style>\ntext {{ fill: #212529 }} .quiet {{ fill: #6c757d }} .paper {{ fill: #ffffff }} \
         .line {{ stroke: #adb5bd }} .spread {{ stroke: #212529 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e9ecef }} .quiet {{ fill: #adb5bd }} \
         .paper {{ fill: #16181b }} .line {{ stroke: #495057 }} .spread {{ stroke: #e9ecef }} }}\n</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\">CPU time for each request, nginx = 1 \
         (shorter is better)</text>\n"
    );
    legend(&mut out, &groups);
    axis(&mut out, height - 14 - LINE * caption.len());
    let mut y = TOP;
    for (name, bars) in &groups {
        let middle = y + bars.len() * BAR / 2 + 4;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            LEFT - 10,
            escape(name)
        );
        for bar in bars {
            bar.draw(&mut out, y);
            y += BAR;
        }
        y += GROUP_GAP;
    }
    for (line, from_end) in caption.iter().zip((0..caption.len()).rev()) {
        let _ = writeln!(
            out,
            "<text class=\"quiet\" x=\"16\" y=\"{}\" font-size=\"11\">{}</text>",
            height - 10 - from_end * LINE,
            escape(line)
        );
    }
    out.push_str("</svg>\n");
    out
}

struct Bar {
    name: String,
    ratio: Spread,
}

fn bars(results: &Results) -> Vec<Bar> {
    let Some(nginx) = results.of("nginx") else { return Vec::new() };
    let bar = |series: &super::measure::Series| {
        let ratio = series.ratio(nginx, Sample::cpu_us)?;
        Some(Bar { name: series.name.clone(), ratio })
    };
    results.series.iter().filter_map(bar).collect()
}

impl Bar {
    fn draw(&self, out: &mut String, y: usize) {
        let length = x_of(self.ratio.median) - LEFT as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\" fill=\"{}\"/>",
            y + 1,
            BAR - 3,
            colour(&self.name)
        );
        let (low, high) = (x_of(self.ratio.min), x_of(self.ratio.max));
        let middle = y as f64 + BAR as f64 / 2.0 - 0.5;
        if high > low {
            let _ = writeln!(
                out,
                "<line class=\"spread\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
            );
        }
        let cut = if self.ratio.median > RATIO_MAX { " (bar cut)" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" font-size=\"11\">{:.2}{cut}</text>",
            high.max(LEFT as f64 + length) + 6.0,
            y + BAR - 4,
            self.ratio.median
        );
    }
}

/// Where a ratio lies; never beyond the end of the scale.
fn x_of(ratio: f64) -> f64 {
    let scale = (WIDTH - LEFT - RIGHT) as f64 / RATIO_MAX;
    LEFT as f64 + ratio.clamp(0.0, RATIO_MAX) * scale
}

fn legend(out: &mut String, groups: &[(String, Vec<Bar>)]) {
    let mut names: Vec<&str> = Vec::new();
    for bar in groups.iter().flat_map(|(_, bars)| bars) {
        if !names.contains(&bar.name.as_str()) {
            names.push(&bar.name);
        }
    }
    for (index, name) in names.iter().enumerate() {
        let x = LEFT + index * 110;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"38\" width=\"11\" height=\"11\" rx=\"2\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"48\">{}</text>",
            colour(name),
            x + 16,
            escape(name)
        );
    }
}

fn axis(out: &mut String, bottom: usize) {
    for ratio in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let x = x_of(ratio);
        let dash = if ratio == 1.0 { "" } else { " stroke-dasharray=\"2 3\"" };
        let _ = writeln!(
            out,
            "<line class=\"line\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"{dash}/>\
             <text class=\"quiet\" x=\"{x:.1}\" y=\"{}\" font-size=\"11\" text-anchor=\"middle\">{ratio}</text>",
            TOP - 4,
            bottom,
            TOP - 8
        );
    }
}

fn colour(name: &str) -> &'static str {
    COLOURS.iter().find(|(known, _)| *known == name).map_or(OTHER, |(_, colour)| colour)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{measure::Series, scenario::Scenario},
        *,
    };

    #[test]
    fn long_bars_are_cut_and_their_figures_kept() {
        let series = |name: &str, user_us| Series {
            name: name.into(),
            samples: vec![Sample { user_us, ..Sample::default() }],
            peak_kib: 0,
        };
        let series = vec![series("lb", 8.0), series("nginx", 10.0), series("a<b", 57.0)];
        let results = Results { scenario: Scenario::Small64, series, direct: None };
        let svg = cpu(&[results], &["here & now", "on it"]);
        for part in [">0.80</text>", ">5.70 (bar cut)</text>", "a&lt;b", "here &amp; now", "</svg>"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
