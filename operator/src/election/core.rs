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
    /// What an instance without the Lease last said on it, and when that was first seen.
    said: Option<(String, Duration)>,
}

/// Who said something on the Lease: its first word. The rest only makes it differ from what was said before.
pub(super) fn who(said: &str) -> &str {
    said.split(' ').next().unwrap_or_default()
}

impl Election {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            said: None,
        }
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

    /// Who acts without the Lease, by what the Lease says now: like a holder, one that has not said so again for the
    /// Lease's duration is gone.
    pub(super) fn second(&mut self, said: Option<&str>, now: Duration) -> Option<String> {
        match (&self.said, said) {
            (Some((known, _)), Some(said)) if known == said => {}
            (_, said) => self.said = said.map(|said| (said.to_owned(), now)),
        }
        let (said, since) = self.said.as_ref()?;
        let lasts = Duration::from_secs(super::LEASE_SECONDS.unsigned_abs().into());
        (now.saturating_sub(*since) < lasts && who(said) != self.identity).then(|| who(said).to_owned())
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
    fn second_instance_counts_while_it_says_so_again() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.second(None, at(0)), None);
        assert_eq!(election.second(Some("b 1"), at(1)), Some("b".to_owned()));
        assert_eq!(election.second(Some("b 2"), at(10)), Some("b".to_owned()));
        assert_eq!(election.second(Some("b 2"), at(24)), Some("b".to_owned()));
        assert_eq!(
            election.second(Some("b 2"), at(25)),
            None,
            "it stood still for 15 s"
        );
        assert_eq!(election.second(Some("a 3"), at(26)), None, "that is us");
        assert_eq!(election.second(Some("c 4"), at(27)), Some("c".to_owned()));
        assert_eq!(election.second(None, at(28)), None);
    }

    #[test]
    fn lease_of_ours_is_renewed_even_late() {
        let mut election = Election::new("a".to_owned());
        assert_eq!(election.decide(Some(&held("a", 1)), at(0)), Decision::Renew);
        assert_eq!(election.decide(Some(&held("a", 1)), at(500)), Decision::Renew);
    }
}
