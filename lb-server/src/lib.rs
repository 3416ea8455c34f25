//! The server around lb-core: sockets, HTTP and logs.

pub mod access_log;
pub mod framing;
pub mod reply;
