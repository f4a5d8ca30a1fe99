//! What keeps the operator itself from doing its work. Every profile's status tells the first of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weir_profile::api::ConditionReason;

/// A reason, and the same for a human, with the remedy.
pub type Trouble = (ConditionReason, String);

/// What a trouble concerns; the first is told when there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// The agents' objects cannot be applied.
    Agents,
    /// A watch of this name is refused: what it would show is not known any more.
    Watch(&'static str),
    /// Another operator acts on the same objects.
    Operators,
}

/// All there is. Bounded: a trouble per concern.
#[derive(Debug, Default)]
pub struct Troubles {
    held: Mutex<BTreeMap<Concern, Trouble>>,
    changed: Notify,
}

impl Troubles {
    /// What is told.
    #[must_use]
    pub fn first(&self) -> Option<Trouble> {
        self.held().first_key_value().map(|(_, trouble)| trouble.clone())
    }

    /// Why what nodes do is not known any more; `None` while every watch is allowed.
    #[must_use]
    pub fn blindness(&self) -> Option<Trouble> {
        let held = self.held();
        let mut watches = held
            .iter()
            .filter(|(concern, _)| matches!(concern, Concern::Watch(_)));
        watches.next().map(|(_, trouble)| trouble.clone())
    }

    /// Waits until a watch is refused.
    pub async fn blind(&self) {
        loop {
            let changed = self.changed.notified();
            if self.blindness().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// What concerns this.
    #[must_use]
    pub fn of(&self, concern: Concern) -> Option<Trouble> {
        self.held().get(&concern).cloned()
    }

    /// Sets or ends a trouble. Whether that changes anything.
    pub fn set(&self, concern: Concern, trouble: Option<Trouble>) -> bool {
        let mut held = self.held();
        let changed = held.get(&concern) != trouble.as_ref();
        match trouble {
            Some(trouble) => held.insert(concern, trouble),
            None => held.remove(&concern),
        };
        drop(held);
        self.changed.notify_waiters();
        changed
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Concern, Trouble>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn trouble_told_is_the_first_and_only_watches_make_blind() {
        let troubles = Troubles::default();
        let second = (ConditionReason::SecondOperator, "two".to_owned());
        let denied = (ConditionReason::PermissionDenied, "no".to_owned());
        let nodes = Concern::Watch("watch-nodes");
        assert!(troubles.set(Concern::Operators, Some(second.clone())));
        assert!(!troubles.set(Concern::Operators, Some(second.clone())));
        assert_eq!(
            (troubles.first(), troubles.blindness()),
            (Some(second.clone()), None)
        );
        let mut blind = Box::pin(troubles.blind());
        assert!(blind.as_mut().now_or_never().is_none());
        assert!(troubles.set(nodes, Some(denied.clone())));
        assert!(blind.now_or_never().is_some());
        assert_eq!(
            (troubles.first(), troubles.blindness()),
            (Some(denied.clone()), Some(denied.clone()))
        );
        assert!(troubles.set(Concern::Agents, Some(second.clone())));
        assert_eq!(
            (troubles.first(), troubles.of(nodes)),
            (Some(second), Some(denied))
        );
        assert!(troubles.set(nodes, None));
        assert_eq!(troubles.blindness(), None);
    }
}
