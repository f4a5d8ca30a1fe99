//! What the agent remembers across its own life: which epoch it was, how far each `seq` got, and the last cut.
//!
//! A lock on the directory keeps a second agent from it; see [`crate::lock`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weir_events::agent::AgentLedger;

use crate::lock::{Lock, LockError, pid};

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be made.
    #[error("cannot use the state directory {}; give another one with --state-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another agent runs.
    #[error(
        "another weir-agent{} runs on this host with the state directory {}; stop it first",
        pid(*holder), path.display()
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The other's process id, if it can be told.
        holder: Option<u32>,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl StateError {
    /// There is no room: what should be remembered is not, and nothing else is wrong.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The epoch.
    pub epoch: u64,
    /// The next `seq` of each profile.
    pub next_seq: BTreeMap<String, u64>,
    /// The last cut.
    pub ledger: Option<AgentLedger>,
    /// The last cut was the final one, and yet not every sink has taken all that the agent had to tell of itself.
    #[serde(default)]
    pub untold: bool,
}

impl Remembered {
    /// What a life that begins writes first: its epoch, and still the last cut of the life before, which is told only once
    /// there are sinks. A life that ends before its own first cut must not make that one forgotten.
    #[must_use]
    pub fn begun(epoch: u64, before: Option<&Self>) -> Self {
        Self {
            epoch,
            next_seq: BTreeMap::new(),
            ledger: before.and_then(|before| before.ledger.clone()),
            untold: before.is_some_and(|before| before.untold),
        }
    }

    /// The last cut, if the life that made it ended without telling how it ended: without a final cut, after which nothing
    /// is known then, or with one that did not reach the sinks.
    #[must_use]
    pub fn unfinished(self) -> Option<AgentLedger> {
        let untold = self.untold;
        let mut ledger = self.ledger.filter(|ledger| untold || !ledger.cut.is_final)?;
        ledger.cut.unknown_after = !ledger.cut.is_final;
        Some(ledger)
    }
}

/// The state directory, locked.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Lock,
}

impl StateDir {
    /// Makes and locks the directory.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory {
            path: path.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        match Lock::take(&path.join("agent.lock")) {
            Ok(lock) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(LockError::Taken { holder, .. }) => Err(StateError::Taken {
                path: path.to_path_buf(),
                holder,
            }),
            Err(LockError::System { source, .. }) => Err(failed(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    /// What the last life left, if it is readable. A damaged file is as good as none, and said.
    #[must_use]
    pub fn read(&self) -> Option<Remembered> {
        let text = std::fs::read(self.file()).ok()?;
        match serde_json::from_slice(&text) {
            Ok(remembered) => Some(remembered),
            Err(error) => {
                tracing::warn!(file = %self.file().display(), %error, "the state of the last life is damaged; its last counts are unknown");
                None
            }
        }
    }

    /// Removes what was written.
    pub fn purge(&self) -> Result<(), StateError> {
        for name in ["agent.json", "agent.json.next", "agent.lock"] {
            let path = self.path.join(name);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(StateError::Write { path, source }),
            }
        }
        Ok(())
    }

    /// Replaces it, whole or not at all.
    pub fn write(&self, remembered: &Remembered) -> Result<(), StateError> {
        let next = self.path.join("agent.json.next");
        let failed = |source| StateError::Write {
            path: next.clone(),
            source,
        };
        let text = serde_json::to_vec(remembered).map_err(|error| failed(error.into()))?;
        let mut file = File::create(&next).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        std::fs::rename(&next, self.file()).map_err(failed)
    }
}

/// This life's number: the time, and always after the last one's.
#[must_use]
pub fn next_epoch(now: SystemTime, last: Option<u64>) -> u64 {
    let millis = now
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|now| u64::try_from(now.as_millis()).ok())
        .unwrap_or(0);
    millis.max(last.map_or(0, |last| last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_after_a_clock_that_ran_back_is_still_later() {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1);
        assert_eq!(next_epoch(now, None), 1_000);
        assert_eq!(next_epoch(now, Some(999)), 1_000);
        assert_eq!(next_epoch(now, Some(5_000)), 5_001);
    }

    #[test]
    fn state_directory_admits_one_agent_and_remembers() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert!(matches!(
            StateDir::open(dir.path()),
            Err(StateError::Taken { .. })
        ));
        assert_eq!(state.read(), None);
        let remembered = Remembered {
            epoch: 7,
            ..Remembered::default()
        };
        state.write(&remembered).unwrap();
        assert_eq!(state.read(), Some(remembered));
        drop(state);
        assert_eq!(
            StateDir::open(dir.path())
                .unwrap()
                .read()
                .map(|state| state.epoch),
            Some(7)
        );
    }

    #[test]
    fn begun_life_that_makes_no_cut_leaves_the_one_before_to_be_told() {
        let mut ledger = AgentLedger {
            epoch: 7,
            ..AgentLedger::default()
        };
        let before = Remembered {
            epoch: 7,
            ledger: Some(ledger.clone()),
            ..Remembered::default()
        };
        let begun = Remembered::begun(9, Some(&before));
        assert_eq!(begun.epoch, 9);
        let told = begun.unfinished().unwrap();
        assert_eq!((told.epoch, told.cut.unknown_after), (7, true));
        ledger.cut.is_final = true;
        let finished = Remembered {
            ledger: Some(ledger),
            ..before
        };
        assert_eq!(Remembered::begun(9, Some(&finished)).unfinished(), None);
        let untold = Remembered {
            untold: true,
            ..finished
        };
        let told = Remembered::begun(9, Some(&untold)).unfinished().unwrap();
        assert_eq!((told.cut.is_final, told.cut.unknown_after), (true, false));
        assert_eq!(Remembered::begun(9, None).unfinished(), None);
    }

    #[test]
    fn state_of_an_older_agent_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        std::fs::write(
            dir.path().join("agent.json"),
            b"{\"epoch\": 7, \"next_seq\": {}, \"ledger\": null}",
        )
        .unwrap();
        assert_eq!(
            state.read().map(|state| (state.epoch, state.untold)),
            Some((7, false))
        );
    }

    #[test]
    fn damaged_state_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("agent.json"), b"{\"epoch\": ").unwrap();
        assert_eq!(state.read(), None);
    }
}
