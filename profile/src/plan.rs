//! Turns one profile and its sink into a node-independent plan: defaults filled in, matches normalised, a digest.
//!
//! Pure and total: the same input gives the same plan and digest on the operator and on every agent. All defaults live
//! here and in [`mod@sink`], none in the schema.

mod matches;
mod sink;

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::{
    ConditionReason, EventLimit, HostScope, LabelSelector, Mode, Per, SampleBy, WorkloadSelection,
};
use crate::error::{FieldError, FieldErrors};
use crate::hex::hex;
use crate::kind::EventKind;
use crate::{CollectorProfile, CollectorSink, validate};

pub use matches::{Matches, StringMatches};
pub use sink::{
    BatchPlan, DEFAULT_STREAM, DEFAULT_SUBJECT_PREFIX, GatheredSecret, NatsTarget, SinkPlan, SinkTarget,
    SinkUrlError, StreamPlan, TlsPlan, gathered_secrets, sink_plan,
};

/// Everything that is wrong with a profile or with the sink it names.
pub type PlanErrors = FieldErrors;

/// Counts up when the meaning of a plan changes, so that digests of two formats never meet.
pub const FORMAT_VERSION: u32 = 2;
/// Priority of a profile that gives none.
pub const DEFAULT_PRIORITY: u16 = 100;
/// Sink of a profile that names none.
pub const DEFAULT_SINK: &str = "default";

/// What one profile asks of every node, with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The profile's UID; standalone its name.
    #[serde(skip)]
    pub uid: String,
    /// The profile's name.
    pub name: String,
    /// The generation that was planned; standalone it counts accepted edits.
    #[serde(skip)]
    pub generation: i64,
    /// Hash of format version and plan as 16 hexadecimal digits; UID, generation and times are no part of it.
    #[serde(skip)]
    pub digest: String,
    /// What it does.
    pub mode: Mode,
    /// Who gives way first: 0 first, 1000 last.
    pub priority: u16,
    /// When it stops by itself, seconds since 1970.
    #[serde(skip)]
    pub expires_at: Option<i64>,
    /// The nodes, by label; `None` is all.
    pub nodes: Option<LabelSelector>,
    /// The workloads.
    pub scope: ScopeRule,
    /// Limit of all events together.
    pub limit: Option<RateLimit>,
    /// Limit of each pod.
    pub per_workload: Option<RateLimit>,
    /// Where events go.
    pub sink: SinkPlan,
    /// What to collect, by name.
    pub events: Vec<PlannedEvent>,
}

/// One event spec with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedEvent {
    /// Its name within the profile.
    pub name: String,
    /// What is collected.
    pub kind: EventKind,
    /// What must hold.
    pub matches: Matches,
    /// What part is kept; `None` is all.
    pub sample: Option<Sample>,
    /// How much at most; `None` is no limit of its own.
    pub limit: Option<PlannedLimit>,
}

/// Keeps one of every `one_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Sample {
    /// At least 2.
    pub one_in: u32,
    /// What is drawn.
    pub by: SampleBy,
}

/// A rate with its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RateLimit {
    /// Events per second, 1 to 1000000.
    pub rate: u32,
    /// Events at once, 1 to 1000000.
    pub burst: u32,
}

/// A rate and what one bucket of it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PlannedLimit {
    /// Events per second, 1 to 1000000.
    pub rate: u32,
    /// Events at once, 1 to 1000000.
    pub burst: u32,
    /// What one bucket covers.
    pub per: Per,
}

/// Which workloads are in scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeRule {
    /// Namespaces by name, sorted; empty is all.
    pub namespaces: Vec<String>,
    /// Namespaces never in scope, sorted; wins.
    pub exclude_namespaces: Vec<String>,
    /// Namespaces by label; `None` is all.
    pub namespace_selector: Option<LabelSelector>,
    /// Pods by label; `None` is all.
    pub pod_selector: Option<LabelSelector>,
    /// Processes outside any pod.
    pub host: HostScope,
}

