//! Reading other files in TOML as configurations are read: all problems at once, each with its position,
//! and no key that nobody knows.
//!
//! ```
//! let read = |text| lb_core::config::reading::read(text, |table| {
//!     table.get("users").and_then(|node| node.integer(&(1..=1000u32)))
//! });
//! assert_eq!(read("users = 5").unwrap(), Some(5));
//! let problems = read("user = 5").unwrap_err().to_string();
//! assert_eq!(problems, r#"1:1: user: found an unknown key, expected one of users; did you mean "users"?"#);
//! ```

use super::{Pool, Problems, parse};
pub use super::{
    read::{Node, Table},
    report::Finding,
};

/// What `read` makes of a text in TOML. Keys that it does not ask for are problems.
///
/// # Errors
/// All problems at once, in the order of the file.
pub fn read<T>(text: &str, read: impl FnOnce(&mut Table<'_>) -> T) -> Result<T, Problems> {
    parse::examine(text, |mut table, _| {
        let value = read(&mut table);
        table.finish();
        value
    })
}

/// What a section `[pool.NAME]` says, but for its backends, which it may not name.
pub fn pool_without_backends(node: &Node<'_>) -> Option<Pool> {
    let mut table = node.table("a table")?;
    let mut pool = Pool::default();
    parse::pool::settings(&mut table, &mut pool);
    table.finish();
    Some(pool)
}
