//! The one binary of black-box suites.

mod cli;
mod e2e_backend;
mod e2e_client;
mod lifecycle;
mod support;
