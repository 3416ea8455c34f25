//! How a decision comes about: explaining is deciding with a recorder.

use super::{Lost, RouteId};
use crate::{firewall::FirewallList, host::HostError, path::PathError};

/// A step of [`super::Plan::decide_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The authority is malformed.
    BadHost(HostError),
    /// The path is malformed.
    BadPath(PathError),
    /// The query has a control character or a space.
    BadQuery,
    /// What is compared with rules and conditions.
    Normal {
        /// In lower case, without port and trailing dot.
        host: Option<&'a str>,
        /// In normal form.
        path: &'a str,
    },
    /// A firewall refused.
    Refused {
        /// The route whose firewall it is; none for the global one.
        route: Option<RouteId>,
        /// The list.
        list: FirewallList,
    },
    /// A route was not taken. There is one such event for each route but the one that is taken.
    Lost {
        /// The route.
        route: RouteId,
        /// Its first condition that does not hold.
        why: Lost<'a>,
    },
    /// A route was taken. Its firewall may still refuse.
    Taken {
        /// The route.
        route: RouteId,
    },
    /// Dot segments that only show after further decoding, as in `..%2f`, `..;` and `%252e%252e`, leave
    /// open which path is asked for.
    HiddenDots,
}

/// Is told how a decision comes about.
pub trait Recorder {
    /// Whether events are wanted. If not, those that cost something to find out are not looked for.
    const RECORDS: bool = true;

    /// A step, in the order of deciding.
    fn event(&mut self, event: Event<'_>);
}

/// Records nothing, and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Recorder for Silent {
    const RECORDS: bool = false;

    #[inline]
    fn event(&mut self, _: Event<'_>) {}
}

impl<F: FnMut(Event<'_>)> Recorder for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}
