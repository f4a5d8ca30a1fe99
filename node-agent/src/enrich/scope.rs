//! Decides which profiles take a workload's events; pure, and honest about what cannot be decided yet.

use std::collections::BTreeMap;

use weir_profile::api::HostScope;
use weir_profile::plan::ScopeRule;

/// Which workloads one profile takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileScope {
    /// The profile's index on this node, 0..64: the bit of the mask.
    pub profile: u32,
    /// Its planned `spec.workloads`.
    pub rule: ScopeRule,
}

/// What is known of the workload to decide on.
#[derive(Debug, Clone, Copy)]
pub enum Candidate<'a> {
    /// Processes outside any pod.
    Host,
    /// A pod, by its cgroup; its metadata may not be here yet.
    Pod(Option<PodFacts<'a>>),
}

/// What a rule asks of a pod.
#[derive(Debug, Clone, Copy)]
pub struct PodFacts<'a> {
    /// Name of its namespace.
    pub namespace: &'a str,
    /// Its own labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its namespace's labels, if they are here.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
}

/// Which profiles take a workload's events, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decision {
    /// These take them.
    pub included: u64,
    /// These cannot be told without metadata that is not here.
    pub undecided: u64,
}

impl Decision {
    /// What the kernel may let through: whatever is not known to be out.
    #[must_use]
    pub fn admitted(self) -> u64 {
        self.included | self.undecided
    }

    /// The verdict on one profile.
    #[must_use]
    pub fn verdict(self, profile: u32) -> Verdict {
        let bit = bit(profile);
        if self.included & bit != 0 {
            Verdict::In
        } else if self.undecided & bit != 0 {
            Verdict::Undecided
        } else {
            Verdict::Out
        }
    }
}

/// Whether one profile takes a workload's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    In,
    /// It does not.
    Out,
    /// It cannot be told yet.
    Undecided,
}

/// Decides for all rules. Of two rules with one index, either suffices; an index of 64 or more decides nothing.
#[must_use]
pub fn decide(scopes: &[ProfileScope], candidate: Candidate<'_>) -> Decision {
    let mut decision = Decision::default();
    for ProfileScope { profile, rule } in scopes {
        match verdict(rule, candidate) {
            Verdict::In => decision.included |= bit(*profile),
            Verdict::Undecided => decision.undecided |= bit(*profile),
            Verdict::Out => {}
        }
    }
    decision.undecided &= !decision.included;
    decision
}

fn bit(profile: u32) -> u64 {
    1_u64.checked_shl(profile).unwrap_or(0)
}

fn verdict(rule: &ScopeRule, candidate: Candidate<'_>) -> Verdict {
    let decided = |inside| if inside { Verdict::In } else { Verdict::Out };
    match candidate {
        Candidate::Host => decided(rule.admits_host()),
        Candidate::Pod(_) if rule.host == HostScope::Only => Verdict::Out,
        Candidate::Pod(None) if takes_every_pod(rule) => Verdict::In,
        Candidate::Pod(None) => Verdict::Undecided,
        Candidate::Pod(Some(PodFacts {
            namespace,
            labels,
            namespace_labels: Some(namespace_labels),
        })) => decided(rule.admits_pod(namespace, namespace_labels, labels)),
        Candidate::Pod(Some(PodFacts {
            namespace,
            labels,
            namespace_labels: None,
        })) => {
            // Terms are ANDed, so one that fails decides, whatever else is unknown.
            let listed = |names: &[String]| names.iter().any(|name| name == namespace);
            let refused = listed(&rule.exclude_namespaces)
                || !(rule.namespaces.is_empty() || listed(&rule.namespaces))
                || rule
                    .pod_selector
                    .as_ref()
                    .is_some_and(|selector| !selector.matches(labels));
            if refused || rule.namespace_selector.is_none() {
                decided(!refused)
            } else {
                Verdict::Undecided
            }
        }
    }
}

