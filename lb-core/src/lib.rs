//! The decisions of an HTTP load balancer, and nothing else.
//!
//! This crate has no clock, no source of randomness, no sockets, no async code and no logging: what a
//! decision depends on is an argument, so equal arguments give equal decisions on every machine. It is
//! `no_std` with `alloc`, which makes the compiler the judge of that.
//!
//! The way through it is the way of a request:
//!
//! 1. [`config`]: what a person writes. [`config::Config::load`] reads TOML, finds every problem at once, each with its
//!    position, and gives a [`config::Valid`].
//! 2. [`plan::Plan::compile`] turns a valid configuration into tables with ids in place of names.
//! 3. [`plan::Plan::decide`] judges a [`request::RequestView`]: firewall, route, rewrite.
//! 4. [`exchange::Exchange`] leads one request through its tries: it picks an endpoint from a
//!    [`pool::Pool`], is told what happened, and says what to do next.
//! 5. [`health`] and [`outlier`] keep an endpoint's standing, driven by events.
//!
//! Every answer that the balancer makes itself carries a [`reason::Reason`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client_addr;
pub mod concurrency;
pub mod config;
pub mod exchange;
pub mod firewall;
pub mod hash;
pub mod hash_key;
pub mod health;
pub mod host;
pub mod ip_set;
pub mod limiter;
pub mod limits;
pub mod outlier;
pub mod path;
pub mod plan;
pub mod pool;
pub mod priority;
pub mod prng;
pub mod query;
pub mod reason;
pub mod reload;
pub mod request;
pub mod retry;
pub mod rewrite;
pub mod route;
mod select;
mod slow_start;
pub mod sticky;
mod table;
pub mod time;
