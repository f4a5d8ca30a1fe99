//! Which rates the status tells: coarse ones, and only those that last.

use weir_profile::api::Window;

use super::super::ladder;

/// A moved rate is told once it has stayed moved for this long. Rates are of the last 60 s, so that a burst moves them
/// for 60 s: it is told by metrics and the stream, and does not have every node written twice.
pub(super) const LASTING_MS: u64 = 75_000;

/// What is told of one group of rates.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    window: Option<Window>,
    /// Since when the rates are others.
    moved_at_ms: Option<u64>,
}

impl Told {
    /// What to tell now that the rates are `rates`. The first ones are told at once, and so are those that begin: that
    /// nothing flows is the wrong thing to say for a minute.
    pub(super) fn tell(&mut self, rates: Option<Window>, now_ms: u64) -> Option<Window> {
        let next = rates.map(|rates| ladder::window(rates, self.window));
        let Some((next, told)) = next.zip(self.window) else {
            // No rates yet, or again none: the profile has just begun.
            self.moved_at_ms = None;
            self.window = next;
            return next;
        };
        if next == told {
            self.moved_at_ms = None;
            return Some(told);
        }
        let since = *self.moved_at_ms.get_or_insert(now_ms);
        if begins(told, next) || now_ms.saturating_sub(since) >= LASTING_MS {
            self.window = Some(next);
            self.moved_at_ms = None;
        }
        self.window
    }

    /// When a moved rate will have lasted.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.moved_at_ms.map(|since| since.saturating_add(LASTING_MS))
    }
}

/// Whether something flows, is limited or is lost that was told to be nothing.
fn begins(told: Window, next: Window) -> bool {
    let begins = |of: fn(&Window) -> i64| of(&told) == 0 && of(&next) > 0;
    begins(|window| window.events_per_second)
        || begins(|window| window.limited_per_second)
        || begins(|window| window.lost_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(events_per_second: i64) -> Window {
        Window {
            events_per_second,
            limited_per_second: 0,
            lost_per_second: 0,
        }
    }

    /// What is told once these events per second are seen.
    fn tell(told: &mut Told, events_per_second: i64, now_ms: u64) -> i64 {
        let shown = told.tell(Some(events(events_per_second)), now_ms);
        shown.unwrap().events_per_second
    }

    #[test]
    fn rate_that_begins_is_told_at_once_and_one_that_ends_when_it_has_lasted() {
        let mut told = Told::default();
        assert_eq!(told.tell(None, 0), None);
        assert_eq!(tell(&mut told, 0, 1), 0);
        assert_eq!(tell(&mut told, 480, 2), 500);
        assert_eq!(tell(&mut told, 0, 1_000), 500);
        assert_eq!(told.due_ms(), Some(1_000 + LASTING_MS));
        assert_eq!(tell(&mut told, 0, 1_000 + LASTING_MS), 0);
        assert_eq!(told.due_ms(), None);
    }

    #[test]
    fn rate_that_comes_back_was_never_told() {
        let mut told = Told::default();
        tell(&mut told, 100, 0);
        for minute in 0..60 {
            let now_ms = minute * 60_000;
            assert_eq!(tell(&mut told, 900, now_ms), 100);
            assert_eq!(tell(&mut told, 110, now_ms + 30_000), 100);
        }
    }

    #[test]
    fn trickle_about_one_a_second_is_quiet() {
        let mut told = Told::default();
        tell(&mut told, 1, 0);
        for second in 0..600 {
            assert_eq!(
                tell(&mut told, second % 2, u64::try_from(second).unwrap() * 1_000),
                1
            );
        }
        let mut told = Told::default();
        tell(&mut told, 0, 0);
        for second in 0..600 {
            assert_eq!(
                tell(&mut told, second % 2, u64::try_from(second).unwrap() * 1_000),
                0
            );
        }
    }
}
