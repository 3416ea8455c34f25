//! From start to end: shutdown, reload, and the access log in between.

mod accepting;
mod log;
mod reload;
mod shutdown;
mod signals;
