//! Whether the Lease may be taken. Pure: no clock but the one passed in, so that a wrong wall clock harms nobody.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is ours: renew it.
    Renew,
    /// It is free or has run out: take it.
    Take {
        /// How often it changed hands.
        transitions: i32,
    },
    /// It is somebody else's.
    Wait {
        /// Whose.
        holder: String,
    },
}

/// One candidate's view.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    /// The Lease as last seen, and when it was first seen so.
    seen: Option<(LeaseSpec, Duration)>,
}

impl Election {
    pub(super) fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Notes what the Lease says now.
    pub(super) fn observe(&mut self, spec: Option<&LeaseSpec>, now: Duration) {
        match (&self.seen, spec) {
            (Some((seen, _)), Some(spec)) if seen == spec => {}
            (_, Some(spec)) => self.seen = Some((spec.clone(), now)),
            (_, None) => self.seen = None,
        }
    }

    /// What to do about the Lease as it is now. A holder counts as gone only after its record did not change for the
    /// Lease's duration by this candidate's own clock.
    pub(super) fn decide(&mut self, spec: Option<&LeaseSpec>, now: Duration) -> Decision {
        self.observe(spec, now);
        let Some((spec, since)) = &self.seen else {
            return Decision::Take { transitions: 0 };
        };
        let transitions = spec.lease_transitions.unwrap_or(0);
        let next = Decision::Take {
            transitions: transitions.saturating_add(1),
        };
        match spec.holder_identity.as_deref() {
            None | Some("") => next,
            Some(holder) if holder == self.identity => Decision::Renew,
            Some(holder) => {
                let seconds =
                    u64::try_from(spec.lease_duration_seconds.unwrap_or(super::LEASE_SECONDS)).unwrap_or(1);
                if now.saturating_sub(*since) >= Duration::from_secs(seconds) {
                    next
                } else {
                    Decision::Wait {
                        holder: holder.to_owned(),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn held(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn lease_missing_or_released_is_taken() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.decide(None, at(0)), Decision::Take { transitions: 0 });
        let free = LeaseSpec {
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        assert_eq!(
            election.decide(Some(&free), at(0)),
            Decision::Take { transitions: 4 }
        );
    }

    #[test]
    fn lease_of_another_is_taken_only_after_it_stood_still() {
        let mut election = Election::new("a".to_owned());
        let wait = Decision::Wait {
            holder: "b".to_owned(),
        };
        // The renewal time is hours ago by the wall clock: that means nothing.
        assert_eq!(election.decide(Some(&held("b", 1)), at(100)), wait);
        assert_eq!(election.decide(Some(&held("b", 2)), at(110)), wait, "renewed");
        assert_eq!(election.decide(Some(&held("b", 2)), at(124)), wait);
        assert_eq!(
            election.decide(Some(&held("b", 2)), at(125)),
            Decision::Take { transitions: 4 }
        );
    }

    #[test]
    fn lease_of_ours_is_renewed_even_late() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.decide(Some(&held("a", 1)), at(0)), Decision::Renew);
        assert_eq!(election.decide(Some(&held("a", 1)), at(500)), Decision::Renew);
    }
}
