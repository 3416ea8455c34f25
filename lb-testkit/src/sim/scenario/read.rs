//! Reading a scenario, key by key.

use std::{sync::Arc, time::Duration};

use lb_core::config::{
    Algorithm, Config, Pool,
    reading::{Node, Table, pool_without_backends},
};

use super::{
    super::{Arrivals, Backend, Client, Discipline, Fault, Gaps, Keys, Law, Model, Trouble},
    Bound, Expectation, Metric, SEEDS, Scenario, Variant, Wanted, backends_of, duration,
};

/// Gives the text of a file that a scenario names.
pub(super) type Open<'a> = &'a dyn Fn(&str) -> Result<String, String>;

const DURATION: &str = r#"a duration such as "20ms", "0.5ms" or "90s""#;
const POSITIVE: std::ops::RangeInclusive<f64> = 1e-9..=1e12;
const SHARE: std::ops::RangeInclusive<f64> = 0.0..=1.0;
const FACTOR: std::ops::RangeInclusive<f64> = 0.0..=1e6;
const COUNT: std::ops::RangeInclusive<u32> = 1..=1_000_000;
const COUNT_OR_NONE: std::ops::RangeInclusive<u32> = 0..=1_000_000_000;
const BACKENDS_MAX: usize = 65_536;

pub(super) fn scenario(table: &mut Table<'_>, open: Open<'_>) -> Scenario {
    let mut model = Model::new(Vec::new());
    let mut scenario = Scenario {
        name: "simulation".into(),
        about: String::new(),
        model: model.clone(),
        variants: Vec::new(),
        loads: Vec::new(),
        seeds: SEEDS,
        expectations: Vec::new(),
    };
    table.set("name", &mut scenario.name, |node| node.string("a name"));
    table.set("about", &mut scenario.about, |node| node.string("a text"));
    table.set("seeds", &mut scenario.seeds, |node| node.integer(&(1..=100_000)));
    table.set("duration", &mut model.duration, time);
    table.set("warmup", &mut model.warmup, time);
    table.set("slo", &mut model.slo, time);
    table.set("deadline", &mut model.deadline, time);
    table.set("idempotent", &mut model.idempotent, Node::boolean);
    table.set("balancers", &mut model.balancers, |node| node.integer(&(1..=10_000)));
    table.set("service", &mut model.service, law);
    table.set("client", &mut model.client, client);
    table.set("keys", &mut model.keys, |node| keys(node).map(Some));
    configuration(table, &mut model, open);
    if let Some(node) = table.get("backend") {
        backends(&node, &mut model);
    }
    if model.backends.is_empty()
        && let Some(node) =
            table.required("backend", "at least one section [[backend]], or config = \"lb.toml\"")
    {
        node.report(node.wrong("at least one section [[backend]]"));
    }
    if let Some(node) =
        table.required("arrivals", r#"a section [arrivals], such as arrivals = { rate = 500 }"#)
    {
        (model.arrivals, scenario.loads) =
            arrivals(&node, open).unwrap_or((Arrivals::poisson(0.0), Vec::new()));
    }
    if let Some(node) = table.get("fault") {
        model.faults = sections(&node, "fault", |table| fault(table, &model.backends));
    }
    scenario.variants = variants(table, &model.pool);
    if let Some(node) = table.get("expect") {
        scenario.expectations =
            sections(&node, "expect", |table| expectation(table, &model, &scenario.variants));
    }
    if model.warmup >= model.duration
        && let Some(node) = table.get("warmup").or_else(|| table.get("duration"))
    {
        node.report(node.wrong("a warm-up shorter than the duration"));
    }
    scenario.model = model;
    scenario
}

/// `config` and `pool`: where the balancer's settings come from.
fn configuration(table: &mut Table<'_>, model: &mut Model, open: Open<'_>) {
    let pool = table.get("pool");
    let Some(file) = table.get("config") else {
        if let Some(settings) = pool.as_ref().and_then(pool_without_backends) {
            model.pool = settings;
        }
        return;
    };
    let Some(name) = file.string("the name of a configuration") else { return };
    let text = match open(&name) {
        Ok(text) => text,
        Err(error) => return file.report(file.wrong(format!("a file that can be read ({error})"))),
    };
    let config = match Config::load(&text) {
        Ok(config) => config,
        Err(problems) => {
            let first = problems.list.first().map(ToString::to_string).unwrap_or_default();
            return file.report(file.wrong(format!("a valid configuration ({first})")));
        }
    };
    let wanted = match pool.as_ref().map(|node| node.string("the name of a pool of the configuration")) {
        None => None,
        Some(None) => return,
        Some(name) => name,
    };
    match wanted.as_deref().map_or(Wanted::First, Wanted::Pool).find(&config) {
        Ok((found, timeout)) => {
            model.backends = backends_of(found);
            model.pool = found.clone();
            model.deadline = timeout.unwrap_or(model.deadline);
        }
        Err(error) => file.report(file.wrong(format!("a configuration with that pool ({error})"))),
    }
}

/// With a configuration one section speaks of all its backends; else each adds `count` of them.
fn backends(node: &Node<'_>, model: &mut Model) {
    let configured = std::mem::take(&mut model.backends);
    let groups = sections(node, "backend", |table| {
        let mut backend = Backend::new("b");
        let mut name = String::from("b");
        let mut count = 1;
        if configured.is_empty() {
            table.set("name", &mut name, |node| node.string("a name"));
            table.set("count", &mut count, |node| node.integer(&COUNT));
            table.set("weight", &mut backend.weight, |node| node.integer(&(0..=1_000_000)));
            table.set("priority", &mut backend.priority, |node| node.integer(&(0..=1000)));
            table.set("max_in_flight", &mut backend.max_in_flight, |node| {
                node.integer(&COUNT_OR_NONE).map(Some)
            });
        }
        table.set("slots", &mut backend.slots, |node| node.integer(&COUNT));
        table.set("discipline", &mut backend.discipline, |node| {
            node.word(&[("fifo", Discipline::Fifo), ("sharing", Discipline::Sharing)])
        });
        table.set("speed", &mut backend.speed, |node| node.number(&(1e-3..=1e3)));
        table.set("latency", &mut backend.latency, time);
        table.set("queue", &mut backend.queue, |node| node.integer(&COUNT_OR_NONE).map(Some));
        table.set("connections", &mut backend.connections, |node| node.integer(&COUNT_OR_NONE).map(Some));
        table.set("service", &mut backend.service, |node| law(node).map(Some));
        Some((name, count, backend))
    });
    if configured.is_empty() {
        for (name, count, backend) in groups {
            for index in 0..count {
                let name = if count == 1 { name.clone() } else { format!("{name}{index}") };
                model.backends.push(Backend { name: name.into(), ..backend.clone() });
            }
        }
        if model.backends.len() > BACKENDS_MAX {
            node.report(node.wrong(format!("at most {BACKENDS_MAX} backends")));
            model.backends.truncate(BACKENDS_MAX);
        }
        if let Err(twice) = super::super::balancer::names_are_unique(&model.backends) {
            node.report(node.wrong(format!("sections with names of their own: two are called {twice}")));
        }
    } else if let [(_, _, all)] = groups.as_slice() {
        let backend = |one: &Backend| Backend {
            name: one.name.clone(),
            weight: one.weight,
            priority: one.priority,
            max_in_flight: one.max_in_flight,
            ..all.clone()
        };
        model.backends = configured.iter().map(backend).collect();
    } else {
        node.report(node.wrong("one section [[backend]], which speaks of all backends of the configuration"));
        model.backends = configured;
    }
}

fn client(node: &Node<'_>) -> Option<Client> {
    let mut table = node.table("a table: [client]")?;
    let mut client = Client::default();
    table.set("timeout", &mut client.timeout, |node| time(node).map(Some));
    table.set("retries", &mut client.retries, |node| node.integer(&(0..=1000)));
    table.set("backoff", &mut client.backoff, time);
    table.set("patience", &mut client.patience, |node| law(node).map(Some));
    table.set("abandoned_work", &mut client.abandoned_work, Node::boolean);
    table.finish();
    Some(client)
}

fn keys(node: &Node<'_>) -> Option<Keys> {
    let mut table = node.table("a table such as { count = 10000, skew = 1.1 }")?;
    let count = table.required("count", "how many keys").and_then(|node| node.integer(&COUNT));
    let mut skew = 0.0;
    table.set("skew", &mut skew, |node| node.number(&(0.0..=10.0)));
    table.finish();
    Some(Keys { count: count?, skew })
}

/// The process, and the loads if there are several or the rate is given as one.
fn arrivals(node: &Node<'_>, open: Open<'_>) -> Option<(Arrivals, Vec<f64>)> {
    #[derive(Clone, Copy)]
    enum Kind {
        Open(Gaps),
        Bursts,
        Closed,
        Trace,
    }
    let kinds = [
        ("poisson", Kind::Open(Gaps::Poisson)),
        ("even", Kind::Open(Gaps::Even)),
        ("bursts", Kind::Bursts),
        ("closed", Kind::Closed),
        ("trace", Kind::Trace),
    ];
    let mut table = node.table("a table: [arrivals]")?;
    let mut kind = Kind::Open(Gaps::Poisson);
    table.set("kind", &mut kind, |node| node.word(&kinds));
    let mut loads = Vec::new();
    let arrivals = match kind {
        Kind::Open(gaps) => {
            let mut profile = Vec::new();
            if let Some(node) = table.get("load") {
                let numbers = node.one_or_more("a number, or several")?;
                loads = numbers.iter().filter_map(|node| node.number(&(1e-6..=1e3))).collect();
            }
            let rate = match loads.is_empty() {
                true => table.required("rate", "a rate, such as rate = 500, or a load, such as load = 0.7"),
                false => None,
            };
            table.set("profile", &mut profile, |node| {
                let points = node.items(r#"an array such as [{ at = "60s", factor = 1.5 }]"#)?;
                points.iter().map(point).collect()
            });
            if !profile.is_sorted_by_key(|point: &(Duration, f64)| point.0) {
                node.report(node.wrong("a profile whose points are in the order of time"));
            }
            let rate = rate.and_then(|node| node.number(&POSITIVE)).unwrap_or(0.0);
            Arrivals::Open { gaps, rate, profile }
        }
        Kind::Bursts => {
            let every = table.required("every", "from one burst to the next").and_then(|node| time(&node));
            let size = table.required("size", "requests of each").and_then(|node| node.integer(&COUNT));
            Arrivals::Bursts { every: every.unwrap_or(Duration::from_secs(1)), size: size.unwrap_or(1) }
        }
        Kind::Closed => {
            let users = table.required("users", "how many users").and_then(|node| node.integer(&COUNT));
            let mut think = Law::fixed(0);
            table.set("think", &mut think, law);
            Arrivals::Closed { users: users.unwrap_or(1), think }
        }
        Kind::Trace => {
            let times =
                table.required("file", "the name of a file of times").and_then(|node| trace(&node, open));
            Arrivals::Trace(times.unwrap_or_default())
        }
    };
    table.finish();
    Some((arrivals, loads))
}

fn point(node: &Node<'_>) -> Option<(Duration, f64)> {
    let mut table = node.table(r#"a table such as { at = "60s", factor = 1.5 }"#)?;
    let at = table.required("at", "a time").and_then(|node| time(&node));
    let factor = table.required("factor", "a factor").and_then(|node| node.number(&FACTOR));
    table.finish();
    Some((at?, factor?))
}

/// A file of times: seconds from the start, one a line, in rising order. Empty lines and what follows a `#`
/// say nothing.
fn trace(node: &Node<'_>, open: Open<'_>) -> Option<Arc<[u64]>> {
    let text = match open(&node.string("the name of a file")?) {
        Ok(text) => text,
        Err(error) => {
            node.report(node.wrong(format!("a file that can be read ({error})")));
            return None;
        }
    };
    let lines = (1..)
        .zip(text.lines())
        .map(|(number, line): (usize, &str)| (number, line.split('#').next().unwrap_or("").trim()));
    let mut times = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let seconds = line.parse().ok().filter(|seconds: &f64| (0.0..1e9).contains(seconds));
        let nanos = seconds.map(|seconds| (seconds * 1e9).round() as u64);
        match nanos.filter(|nanos| times.last().is_none_or(|last| nanos >= last)) {
            Some(nanos) => times.push(nanos),
            None => {
                let expected = format!("a file of seconds in rising order, one a line; line {number} is not");
                node.report(node.wrong(expected));
                return None;
            }
        }
    }
    Some(times.into())
}

fn law(node: &Node<'_>) -> Option<Law> {
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

fn fault(table: &mut Table<'_>, backends: &[Backend]) -> Option<Fault> {
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
fn places(node: &Node<'_>, backends: &[Backend]) -> Option<Vec<u32>> {
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

fn variants(table: &mut Table<'_>, pool: &Pool) -> Vec<Variant> {
    let mut variants = Vec::new();
    if let Some(node) = table.get("algorithms") {
        for item in node.items("an array of algorithms").unwrap_or_default() {
            if let (Some(algorithm), Some(name)) = (item.word(&Algorithm::NAMED), item.as_str()) {
                variants.push(Variant { name: name.into(), pool: Pool { algorithm, ..pool.clone() } });
            }
        }
    }
    if let Some(node) = table.get("variant") {
        variants.extend(sections(&node, "variant", |table| {
            let name = table.required("name", "a name").and_then(|node| node.string("a name"));
            let settings = table.required("pool", "settings, as in [pool]");
            let pool = settings.as_ref().and_then(pool_without_backends);
            Some(Variant { name: name?, pool: pool? })
        }));
    }
    if variants.is_empty() {
        variants.push(Variant { name: "as configured".into(), pool: pool.clone() });
    }
    variants
}

fn expectation(table: &mut Table<'_>, model: &Model, variants: &[Variant]) -> Option<Expectation> {
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

/// An array of tables; those that cannot be read are left out, as they are problems.
fn sections<T>(node: &Node<'_>, name: &str, mut read: impl FnMut(&mut Table<'_>) -> Option<T>) -> Vec<T> {
    let expected = format!("sections that begin with [[{name}]]");
    let section = |node: &Node<'_>| {
        let mut table = node.table(&expected)?;
        let value = read(&mut table);
        table.finish();
        value
    };
    node.items(&expected).unwrap_or_default().iter().filter_map(section).collect()
}

fn time(node: &Node<'_>) -> Option<Duration> {
    let time = node.as_str().and_then(duration);
    if time.is_none() {
        node.report(node.wrong(DURATION));
    }
    time
}
