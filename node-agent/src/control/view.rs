//! What others may see of the control side: the last ledger, the profiles' states, the hooks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_events::agent::AgentLedger;
use weir_profile::api::Per;
use weir_profile::{EventKind, NodeConfig, PlacedProfile, Placement};

use crate::bpf::kernel::HookStatus;
use crate::enrich::IndexCounts;

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
    /// Their kinds.
    pub kinds: BTreeSet<EventKind>,
    /// It has a limit per pod.
    pub limits_pods: bool,
    /// It has a limit per container.
    pub limits_containers: bool,
}

impl ProfileView {
    fn of(profile: &PlacedProfile) -> Self {
        let per = |per| {
            let limits = profile.slots.iter().filter_map(|slot| slot.limit);
            limits.into_iter().any(|limit| limit.per == per)
        };
        Self {
            name: profile.name.clone(),
            uid: profile.uid.clone(),
            generation: profile.generation,
            digest: profile.digest.clone(),
            slots: profile.slots.len(),
            kinds: profile.slots.iter().map(|slot| slot.kind).collect(),
            limits_pods: profile.per_workload.is_some() || per(Per::Pod),
            limits_containers: per(Per::Container),
        }
    }
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
    /// How full attribution's tables were at the last cut.
    pub attribution: IndexCounts,
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
    ended: Arc<watch::Sender<BTreeMap<String, i64>>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            ledger: Arc::new(watch::Sender::new(None)),
            next_seq: Arc::default(),
            shown: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
            ended: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }
}

impl View {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cut(&self, ledger: AgentLedger, next_seq: BTreeMap<String, u64>, attribution: IndexCounts) {
        *self.next_seq.lock().unwrap_or_else(PoisonError::into_inner) = next_seq;
        // Whoever looks at it follows the ledgers.
        self.lock().attribution = attribution;
        self.ledger.send_replace(Some(Arc::new(ledger)));
    }

    /// The generations that expired here, by the profile's UID.
    pub(super) fn ended(&self, ended: &BTreeMap<String, i64>) {
        self.ended.send_if_modified(|known| {
            let changed = known != ended;
            if changed {
                known.clone_from(ended);
            }
            changed
        });
    }

    pub(super) fn placed(&self, placement: &Placement) {
        self.change(|shown| shown.placement = placement.clone());
    }

    pub(super) fn applied(&self, config: &NodeConfig, hooks: &[(&'static str, HookStatus)]) {
        self.change(|shown| {
            shown.profiles = config.profiles.iter().map(ProfileView::of).collect();
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

    /// Follows which generations expired here, by the profile's UID.
    #[must_use]
    pub fn ends(&self) -> watch::Receiver<BTreeMap<String, i64>> {
        self.ended.subscribe()
    }

    /// How full attribution's tables were at the last cut.
    #[must_use]
    pub fn attribution(&self) -> IndexCounts {
        self.lock().attribution
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
