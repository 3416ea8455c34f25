//! What the balancer promises to its clients.

mod basics;