fn takes_every_pod(rule: &ScopeRule) -> bool {
    rule.namespaces.is_empty() && rule.exclude_namespaces.is_empty() && !rule.needs_labels()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_profile::api::LabelSelector;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
        LabelSelector {
            match_labels: labels(pairs),
            ..LabelSelector::default()
        }
    }

    fn rule(host: HostScope) -> ScopeRule {
        ScopeRule {
            namespaces: vec![],
            exclude_namespaces: vec![],
            namespace_selector: None,
            pod_selector: None,
            host,
        }
    }

    #[test]
    fn host_is_decided_by_the_host_term_alone() {
        for (host, on_host, on_pod) in [
            (HostScope::Include, Verdict::In, Verdict::In),
            (HostScope::Exclude, Verdict::Out, Verdict::In),
            (HostScope::Only, Verdict::In, Verdict::Out),
        ] {
            let rule = rule(host);
            assert_eq!(verdict(&rule, Candidate::Host), on_host, "{host:?}");
            assert_eq!(verdict(&rule, Candidate::Pod(None)), on_pod, "{host:?}");
        }
    }

    #[test]
    fn namespace_terms_are_anded_and_excludes_win() {
        let (web, team, none) = (labels(&[("app", "web")]), labels(&[("team", "a")]), labels(&[]));
        let facts = |namespace, namespace_labels| {
            Candidate::Pod(Some(PodFacts {
                namespace,
                labels: &web,
                namespace_labels,
            }))
        };
        let listed = ScopeRule {
            namespaces: vec!["shop".into()],
            exclude_namespaces: vec!["shop".into()],
            ..rule(HostScope::Include)
        };
        assert_eq!(verdict(&listed, facts("shop", Some(&team))), Verdict::Out);
        let listed = ScopeRule {
            namespaces: vec!["shop".into()],
            namespace_selector: Some(selector(&[("team", "a")])),
            ..rule(HostScope::Include)
        };
        assert_eq!(verdict(&listed, facts("shop", Some(&team))), Verdict::In);
        assert_eq!(verdict(&listed, facts("shop", Some(&none))), Verdict::Out);
        assert_eq!(verdict(&listed, facts("shop", None)), Verdict::Undecided);
        assert_eq!(
            verdict(&listed, facts("other", None)),
            Verdict::Out,
            "decided without the labels"
        );
        assert_eq!(verdict(&listed, Candidate::Pod(None)), Verdict::Undecided);
        let other = ScopeRule {
            pod_selector: Some(selector(&[("app", "db")])),
            ..listed
        };
        assert_eq!(verdict(&other, facts("shop", None)), Verdict::Out);
    }

    #[test]
    fn decide_sets_each_profiles_bit() {
        let rules = [
            ProfileScope {
                profile: 0,
                rule: rule(HostScope::Include),
            },
            ProfileScope {
                profile: 63,
                rule: ScopeRule {
                    namespaces: vec!["a".into()],
                    ..rule(HostScope::Exclude)
                },
            },
            ProfileScope {
                profile: 5,
                rule: rule(HostScope::Only),
            },
            ProfileScope {
                profile: 64,
                rule: rule(HostScope::Include),
            },
        ];
        let decision = decide(&rules, Candidate::Pod(None));
        assert_eq!(
            decision,
            Decision {
                included: 1,
                undecided: 1 << 63
            }
        );
        assert_eq!(
            (decision.verdict(0), decision.verdict(5), decision.verdict(63)),
            (Verdict::In, Verdict::Out, Verdict::Undecided)
        );
        assert_eq!(
            decide(&rules, Candidate::Host),
            Decision {
                included: 1 | 1 << 5,
                undecided: 0
            }
        );
    }

    fn word() -> impl Strategy<Value = String> {
        "[ab]"
    }

    fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map(word(), word(), 0..3)
    }

    prop_compose! {
        fn any_rule()(
            namespaces in proptest::collection::vec(word(), 0..2),
            exclude_namespaces in proptest::collection::vec(word(), 0..2),
            namespace_labels in map(),
            pod_labels in map(),
            host in prop_oneof![Just(HostScope::Include), Just(HostScope::Exclude), Just(HostScope::Only)],
        ) -> ScopeRule {
            ScopeRule {
                namespaces,
                exclude_namespaces,
                namespace_selector: (!namespace_labels.is_empty()).then(|| LabelSelector { match_labels: namespace_labels, ..LabelSelector::default() }),
                pod_selector: (!pod_labels.is_empty()).then(|| LabelSelector { match_labels: pod_labels, ..LabelSelector::default() }),
                host,
            }
        }
    }

    proptest! {
        /// Learning more never turns one answer into the other: only "undecided" may change.
        #[test]
        fn verdict_with_more_known_only_settles_what_was_undecided(
            rule in any_rule(), namespace in word(), pod in map(), namespace_labels in map(),
        ) {
            let facts = |namespace_labels| Candidate::Pod(Some(PodFacts { namespace: &namespace, labels: &pod, namespace_labels }));
            let nothing = verdict(&rule, Candidate::Pod(None));
            let some = verdict(&rule, facts(None));
            let all = verdict(&rule, facts(Some(&namespace_labels)));
            prop_assert_eq!(all == Verdict::In, rule.admits_pod(&namespace, &namespace_labels, &pod));
            prop_assert_ne!(all, Verdict::Undecided);
            prop_assert!(some == all || some == Verdict::Undecided);
            prop_assert!(nothing == some || nothing == Verdict::Undecided);
        }
    }
}
