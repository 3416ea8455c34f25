//! The one binary of black-box suites.

mod e2e_client;
