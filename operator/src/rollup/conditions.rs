//! The conditions of a profile: one function each, from the counts alone.

use weir_profile::api::{ConditionReason, ConditionStatus, ConditionType, Mode};

use super::problems::{Problems, clip};
use super::status::{Input, Verdict};
use super::tally::Tally;

/// Characters of a condition's message; eight of them share 8 KiB with the problems.
const MESSAGE_CHARS: usize = 240;

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) type_: ConditionType,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: ConditionReason,
    pub(crate) message: String,
}

impl Draft {
    pub(crate) fn new(
        type_: ConditionType,
        status: bool,
        reason: ConditionReason,
        message: impl AsRef<str>,
    ) -> Self {
        let status = if status {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        Self {
            type_,
            status,
            reason,
            message: clip(message.as_ref(), MESSAGE_CHARS),
        }
    }

    fn unknown(type_: ConditionType, reason: ConditionReason, message: &str) -> Self {
        Self {
            type_,
            status: ConditionStatus::Unknown,
            reason,
            message: clip(message, MESSAGE_CHARS),
        }
    }
}

/// What all conditions of one profile look at.
pub(super) struct View<'a> {
    pub(super) input: &'a Input<'a>,
    /// Reconciling was over for this generation before.
    pub(super) settled: bool,
}

