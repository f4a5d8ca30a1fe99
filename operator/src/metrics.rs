//! What the operator measures of itself and of the objects it serves. Labels come from closed sets, never from names.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use weir_profile::api::{Condition, ConditionStatus, ConditionType};
use weir_runtime::metrics::Metrics;

use crate::context::{Context, Stores};

/// Registers everything. Returns what says whether this instance leads.
pub fn register(metrics: &Metrics, context: &Context) -> Gauge {
    let leader = Gauge::default();
    metrics.register(|registry| {
        registry.register(
            "writes",
            "Writes to the API server, by what was written",
            context.writer.counter(),
        );
        registry.register(
            "events_dropped",
            "Kubernetes Events that were not published because too many waited",
            context.events.dropped(),
        );
        registry.register(
            "failures",
            "What failed and is tried again: visits of objects, and watches",
            context.failures.counter(),
        );
        registry.register("leader", "1 while this instance holds the Lease", leader.clone());
        registry.register_collector(Box::new(Conditions::new(context.stores.clone())));
    });
    leader
}

/// What failed and is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failing {
    /// A profile's visit.
    Profile,
    /// A sink's visit.
    Sink,
    /// The agents' visit.
    Agents,
    /// A watch or its list.
    Watch,
}

impl Failing {
    const ALL: [Self; 4] = [Self::Profile, Self::Sink, Self::Agents, Self::Watch];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Sink => "sink",
            Self::Agents => "agents",
            Self::Watch => "watch",
        }
    }
}

/// Labels of [`Failures`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    what: &'static str,
}

/// Counts what failed.
#[derive(Clone, Debug)]
pub struct Failures(Family<FailureLabels, Counter>);

impl Default for Failures {
    /// Every counter is there from the start: a rate over a series that begins with its first failure misses that one.
    fn default() -> Self {
        let failures = Family::<FailureLabels, Counter>::default();
        for failing in Failing::ALL {
            drop(failures.get_or_create(&FailureLabels {
                what: failing.as_str(),
            }));
        }
        Self(failures)
    }
}

impl Failures {
    /// The counter, to be registered.
    #[must_use]
    pub fn counter(&self) -> Family<FailureLabels, Counter> {
        self.0.clone()
    }

    /// It failed once more.
    pub fn count(&self, failing: Failing) {
        let what = failing.as_str();
        self.0.get_or_create(&FailureLabels { what }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    #[prometheus(flatten)]
    condition: StatusLabels,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StatusLabels {
    r#type: &'static str,
    status: &'static str,
}

type Counts = BTreeMap<StatusLabels, u32>;

/// How many profiles and sinks have which condition, counted when somebody asks.
pub struct Conditions(Stores);

impl Conditions {
    /// Of the objects that watches have seen.
    #[must_use]
    pub const fn new(stores: Stores) -> Self {
        Self(stores)
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions").finish_non_exhaustive()
    }
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let profiles = self.0.profiles.state();
        let profiles = profiles
            .iter()
            .filter_map(|profile| profile.0.as_ref().ok()?.status.as_ref());
        let sinks = self.0.sinks.state();
        let sinks = sinks
            .iter()
            .filter_map(|sink| sink.0.as_ref().ok()?.status.as_ref());
        let all = [
            ("profile", count(profiles.map(|status| &status.conditions[..]))),
            ("sink", count(sinks.map(|status| &status.conditions[..]))),
        ];
        let mut family = encoder.encode_descriptor(
            "objects",
            "Profiles and sinks, by condition",
            None,
            MetricType::Gauge,
        )?;
        for (kind, counts) in all {
            for (condition, count) in counts {
                let labels = ConditionLabels { kind, condition };
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Every type with every status, so that what nobody has any more is 0 and not absent.
fn count<'a>(objects: impl Iterator<Item = &'a [Condition]>) -> Counts {
    let mut counts = Counts::new();
    for type_ in ConditionType::ALL {
        for status in ConditionStatus::ALL {
            counts.insert(labels(*type_, *status), 0);
        }
    }
    for condition in objects.flatten() {
        *counts
            .entry(labels(condition.type_, condition.status))
            .or_default() += 1;
    }
    counts
}

const fn labels(type_: ConditionType, status: ConditionStatus) -> StatusLabels {
    StatusLabels {
        r#type: type_.as_str(),
        status: status.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use weir_profile::api::{ConditionReason, Timestamp};

    use super::*;

    #[test]
    fn objects_are_counted_by_condition_and_absent_ones_are_zero() {
        let condition = |status| Condition {
            type_: ConditionType::Ready,
            status,
            reason: ConditionReason::Live,
            message: String::new(),
            last_transition_time: Timestamp::default(),
            observed_generation: None,
        };
        let (live, failed) = (
            [condition(ConditionStatus::True)],
            [condition(ConditionStatus::False)],
        );
        let counts = count([&live[..], &live, &failed].into_iter());
        assert_eq!(counts[&labels(ConditionType::Ready, ConditionStatus::True)], 2);
        assert_eq!(counts[&labels(ConditionType::Ready, ConditionStatus::False)], 1);
        assert_eq!(counts[&labels(ConditionType::Ready, ConditionStatus::Unknown)], 0);
        assert_eq!(
            counts.len(),
            ConditionType::ALL.len() * ConditionStatus::ALL.len()
        );
    }
}
