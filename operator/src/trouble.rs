//! What keeps the operator itself from doing its work. Every profile's status tells the first of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
pub struct Troubles(Mutex<BTreeMap<Concern, Trouble>>);

impl Troubles {
    /// What is told.
    #[must_use]
    pub fn first(&self) -> Option<Trouble> {
        self.held().first_key_value().map(|(_, trouble)| trouble.clone())
    }

    /// What concerns this.
    #[must_use]
    pub fn of(&self, concern: Concern) -> Option<Trouble> {
        self.held().get(&concern).cloned()
    }

    /// Sets or ends a trouble. Whether that changes what is told.
    pub fn set(&self, concern: Concern, trouble: Option<Trouble>) -> bool {
        let mut held = self.held();
        let before = held.first_key_value().map(|(_, trouble)| trouble.clone());
        match trouble {
            Some(trouble) => held.insert(concern, trouble),
            None => held.remove(&concern),
        };
        held.first_key_value().map(|(_, trouble)| trouble) != before.as_ref()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Concern, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_told_is_the_first_that_lasts() {
        let troubles = Troubles::default();
        let second = (ConditionReason::SecondOperator, "two".to_owned());
        let denied = (ConditionReason::PermissionDenied, "no".to_owned());
        assert!(troubles.set(Concern::Operators, Some(second.clone())));
        assert!(troubles.set(Concern::Watch("watch-nodes"), Some(denied.clone())));
        assert!(!troubles.set(Concern::Watch("watch-pods"), Some(second.clone())));
        assert_eq!(troubles.first(), Some(denied));
        assert!(troubles.set(Concern::Watch("watch-nodes"), None));
        assert!(
            !troubles.set(Concern::Watch("watch-pods"), None),
            "the words are the same"
        );
        assert_eq!(troubles.of(Concern::Watch("watch-pods")), None);
        assert_eq!(troubles.first(), Some(second));
        assert!(troubles.set(Concern::Operators, None));
        assert_eq!(troubles.first(), None);
    }
}
