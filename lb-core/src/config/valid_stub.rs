//! Stands in for the validated configuration until that part is merged.

use super::Config;

/// A configuration that was found free of problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid(pub Config);

impl core::ops::Deref for Valid {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}
