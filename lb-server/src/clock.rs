//! The one place where the server reads the time for the core.

use lb_core::time::Instant;
use tokio::time;

/// A monotonic clock whose epoch is the moment it was made. Copies share the epoch.
///
/// It is the runtime's clock, which is the system's, except in a simulation, where it stands still until
/// all have done what they could.
#[derive(Clone, Copy, Debug)]
pub struct Clock(time::Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(time::Instant::now())
    }

    /// Now.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}
