//! Who uses this checkout's cluster: tests and demos make one of their own, and take nobody else's.
//!
//! The lock is held while a test or demo runs; the words in its file stay when that run is cut off, and tell that what is
//! up then is nobody's.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Set for commands that the holder of the lock runs.
pub(crate) const HOLDER: &str = "WEIR_XTASK_HOLDS_CLUSTER";

/// The right to make and take away the cluster.
pub(crate) struct InUse {
    file: File,
    left_behind: bool,
}

impl InUse {
    /// Takes the lock in `folder`, for good or, as a person's command does, for a moment.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join("cluster.in-use");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let mut text = String::new();
        file.read_to_string(&mut text)
            .with_context(|| format!("reading {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                left_behind: !text.is_empty(),
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "the cluster is in use by {}: wait until that ends, or stop it",
                text.trim_end()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Whether the last one that used it was cut off before it could tidy up.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.left_behind
    }

    /// Says whose the cluster is from now on; nobody's in particular when `who` is empty.
    pub(crate) fn mark(&mut self, who: &str) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = &self.file;
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(who.as_bytes())
        };
        write().context("writing who uses the cluster")?;
        self.left_behind = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_second_one_is_refused_with_the_first_ones_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = InUse::take(folder.path()).unwrap();
        assert!(!first.is_left_behind());
        first.mark("`cargo xtask test`, process 42\n").unwrap();
        let error = InUse::take(folder.path()).err().unwrap().to_string();
        assert!(
            error.contains("in use by `cargo xtask test`, process 42:"),
            "{error}"
        );
    }

    #[test]
    fn mark_that_stays_tells_of_a_run_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = InUse::take(folder.path()).unwrap();
        first.mark("a longer name that does not stay\n").unwrap();
        first.mark("x").unwrap();
        drop(first);
        let mut second = InUse::take(folder.path()).unwrap();
        assert!(second.is_left_behind());
        second.mark("").unwrap();
        drop(second);
        assert!(!InUse::take(folder.path()).unwrap().is_left_behind());
    }
}
