//! What the balancer promises to its clients.

mod framing;
