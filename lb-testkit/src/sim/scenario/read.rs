//! Reading a scenario, key by key.

mod expectations;
mod faults;
mod laws;

use std::{sync::Arc, time::Duration};

use lb_core::config::{
    Algorithm, Config, Pool,
    reading::{Node, Table, pool_without_backends},
};

use super::{
    super::{Arrivals, Backend, Client, Discipline, Fault, Gaps, Keys, Law, Model, Trouble},
    Bound, Expectation, Metric, SEEDS, Scenario, Variant, Wanted, backends_of, duration,
};

use self::{
    expectations::expectation,
    faults::{fault, places},
    laws::law,
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
        rank: Metric::Quantile(0.99),
        expectations: Vec::new(),
    };
    table.set("name", &mut scenario.name, |node| node.string("a name"));
    table.set("about", &mut scenario.about, |node| node.string("a text"));
    table.set("seeds", &mut scenario.seeds, |node| node.integer(&(1..=100_000)));
    table.set("rank", &mut scenario.rank, |node| node.word(&Metric::RANKS));
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
