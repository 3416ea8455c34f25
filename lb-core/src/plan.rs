//! What a configuration compiles to, and the first decision on a request: forward or refuse.

use alloc::{borrow::Cow, sync::Arc, vec::Vec};

use crate::{
    config::{self, Config, HeaderEdits, RateLimit, Valid},
    firewall::{Firewall, FirewallList, Judged},
    hash::hash,
    hash_key, host,
    path::{self, Certain, Doubt, Reading},
    reason::Reason,
    request::RequestView,
    rewrite::RequestRewrite,
    route::{Conditions, Form, Index},
    time::Duration,
};

mod recorder;
#[cfg(test)]
mod tests;

pub use recorder::{Event, Recorder, Silent};

pub use crate::route::{Lost, RouteId};

/// The place of a pool in its [`Plan`]. Pools are ordered by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// A configuration made ready: ids in place of names, tables in place of lists. Immutable, and meant to
/// be shared by all threads.
#[derive(Clone, Debug)]
pub struct Plan {
    pools: Vec<PoolPlan>,
    routes: Vec<RoutePlan>,
    index: Index,
    /// The routes by readings of their paths; there only if a route has a firewall.
    loose_index: Option<Index>,
    firewall: Option<Firewall>,
}

/// A pool of a plan.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// Unique.
    pub name: Arc<str>,
    /// As configured.
    pub config: config::Pool,
}

/// A route of a plan.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Unique.
    pub name: Arc<str>,
    /// Where its requests go.
    pub pool: PoolId,
    /// For the whole request: all tries and both bodies included.
    pub timeout: Option<Duration>,
    /// To be asked of a [`crate::limiter::Limiter`] before the request goes on.
    pub rate_limit: Option<RateLimit>,
    /// The key of `rate_limit`; depends on the route's name only, so that it outlives a reload.
    pub limiter_key: u64,
    /// What becomes of the request.
    pub request: RequestRewrite,
    /// What becomes of the response.
    pub response: HeaderEdits,
    conditions: Conditions,
    firewall: Option<Firewall>,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Let it go this way.
    Forward {
        /// The route that it takes.
        route: RouteId,
        /// The path that was judged: in normal form (or `*`). Only this one may be forwarded.
        path: Cow<'a, str>,
    },
    /// Answer it here.
    Refuse {
        /// [`Reason::MalformedRequest`], [`Reason::MethodNotImplemented`], [`Reason::FirewallGlobal`],
        /// [`Reason::FirewallRoute`] or [`Reason::NoRoute`].
        reason: Reason,
        /// The route that it would take; for [`Reason::FirewallRoute`] the one whose firewall refused,
        /// which may be another one that a backend could be led to by the same path.
        route: Option<RouteId>,
    },
}

impl Plan {
    /// Compiles a configuration.
    #[must_use]
    pub fn compile(valid: &Valid) -> Self {
        Self::of(valid)
    }

    fn of(config: &Config) -> Self {
        let pools: Vec<PoolPlan> = config
            .pools
            .iter()
            .map(|(name, pool)| PoolPlan { name: name.as_str().into(), config: pool.clone() })
            .collect();
        let routes: Vec<RoutePlan> =
            config.routes.iter().map(|route| RoutePlan::compile(route, &pools)).collect();
        let index = |form| Index::new(routes.iter().map(|route| &route.conditions), form);
        Self {
            index: index(Form::Normal),
            loose_index: routes.iter().any(|route| route.firewall.is_some()).then(|| index(Form::Loose)),
            firewall: Firewall::compile(&config.firewall),
            pools,
            routes,
        }
    }

