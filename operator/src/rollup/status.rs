//! The status of one profile: conditions with their times, counts, problems and coarse rates, at most 8 KiB.

use weir_profile::CollectorProfileStatus;
use weir_profile::api::{
    Condition, ConditionReason, ConditionStatus, ConditionType, NodeCounts, Problem, Timestamp, Window,
};

use super::conditions::{Draft, View};
use super::ladder::on_ladder;
use super::problems::Problems;
use super::tally::{Subject, Tally};

/// Size of a status as JSON.
pub const MAX_STATUS_BYTES: usize = 8 * 1024;

/// Whether the spec can be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Accepted {
        /// Digest of the plan.
        digest: String,
    },
    /// It cannot; nodes keep what they have.
    Refused {
        /// Why.
        reason: ConditionReason,
        /// The same for a human, naming the field.
        message: String,
    },
}

/// Everything that a status is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The profile.
    pub subject: &'a Subject,
    /// Whether it can be planned.
    pub verdict: &'a Verdict,
    /// What its nodes do.
    pub tally: &'a Tally,
    /// Percentage of expected nodes that make it ready.
    pub ready_percent: u32,
    /// What keeps the operator from its work.
    pub trouble: Option<&'a (ConditionReason, String)>,
    /// Why what nodes do is not known: then nothing is claimed of them, and their last counts stay.
    pub blindness: Option<&'a (ConditionReason, String)>,
}

/// The status at `now`; times and rates of `previous` stay where nothing changed.
#[must_use]
pub fn status(
    input: &Input<'_>,
    previous: Option<&CollectorProfileStatus>,
    now: Timestamp,
) -> CollectorProfileStatus {
    let Input {
        subject,
        verdict,
        tally,
        ready_percent: _,
        trouble,
        blindness,
    } = input;
    let old_conditions = previous.map_or(&[][..], |previous| &previous.conditions);
    let settled = old_conditions.iter().any(|condition| {
        condition.type_ == ConditionType::Reconciling
            && condition.status == ConditionStatus::False
            && condition.observed_generation == Some(subject.generation)
    });
    let drafts = View { input, settled }.all();
    let mut problems = match blindness {
        Some(_) => Vec::new(),
        None => Problems::list(&[&tally.problems, &tally.delivery, &tally.missed]),
    };
    if let Some((reason, message)) = trouble {
        problems.insert(
            0,
            Problem {
                reason: *reason,
                nodes: 0,
                examples: Vec::new(),
                message: super::problems::clip(message, 200),
            },
        );
        problems.truncate(10);
    }
    let digest = match verdict {
        Verdict::Accepted { digest } => Some(digest.clone()),
        // The nodes still hold the plan of this generation, if it was accepted before (its sink was deleted, say).
        Verdict::Refused { .. } => previous
            .filter(|previous| previous.observed_generation == Some(subject.generation))
            .and_then(|previous| previous.digest.clone()),
    };
    bounded(CollectorProfileStatus {
        observed_generation: Some(subject.generation),
        conditions: merge(drafts, old_conditions, subject.generation, now),
        nodes: match blindness {
            Some(_) => previous.and_then(|previous| previous.nodes.clone()),
            None => Some(node_counts(tally)),
        },
        problems,
        window: tally
            .window
            .filter(|_| blindness.is_none())
            .map(|sum| window(sum, previous.and_then(|previous| previous.window))),
        digest,
    })
}

/// Gives drafts their times: the old time where the condition's status is the old one.
pub(crate) fn merge(
    drafts: Vec<Draft>,
    old: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    drafts
        .into_iter()
        .map(
            |Draft {
                 type_,
                 status,
                 reason,
                 message,
             }| {
                let unchanged = old.iter().find(|old| old.type_ == type_ && old.status == status);
                // A fresh object's conditions carry the schema's epoch time: that is no transition that anybody saw.
                let time = unchanged
                    .map(|old| old.last_transition_time)
                    .filter(|time| time.unix_seconds() > 0);
                Condition {
                    type_,
                    status,
                    reason,
                    message,
                    last_transition_time: time.unwrap_or(now),
                    observed_generation: Some(generation),
                }
            },
        )
        .collect()
}

fn node_counts(tally: &Tally) -> NodeCounts {
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    NodeCounts {
        summary: format!("{}/{}", tally.live, tally.expected),
        matched: number(tally.matched),
        live: number(tally.live),
        pending: number(tally.pending),
        degraded: number(tally.degraded),
        failed: number(tally.failed),
        unsupported: number(tally.unsupported),
        excluded: number(tally.excluded),
        stale: number(tally.stale),
    }
}

fn window(sum: Window, previous: Option<Window>) -> Window {
    let step = |value, of: fn(&Window) -> i64| on_ladder(value, previous.as_ref().map(of));
    Window {
        events_per_second: step(sum.events_per_second, |window| window.events_per_second),
        limited_per_second: step(sum.limited_per_second, |window| window.limited_per_second),
        lost_per_second: step(sum.lost_per_second, |window| window.lost_per_second),
    }
}

/// Drops examples, then problems, from the least frequent on, until the status fits.
fn bounded(mut status: CollectorProfileStatus) -> CollectorProfileStatus {
    while size(&status) > MAX_STATUS_BYTES {
        if let Some(problem) = status
            .problems
            .iter_mut()
            .rev()
            .find(|problem| problem.examples.len() > 1)
        {
            problem.examples.pop();
        } else if status.problems.pop().is_none() {
            break;
        }
    }
    status
}

fn size(status: &CollectorProfileStatus) -> usize {
    serde_json::to_vec(status).map_or(0, |json| json.len())
}
