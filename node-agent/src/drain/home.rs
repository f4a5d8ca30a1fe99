//! Where each profile's events go, and at which `seq` that changed. Pure.
//!
//! A profile's sequence is one, whichever sinks it goes to. So that a consumer of one sink can tell what went to the
//! other, a change has one boundary: everything below it went to the old sink, everything from it on to the new one.

use std::collections::HashMap;
use std::sync::Arc;

use super::table::SinkFacts;

/// A profile's events go to another sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The profile's name.
    pub profile: Arc<str>,
    /// The sink before.
    pub from: Arc<str>,
    /// The sink now.
    pub to: Arc<str>,
    /// The first `seq` that goes there.
    pub next_seq: u64,
}

#[derive(Debug)]
struct Home {
    sink: Arc<SinkFacts>,
    /// The sink before, until the boundary is drawn.
    from: Option<Arc<str>>,
}

/// The sinks of all profiles of this epoch, by profile.
#[derive(Debug, Default)]
pub(super) struct Homes {
    by_profile: HashMap<Arc<str>, Home>,
    /// Profiles whose boundary is not drawn.
    moving: usize,
    drawn: Vec<Moved>,
}

impl Homes {
    /// The profile's events go to this sink from the next boundary on.
    pub(super) fn assign(&mut self, profile: &Arc<str>, sink: &Arc<SinkFacts>) {
        let Some(home) = self.by_profile.get_mut(profile) else {
            let home = Home {
                sink: Arc::clone(sink),
                from: None,
            };
            self.by_profile.insert(Arc::clone(profile), home);
            return;
        };
        let before = std::mem::replace(&mut home.sink, Arc::clone(sink));
        if before.name != sink.name && home.from.is_none() {
            home.from = Some(Arc::clone(&before.name));
            self.moving += 1;
        }
    }

    /// Where the profile's events go.
    pub(super) fn sink(&self, profile: &str) -> Option<&Arc<SinkFacts>> {
        self.by_profile.get(profile).map(|home| &home.sink)
    }

    /// Whether a boundary must be drawn before the profile's next batch for this sink gets its numbers.
    pub(super) fn is_moving_to(&self, profile: &str, sink: &str) -> bool {
        self.moving > 0
            && self
                .by_profile
                .get(profile)
                .is_some_and(|home| home.from.is_some() && *home.sink.name == *sink)
    }

    /// The profiles whose boundary is not drawn.
    pub(super) fn moving(&self) -> Vec<Arc<str>> {
        let moving = self.by_profile.iter().filter(|(_, home)| home.from.is_some());
        moving.map(|(profile, _)| Arc::clone(profile)).collect()
    }

    /// Draws the boundary: nothing from `next_seq` on goes to the old sink.
    pub(super) fn draw(&mut self, profile: &str, next_seq: u64) {
        let Some((profile, home)) = self.by_profile.get_key_value(profile) else {
            return;
        };
        let (profile, to) = (Arc::clone(profile), Arc::clone(&home.sink.name));
        let from = self
            .by_profile
            .get_mut(&profile)
            .and_then(|home| home.from.take());
        if let Some(from) = from {
            self.moving -= 1;
            self.drawn.push(Moved {
                profile,
                from,
                to,
                next_seq,
            });
        }
    }

    /// The boundaries that were drawn since the last time.
    pub(super) fn take_drawn(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.drawn)
    }
}
