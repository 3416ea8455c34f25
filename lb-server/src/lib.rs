//! The server around lb-core: sockets, HTTP and logs.

pub mod framing;
