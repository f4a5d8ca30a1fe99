//! Which plans have ended by their time, and when the next one does; the caller passes the clock in and sets the timer.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_profile::Plan;

/// What ended is forgotten only above this many entries, and then only of profiles that are not wanted: a profile that
/// cannot be planned for a moment must not start again when it can.
const KEPT_MAX: usize = 1_024;
/// Between two looks when nothing is due.
const IDLE: Duration = Duration::from_hours(1);

/// The generations that expired on this node, by the profile's UID. One that did never starts again, whatever the clock
/// says later; an edit is another generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expiry {
    ended: BTreeMap<String, i64>,
}

impl Expiry {
    /// Takes up what ended in a former life.
    pub fn restore(&mut self, ended: BTreeMap<String, i64>) {
        for (uid, generation) in ended {
            self.end(uid, generation);
        }
    }

    fn end(&mut self, uid: String, generation: i64) {
        let known = self.ended.entry(uid).or_insert(generation);
        *known = generation.max(*known);
    }

    fn has_ended(&self, plan: &Plan) -> bool {
        self.ended
            .get(&plan.uid)
            .is_some_and(|&ended| plan.generation <= ended)
    }

    /// Notes what is over by `now`, seconds since 1970. Place the plans after it.
    pub fn observe(&mut self, plans: &[Plan], now: i64) {
        for plan in plans {
            if plan.expires_at.is_some_and(|at| at <= now) {
                self.end(plan.uid.clone(), plan.generation);
            }
        }
        if self.ended.len() > KEPT_MAX {
            self.ended
                .retain(|uid, _| plans.iter().any(|plan| plan.uid == *uid));
        }
    }

    /// The generations that ended, by UID.
    #[must_use]
    pub fn ended(&self) -> &BTreeMap<String, i64> {
        &self.ended
    }

    /// How long nothing ends by itself. Nothing that [`Self::observe`] has not noted is passed over: a time that is over
    /// means now, also when the clock was set forward or something else was done when it came.
    #[must_use]
    pub fn wait(&self, plans: &[Plan], now: i64) -> Duration {
        plans
            .iter()
            .filter(|plan| !self.has_ended(plan))
            .filter_map(|plan| plan.expires_at)
            .min()
            .map_or(IDLE, |at| {
                Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or(0)).min(IDLE)
            })
    }
}

#[cfg(test)]
mod tests {
    use weir_profile::plan::SinkPlan;
    use weir_profile::{Document, load, plan_with_sink};

    use super::*;

    fn plan(name: &str, expires_at: Option<i64>) -> Plan {
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {{name: {name}}}\n\
             spec: {{events: [{{name: a, kind: process.exec}}]}}\n"
        );
        match load(&text).unwrap().pop() {
            Some(Document::Profile(profile)) => Plan {
                expires_at,
                ..plan_with_sink(&profile, SinkPlan::from_url("stdout").unwrap()).unwrap()
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wait_is_for_the_earliest_that_has_not_ended() {
        let plans = [
            plan("never", None),
            plan("past", Some(50)),
            plan("later", Some(200)),
            plan("soon", Some(101)),
        ];
        let mut expiry = Expiry::default();
        assert_eq!(expiry.wait(&plans, 60), Duration::ZERO, "nobody noted the first");
        expiry.observe(&plans, 60);
        assert_eq!(expiry.wait(&plans, 60), Duration::from_secs(41));
        assert_eq!(
            expiry.wait(&plans, 105),
            Duration::ZERO,
            "the time passed unnoticed"
        );
        expiry.observe(&plans, 105);
        assert_eq!(expiry.wait(&plans, 105), Duration::from_secs(95));
        expiry.observe(&plans, 200);
        assert_eq!(expiry.wait(&plans, 200), IDLE);
    }

    /// The loop of the control side in small: cuts every 10 s, after each of which the wait is asked for anew, and a
    /// look when it is over. Whatever the phase of the cuts and of the whole seconds, the profile ends within a second.
    #[test]
    fn plan_ends_in_time_whatever_the_phase_of_the_cuts() {
        const EXPIRES: i64 = 1_000;
        let plans = [plan("p", Some(EXPIRES))];
        for phase_ms in (0..10_000).step_by(50) {
            let mut expiry = Expiry::default();
            let (mut now_ms, mut cut_ms) = (900_000 + 37, 900_000 + phase_ms);
            while expiry.ended().is_empty() {
                let wait = expiry.wait(&plans, now_ms / 1_000);
                let look_ms = now_ms + i64::try_from(wait.as_millis()).unwrap();
                // A cut that is due at the same time comes first, and takes a while.
                if cut_ms <= look_ms {
                    now_ms = cut_ms.max(now_ms) + 3;
                    cut_ms += 10_000;
                } else {
                    now_ms = look_ms;
                    expiry.observe(&plans, now_ms / 1_000);
                }
                assert!(now_ms < (EXPIRES + 2) * 1_000, "phase {phase_ms} ms: {now_ms} ms");
            }
        }
    }

    #[test]
    fn what_ended_is_kept_through_a_restart_and_a_clock_that_is_set_back_until_the_next_generation() {
        let plans = [plan("p", Some(100))];
        let mut expiry = Expiry::default();
        expiry.observe(&plans, 100);
        let mut next_life = Expiry::default();
        next_life.restore(expiry.ended().clone());
        next_life.observe(&plans, 10);
        assert_eq!(next_life.ended().get("p"), Some(&plans[0].generation));
        assert_eq!(next_life.wait(&plans, 10), IDLE, "nothing is left to end");
        let edited = [Plan {
            generation: plans[0].generation + 1,
            ..plans[0].clone()
        }];
        assert_eq!(next_life.wait(&edited, 10), Duration::from_secs(90));
    }

    #[test]
    fn what_ended_is_bounded_and_wanted_profiles_stay() {
        let plans = [plan("p", Some(100))];
        let mut expiry = Expiry::default();
        expiry.observe(&plans, 100);
        expiry.restore((0..KEPT_MAX).map(|number| (format!("uid-{number}"), 1)).collect());
        expiry.observe(&plans, 10);
        assert_eq!(expiry.ended().len(), 1);
        assert!(expiry.ended().contains_key("p"));
    }
}
