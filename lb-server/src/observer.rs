//! Who is told what the server does: its own log, and whoever embeds it.

use std::sync::Arc;

use lb_core::pool::{Change, Transition};

use crate::access_log::Record;

/// Something that wants to see requests and health changes as they happen, such as the demo.
/// Called on worker threads: it must not block.
pub trait Observer: Send + Sync {
    /// A request was answered (or its client left).
    fn request(&self, record: &Record<'_>);
    /// A backend's standing changed.
    fn transition(&self, pool: &str, transition: &Transition);
}

/// The program's own events, and an [`Observer`] where there is one.
#[derive(Clone, Default)]
pub(crate) struct Observers(pub(crate) Option<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn transition(&self, pool: &str, transition: &Transition) {
        let Transition { name, addr, change, .. } = transition;
        match change {
            Change::Down(_) | Change::Ejected { .. } => {
                tracing::warn!(pool, backend = %name, address = %addr, "backend {change}");
            }
            _ => tracing::info!(pool, backend = %name, address = %addr, "backend {change}"),
        }
        if let Some(observer) = &self.0 {
            observer.transition(pool, transition);
        }
    }
}
