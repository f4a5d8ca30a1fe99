//! Says when profile files must be read again: on SIGHUP, and when one of them may have changed.
//!
//! Directories are watched, not files: editors replace a file by renaming another over it, and a mounted `ConfigMap`
//! swaps a symlink beside it. What changed is not judged here; reading an unchanged file changes nothing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, after, bounded, never};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_runtime::error::chain;

/// Quiet after the last change before the files are read, so that a save in several steps is one edit.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// Longest wait when changes never cease.
const DEBOUNCE_MAX: Duration = Duration::from_secs(1);
/// How often a directory that went is looked for again.
const LOST_RETRY: Duration = Duration::from_secs(1);
/// Symbolic links followed per file; the kernel's own limit is 40.
const LINKS_MAX: usize = 40;

/// Read the files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reread;

/// Why files cannot be watched. SIGHUP still works without.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The system gives no watch.
    #[error("cannot watch {} for changes; send SIGHUP after an edit instead", directory.display())]
    Watch {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: notify::Error,
    },
    /// The system gives no watcher.
    #[error(
        "cannot watch files for changes (see fs.inotify.max_user_instances); send SIGHUP after an edit instead"
    )]
    Watcher(#[source] notify::Error),
    /// The system gives no thread.
    #[error("cannot start the thread that watches files")]
    Thread(#[source] io::Error),
    /// The system gives no signal handler.
    #[error("cannot listen for SIGHUP")]
    Signal(#[source] io::Error),
}

/// A channel of one: a reading that is due covers every further reason to read.
#[must_use]
pub fn channel() -> (Sender<Reread>, Receiver<Reread>) {
    bounded(1)
}

/// Asks for a reading; one that is already due suffices.
pub fn request(rereads: &Sender<Reread>) {
    match rereads.try_send(Reread) {
        Ok(()) | Err(TrySendError::Full(Reread) | TrySendError::Disconnected(Reread)) => {}
    }
}

/// SIGHUP, which ends a process that does not listen to it.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// From here on a SIGHUP is kept until somebody [follows](Self::follow).
    pub fn listen() -> Result<Self, WatchError> {
        signal(SignalKind::hangup()).map(Self).map_err(WatchError::Signal)
    }

    /// Asks for a reading at each SIGHUP, until the future is dropped.
    pub async fn follow(mut self, rereads: Sender<Reread>) {
        while self.0.recv().await.is_some() {
            request(&rereads);
        }
    }
}

/// Watches the files' directories while it lives.
#[derive(Debug)]
pub struct FileWatch {
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FileWatch {
    /// Starts to watch, and asks for a first reading: what changed before is not told by the system. A file that is not
    /// there yet is seen when it comes.
    pub fn start(files: &[PathBuf], rereads: Sender<Reread>) -> Result<Self, WatchError> {
        // Changes beyond these are covered by the reading that is due anyway. Those of other files beside ours must
        // not take their place, nor put the reading off.
        let (told, changes) = bounded(16);
        let shared = Arc::new(Mutex::new(Interest::default()));
        let seen = Arc::clone(&shared);
        let mut watcher = notify::recommended_watcher(move |event: Change| {
            let interest = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if event.as_ref().is_ok_and(|event| !interest.concerns(event)) {
                return;
            }
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = told.try_send(event) {}
        })
        .map_err(WatchError::Watcher)?;
        let files = files.to_vec();
        let mut interest = Interest::default();
        interest.renew(&files, &mut watcher)?;
        share(&shared, &interest);
        request(&rereads);
        let (stop, stopped) = bounded(0);
        let run = move || {
            run(
                &files,
                &mut watcher,
                (interest, &shared),
                &changes,
                &stopped,
                &rereads,
            );
        };
        let thread = thread::Builder::new()
            .name("weir-config".into())
            .spawn(run)
            .map_err(WatchError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches profile files panicked");
        }
    }
}

type Change = notify::Result<Event>;

fn run(
    files: &[PathBuf],
    watcher: &mut RecommendedWatcher,
    (mut interest, shared): (Interest, &Mutex<Interest>),
    changes: &Receiver<Change>,
    stopped: &Receiver<()>,
    rereads: &Sender<Reread>,
) {
    let mut is_lost = false;
    loop {
        // Nobody tells that a directory is back.
        let retry = if is_lost { after(LOST_RETRY) } else { never() };
        let change = crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(changes) -> change => Some(change),
            recv(retry) -> _ => None,
        };
        let is_told = change.is_some();
        match change {
            None | Some(Ok(Ok(_))) => {}
            // Lost changes are changes.
            Some(Ok(Err(error))) => {
                tracing::warn!(%error, "watching the profile files failed once; reading them again");
            }
            Some(Err(_)) => return,
        }
        if is_told {
            settle(changes);
        }
        // A link may lead elsewhere now.
        let renewed = interest.renew(files, watcher);
        share(shared, &interest);
        let was_lost = is_lost;
        is_lost = renewed.is_err();
        if let Err(error) = renewed
            && !was_lost
        {
            tracing::warn!(
                error = chain(&error),
                "a profile file is no longer watched; its directory is looked for every second"
            );
        }
        if is_told || (was_lost && !is_lost) {
            request(rereads);
        }
    }
}

/// Not held while a watch is made: the watcher's thread waits for it.
fn share(shared: &Mutex<Interest>, interest: &Interest) {
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone_from(interest);
}

/// Waits until changes cease.
fn settle(changes: &Receiver<Change>) {
    let end = Instant::now() + DEBOUNCE_MAX;
    while Instant::now() < end {
        match changes.recv_timeout(DEBOUNCE) {
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Which names in which directories lead to the files.
#[derive(Debug, Default, Clone)]
struct Interest {
    names: BTreeSet<OsString>,
    directories: BTreeSet<PathBuf>,
}

impl Interest {
    fn renew(&mut self, files: &[PathBuf], watcher: &mut RecommendedWatcher) -> Result<(), WatchError> {
        let mut directories = BTreeSet::new();
        self.names.clear();
        for file in files {
            for hop in hops(file) {
                let directory = hop.parent().filter(|parent| !parent.as_os_str().is_empty());
                directories.insert(directory.unwrap_or(Path::new(".")).to_path_buf());
                self.names.extend(hop.file_name().map(OsStr::to_os_string));
            }
        }
        let mut result = Ok(());
        for gone in self.directories.difference(&directories) {
            // It may be gone from the disk, too, and its watch with it.
            if let Err(error) = watcher.unwatch(gone) {
                tracing::debug!(directory = %gone.display(), %error, "was no longer watched");
            }
        }
        self.directories.retain(|known| directories.contains(known));
        for directory in directories {
            // Watching again is harmless, and needed when a directory was replaced.
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.directories.insert(directory)),
                Err(source) => result = Err(WatchError::Watch { directory, source }),
            }
        }
        result
    }

    fn concerns(&self, event: &Event) -> bool {
        let changes = !matches!(event.kind, EventKind::Access(_)) || event.need_rescan();
        let named = |path: &PathBuf| path.file_name().is_none_or(|name| self.names.contains(name));
        changes
            && (event.paths.is_empty()
                || event
                    .paths
                    .iter()
                    .any(|path| named(path) || self.is_watched(path)))
    }

    /// The directory itself was moved or removed.
    fn is_watched(&self, path: &Path) -> bool {
        self.directories.contains(path)
    }
}

/// The path itself, and every path that its symbolic links lead through: of a mounted `ConfigMap` also the link
/// `..data` beside it.
fn hops(file: &Path) -> Vec<PathBuf> {
    let mut hops: Vec<PathBuf> = Vec::new();
    let mut pending = vec![file.to_path_buf()];
    while let Some(path) = pending.pop() {
        if hops.len() >= LINKS_MAX || hops.contains(&path) {
            continue;
        }
        // Any component may be a link.
        for ancestor in path.ancestors() {
            if let Ok(target) = ancestor.read_link() {
                let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
                let target = ancestor.parent().unwrap_or(Path::new("/")).join(target);
                pending.push(if rest.as_os_str().is_empty() {
                    target
                } else {
                    target.join(rest)
                });
                if ancestor != path && !hops.iter().any(|hop| hop == ancestor) {
                    hops.push(ancestor.to_path_buf());
                }
            }
        }
        hops.push(path);
    }
    hops
}

#[cfg(test)]
mod tests;
