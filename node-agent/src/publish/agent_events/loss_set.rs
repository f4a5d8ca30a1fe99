//! Lost `seq` ranges, coalesced.
//!
//! Adding a range that is known already changes nothing. At its bound the set joins the two ranges with the smallest gap
//! between them: it then announces too much, never too little, so that no gap in a stream stays unexplained.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::publish::outcome::{Loss, LossReason};

/// Ranges kept at most. Batches are shed in the order of their `seq`, so that a profile normally has one range.
const MAX_RANGES: usize = 4096;

/// A range of a profile's `seq` that will not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossRange {
    /// The profile.
    pub profile: Arc<str>,
    /// Why.
    pub reason: LossReason,
    /// First lost `seq`.
    pub base: u64,
    /// How many, from `base` on.
    pub events: u64,
}

type Key = (Arc<str>, LossReason);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LossSet {
    /// End (exclusive) by base; ranges of one key neither overlap nor touch.
    ranges: BTreeMap<Key, BTreeMap<u64, u64>>,
    len: usize,
}

impl LossSet {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn add(&mut self, loss: &Loss) {
        if loss.events == 0 {
            return;
        }
        let (mut base, mut end) = (loss.base, loss.base.saturating_add(u64::from(loss.events)));
        let ranges = self
            .ranges
            .entry((Arc::clone(&loss.profile), loss.reason))
            .or_default();
        let before = ranges.len();
        while let Some((known_base, known_end)) = ranges
            .range(..=end)
            .next_back()
            .map(|(base, end)| (*base, *end))
            .filter(|(_, known)| *known >= base)
        {
            ranges.remove(&known_base);
            base = base.min(known_base);
            end = end.max(known_end);
        }
        ranges.insert(base, end);
        self.len = self.len + ranges.len() - before;
        if self.len > MAX_RANGES {
            self.join_closest();
        }
    }

    fn join_closest(&mut self) {
        let gaps = self.ranges.iter().flat_map(|(key, ranges)| {
            ranges
                .iter()
                .zip(ranges.iter().skip(1))
                .map(move |((base, end), (next, next_end))| (next - end, key, *base, *next, *next_end))
        });
        let Some((gap, key, base, next, next_end)) = gaps.min_by_key(|(gap, ..)| *gap) else {
            return;
        };
        let key = key.clone();
        tracing::warn!(profile = %key.0, gap, "too many separate losses; two ranges are announced as one");
        if let Some(ranges) = self.ranges.get_mut(&key) {
            ranges.remove(&next);
            ranges.insert(base, next_end);
            self.len -= 1;
        }
    }

    /// Takes up to `most` ranges of one profile out.
    pub(super) fn take(&mut self, most: usize) -> Vec<LossRange> {
        let mut taken: Vec<LossRange> = Vec::new();
        while taken.len() < most
            && let Some(mut entry) = self.ranges.first_entry()
        {
            let (profile, reason) = entry.key().clone();
            if taken.first().is_some_and(|first| first.profile != profile) {
                break;
            }
            match entry.get_mut().pop_first() {
                Some((base, end)) => {
                    self.len -= 1;
                    taken.push(LossRange {
                        profile,
                        reason,
                        base,
                        events: end - base,
                    });
                }
                None => drop(entry.remove()),
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn loss(base: u64, events: u32) -> Loss {
        Loss {
            sink: "s".into(),
            profile: "p".into(),
            reason: LossReason::QueueFull,
            base,
            events,
        }
    }

    #[test]
    fn losses_at_the_bound_are_joined_where_the_gap_is_smallest() {
        let mut set = LossSet::default();
        for index in 0..=u64::try_from(MAX_RANGES).expect("is small") {
            set.add(&loss(index * 100 + if index == 7 { 50 } else { 0 }, 1));
        }
        assert_eq!(set.len(), MAX_RANGES);
        let ranges = set.take(usize::MAX);
        assert_eq!(
            ranges.iter().map(|range| range.events).max(),
            Some(51),
            "750 and 800 are joined"
        );
    }

    proptest! {
        #[test]
        fn losses_cover_exactly_what_was_added(
            losses in prop::collection::vec((0_u64..200, 0_u32..20), 0..60), most in 1_usize..10,
        ) {
            let mut set = LossSet::default();
            let mut expected = BTreeSet::new();
            for (base, events) in losses {
                set.add(&loss(base, events));
                set.add(&loss(base, events));
                expected.extend(base..base + u64::from(events));
            }
            let mut covered = BTreeSet::new();
            let mut last_end = None;
            while set.len() > 0 {
                let before = set.len();
                let taken = set.take(most);
                prop_assert_eq!(before, set.len() + taken.len());
                for range in taken {
                    prop_assert!(last_end.is_none_or(|end| end < range.base), "ranges touch");
                    last_end = Some(range.base + range.events);
                    covered.extend(range.base..range.base + range.events);
                }
            }
            prop_assert_eq!(covered, expected);
            prop_assert!(set.take(1).is_empty());
        }
    }
}
