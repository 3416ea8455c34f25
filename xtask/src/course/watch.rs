//! Noticing that a file changed, by looking again and again.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::Stopped;

const PACE: Duration = Duration::from_millis(300);
const FILES_MAX: usize = 20_000;
/// What programs write by themselves; hidden files and directories are left out as well.
const IGNORED: [&str; 4] = ["target", "node_modules", "__pycache__", "venv"];

/// The files of a directory, with what changes when they do.
pub(super) type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// All files below a directory.
pub(super) fn look(dir: &Path) -> Result<Files, Stopped> {
    let cannot = |error| Stopped::Cannot(format!("cannot watch {}: {error}", dir.display()));
    let mut files = Files::new();
    collect(dir, &mut files).map_err(cannot)?;
    Ok(files)
}

/// Waits until the files are others than `before`, and still for a moment; gives one that changed.
pub(super) async fn change(dir: &Path, before: Files) -> Result<PathBuf, Stopped> {
    let mut last = look(dir)?;
    loop {
        tokio::time::sleep(PACE).await;
        let now = look(dir)?;
        if now == last
            && let Some(path) = difference(&before, &now)
        {
            return Ok(path.to_owned());
        }
        last = now;
    }
}

fn difference<'a>(before: &'a Files, now: &'a Files) -> Option<&'a Path> {
    let changed = now.iter().find(|(path, state)| before.get(*path) != Some(*state));
    let gone = || before.iter().find(|(path, _)| !now.contains_key(*path));
    changed.or_else(gone).map(|(path, _)| path.as_path())
}

fn collect(dir: &Path, files: &mut Files) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.') || IGNORED.contains(&name)) {
            continue;
        }
        // What vanishes between two looks is gone; links are not followed.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            if let Err(error) = collect(&entry.path(), files)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        } else {
            files.insert(entry.path(), (metadata.modified().ok(), metadata.len()));
        }
        if files.len() > FILES_MAX {
            let message = format!("more than {FILES_MAX} files; give a smaller directory: --watch=DIR");
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_seen_and_what_is_built_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let look = || look(dir.path()).ok().unwrap();
        write("a/b.py", "1");
        let before = look();
        write("target/x", "1");
        write(".git/x", "1");
        write("a/__pycache__/x", "1");
        assert_eq!(difference(&before, &look()), None);
        let changed = write("a/b.py", "12");
        assert_eq!(difference(&before, &look()), Some(changed.as_path()));
        let before = look();
        let new = write("c.py", "");
        assert_eq!(difference(&before, &look()), Some(new.as_path()));
        let before = look();
        fs::remove_file(&new).unwrap();
        assert_eq!(difference(&before, &look()), Some(new.as_path()));
        assert!(super::look(Path::new("/nowhere/at/all")).is_err());
    }
}
