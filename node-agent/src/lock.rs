//! One agent per node: locks that the kernel takes back when their holder ends, however it ends.
//!
//! Two locks keep a second agent from observing the same node, and publishing all of it twice:
//!
//! * the state directory's (`state.rs`), whoever uses it. In a cluster that is the node's own `/var/lib/weir`, which all
//!   agent pods of the node and an agent started on the node by hand share.
//! * the host's ([`of_node`]), whatever state directory is used. It lies in `/run`, where only root can hold it, so that
//!   no other user can keep an agent from starting. Its name is the id of the node's root cgroup: where several nodes
//!   share one kernel, as kind's do, each has a cgroup root of its own, and so a lock of its own.
//!
//! A container's `/run` is the container's own or cannot be written; there the first lock has to do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Where the host's lock lies: gone with the next boot, as its holder is.
pub const RUN_DIR: &str = "/run";

/// A file that this process has locked; removed when dropped where that was asked for.
#[derive(Debug)]
pub struct Lock {
    /// The lock lasts as long as it is open.
    _file: File,
    remove: Option<PathBuf>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another process{} holds {}", pid(*holder), path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The other's process id, if it can be told.
        holder: Option<u32>,
    },
    /// The file cannot be used.
    #[error("cannot lock {}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// ` (process 42)` for messages.
pub(crate) fn pid(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Lock {
    /// Locks the file, which is made where it is not there.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        loop {
            if let Some(file) = lock(open(path)?, path)? {
                return Ok(Self {
                    _file: file,
                    remove: None,
                });
            }
        }
    }

    /// Removes the file in the end. Whoever opens it before that finds it locked, whoever does after makes a new one.
    fn passing(mut self, path: PathBuf) -> Self {
        self.remove = Some(path);
        self
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = self.remove.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "the lock's file stays behind, unlocked");
        }
    }
}

fn open(path: &Path) -> Result<File, LockError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    options
        .mode(0o600)
        .open(path)
        .map_err(|source| LockError::System {
            path: path.to_path_buf(),
            source,
        })
}

/// The locked file; `None` when its holder removed it since it was opened, so that another may have made and locked a new
/// one.
fn lock(mut file: File, path: &Path) -> Result<Option<File>, LockError> {
    let failed = |source| LockError::System {
        path: path.to_path_buf(),
        source,
    };
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text).map_err(failed);
            return Err(LockError::Taken {
                path: path.to_path_buf(),
                // The holder may be about to write it.
                holder: read.ok().and_then(|_| text.trim().parse().ok()),
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    let ours = file.metadata().map_err(failed)?;
    match fs::metadata(path) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    // For whoever finds it taken; without it the lock holds just as well.
    let told = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = told {
        tracing::debug!(path = %path.display(), %error, "cannot note who holds the lock");
    }
    Ok(Some(file))
}

/// Takes the host's lock in `run` for the node whose root cgroup has this id. None where this process cannot have a file
/// there, for which see the module's page.
pub fn of_node(run: &Path, id: u64) -> Result<Option<Lock>, LockError> {
    let path = run.join(format!("weir-agent-{id}.lock"));
    match Lock::take(&path) {
        Ok(lock) => Ok(Some(lock.passing(path))),
        Err(LockError::System { path, source }) if is_not_ours(&source) => {
            tracing::debug!(path = %path.display(), error = %source, "no lock for the whole host here");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// No such directory, or a read-only one, as in a container; or not root, who can do nothing anyway.
fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn lock_is_held_until_dropped_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let holder = Some(std::process::id());
        assert!(matches!(Lock::take(&path), Err(LockError::Taken { holder: found, .. }) if found == holder));
        drop(lock);
        drop(Lock::take(&path).unwrap());
        assert!(path.exists());
    }

    #[test]
    fn nodes_lock_is_one_for_each_cgroup_root_and_leaves_nothing() {
        let run = tempfile::tempdir().unwrap();
        let whole = of_node(run.path(), 1).unwrap();
        let one = of_node(run.path(), 40).unwrap();
        assert!(whole.is_some() && one.is_some());
        assert!(matches!(of_node(run.path(), 40), Err(LockError::Taken { .. })));
        drop((whole, one));
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
        assert!(of_node(run.path(), 1).unwrap().is_some());
    }

    #[test]
    fn nodes_lock_without_a_run_directory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(of_node(&dir.path().join("none"), 1).unwrap().is_none());
    }

    /// *Scenario:* the file is opened; before it is locked its holder ends and removes it, and then another one makes and
    /// locks a new one.
    /// *Guarantees:* a lock on the file that is no longer there is none.
    #[test]
    fn lock_on_a_file_that_was_removed_or_replaced_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let removed = open(&path).unwrap();
        let replaced = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(lock(removed, &path).unwrap().is_none());
        let _other = Lock::take(&path).unwrap();
        assert!(lock(replaced, &path).unwrap().is_none());
    }

    /// *Scenario:* four threads take and leave the same lock, whose file is removed each time.
    /// *Guarantees:* never two hold it, also when one opened the file that another was about to remove.
    #[test]
    fn lock_whose_file_is_removed_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = AtomicBool::new(false);
        let taken: usize = std::thread::scope(|scope| {
            let take = || {
                let mut taken = 0;
                for _ in 0..500 {
                    let Ok(lock) = Lock::take(&path) else { continue };
                    assert!(!held.swap(true, Ordering::SeqCst), "two hold it");
                    taken += 1;
                    held.store(false, Ordering::SeqCst);
                    drop(lock.passing(path.clone()));
                }
                taken
            };
            let threads = [(); 4].map(|()| scope.spawn(take));
            threads.map(|thread| thread.join().unwrap()).into_iter().sum()
        });
        assert!(taken > 0);
        assert!(!path.exists());
    }
}
