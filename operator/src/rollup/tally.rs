//! Counts what all nodes do for one profile.

use std::collections::BTreeMap;

use weir_profile::api::{
    ConditionReason, LabelSelector, Mode, NodeProfile, NodeProfileState, NodeSinkState, Window,
};

use super::classify::{NodeVerdict, Standing, standing};
use super::index::Index;
use super::problems::Problems;

/// The profile that is counted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its UID: a report of another profile of the same name does not count.
    pub uid: String,
    /// The generation to be live at.
    pub generation: i64,
    /// Digest of its plan; `None` when it could not be planned.
    pub digest: Option<String>,
    /// The nodes; `None` is all.
    pub selector: Option<LabelSelector>,
    /// What it does.
    pub mode: Mode,
    /// When it stops by itself, seconds since 1970.
    pub expires_at: Option<i64>,
    /// The sink it delivers to.
    pub sink: String,
}

/// What was counted. Every expected node is in exactly one of `live, pending, degraded, failed, unsupported, stale`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nodes that the selector matches.
    pub matched: u32,
    /// Matched nodes on which no agent may run.
    pub excluded: u32,
    /// Nodes that count for readiness.
    pub expected: u32,
    /// Expected nodes that have ever reported.
    pub reported: u32,
    /// Nodes that do what this generation asks for.
    pub live: u32,
    /// Of those, nodes where the profile has expired.
    pub expired: u32,
    /// Nodes that have not followed yet.
    pub pending: u32,
    /// Nodes that do a part of it.
    pub degraded: u32,
    /// Nodes that tried and could not.
    pub failed: u32,
    /// Nodes without a hook for it.
    pub unsupported: u32,
    /// Nodes whose agent does not answer.
    pub stale: u32,
    /// Nodes that say how their sink does.
    pub connected: u32,
    /// Of those, nodes whose batches are acknowledged.
    pub delivering: u32,
    /// Nodes whose ledger missed something in the last 60 s.
    pub incomplete: u32,
    /// Nodes that could say so.
    pub heard: u32,
    /// The nodes' rates, summed and not rounded again; `None` while no node has told any.
    pub window: Option<Window>,
    /// Why nodes are not live, do not deliver, or missed something.
    pub problems: Problems,
    /// Why events do not reach the sink.
    pub delivery: Problems,
    /// What was missed.
    pub missed: Problems,
    /// The second at which the count changes by itself.
    pub changes_at: Option<i64>,
}

impl Index {
    /// Counts for one profile at `now`, in seconds since 1970.
    #[must_use]
    pub fn tally(&self, subject: &Subject, now: i64) -> Tally {
        let mut tally = Tally::default();
        for (name, facts) in &self.nodes {
            match standing(self, name, facts, subject, now) {
                Standing::Other => {}
                Standing::Excluded => {
                    tally.matched += 1;
                    tally.excluded += 1;
                }
                Standing::Young(from) => {
                    tally.matched += 1;
                    tally.changes_at = Some(tally.changes_at.map_or(from, |at| at.min(from)));
                }
                Standing::Expected(verdict) => {
                    tally.matched += 1;
                    tally.expected += 1;
                    tally.reported += u32::from(self.reports.contains_key(name));
                    tally.count(name, &verdict);
                    tally.extras(self, name, subject, &verdict);
                }
            }
        }
        if let Some(at) = subject
            .expires_at
            .map(|at| at.saturating_add(super::classify::EXPIRY_GRACE_SECONDS + 1))
            && at > now
        {
            tally.changes_at = Some(tally.changes_at.map_or(at, |other| other.min(at)));
        }
        tally
    }
}

impl Tally {
    fn count(&mut self, node: &str, verdict: &NodeVerdict<'_>) {
        match verdict {
            NodeVerdict::Live { entry } => {
                self.live += 1;
                self.expired += u32::from(entry.state == NodeProfileState::Expired);
            }
            NodeVerdict::Pending(reason, message) => {
                self.pending += 1;
                self.problems.add(*reason, node, message);
            }
            NodeVerdict::Stale(reason, message) => {
                self.stale += 1;
                self.problems.add(*reason, node, message);
            }
            NodeVerdict::Degraded(entry) => {
                self.degraded += 1;
                self.blame(node, entry, ConditionReason::NodesDegraded);
            }
            NodeVerdict::Failed(entry) => {
                self.failed += 1;
                self.blame(node, entry, ConditionReason::NodesFailed);
            }
            NodeVerdict::Unsupported(entry) => {
                self.unsupported += 1;
                self.blame(node, entry, ConditionReason::KindUnsupported);
            }
        }
    }

    /// Each reason counts a node once, however many of its kinds give it.
    fn blame(&mut self, node: &str, entry: &NodeProfile, fallback: ConditionReason) {
        let mut reasons: BTreeMap<ConditionReason, String> = BTreeMap::new();
        for kind in &entry.kinds {
            let reason = kind.reason.or(entry.reason).unwrap_or(fallback);
            let message = kind.message.as_deref().unwrap_or("not collected");
            reasons
                .entry(reason)
                .or_insert_with(|| format!("{}: {message}", kind.kind));
        }
        if let Some(reason) = entry.reason {
            let message = entry.message.clone();
            reasons
                .entry(reason)
                .and_modify(|text| {
                    if let Some(message) = &message {
                        text.clone_from(message);
                    }
                })
                .or_insert_with(|| message.clone().unwrap_or_else(|| reason.meaning().to_owned()));
        }
        if reasons.is_empty() {
            reasons.insert(
                fallback,
                entry
                    .message
                    .clone()
                    .unwrap_or_else(|| fallback.meaning().to_owned()),
            );
        }
        for (reason, message) in reasons {
            self.problems.add(reason, node, &message);
        }
    }

    /// What a node that answers says besides its state.
    fn extras(&mut self, index: &Index, node: &str, subject: &Subject, verdict: &NodeVerdict<'_>) {
        let Some(report) = index.trusted(node) else { return };
        if let Some(skew) = report.clock_skew {
            let message = format!("the clock is {skew} s off");
            self.problems.add(ConditionReason::ClockSkew, node, &message);
        }
        let (NodeVerdict::Live { entry } | NodeVerdict::Degraded(entry)) = verdict else {
            return;
        };
        self.heard += 1;
        if let Some(window) = entry.window {
            let sum = self.window.get_or_insert_default();
            sum.events_per_second += window.events_per_second.max(0);
            sum.limited_per_second += window.limited_per_second.max(0);
            sum.lost_per_second += window.lost_per_second.max(0);
        }
        if let Some(reason) = entry.incomplete {
            self.incomplete += 1;
            self.missed.add(reason, node, reason.meaning());
        }
        if let Some(sink) = report.sinks.get(&subject.sink) {
            self.connected += 1;
            if sink.state == NodeSinkState::Delivering {
                self.delivering += 1;
            } else {
                let fallback = match sink.state {
                    NodeSinkState::Shedding => ConditionReason::Shedding,
                    NodeSinkState::Refused => ConditionReason::SubjectRefused,
                    NodeSinkState::Waiting | NodeSinkState::Delivering => ConditionReason::SinkUnreachable,
                };
                let reason = sink.reason.unwrap_or(fallback);
                let message = sink.message.as_deref().unwrap_or_else(|| reason.meaning());
                self.delivery.add(reason, node, message);
            }
        }
    }
}
