//! What a reload changes: the difference of two configurations, for the log and for whoever carries
//! state over.
//!
//! Pools go by their name: one that is in both is told by
//! [`Pool::reconfigure`](crate::pool::Pool::reconfigure) and keeps its endpoints' health, what is in
//! flight and who is ejected. Routes go by their name and have no state. Listeners go by their address:
//! one that is in both keeps its socket.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use crate::config::Config;

/// What is different in the later of two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// By name.
    pub pools: Names,
    /// By name.
    pub routes: Names,
    /// By address.
    pub listeners: Names,
    /// Whether anything beside these differs: workers, logs, the global firewall.
    pub other: bool,
}

/// Names of one kind of thing, sorted; those that did not change are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Only in the later one.
    pub added: Vec<String>,
    /// In both, with differences.
    pub changed: Vec<String>,
    /// Only in the earlier one.
    pub removed: Vec<String>,
}

impl Diff {
    /// From `old` to `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let routes = |config: &Config| {
            config.routes.iter().cloned().map(|route| (route.name.clone(), route)).collect()
        };
        let listeners = |config: &Config| {
            let listeners = config.listeners.iter().cloned();
            listeners.map(|listener| (listener.bind.to_string(), listener)).collect()
        };
        let other = (old.workers, old.shutdown_timeout, &old.access_log, &old.firewall)
            != (new.workers, new.shutdown_timeout, &new.access_log, &new.firewall);
        Self {
            pools: Names::between(&old.pools, &new.pools),
            routes: Names::between(&routes(old), &routes(new)),
            listeners: Names::between(&listeners(old), &listeners(new)),
            other,
        }
    }

    /// Whether the two are the same, the order of routes aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Names {
    fn between<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Self {
        let names = |map: &BTreeMap<String, T>, keep: &dyn Fn(&str, &T) -> bool| {
            map.iter().filter(|(name, value)| keep(name, value)).map(|(name, _)| name.clone()).collect()
        };
        Self {
            added: names(new, &|name, _| !old.contains_key(name)),
            changed: names(new, &|name, value| old.get(name).is_some_and(|before| before != value)),
            removed: names(old, &|name, _| !new.contains_key(name)),
        }
    }
}

/// One line: `pools +kiwi ~mango -apple; routes +kiwi`.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no changes");
        }
        let kinds = [("pools", &self.pools), ("routes", &self.routes), ("listeners", &self.listeners)];
        let mut separator = "";
        for (kind, names) in kinds.into_iter().filter(|(_, names)| **names != Names::default()) {
            write!(f, "{separator}{kind}{names}")?;
            separator = "; ";
        }
        if self.other {
            write!(f, "{separator}other settings")?;
        }
        Ok(())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sign, names) in [('+', &self.added), ('~', &self.changed), ('-', &self.removed)] {
            for name in names {
                write!(f, " {sign}{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Algorithm, Pool};

    fn config(pools: &[(&str, Algorithm)]) -> Config {
        let pools =
            pools.iter().map(|&(name, algorithm)| (name.to_string(), Pool { algorithm, ..Pool::default() }));
        Config { pools: pools.collect(), ..Config::default() }
    }

    #[test]
    fn pools_come_go_and_change() {
        let old = config(&[("apple", Algorithm::P2c), ("kiwi", Algorithm::P2c), ("mango", Algorithm::P2c)]);
        let new = config(&[("kiwi", Algorithm::P2c), ("mango", Algorithm::Random), ("plum", Algorithm::P2c)]);
        let new = Config { workers: Some(3), ..new };
        assert_eq!(Diff::between(&old, &new).to_string(), "pools +plum ~mango -apple; other settings");
        assert_eq!(Diff::between(&new, &new).to_string(), "no changes");
    }
}
