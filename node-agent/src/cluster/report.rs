//! Decides when the node's report is written: on a change of state at once, on a lastingly moved rate seldom, else
//! never.
//!
//! Pure: time is passed in, in milliseconds of any clock that only goes forward.

mod told;

use std::collections::BTreeMap;

use weir_profile::CollectorNodeStatus;
use weir_profile::api::{ConditionReason, NodeProfileState};

use self::told::Told;
use super::fleet::Fleet;

/// State changes that may be written one after the other; then one per [`REFILL_MS`].
const BURST: u64 = 5;
/// Least time between two state changes' writes once [`BURST`] is used up, milliseconds.
const REFILL_MS: u64 = 5_000;

/// What makes a write necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// Only rates moved.
    Rates,
    /// Only what a sink causes: the whole fleet sees that at once.
    Sinks,
    /// Anything else.
    State,
}

/// The report, and what the API server has of it.
#[derive(Debug)]
pub struct Report {
    /// With exact rates.
    exact: Option<CollectorNodeStatus>,
    /// With the rates that are told.
    current: Option<CollectorNodeStatus>,
    /// All profiles' rates together.
    told: Told,
    /// Each profile's, by UID.
    told_of: BTreeMap<String, Told>,
    /// As the API server accepted it.
    written: Option<CollectorNodeStatus>,
    written_at_ms: u64,
    /// Since when a sinks' difference waits, and when it is due.
    spread_until_ms: Option<u64>,
    /// When the present difference should have been written: one that a sink causes, only once its spread is over.
    unwritten_since_ms: Option<u64>,
    tokens: u64,
    refilled_at_ms: u64,
    fleet: Fleet,
}

