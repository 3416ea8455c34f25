//! Which behaviour meets which request.

use std::collections::{BTreeMap, VecDeque};

use crate::{Behaviour, End, Head, OnAccept};

/// The behaviours in force, from the most to the least particular: the next requests, a path, health
/// checks or traffic.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) on_accept: OnAccept,
    pub(super) next: VecDeque<Behaviour>,
    pub(super) traffic: Behaviour,
    pub(super) health: Behaviour,
    pub(super) close_after: Option<(u64, bool)>,
    pub(super) health_paths: Vec<String>,
    paths: BTreeMap<String, Behaviour>,
}

impl Rules {
    pub(super) fn new(health_paths: Vec<String>) -> Self {
        Self {
            on_accept: OnAccept::Serve,
            next: VecDeque::new(),
            traffic: Behaviour::own(),
            health: Behaviour::own(),
            close_after: None,
            health_paths,
            paths: BTreeMap::new(),
        }
    }

    /// One behaviour for everything.
    pub(super) fn of(behaviour: Behaviour, before: &Self) -> Self {
        let health_paths = before.health_paths.clone();
        Self { traffic: behaviour.clone(), health: behaviour, ..Self::new(health_paths) }
    }

    pub(super) fn set_path(&mut self, path: &str, behaviour: Behaviour) {
        self.paths.insert(path.to_owned(), behaviour);
    }

    /// Whether this, the `nth` request of its connection, is a health check, and what to do with it.
    pub(super) fn choose(&mut self, head: &Head, nth: u64) -> (bool, Behaviour) {
        let path = head.word(1).split('?').next().unwrap_or_default();
        let is_health = self.health_paths.iter().any(|other| other == path);
        let next = if is_health { None } else { self.next.pop_front() };
        let mut behaviour = next.unwrap_or_else(|| {
            let default = if is_health { &self.health } else { &self.traffic };
            self.paths.get(path).unwrap_or(default).clone()
        });
        if let Some((requests, announced)) = self.close_after
            && nth + 1 >= requests
            && behaviour.end == End::Keep
        {
            behaviour.end = if announced { End::Announce } else { End::Close };
        }
        (is_health, behaviour)
    }
}
