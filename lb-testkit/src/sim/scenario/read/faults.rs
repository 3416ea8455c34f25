//! Faults, and whom they strike.

use super::*;

pub(super) fn fault(table: &mut Table<'_>, backends: &[Backend]) -> Option<Fault> {
    let kinds = [
        "slow",
        "cold_start",
        "fail",
        "hang",
        "pause",
        "pauses",
        "down",
        "unreachable",
        "flap",
        "antagonist",
        "drain",
    ];
    let words: Vec<(&'static str, &'static str)> = kinds.iter().map(|&kind| (kind, kind)).collect();
    let kind = table.required("kind", "what goes wrong").and_then(|node| node.word(&words));
    let struck = table.required("backends", r#"whom it strikes, such as [0] or ["b0", "zone-a-*"]"#);
    let mut fault = Fault {
        backends: struck.and_then(|node| places(&node, backends)).unwrap_or_default(),
        from: Duration::ZERO,
        length: None,
        stagger: Duration::ZERO,
        trouble: Trouble::Pause,
    };
    table.set("from", &mut fault.from, time);
    table.set("for", &mut fault.length, |node| time(node).map(Some));
    table.set("stagger", &mut fault.stagger, time);
    let slower = |table: &mut Table<'_>| {
        let factor = table.required("factor", "how much slower, such as factor = 10");
        factor.and_then(|node| node.number(&(1.0..=1e6))).unwrap_or(1.0)
    };
    let required_time = |table: &mut Table<'_>, name, expected: &str| {
        table.required(name, expected).and_then(|node| time(&node)).unwrap_or(Duration::from_secs(1))
    };
    fault.trouble = match kind? {
        "slow" => Trouble::Slow { factor: slower(table) },
        "cold_start" => {
            if fault.length.is_none() {
                table.required("for", "how long it takes to be warm");
            }
            Trouble::ColdStart { factor: slower(table) }
        }
        "fail" => {
            let (mut share, mut status, mut after, mut seen_by_checks) = (1.0, 500, None, false);
            table.set("share", &mut share, |node| node.number(&SHARE));
            table.set("status", &mut status, |node| node.integer(&(500..=599)));
            table.set("after", &mut after, |node| time(node).map(Some));
            table.set("seen_by_checks", &mut seen_by_checks, Node::boolean);
            Trouble::Fail { share, status, after, seen_by_checks }
        }
        "hang" => Trouble::Hang,
        "pause" => Trouble::Pause,
        "pauses" => Trouble::Pauses {
            every: required_time(table, "every", "the mean time between pauses"),
            length: required_time(table, "length", "how long each is"),
        },
        "down" => Trouble::Down,
        "unreachable" => Trouble::Unreachable,
        "flap" => Trouble::Flap {
            down: required_time(table, "down", "how long it is down"),
            up: required_time(table, "up", "how long it is up"),
        },
        "antagonist" => {
            let factors = table.required("factors", "speeds, such as factors = [1, 0.5, 0.2]");
            let items =
                factors.as_ref().and_then(|node| node.items("an array of numbers")).unwrap_or_default();
            let read: Vec<f64> = items.iter().filter_map(|node| node.number(&(1e-3..=1e3))).collect();
            if let Some(node) = factors.filter(|_| items.len() < 2) {
                node.report(node.wrong("at least two numbers"));
            }
            Trouble::Antagonist {
                factors: read,
                dwell: required_time(table, "dwell", "the mean time at each"),
            }
        }
        _ => Trouble::Drain,
    };
    Some(fault)
}

/// Backends by place or by name; a `*` at the end stands for any rest.
pub(super) fn places(node: &Node<'_>, backends: &[Backend]) -> Option<Vec<u32>> {
    let mut places = Vec::new();
    for item in node.one_or_more("places and names of backends")? {
        let Some(name) = item.as_str() else {
            places.push(item.integer(&(0..=(backends.len().max(1) - 1) as u32))?);
            continue;
        };
        let fits = |backend: &Backend| match name.strip_suffix('*') {
            Some(start) => backend.name.starts_with(start),
            None => *backend.name == *name,
        };
        let before = places.len();
        places.extend((0..).zip(backends).filter(|(_, backend)| fits(backend)).map(|(place, _)| place));
        if places.len() == before {
            item.report(item.wrong("the name of a backend"));
        }
    }
    Some(places)
}
