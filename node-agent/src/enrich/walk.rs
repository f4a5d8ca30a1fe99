//! Walks an existing cgroup tree: every directory's id (its inode) and path. Keeps nothing.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
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

/// Calls `visit` with the id and the path (from the hierarchy's root, `/` for itself) of every cgroup in the
/// hierarchy mounted at `mount`, parents before children. A cgroup that vanishes meanwhile is passed over.
///
/// Start it only after the mkdir hook is attached: what is made during the walk is then told by one or both.
pub fn walk(mount: &Path, mut visit: impl FnMut(u64, &[u8])) -> Result<(), WalkError> {
    search(mount, |id, path| {
        visit(id, path);
        ControlFlow::<()>::Continue(())
    })
    .map(|_| ())
}

/// The path of the cgroup with this id.
pub fn find(mount: &Path, wanted: u64) -> Result<Option<Vec<u8>>, WalkError> {
    search(mount, |id, path| {
        if id == wanted {
            ControlFlow::Break(path.to_vec())
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// Like [`walk`], until `visit` breaks.
pub(super) fn search<T>(
    mount: &Path,
    mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<T>,
) -> Result<Option<T>, WalkError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WalkError { path, source }
    };
    let root = std::fs::metadata(mount).map_err(failed(mount))?;
    if let ControlFlow::Break(found) = visit(root.ino(), b"/") {
        return Ok(Some(found));
    }
    // Paths from the hierarchy's root, without a trailing slash.
    let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let directory = mount.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(&path)));
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if vanished(&error) && !path.is_empty() => continue,
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
            if let ControlFlow::Break(found) = visit(entry.ino(), &child) {
                return Ok(Some(found));
            }
            pending.push(child);
        }
    }
    Ok(None)
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
        let mut seen = BTreeMap::new();
        walk(mount.path(), |id, path| {
            assert!(
                seen.insert(String::from_utf8(path.to_vec()).unwrap(), id)
                    .is_none()
            );
        })
        .unwrap();
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["/", "/a", "/a/b", "/c"]);
        for (path, id) in &seen {
            let inode = std::fs::metadata(mount.path().join(&path[1..])).unwrap().ino();
            assert_eq!(*id, inode, "{path}");
            assert_eq!(find(mount.path(), inode).unwrap().unwrap(), path.as_bytes());
        }
        assert_eq!(find(mount.path(), u64::MAX).unwrap(), None);
    }

    #[test]
    fn walk_missing_mount_is_an_error_that_names_it() {
        let error = walk(Path::new("/nonexistent/cgroup"), |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/cgroup"));
    }
}