impl ScopeRule {
    /// Whether a pod is in scope.
    #[must_use]
    pub fn admits_pod(
        &self,
        namespace: &str,
        namespace_labels: &BTreeMap<String, String>,
        pod_labels: &BTreeMap<String, String>,
    ) -> bool {
        let listed = |names: &[String]| names.iter().any(|name| name == namespace);
        self.host != HostScope::Only
            && !listed(&self.exclude_namespaces)
            && (self.namespaces.is_empty() || listed(&self.namespaces))
            && self
                .namespace_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(namespace_labels))
            && self
                .pod_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(pod_labels))
    }

    /// Whether processes outside any pod are in scope.
    #[must_use]
    pub fn admits_host(&self) -> bool {
        self.host != HostScope::Exclude
    }

    /// Whether a pod's labels or its namespace's labels decide.
    #[must_use]
    pub fn needs_labels(&self) -> bool {
        self.namespace_selector.is_some() || self.pod_selector.is_some()
    }
}

/// Plans a profile that delivers to the sink it names.
pub fn plan(profile: &CollectorProfile, sink: Option<&CollectorSink>) -> Result<Plan, PlanErrors> {
    let wanted = sink_name(profile);
    let resolved = match sink {
        Some(sink) if sink.metadata.name.as_deref() == Some(wanted) => sink_plan(sink).map_err(|errors| {
            let list = errors
                .as_slice()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let message = format!("CollectorSink {wanted:?} is not valid ({list}); correct the sink");
            FieldError::new("spec.sinkRef.name", message, ConditionReason::SinkInvalid)
        }),
        Some(_) | None => {
            let message = format!("CollectorSink {wanted:?} is not there; create it or change sinkRef");
            Err(FieldError::new(
                "spec.sinkRef.name",
                message,
                ConditionReason::SinkNotFound,
            ))
        }
    };
    match resolved {
        Ok(sink) => plan_with_sink(profile, sink),
        Err(error) => {
            let mut errors = examine(profile);
            errors.push(error.clone());
            FieldErrors::check(errors)?;
            Err(error.into())
        }
    }
}

/// Plans a profile that delivers to a given sink, whatever it names: for `--sink`.
pub fn plan_with_sink(profile: &CollectorProfile, sink: SinkPlan) -> Result<Plan, PlanErrors> {
    FieldErrors::check(examine(profile))?;
    let spec = &profile.spec;
    let name = profile.metadata.name.clone().unwrap_or_default();
    let limits = spec.limits.unwrap_or_default();
    let mut events = Vec::with_capacity(spec.events.len());
    for event in &spec.events {
        events.push(PlannedEvent {
            name: event.name.clone(),
            kind: event.kind,
            matches: event.match_.as_ref().map(Matches::normalise).unwrap_or_default(),
            sample: event
                .sample
                .filter(|sample| sample.one_in > 1)
                .map(|sample| Sample {
                    one_in: number(sample.one_in),
                    by: sample.by.unwrap_or(SampleBy::Event),
                }),
            limit: event.limit.map(planned_limit),
        });
    }
    events.sort_by(|a, b| a.name.cmp(&b.name));
    let mut plan = Plan {
        uid: profile.metadata.uid.clone().unwrap_or_else(|| name.clone()),
        name,
        generation: profile.metadata.generation.unwrap_or(1),
        digest: String::new(),
        mode: spec.mode.unwrap_or(Mode::Active),
        priority: spec.priority.map_or(DEFAULT_PRIORITY, |priority| {
            u16::try_from(priority).unwrap_or(DEFAULT_PRIORITY)
        }),
        expires_at: spec.expiration_time.map(crate::api::Timestamp::unix_seconds),
        nodes: narrowing(spec.nodes.as_ref().and_then(|nodes| nodes.selector.as_ref())),
        scope: scope(spec.workloads.as_ref()),
        limit: limits
            .events_per_second
            .map(|rate| rate_limit(rate, limits.burst)),
        per_workload: limits
            .per_workload
            .map(|limit| rate_limit(limit.max, limit.burst)),
        sink,
        events,
    };
    plan.digest = digest(&plan);
    Ok(plan)
}