impl View<'_> {
    pub(super) fn all(&self) -> Vec<Draft> {
        if let Some((reason, message)) = self.input.blindness {
            return self.blind(*reason, message);
        }
        let ready = self.ready();
        let is_ready = ready.status == ConditionStatus::True;
        vec![
            ready,
            self.accepted(),
            self.programmed(),
            self.delivering(),
            self.complete(),
            self.degraded(),
            self.reconciling(is_ready),
            self.stalled(),
        ]
    }

    /// Nothing is known of the nodes: only what the spec itself says can be told.
    fn blind(&self, reason: ConditionReason, message: &str) -> Vec<Draft> {
        let unknown = |type_| Draft::unknown(type_, reason, message);
        let healthy = Draft::new(
            ConditionType::Stalled,
            false,
            ConditionReason::Healthy,
            "progress needs nobody",
        );
        vec![
            match self.refused() {
                Some((reason, message)) => Draft::new(ConditionType::Ready, false, reason, message),
                None => unknown(ConditionType::Ready),
            },
            self.accepted(),
            unknown(ConditionType::Programmed),
            unknown(ConditionType::Delivering),
            unknown(ConditionType::Complete),
            Draft::new(ConditionType::Degraded, true, reason, message),
            unknown(ConditionType::Reconciling),
            match self.refused() {
                Some(_) => self.stalled(),
                None => healthy,
            },
        ]
    }

    fn tally(&self) -> &Tally {
        self.input.tally
    }

    fn refused(&self) -> Option<(ConditionReason, &str)> {
        match self.input.verdict {
            Verdict::Accepted { .. } => None,
            Verdict::Refused { reason, message } => Some((*reason, message)),
        }
    }

    fn enough(&self, part: u32, whole: u32) -> bool {
        u64::from(part) * 100 >= u64::from(self.input.ready_percent) * u64::from(whole)
    }

    fn ready(&self) -> Draft {
        use ConditionReason as R;
        let tally = self.tally();
        let draft = |status, reason, message: &str| Draft::new(ConditionType::Ready, status, reason, message);
        if let Some((reason, message)) = self.refused() {
            return draft(false, reason, message);
        }
        if tally.matched == tally.excluded {
            return draft(false, R::NoMatchingNodes, &no_nodes(tally));
        }
        let message = counts(tally);
        if tally.reported == 0 {
            let trouble = tally
                .problems
                .most()
                .filter(|(reason, ..)| *reason != R::AwaitingAgents);
            return match trouble {
                Some((reason, _, why)) => draft(false, reason, &format!("{message}: {why}")),
                None => draft(false, R::AwaitingAgents, &message),
            };
        }
        if self.enough(tally.live, tally.expected) {
            let reason = match self.input.subject.mode {
                // Some node has not confirmed it: it may go on collecting.
                _ if tally.live < tally.expected => R::EnoughNodesLive,
                Mode::Suspended => R::Suspended,
                _ if tally.expired == tally.live => R::Expired,
                Mode::DryRun => R::DryRun,
                Mode::Active => R::Live,
            };
            return draft(true, reason, &message);
        }
        // An Event has these words, too, and must say what to do.
        draft(
            false,
            self.worst().unwrap_or(R::NodesPending),
            &self.counts_and_why(),
        )
    }

    fn counts_and_why(&self) -> String {
        use ConditionReason as R;
        let why = self
            .tally()
            .problems
            .most_but(&[R::NodesPending, R::AwaitingAgents])
            .map(|(reason, node, why)| format!("; most often {reason}, as on {node}: {why}"));
        format!("{}{}", counts(self.tally()), why.unwrap_or_default())
    }

    /// Why not every node is live, worst first. Of an agent that does not answer, why it does not run says more.
    fn worst(&self) -> Option<ConditionReason> {
        use ConditionReason as R;
        let tally = self.tally();
        let idle = [R::ImagePullFailed, R::AgentsUnschedulable]
            .into_iter()
            .find(|reason| tally.problems.has(*reason));
        if tally.failed > 0 {
            Some(R::NodesFailed)
        } else if tally.unsupported > 0 {
            Some(R::NodesUnsupported)
        } else if tally.degraded > 0 {
            Some(R::NodesDegraded)
        } else if tally.stale > 0 {
            Some(idle.unwrap_or(R::AgentStale))
        } else {
            idle
        }
    }

    fn accepted(&self) -> Draft {
        match self.refused() {
            Some((reason, message)) => Draft::new(ConditionType::Accepted, false, reason, message),
            None => Draft::new(
                ConditionType::Accepted,
                true,
                ConditionReason::Accepted,
                "the spec is valid and everything it names exists",
            ),
        }
    }

    fn programmed(&self) -> Draft {
        use ConditionReason as R;
        let tally = self.tally();
        let draft =
            |status, reason, message: &str| Draft::new(ConditionType::Programmed, status, reason, message);
        if tally.matched == tally.excluded {
            return draft(false, R::NoMatchingNodes, &no_nodes(tally));
        }
        let message = counts(tally);
        if tally.reported == 0 {
            return draft(false, R::AwaitingAgents, &message);
        }
        if tally.live == tally.expected {
            let reason = match self.input.subject.mode {
                Mode::Suspended => R::Suspended,
                _ if tally.expired == tally.live => R::Expired,
                Mode::Active | Mode::DryRun => R::Live,
            };
            return draft(true, reason, &message);
        }
        draft(false, self.worst().unwrap_or(R::NodesPending), &message)
    }

    fn delivering(&self) -> Draft {
        use ConditionReason as R;
        let tally = self.tally();
        let draft =
            |status, reason, message: &str| Draft::new(ConditionType::Delivering, status, reason, message);
        match self.input.subject.mode {
            Mode::Suspended => return draft(false, R::Suspended, "a suspended profile delivers nothing"),
            Mode::DryRun => return draft(false, R::DryRun, "a dry run counts and delivers nothing"),
            Mode::Active => {}
        }
        if tally.live > 0 && tally.expired == tally.live {
            return draft(false, R::Expired, "an expired profile delivers nothing");
        }
        if tally.connected == 0 {
            let message = "no node has said yet how its sink does";
            return Draft::unknown(ConditionType::Delivering, R::AwaitingAgents, message);
        }
        let sink = &self.input.subject.sink;
        let message = format!(
            "{} of {} nodes deliver to sink '{sink}'",
            tally.delivering, tally.connected
        );
        match tally.delivery.most() {
            Some((reason, _, why)) if !self.enough(tally.delivering, tally.connected) => {
                draft(false, reason, &format!("{message}: {why}"))
            }
            _ => draft(true, R::Acknowledged, &message),
        }
    }

    fn complete(&self) -> Draft {
        let tally = self.tally();
        match tally.missed.most() {
            Some((reason, _, why)) => {
                let message = format!(
                    "{} of {} nodes missed something: {why}",
                    tally.incomplete, tally.heard
                );
                Draft::new(ConditionType::Complete, false, reason, message)
            }
            None if tally.heard == 0 => {
                let message = "no node that collects has reported yet";
                Draft::unknown(ConditionType::Complete, ConditionReason::AwaitingAgents, message)
            }
            None => {
                let message = "nothing was missed in the last 60 s";
                Draft::new(
                    ConditionType::Complete,
                    true,
                    ConditionReason::NothingMissed,
                    message,
                )
            }
        }
    }

    fn degraded(&self) -> Draft {
        use ConditionReason as R;
        let tally = self.tally();
        let draft = |reason, message: &str| Draft::new(ConditionType::Degraded, true, reason, message);
        if let Some((reason, message)) = self.input.trouble {
            return draft(*reason, message);
        }
        if let Some(reason) = self.worst() {
            return draft(reason, &self.counts_and_why());
        }
        if let Some((reason, nodes, why)) = tally.delivery.most() {
            return draft(
                reason,
                &format!("{nodes} of {} nodes do not deliver: {why}", tally.connected),
            );
        }
        let skewed = tally.problems.nodes(R::ClockSkew);
        if skewed > 0 {
            return draft(
                R::ClockSkew,
                &format!("{skewed} nodes have a clock that is more than 5 s off"),
            );
        }
        Draft::new(ConditionType::Degraded, false, R::Healthy, "nothing is wrong")
    }

    fn reconciling(&self, ready: bool) -> Draft {
        use ConditionReason as R;
        let tally = self.tally();
        let draft =
            |status, reason, message: &str| Draft::new(ConditionType::Reconciling, status, reason, message);
        if let Some((reason, _)) = self.refused() {
            return draft(false, reason, "nothing can follow until the spec is accepted");
        }
        let answered = tally.reported > 0 && tally.pending == 0 && tally.expected > 0;
        if self.settled || ready || answered || tally.matched == tally.excluded {
            return draft(
                false,
                R::UpToDate,
                "every node has followed the last change of the spec, or said why not",
            );
        }
        let reason = if tally.reported == 0 {
            R::AwaitingAgents
        } else {
            R::NodesPending
        };
        draft(true, reason, &counts(tally))
    }

    fn stalled(&self) -> Draft {
        use ConditionReason as R;
        let tally = self.tally();
        let draft =
            |status, reason, message: &str| Draft::new(ConditionType::Stalled, status, reason, message);
        if let Some((reason, message)) = self.refused() {
            return draft(true, reason, message);
        }
        if tally.expected > 0 && tally.failed + tally.unsupported == tally.expected {
            let reason = if tally.failed > 0 {
                R::NodesFailed
            } else {
                R::NodesUnsupported
            };
            return draft(true, reason, &counts(tally));
        }
        draft(false, R::Healthy, "progress needs nobody")
    }
}

