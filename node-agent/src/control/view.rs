//! What others may see of the control side: the last ledger, the profiles' states, the hooks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_events::agent::AgentLedger;
use weir_profile::{NodeConfig, Placement};

use crate::bpf::kernel::HookStatus;

/// A profile that runs, as the kernel was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its plan's digest.
    pub digest: String,
    /// How many of its events have a slot.
    pub slots: usize,
}

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The profiles that run.
    pub profiles: Vec<ProfileView>,
    /// What each hook does.
    pub hooks: Vec<(&'static str, HookStatus)>,
    /// The last placement: what is refused, unsupported, idle.
    pub placement: Placement,
    /// Counts up with each change.
    pub version: u64,
}

impl Shown {
    /// How many events of a profile have a slot.
    #[must_use]
    pub fn slots_of(&self, profile: &str) -> usize {
        self.profiles
            .iter()
            .filter(|shown| shown.name == profile)
            .map(|shown| shown.slots)
            .sum()
    }
}

/// The shared picture; cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    ledger: Arc<watch::Sender<Option<Arc<AgentLedger>>>>,
    next_seq: Arc<Mutex<BTreeMap<String, u64>>>,
    shown: Arc<Mutex<Shown>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            ledger: Arc::new(watch::Sender::new(None)),
            next_seq: Arc::default(),
            shown: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl View {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cut(&self, ledger: AgentLedger, next_seq: BTreeMap<String, u64>) {
        *self.next_seq.lock().unwrap_or_else(PoisonError::into_inner) = next_seq;
        self.ledger.send_replace(Some(Arc::new(ledger)));
    }

    pub(super) fn placed(&self, placement: &Placement) {
        self.change(|shown| shown.placement = placement.clone());
    }

    pub(super) fn applied(&self, config: &NodeConfig, hooks: &[(&'static str, HookStatus)]) {
        self.change(|shown| {
            shown.profiles = config
                .profiles
                .iter()
                .map(|profile| ProfileView {
                    name: profile.name.clone(),
                    uid: profile.uid.clone(),
                    generation: profile.generation,
                    digest: profile.digest.clone(),
                    slots: profile.slots.len(),
                })
                .collect();
            shown.hooks = hooks.to_vec();
        });
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.lock();
        change(&mut shown);
        shown.version += 1;
        self.changed.send_replace(shown.version);
    }

    /// The ledger of the last cut, if one was made.
    #[must_use]
    pub fn ledger(&self) -> Option<Arc<AgentLedger>> {
        self.ledger.borrow().clone()
    }

    /// The next `seq` of each profile as of the last cut.
    #[must_use]
    pub fn next_seq(&self) -> BTreeMap<String, u64> {
        self.next_seq
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows the ledgers of all cuts.
    #[must_use]
    pub fn ledgers(&self) -> watch::Receiver<Option<Arc<AgentLedger>>> {
        self.ledger.subscribe()
    }

    /// What is shown now.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.lock().clone()
    }

    /// Follows the changes of what is shown.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