impl Report {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        Self {
            exact: None,
            current: None,
            told: Told::default(),
            told_of: BTreeMap::new(),
            written: None,
            written_at_ms: 0,
            spread_until_ms: None,
            unwritten_since_ms: None,
            tokens: BURST,
            refilled_at_ms: 0,
            fleet,
        }
    }

    /// The fleet's size as of now.
    pub fn set_fleet(&mut self, fleet: Fleet) {
        self.fleet = fleet;
    }

    /// The node's state as of now, with exact rates. `jitter` spreads what the whole fleet will write.
    pub fn update(&mut self, status: CollectorNodeStatus, jitter: u32, now_ms: u64) {
        self.exact = Some(status);
        self.look(jitter, now_ms);
    }

    /// Looks again at what the last update said: a rate may have lasted long enough by now.
    pub fn look(&mut self, jitter: u32, now_ms: u64) {
        self.current = self.exact.clone().map(|status| self.tell(status, now_ms));
        match self.difference() {
            Some(Difference::Sinks) if self.spread_until_ms.is_none() => {
                let wait = u64::try_from(self.fleet.spread(jitter).as_millis()).unwrap_or(u64::MAX);
                self.spread_until_ms = Some(now_ms.saturating_add(wait));
            }
            Some(Difference::Sinks) => {}
            Some(Difference::State | Difference::Rates) | None => self.spread_until_ms = None,
        }
        self.note_unwritten(now_ms);
    }

    fn note_unwritten(&mut self, now_ms: u64) {
        let since = self.unwritten_since_ms;
        self.unwritten_since_ms = match self.difference() {
            Some(Difference::State) => Some(since.map_or(now_ms, |since| since.min(now_ms))),
            Some(Difference::Sinks) => since.or(self.spread_until_ms).or(Some(now_ms)),
            Some(Difference::Rates) | None => None,
        };
    }

    /// When a moved rate will have lasted long enough; `None` while none has moved.
    #[must_use]
    pub fn look_ms(&self) -> Option<u64> {
        let due = self.told_of.values().filter_map(Told::due_ms);
        due.chain(self.told.due_ms()).min()
    }

    /// When it must be written; `None` while there is nothing to write. A time that is over means now.
    #[must_use]
    pub fn due_ms(&self, now_ms: u64) -> Option<u64> {
        let rate = || {
            let interval = u64::try_from(self.fleet.rate_interval().as_millis()).unwrap_or(u64::MAX);
            self.written_at_ms.saturating_add(interval)
        };
        match self.difference()? {
            Difference::Rates => Some(rate()),
            Difference::Sinks => Some(
                self.spread_until_ms
                    .unwrap_or(now_ms)
                    .max(self.token_at_ms(now_ms)),
            ),
            Difference::State => Some(self.token_at_ms(now_ms)),
        }
    }

    /// What to write.
    #[must_use]
    pub fn current(&self) -> Option<&CollectorNodeStatus> {
        self.current.as_ref()
    }

    /// The API server accepted `status`.
    pub fn written(&mut self, status: CollectorNodeStatus, now_ms: u64) {
        self.refill(now_ms);
        self.tokens = self.tokens.saturating_sub(1);
        self.written = Some(status);
        self.written_at_ms = now_ms;
        self.spread_until_ms = None;
        self.unwritten_since_ms = None;
        self.note_unwritten(now_ms);
    }

    /// The API server has `found` instead of what was written: somebody else wrote it, or it was made anew.
    pub fn found(&mut self, found: Option<CollectorNodeStatus>, now_ms: u64) {
        self.written = found;
        self.note_unwritten(now_ms);
    }

    /// Since when the API server should have had the latest state and has not. In the future while a difference that a sink
    /// causes waits for its turn.
    #[must_use]
    pub fn unwritten_since_ms(&self) -> Option<u64> {
        self.unwritten_since_ms
    }

    fn tell(&mut self, mut status: CollectorNodeStatus, now_ms: u64) -> CollectorNodeStatus {
        status.window = self.told.tell(status.window, now_ms);
        let mut told_of = std::mem::take(&mut self.told_of);
        for profile in &mut status.profiles {
            // What was told of a profile that is no longer there is forgotten with it.
            let mut told = told_of.remove(&profile.uid).unwrap_or_default();
            profile.window = told.tell(profile.window, now_ms);
            self.told_of.insert(profile.uid.clone(), told);
        }
        status
    }

    fn difference(&self) -> Option<Difference> {
        let current = self.current.as_ref()?;
        let Some(written) = &self.written else {
            return Some(Difference::State);
        };
        if current == written {
            return None;
        }
        let (mut current, mut written) = (without_rates(current), without_rates(written));
        if current == written {
            return Some(Difference::Rates);
        }
        for status in [&mut current, &mut written] {
            forget_sinks(status);
        }
        Some(if current == written {
            Difference::Sinks
        } else {
            Difference::State
        })
    }

    fn refill(&mut self, now_ms: u64) {
        let gained = now_ms.saturating_sub(self.refilled_at_ms) / REFILL_MS;
        self.tokens = self.tokens.saturating_add(gained).min(BURST);
        self.refilled_at_ms = self
            .refilled_at_ms
            .saturating_add(gained.saturating_mul(REFILL_MS));
    }

    fn token_at_ms(&self, now_ms: u64) -> u64 {
        if self.tokens > 0 {
            now_ms
        } else {
            self.refilled_at_ms.saturating_add(REFILL_MS)
        }
    }
}

/// Takes out what the whole fleet sees at once when a sink changes: how it does, and that profiles which go on miss it.
fn forget_sinks(status: &mut CollectorNodeStatus) {
    status.sinks.clear();
    // It counts the states of the rows, which are compared.
    status.summary = None;
    for profile in &mut status.profiles {
        let of_a_sink = matches!(
            profile.reason,
            Some(ConditionReason::SinkNotFound | ConditionReason::SinkInvalid)
        );
        if of_a_sink && profile.state == NodeProfileState::Degraded {
            profile.state = NodeProfileState::Live;
            profile.reason = None;
            profile.message = None;
        }
    }
}

fn without_rates(status: &CollectorNodeStatus) -> CollectorNodeStatus {
    let mut status = status.clone();
    status.window = None;
    for profile in &mut status.profiles {
        profile.window = None;
    }
    status
}

#[cfg(test)]
mod tests;
