//! The tier that needs a container engine: the course's backends in containers of their own, the chapters
//! against them, and containers that are stopped, paused and killed under traffic.
//!
//! The images are those of `cargo xtask images`, unless `LB_IMAGE` and `LB_BACKEND_IMAGE` name others, as
//! `cargo xtask test` does. Every container, network and image of a run has the label `lb.run` with the
//! value of `LB_RUN`.

mod chapters;
mod compose;
mod engine;
mod faults;
mod images;
mod traffic;