/// Name of the sink that a profile delivers to.
#[must_use]
pub fn sink_name(profile: &CollectorProfile) -> &str {
    profile
        .spec
        .sink_ref
        .as_ref()
        .map_or(DEFAULT_SINK, |sink| &sink.name)
}

/// All that is wrong with a profile: the API server's checks first, then what only planning sees.
fn examine(profile: &CollectorProfile) -> Vec<FieldError> {
    let mut errors = match validate::profile(profile) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec(),
    };
    if let Some(workloads) = &profile.spec.workloads {
        scope_contradictions(workloads, &mut errors);
    }
    for (i, event) in profile.spec.events.iter().enumerate() {
        if let Some(found) = &event.match_ {
            matches::contradictions(found, &format!("spec.events[{i}].match"), &mut errors);
        }
    }
    errors
}

fn scope_contradictions(workloads: &WorkloadSelection, errors: &mut Vec<FieldError>) {
    let narrowed = narrows_pods(workloads) || !workloads.exclude_namespaces.is_empty();
    if workloads.host == Some(HostScope::Only) && narrowed {
        errors.push(FieldError::new(
            "spec.workloads.host",
            "Only takes no pods, so that the namespace and pod terms can never hold; remove them or change host",
            ConditionReason::ContradictoryMatch,
        ));
    }
    let excluded = |name: &String| workloads.exclude_namespaces.contains(name);
    if !workloads.namespaces.is_empty() && workloads.namespaces.iter().all(excluded) {
        errors.push(FieldError::new(
            "spec.workloads.namespaces",
            "every namespace is also in excludeNamespaces, which wins; remove it from one of the two",
            ConditionReason::ContradictoryMatch,
        ));
    }
}

fn narrows_pods(workloads: &WorkloadSelection) -> bool {
    !workloads.namespaces.is_empty()
        || narrowing(workloads.namespace_selector.as_ref()).is_some()
        || narrowing(workloads.pod_selector.as_ref()).is_some()
}

/// An absent and an empty selector mean the same.
fn narrowing(selector: Option<&LabelSelector>) -> Option<LabelSelector> {
    selector
        .filter(|selector| !selector.selects_everything())
        .cloned()
        .map(|mut selector| {
            for term in &mut selector.match_expressions {
                term.values.sort();
            }
            selector
                .match_expressions
                .sort_by(|a, b| (&a.key, a.operator, &a.values).cmp(&(&b.key, b.operator, &b.values)));
            selector
        })
}

fn scope(workloads: Option<&WorkloadSelection>) -> ScopeRule {
    let default = WorkloadSelection::default();
    let workloads = workloads.unwrap_or(&default);
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    // Whoever narrows to some pods did not ask for the host's processes.
    let host = if narrows_pods(workloads) {
        HostScope::Exclude
    } else {
        HostScope::Include
    };
    ScopeRule {
        namespaces: sorted(&workloads.namespaces),
        exclude_namespaces: sorted(&workloads.exclude_namespaces),
        namespace_selector: narrowing(workloads.namespace_selector.as_ref()),
        pod_selector: narrowing(workloads.pod_selector.as_ref()),
        host: workloads.host.unwrap_or(host),
    }
}

fn planned_limit(limit: EventLimit) -> PlannedLimit {
    let RateLimit { rate, burst } = rate_limit(limit.events_per_second, limit.burst);
    PlannedLimit {
        rate,
        burst,
        per: limit.per.unwrap_or(Per::Node),
    }
}

fn rate_limit(rate: i32, burst: Option<i32>) -> RateLimit {
    let rate = number(rate);
    RateLimit {
        rate,
        burst: burst.map_or((rate / 10).max(1), number),
    }
}

/// Validation has already refused what is below 1.
fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(1).max(1)
}

fn digest(plan: &Plan) -> String {
    digest_of("plan", plan)
}

/// Hash of format version, a word and a value, as 16 hexadecimal digits.
pub(crate) fn digest_of<T: Serialize>(what: &str, value: &T) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("weir {what} {FORMAT_VERSION}\n"));
    // Plain data with string keys and fixed field order: it always has one JSON form.
    hash.update(serde_json::to_vec(value).unwrap_or_default());
    hex(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests;
