//! Laws of times.

use super::*;

pub(super) fn law(node: &Node<'_>) -> Option<Law> {
    #[derive(Clone, Copy)]
    enum Kind {
        Fixed,
        Exponential,
        Erlang,
        HyperExponential,
        LogNormal,
        Pareto,
        Empirical,
    }
    let kinds = [
        ("fixed", Kind::Fixed),
        ("exponential", Kind::Exponential),
        ("erlang", Kind::Erlang),
        ("hyper_exponential", Kind::HyperExponential),
        ("log_normal", Kind::LogNormal),
        ("pareto", Kind::Pareto),
        ("empirical", Kind::Empirical),
    ];
    if node.as_str().is_some() {
        return time(node).map(|time| Law::exponential(time.as_nanos() as f64));
    }
    let mut table = node.table(
        r#"a mean such as "20ms", or a table such as { law = "log_normal", mean = "20ms", cv = 1 }"#,
    )?;
    let mut kind = Kind::Exponential;
    table.set("law", &mut kind, |node| node.word(&kinds));
    let law = if let Kind::Empirical = kind {
        let cells = table.required("cells", r#"an array such as [{ up_to = "10ms", count = 5 }]"#)?;
        let read = cells.items("an array of tables")?.iter().map(cell).collect::<Option<Vec<_>>>()?;
        let law = Law::empirical(&read);
        if law.is_none() {
            cells.report(cells.wrong("cells that rise, with a count above 0"));
        }
        law
    } else {
        let mean = table.required("mean", r#"a mean, such as mean = "20ms""#).and_then(|node| time(&node));
        let mean = mean.unwrap_or_default().as_nanos() as f64;
        Some(match kind {
            Kind::Fixed | Kind::Empirical => Law::fixed(mean as u64),
            Kind::Exponential => Law::exponential(mean),
            Kind::Erlang => {
                let mut phases = 2;
                table.set("phases", &mut phases, |node| node.integer(&(1..=10_000)));
                Law::erlang(mean, phases)
            }
            Kind::HyperExponential => {
                let mut cv = 2.0;
                table.set("cv", &mut cv, |node| node.number(&(1.0..=1000.0)));
                Law::balanced_hyper_exponential(mean, cv * cv)
            }
            Kind::LogNormal => {
                let mut cv = 1.0;
                table.set("cv", &mut cv, |node| node.number(&(0.0..=1000.0)));
                Law::log_normal(mean, cv)
            }
            Kind::Pareto => {
                let mut shape = 2.5;
                table.set("shape", &mut shape, |node| node.number(&(1.001..=1000.0)));
                Law::pareto(mean, shape)
            }
        })
    };
    table.finish();
    law
}

fn cell(node: &Node<'_>) -> Option<(u64, u64)> {
    let mut table = node.table(r#"a table such as { up_to = "10ms", count = 5 }"#)?;
    let up_to = table.required("up_to", "where the cell ends").and_then(|node| time(&node));
    let count = table.required("count", "how often").and_then(|node| node.integer(&(0..=1u64 << 40)));
    table.finish();
    Some((lb_core::time::nanos(up_to?), count?))
}
