//! The one binary of black-box suites.

mod chapters;
mod cli;
mod course;
mod e2e_backend;
mod e2e_client;
mod foreign_backends;
mod lifecycle;
mod support;
