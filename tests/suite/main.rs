//! The one binary of black-box suites.

mod chapters;
mod e2e_client;
mod cli;
mod e2e_backend;
mod lifecycle;
mod support;
