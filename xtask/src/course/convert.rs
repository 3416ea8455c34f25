//! `cargo xtask course convert`: the course's YAML, made into TOML.

use std::{fs, net::SocketAddr, path::Path};

use super::{Judged, Stopped, say};

pub(super) fn run(file: &Path, listen: SocketAddr) -> Judged {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Stopped::Cannot(format!("{name}: cannot read it: {error}")))?;
    match lb_testkit::course::convert(&text, listen) {
        Ok(toml) => {
            say(toml.trim_end());
            Ok(true)
        }
        Err(error) => Err(Stopped::Cannot(format!("{name}:{error}"))),
    }
}
