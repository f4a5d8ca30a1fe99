//! Walks an existing cgroup tree: every directory's id (its inode) and path. Keeps nothing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a walk could not be finished.
#[derive(Debug, Error)]
#[error("cannot read the cgroup directory {path}")]
pub struct WalkError {
    /// The directory.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Calls `visit` with the id and the path from the hierarchy's root (`/` for itself) of every cgroup below `mount`, parents
/// before children; `at` is the path of what is mounted there, empty for the whole hierarchy. A cgroup that vanishes
/// meanwhile is passed over.
///
/// Start it only after the mkdir hook is attached: what is made during the walk is then told by one or both.
pub fn walk(mount: &Path, at: &[u8], mut visit: impl FnMut(u64, &[u8])) -> Result<(), WalkError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WalkError { path, source }
    };
    let root = std::fs::metadata(mount).map_err(failed(mount))?;
    visit(root.ino(), if at.is_empty() { b"/" } else { at });
    // Paths from the hierarchy's root, without a trailing slash.
    let mut pending: Vec<Vec<u8>> = vec![at.to_vec()];
    while let Some(path) = pending.pop() {
        let below = path.get(at.len()..).unwrap_or_default();
        let directory = mount.join(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below)));
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if vanished(&error) && !below.is_empty() => continue,
            Err(error) => return Err(failed(&directory)(error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if vanished(&error) => break,
                Err(error) => return Err(failed(&directory)(error)),
            };
            // The type comes with the entry: no further call.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let mut child = path.clone();
            child.push(b'/');
            child.extend_from_slice(entry.file_name().as_bytes());
            visit(entry.ino(), &child);
            pending.push(child);
        }
    }
    Ok(())
}

/// ENOENT before, ENODEV while a removed cgroup is read.
fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn walk_tells_every_directory_with_its_inode() {
        let mount = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(mount.path().join("a/b")).unwrap();
        std::fs::create_dir_all(mount.path().join("c")).unwrap();
        std::fs::write(mount.path().join("a/cgroup.procs"), "").unwrap();
        for at in ["", "/docker/node1"] {
            let mut seen = BTreeMap::new();
            walk(mount.path(), at.as_bytes(), |id, path| {
                let path = String::from_utf8(path.to_vec()).unwrap();
                assert!(seen.insert(path, id).is_none());
            })
            .unwrap();
            let root = if at.is_empty() { "/" } else { at };
            let expected = [
                root.to_owned(),
                format!("{at}/a"),
                format!("{at}/a/b"),
                format!("{at}/c"),
            ];
            assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), expected);
            for (path, id) in &seen {
                let below = path.strip_prefix(at).unwrap().trim_start_matches('/');
                let inode = std::fs::metadata(mount.path().join(below)).unwrap().ino();
                assert_eq!(*id, inode, "{path}");
            }
        }
    }

    #[test]
    fn walk_missing_mount_is_an_error_that_names_it() {
        let error = walk(Path::new("/nonexistent/cgroup"), b"", |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/cgroup"));
    }
}
