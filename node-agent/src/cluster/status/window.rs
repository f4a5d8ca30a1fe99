//! Rates and losses of the last minute, from the ledgers of its cuts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use weir_events::agent::{AgentLedger, LedgerHook, LedgerSlot};
use weir_profile::EventKind;
use weir_profile::api::{ConditionReason, Window as Rates};

use crate::bpf::hook::HOOKS;

/// How far back rates look, milliseconds.
const WINDOW_MS: u64 = 60_000;
/// Rates are of at least this time: what happens while an agent starts is not its node's rate.
const LEAST_MS: u64 = 20_000;

/// What is compared over the window.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    acked: u64,
    limited: u64,
    lost: u64,
    ring_full: u64,
    undecided: u64,
}

impl Totals {
    fn add(&mut self, slot: &LedgerSlot) {
        self.acked += slot.acked;
        self.limited += slot.limited_event + slot.limited_profile + slot.limited_workload;
        self.lost += slot.ring_full + slot.shed + slot.rejected + slot.malformed;
        self.ring_full += slot.ring_full;
        self.undecided += slot.undecided;
    }

    const fn since(self, before: Self) -> Self {
        Self {
            acked: self.acked.saturating_sub(before.acked),
            limited: self.limited.saturating_sub(before.limited),
            lost: self.lost.saturating_sub(before.lost),
            ring_full: self.ring_full.saturating_sub(before.ring_full),
            undecided: self.undecided.saturating_sub(before.undecided),
        }
    }
}

/// The ledgers of the last minute.
#[derive(Debug, Clone, Default)]
pub struct Window {
    ledgers: VecDeque<(u64, Arc<AgentLedger>)>,
}

impl Window {
    /// Takes the ledger of a cut, made at `now_ms` of any clock that only goes forward.
    pub fn push(&mut self, now_ms: u64, ledger: Arc<AgentLedger>) {
        self.ledgers.push_back((now_ms, ledger));
        // One before the window stays, to compare with.
        while self.ledgers.len() > 2
            && self
                .ledgers
                .get(1)
                .is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= WINDOW_MS)
        {
            self.ledgers.pop_front();
        }
    }

    fn ends(&self) -> Option<(&AgentLedger, &AgentLedger, u64)> {
        let ((from, first), (to, last)) = (self.ledgers.front()?, self.ledgers.back()?);
        Some((first, last, to.saturating_sub(*from)))
    }

    /// All profiles together.
    #[must_use]
    pub fn total(&self) -> Option<Rates> {
        let (first, last, passed) = self.ends()?;
        let sum = |ledger: &AgentLedger| {
            let mut totals = Totals::default();
            ledger
                .profiles
                .iter()
                .flat_map(|profile| &profile.slots)
                .for_each(|slot| totals.add(slot));
            totals
        };
        rates(sum(last).since(sum(first)), passed)
    }

    /// One profile's rates, and why it misses something of its kinds.
    #[must_use]
    pub fn profile(
        &self,
        name: &str,
        kinds: &BTreeSet<EventKind>,
    ) -> (Option<Rates>, Option<ConditionReason>) {
        let Some((first, last, passed)) = self.ends() else {
            return (None, None);
        };
        let sum = |ledger: &AgentLedger| {
            let mut totals = Totals::default();
            let of_profile = ledger.profiles.iter().filter(|profile| profile.name == name);
            of_profile
                .flat_map(|profile| &profile.slots)
                .for_each(|slot| totals.add(slot));
            totals
        };
        let moved = sum(last).since(sum(first));
        let incomplete = if moved.ring_full > 0 {
            Some(ConditionReason::RingFull)
        } else if moved.undecided > 0 {
            Some(ConditionReason::Undecided)
        } else {
            hook_trouble(first, last, kinds)
        };
        (rates(moved, passed), incomplete)
    }
}

