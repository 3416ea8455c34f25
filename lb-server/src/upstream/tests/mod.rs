//! The client's tests. `PROPTEST_CASES=1000000 cargo test -p lb-server --lib upstream` makes the
//! properties a long run.

mod bodies;
mod heads;
mod properties;
mod requests;
mod sockets;
mod streams;