fn no_nodes(tally: &Tally) -> String {
    if tally.excluded > 0 {
        format!(
            "{} nodes match, and the operator's settings let no agent run on any of them",
            tally.excluded
        )
    } else {
        "the node selector matches no node".to_owned()
    }
}

/// `8 of 10 expected nodes are live, 1 pending, 1 stale`
fn counts(tally: &Tally) -> String {
    let mut text = match tally.expected {
        0 => format!(
            "{} nodes are too new to be expected and have not reported yet",
            tally.matched - tally.excluded
        ),
        1 => format!("{} of 1 expected node is live", tally.live),
        expected => format!("{} of {expected} expected nodes are live", tally.live),
    };
    for (count, word) in [
        (tally.pending, "pending"),
        (tally.degraded, "degraded"),
        (tally.failed, "failed"),
        (tally.unsupported, "unsupported"),
        (tally.stale, "stale"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {word}");
        }
    }
    text
}

impl Problems {
    /// The most frequent reason besides some, with the first node that gives it and its message.
    fn most_but(&self, but: &[ConditionReason]) -> Option<(ConditionReason, String, String)> {
        Self::list(&[self])
            .into_iter()
            .find(|problem| !but.contains(&problem.reason))
            .map(|problem| {
                (
                    problem.reason,
                    problem.examples.into_iter().next().unwrap_or_default(),
                    problem.message,
                )
            })
    }
}