    /// Judges a request: normalises its host and path, asks the global firewall, finds the route and
    /// asks that one's firewall. Rate limits are asked by the caller, as they change with each request.
    #[must_use]
    pub fn decide<'a>(&self, view: &RequestView<'a>) -> Decision<'a> {
        self.decide_with(view, &mut Silent)
    }

    /// The same decision, telling `recorder` how it comes about.
    #[must_use]
    pub fn decide_with<'a, R: Recorder>(&self, view: &RequestView<'a>, recorder: &mut R) -> Decision<'a> {
        let refuse = |reason, route| Decision::Refuse { reason, route };
        if view.method == "CONNECT" {
            return refuse(Reason::MethodNotImplemented, None);
        }
        let Some((host, path)) = normalise(view, recorder) else {
            return refuse(Reason::MalformedRequest, None);
        };
        let reading = self.reading(&path);
        let judged = Judged { view, path: &path, reading: reading.as_ref() };
        if let Some(Err(list)) = self.firewall.as_ref().map(|firewall| firewall.judge(&judged)) {
            recorder.event(Event::Refused { route: None, list });
            return refuse(Reason::FirewallGlobal, None);
        }
        let route = self.find(&self.index, host.as_deref(), path.as_bytes(), view);
        if R::RECORDS {
            self.record_routes(route, host.as_deref(), &path, view, recorder);
        }
        let Some(route) = route else {
            return refuse(Reason::NoRoute, None);
        };
        if let Err((route, list)) = self.judge_routes(route, host.as_deref(), &judged) {
            recorder.event(Event::Refused { route: Some(route), list });
            return refuse(Reason::FirewallRoute, Some(route));
        }
        if reading.is_some_and(|reading| reading.dots) {
            recorder.event(Event::HiddenDots);
            return refuse(Reason::MalformedRequest, Some(route));
        }
        Decision::Forward { route, path }
    }

    /// How else the path may be read, if that matters: rules are to hold for it, or it hides dot
    /// segments, which only [`Doubt::Structure`] can do.
    fn reading(&self, path: &str) -> Option<Reading> {
        let judges = self.loose_index.is_some() || self.firewall.as_ref().is_some_and(Firewall::judges_paths);
        let least = if judges { Doubt::Characters } else { Doubt::Structure };
        (path::doubt(path) >= least).then(|| Reading::of(path))
    }

    fn find(
        &self,
        index: &Index,
        host: Option<&str>,
        path: &[u8],
        view: &RequestView<'_>,
    ) -> Option<RouteId> {
        index.find(host, path, |id| self.route(id).conditions.mismatch(view).is_none())
    }

    /// A request must pass the firewall of its route, and of every route that it would take if its path
    /// were read in another way: a backend that reads it so must not be reached around that firewall.
    fn judge_routes(
        &self,
        route: RouteId,
        host: Option<&str>,
        judged: &Judged<'_>,
    ) -> Result<(), (RouteId, FirewallList)> {
        let judge = |id: RouteId| match &self.route(id).firewall {
            Some(firewall) => firewall.judge(judged).map_err(|list| (id, list)),
            None => Ok(()),
        };
        judge(route)?;
        let (Some(index), Some(reading)) = (&self.loose_index, judged.reading) else { return Ok(()) };
        match reading.certain() {
            Certain::All(path) => self.find(index, host, path, judged.view).map_or(Ok(()), judge),
            Certain::Beginning(path) => {
                let matching = |id: &RouteId| self.route(*id).conditions.mismatch(judged.view).is_none();
                index.compatible(host, path).filter(matching).try_for_each(judge)
            }
        }
    }

    fn record_routes<R: Recorder>(
        &self,
        taken: Option<RouteId>,
        host: Option<&str>,
        path: &str,
        view: &RequestView<'_>,
        recorder: &mut R,
    ) {
        for (id, route) in (0..).map(RouteId).zip(&self.routes) {
            if taken == Some(id) {
                recorder.event(Event::Taken { route: id });
            } else {
                recorder.event(Event::Lost { route: id, why: route.conditions.lost(host, path, view) });
            }
        }
    }

    /// What the pool of a route places this request by; none if its algorithm has no use for a key, or the
    /// request has none. `path` is that of [`Decision::Forward`].
    ///
    /// # Panics
    /// If another plan gave the id.
    #[must_use]
    pub fn key(&self, route: RouteId, view: &RequestView<'_>, path: &str) -> Option<u64> {
        let config = &self.pool(self.route(route).pool).config;
        if config.algorithm.hashes() { hash_key::of(&config.hash, view, path) } else { None }
    }

    /// The route of an id that this plan gave.
    ///
    /// # Panics
    /// If another plan gave it.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &RoutePlan {
        &self.routes[id.index()]
    }

    /// All routes, in file order; [`RouteId`] is the place.
    #[must_use]
    pub fn routes(&self) -> &[RoutePlan] {
        &self.routes
    }

    /// The pool of an id that this plan gave.
    ///
    /// # Panics
    /// If another plan gave it.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> &PoolPlan {
        &self.pools[id.0 as usize]
    }

    /// All pools, by name; [`PoolId`] is the place.
    #[must_use]
    pub fn pools(&self) -> &[PoolPlan] {
        &self.pools
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool_named(&self, name: &str) -> Option<PoolId> {
        pool_named(&self.pools, name)
    }
}

/// Pools come from a map, so that they are sorted.
fn pool_named(pools: &[PoolPlan], name: &str) -> Option<PoolId> {
    let place = pools.binary_search_by(|pool| (*pool.name).cmp(name)).ok()?;
    u32::try_from(place).ok().map(PoolId)
}

impl RoutePlan {
    fn compile(route: &config::Route, pools: &[PoolPlan]) -> Self {
        Self {
            name: route.name.as_str().into(),
            pool: pool_named(pools, &route.pool)
                .expect("a valid configuration has the pools that its routes name"),
            timeout: route.timeout,
            rate_limit: route.rate_limit,
            limiter_key: hash(route.name.as_bytes()),
            request: RequestRewrite::new(&route.request),
            response: route.response.clone(),
            conditions: Conditions::compile(&route.matches),
            firewall: Firewall::compile(&route.firewall),
        }
    }
}

/// Host and path in normal form; none for a request that has no such form.
fn normalise<'a, R: Recorder>(
    view: &RequestView<'a>,
    recorder: &mut R,
) -> Option<(Option<Cow<'a, str>>, Cow<'a, str>)> {
    let host = view.authority.map(host::normalise).transpose();
    let host = host.inspect_err(|&error| recorder.event(Event::BadHost(error))).ok()?;
    let path = match view.path {
        "*" if view.method == "OPTIONS" => Ok(Cow::Borrowed("*")),
        path => path::normalise(path),
    };
    let path = path.inspect_err(|&error| recorder.event(Event::BadPath(error))).ok()?;
    // It is forwarded as it is, so it must not be able to end the request line.
    if view.query.is_some_and(|query| query.bytes().any(|byte| byte <= b' ' || byte == 0x7f)) {
        recorder.event(Event::BadQuery);
        return None;
    }
    recorder.event(Event::Normal { host: host.as_deref(), path: &path });
    Some((host, path))
}
