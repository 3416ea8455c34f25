//! Expectations.

use super::*;

pub(super) fn expectation(table: &mut Table<'_>, model: &Model, variants: &[Variant]) -> Option<Expectation> {
    let known = |node: &Node<'_>| -> Option<String> {
        let name = node.string("the name of a variant")?;
        if !variants.iter().any(|variant| variant.name == name) {
            let names: Vec<_> = variants.iter().map(|variant| variant.name.as_str()).collect();
            node.report(node.wrong(format!("one of {}", names.join(", "))));
        }
        Some(name)
    };
    let mut expectation = Expectation {
        about: String::new(),
        variants: Vec::new(),
        load: None,
        metric: Metric::Mean,
        bound: Bound::Never,
    };
    table.set("about", &mut expectation.about, |node| node.string("a text"));
    table.set("of", &mut expectation.variants, |node| node.one_or_more("names")?.iter().map(known).collect());
    table.set("load", &mut expectation.load, |node| node.number(&POSITIVE).map(Some));
    let kinds = [
        ("mean", Metric::Mean),
        ("p50", Metric::Quantile(0.5)),
        ("p90", Metric::Quantile(0.9)),
        ("p99", Metric::Quantile(0.99)),
        ("p999", Metric::Quantile(0.999)),
        ("errors", Metric::Errors),
        ("goodput", Metric::Goodput),
        ("amplification", Metric::Amplification),
        ("attempts", Metric::Attempts),
        ("max_to_mean", Metric::MaxToMean),
        ("share", Metric::Share { first: 0, last: 0 }),
        ("detected", Metric::Detected(0)),
        ("recovered", Metric::Recovered(0)),
        ("ejections", Metric::Ejections),
    ];
    let metric = table.required("metric", "what is expected").and_then(|node| node.word(&kinds))?;
    expectation.metric = metric;
    if let Metric::Share { .. } = metric {
        let node = table.required("backends", "whose share")?;
        let struck = places(&node, &model.backends)?;
        let (first, last) = (*struck.iter().min()?, *struck.iter().max()?);
        if (last - first) as usize >= struck.len() {
            node.report(node.wrong("backends that stand next to each other"));
        }
        expectation.metric = Metric::Share { first: first as usize, last: last as usize };
    } else if let Metric::Detected(_) | Metric::Recovered(_) = metric {
        let mut place = 0;
        table.set("fault", &mut place, |node| {
            node.integer(&(0..=model.faults.len().saturating_sub(1) as u32))
        });
        expectation.metric = match metric {
            Metric::Detected(_) => Metric::Detected(place as usize),
            _ => Metric::Recovered(place as usize),
        };
    }
    let than = table.get("than").and_then(|node| known(&node));
    let limit = |node: &Node<'_>| match node.as_str() {
        Some(_) if metric.is_time() && than.is_none() => time(node).map(|time| time.as_nanos() as f64),
        _ => node.number(&(0.0..=1e12)),
    };
    let (mut least, mut most, mut never) = (f64::NEG_INFINITY, f64::INFINITY, false);
    table.set("at_least", &mut least, limit);
    table.set("at_most", &mut most, limit);
    table.set("never", &mut never, Node::boolean);
    expectation.bound = match than {
        Some(than) => Bound::Relative { than, least: least.max(0.0), most },
        None if never => Bound::Never,
        None => Bound::Between(least, most),
    };
    Some(expectation)
}
