//! The sections of algorithms: `[pool.NAME.hash]`, `[pool.NAME.p2c]` and so on.

use alloc::{format, string::String};

use crate::config::{
    Algorithm, HashKey, Maglev, P2c, PeakEwma, Pool, Prequal, RingHash, bounds,
    key::{listed, quoted},
    read::{Node, Table},
    report::Finding,
};

/// Reads the algorithm and the sections that belong to it; the others are mistakes, for they would do
/// nothing.
pub(super) fn read(table: &mut Table<'_>, pool: &mut Pool) {
    use Algorithm as A;
    let written = table.get("algorithm").map(|node| node.word(&A::NAMED));
    pool.algorithm = written.flatten().unwrap_or(pool.algorithm);
    // Of an algorithm that could not be read nobody knows which sections it uses.
    let is_known = written != Some(None);
    let algorithm = pool.algorithm;
    let mut section = |name, users: &[Algorithm]| {
        let node = table.get(name)?;
        if is_known && !users.contains(&algorithm) {
            let names = A::NAMED.iter().filter(|(_, algorithm)| users.contains(algorithm));
            let names = listed(names.map(|(name, _)| quoted(name)));
            let which = if users.len() > 1 { "one of " } else { "" };
            let expected = format!("none, unless the algorithm is {which}{names}");
            let found = "a section that the pool's algorithm does not use";
            node.report(Finding::new(node.path.clone(), found, expected).at_key());
            return None;
        }
        Some(node)
    };
    let hash = section("hash", &[A::RingHash, A::Maglev, A::Rendezvous, A::JumpHash]).as_ref().and_then(hash);
    let p2c = section("p2c", &[A::P2c]).as_ref().and_then(p2c);
    let peak_ewma = section("peak_ewma", &[A::PeakEwma]).as_ref().and_then(peak_ewma);
    let ring_hash = section("ring_hash", &[A::RingHash]).as_ref().and_then(ring_hash);
    let maglev = section("maglev", &[A::Maglev]).as_ref().and_then(maglev);
    let prequal = section("prequal", &[A::Prequal]).as_ref().and_then(prequal);
    pool.prequal = prequal.unwrap_or_default();
    pool.hash = hash.unwrap_or_default();
    pool.p2c = p2c.unwrap_or_default();
    pool.peak_ewma = peak_ewma.unwrap_or_default();
    pool.ring_hash = ring_hash.unwrap_or_default();
    pool.maglev = maglev.unwrap_or_default();
}

/// What a hash key looks at.
#[derive(Clone, Copy)]
enum By {
    Whole(fn() -> HashKey),
    Named(fn(String) -> HashKey, &'static str),
}

const BY: [(&str, By); 5] = [
    ("client", By::Whole(|| HashKey::Client)),
    ("path", By::Whole(|| HashKey::Path)),
    ("header", By::Named(HashKey::Header, r#"the name of a field, such as name = "X-User""#)),
    ("cookie", By::Named(HashKey::Cookie, r#"the name of a cookie, such as name = "session""#)),
    ("query", By::Named(HashKey::Query, r#"the name of a parameter, such as name = "user""#)),
];

fn hash(node: &Node<'_>) -> Option<HashKey> {
    let mut table = node.table("a table: [pool.NAME.hash]")?;
    let by = table.required("by", r#"what to hash, such as by = "client""#);
    let by = by.and_then(|node| node.word(&BY));
    let key = match by {
        Some(By::Named(key, expected)) => {
            table.required("name", expected).and_then(|node| node.string(expected)).map(key)
        }
        Some(By::Whole(key)) => {
            if let Some(name) = table.get("name") {
                let named = "none: only a header, a cookie and a query parameter have a name here";
                name.report(name.wrong(named));
            }
            Some(key())
        }
        None => {
            table.get("name");
            None
        }
    };
    table.finish();
    key
}

fn p2c(node: &Node<'_>) -> Option<P2c> {
    let mut table = node.table("a table: [pool.NAME.p2c]")?;
    let mut p2c = P2c::default();
    table.set("choices", &mut p2c.choices, |node| node.integer(&bounds::CHOICES));
    table.finish();
    Some(p2c)
}

fn peak_ewma(node: &Node<'_>) -> Option<PeakEwma> {
    let mut table = node.table("a table: [pool.NAME.peak_ewma]")?;
    let mut ewma = PeakEwma::default();
    table.set("choices", &mut ewma.choices, |node| node.integer(&bounds::CHOICES));
    table.set("decay", &mut ewma.decay, |node| node.duration(&bounds::INTERVAL));
    table.set("error_latency", &mut ewma.error_latency, |node| node.duration(&bounds::TIMEOUT));
    table.set("reprobe", &mut ewma.reprobe, |node| node.duration(&bounds::INTERVAL));
    table.finish();
    Some(ewma)
}

fn ring_hash(node: &Node<'_>) -> Option<RingHash> {
    let mut table = node.table("a table: [pool.NAME.ring_hash]")?;
    let mut ring = RingHash::default();
    table.set("points", &mut ring.points, |node| node.integer(&bounds::RING_POINTS));
    table.set("balance_factor", &mut ring.balance_factor, balance_factor);
    table.finish();
    Some(ring)
}

fn maglev(node: &Node<'_>) -> Option<Maglev> {
    let mut table = node.table("a table: [pool.NAME.maglev]")?;
    let mut maglev = Maglev::default();
    table.set("table_size", &mut maglev.table_size, |node| node.integer(&bounds::MAGLEV_ENTRIES));
    table.set("balance_factor", &mut maglev.balance_factor, balance_factor);
    table.finish();
    Some(maglev)
}

fn prequal(node: &Node<'_>) -> Option<Prequal> {
    let mut table = node.table("a table: [pool.NAME.prequal]")?;
    let mut prequal = Prequal::default();
    table.set("path", &mut prequal.path, |node| node.string(r#"a path, such as "/load""#));
    table.set("timeout", &mut prequal.timeout, |node| node.duration(&bounds::TIMEOUT));
    table.set("probe_percent", &mut prequal.probe_percent, |node| node.integer(&bounds::PROBE_PERCENT));
    table.set("remove_percent", &mut prequal.remove_percent, |node| node.integer(&bounds::PERCENT));
    table.set("answers", &mut prequal.answers, |node| node.integer(&bounds::PROBE_ANSWERS));
    table.set("age", &mut prequal.age, |node| node.duration(&bounds::INTERVAL));
    table.set("hot_percent", &mut prequal.hot_percent, |node| node.integer(&bounds::PERCENT));
    table.finish();
    Some(prequal)
}

fn balance_factor(node: &Node<'_>) -> Option<Option<u32>> {
    node.integer(&bounds::BALANCE_PERCENT).map(Some)
}