/// The trouble of the hooks of these kinds, and of those that serve all kinds.
fn hook_trouble(
    first: &AgentLedger,
    last: &AgentLedger,
    kinds: &BTreeSet<EventKind>,
) -> Option<ConditionReason> {
    let concerns = |hook: &LedgerHook| {
        let known = HOOKS.iter().find(|known| known.name() == hook.hook);
        known
            .and_then(|known| known.kind)
            .is_none_or(|kind| kinds.contains(&kind))
    };
    let before: BTreeMap<&str, &LedgerHook> = first
        .hooks
        .iter()
        .map(|hook| (hook.hook.as_str(), hook))
        .collect();
    let moved = |count: fn(&LedgerHook) -> u64| {
        last.hooks
            .iter()
            .filter(|hook| concerns(hook))
            .any(|hook| count(hook) > before.get(hook.hook.as_str()).map_or(0, |hook| count(hook)))
    };
    if moved(|hook| hook.missed.unwrap_or(0)) {
        Some(ConditionReason::EventsMissed)
    } else if moved(|hook| hook.hook_error) {
        Some(ConditionReason::HookErrors)
    } else if moved(|hook| hook.untracked) {
        Some(ConditionReason::Untracked)
    } else {
        None
    }
}

/// Rounded to the nearest; `None` while too little time has passed for a rate.
fn rates(moved: Totals, passed_ms: u64) -> Option<Rates> {
    let per_second = |count: u64| {
        let rounded = count.saturating_mul(1_000).saturating_add(passed_ms / 2) / passed_ms;
        i64::try_from(rounded).unwrap_or(i64::MAX)
    };
    (passed_ms >= LEAST_MS).then(|| Rates {
        events_per_second: per_second(moved.acked),
        limited_per_second: per_second(moved.limited),
        lost_per_second: per_second(moved.lost),
    })
}

#[cfg(test)]
mod tests {
    use weir_events::agent::LedgerProfile;

    use super::*;

    fn ledger(acked: u64, ring_full: u64) -> Arc<AgentLedger> {
        let slot = LedgerSlot {
            acked,
            ring_full,
            ..LedgerSlot::default()
        };
        let profile = LedgerProfile {
            name: "p".into(),
            slots: vec![slot],
            ..LedgerProfile::default()
        };
        Arc::new(AgentLedger {
            profiles: vec![profile],
            ..AgentLedger::default()
        })
    }

    #[test]
    fn rates_are_over_the_last_minute_and_forget_what_came_before() {
        let mut window = Window::default();
        assert_eq!(window.total(), None);
        window.push(0, ledger(0, 0));
        window.push(10_000, ledger(5_000, 7));
        let (rates, incomplete) = window.profile("p", &BTreeSet::new());
        assert_eq!(rates, None, "10 s are too few for a rate");
        assert_eq!(incomplete, Some(ConditionReason::RingFull));
        window.push(20_000, ledger(5_000, 7));
        let (rates, _) = window.profile("p", &BTreeSet::new());
        assert_eq!(rates.map(|rates| rates.events_per_second), Some(250));
        for cut in 3..=9_u64 {
            window.push(cut * 10_000, ledger(5_000, 7));
        }
        let (rates, incomplete) = window.profile("p", &BTreeSet::new());
        assert_eq!(rates.map(|rates| rates.events_per_second), Some(0));
        assert_eq!(incomplete, None);
    }

    #[test]
    fn hooks_trouble_is_that_of_profiles_of_its_kind_and_of_all_where_it_serves_all() {
        let of = |hook: &str, missed| {
            let hook = LedgerHook {
                hook: hook.into(),
                missed: Some(missed),
                ..LedgerHook::default()
            };
            Arc::new(AgentLedger {
                hooks: vec![hook],
                ..AgentLedger::default()
            })
        };
        let incomplete = |hook: &str, kind| {
            let mut window = Window::default();
            window.push(0, of(hook, 1));
            window.push(10_000, of(hook, 2));
            window.profile("p", &[kind].into()).1
        };
        let missed = Some(ConditionReason::EventsMissed);
        assert_eq!(incomplete("sys_exit_openat", EventKind::FileOpen), missed);
        assert_eq!(incomplete("sys_exit_openat", EventKind::ProcessExec), None);
        assert_eq!(incomplete("cgroup_mkdir", EventKind::ProcessExec), missed);
    }
}
