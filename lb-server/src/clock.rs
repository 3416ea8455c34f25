//! The one place where the server reads the time for the core.

use lb_core::time::Instant;

/// A monotonic clock whose epoch is the moment it was made. Copies share the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Now.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}
