//! The control side: turns what is wanted into what runs, makes the ledger's cuts, and knows how everything is.
//!
//! One task owns the kernel side; whoever wants something sends a [`Request`]. An edit and a cut are the same step:
//! a new word becomes the running one, running programs are waited for, and the old lane is drained and counted.

mod apply;
mod cut;
mod kept;
mod moved;
pub mod side;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weir_events::agent::AgentLedger;
use weir_node_agent_common::config::Active;
use weir_node_agent_common::outcome;
use weir_profile::api::ConditionReason;
use weir_profile::place::SlotKey;
use weir_profile::{Assignment, EventKind, NodeConfig, NodeFacts, Placement, Plan};
use weir_runtime::beat;
use weir_runtime::error::chain;
use weir_runtime::readiness::{Readiness, State};

use crate::bpf::kernel::KernelError;
use crate::bpf::maps::MapsError;
use crate::config::expiry::Expiry;
use crate::drain::{CommandSender, Moved, Stopped};
use crate::ledger::{Ledger, RowId};
use crate::publish::{AgentIdentity, DrainReport, PublishHandle, Publisher, SinkSettings};
use apply::Edit;
use side::Side;
use view::View;

/// How often a cut is made without another reason.
pub const CUT_EVERY: Duration = Duration::from_secs(10);
/// When an edit is tried again that the kernel did not take: memory may be free by then.
const TRY_AGAIN: Duration = Duration::from_mins(1);
/// Requests that wait: each is answered before the next, and there is one asker per kind of request.
const REQUESTS: usize = 16;

/// Why the control side cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The kernel side failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A map failed.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// The drain thread is gone.
    #[error(transparent)]
    Drain(#[from] Stopped),
    /// The publish thread is gone.
    #[error("the publish thread has ended")]
    Publish,
}

/// Something that is wanted of the control side.
#[derive(Debug)]
pub enum Request {
    /// These are the plans now.
    Apply(Vec<Plan>),
    /// Make a cut and answer with its ledger.
    Cut(oneshot::Sender<AgentLedger>),
    /// The node's labels are these. Until they are told, profiles that select nodes by label wait.
    Labels(BTreeMap<String, String>),
    /// These generations expired in a former life, by the profile's UID. Send it before the first plans.
    Ended(BTreeMap<String, i64>),
}

/// Why a cut is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Work goes on.
    Running,
    /// Open batches are sealed too.
    Sealing,
    /// The epoch's last.
    Final,
}

/// How the epoch ended.
#[derive(Debug)]
pub struct Finished {
    /// The ledger of the last cut.
    pub ledger: AgentLedger,
    /// What publishing left behind.
    pub report: DrainReport,
}

/// Sends requests.
pub type Requests = mpsc::Sender<Request>;

/// The bounded channel of requests.
#[must_use]
pub fn requests() -> (Requests, mpsc::Receiver<Request>) {
    mpsc::channel(REQUESTS)
}

/// What the control side is made of.
pub struct ControlParts {
    /// The kernel, or the generator.
    pub side: Side,
    /// To the drain thread.
    pub commands: CommandSender,
    /// To publishing.
    pub publisher: Publisher,
    /// The agent's counts.
    pub ledger: Arc<Ledger>,
    /// Who speaks in agent events.
    pub identity: Arc<AgentIdentity>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// How sinks find their credentials, and who makes streams.
    pub sinks: apply::SinkOptions,
    /// Where states are shown.
    pub readiness: Readiness,
    /// Where the last ledger and the profiles' states are shown.
    pub view: View,
}

pub use apply::SinkOptions;

/// A row of the ledger that has a slot.
struct LiveRow {
    row: RowId,
    slot: u16,
    /// What the slot had counted on each lane when the row got it.
    baseline: [crate::bpf::maps::Outcomes; 2],
}

/// The control side's state.
pub struct Control {
    side: Side,
    commands: CommandSender,
    publisher: Publisher,
    publish: PublishHandle,
    ledger: Arc<Ledger>,
    identity: Arc<AgentIdentity>,
    boot_id: String,
    sinks: SinkOptions,
    readiness: Readiness,
    view: View,
    plans: Vec<Plan>,
    expiry: Expiry,
    labels: Option<BTreeMap<String, String>>,
    supported: BTreeSet<EventKind>,
    assignment: Assignment,
    config: NodeConfig,
    /// What was placed when `config` began to run, or later without changing it.
    placement: Placement,
    /// When the edit is tried again that could not be made ready.
    try_again: Option<Instant>,
    word: Active,
    /// The cut that is open: its lane counts now.
    cut: u32,
    live: BTreeMap<SlotKey, LiveRow>,
    /// By row and lane: what the kernel counted as of the last time the lane was quiet.
    quiet: Vec<[crate::bpf::maps::Outcomes; 2]>,
    /// The sinks in use.
    running_sinks: BTreeMap<Arc<str>, SinkSettings>,
    /// Profiles that changed their sink with the last cut, until it is announced.
    moved: Vec<Moved>,
    /// The last cut of a life that ended without its final one, until it is told.
    last_life: Option<AgentLedger>,
}

impl Control {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(parts: ControlParts) -> Self {
        let ControlParts {
            side,
            commands,
            publisher,
            ledger,
            identity,
            boot_id,
            sinks,
            readiness,
            view,
        } = parts;
        let supported = side.supported();
        Self {
            side,
            commands,
            publish: publisher.handle(),
            publisher,
            ledger,
            identity,
            boot_id,
            sinks,
            readiness,
            view,
            plans: Vec::new(),
            expiry: Expiry::default(),
            labels: None,
            supported,
            assignment: Assignment::default(),
            config: NodeConfig::default(),
            placement: Placement::default(),
            try_again: None,
            word: Active::new(0, 1, 0),
            cut: 1,
            live: BTreeMap::new(),
            quiet: Vec::new(),
            running_sinks: BTreeMap::new(),
            moved: Vec::new(),
            last_life: None,
        }
    }

    /// Serves requests until `stop`, making cuts meanwhile. The last cut is made by [`Self::finish`].
    pub async fn run(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Result<(), ControlError> {
        let mut cuts = tokio::time::interval(CUT_EVERY);
        cuts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once; the first edit makes its own cut.
        cuts.tick().await;
        // What hangs in a cut or an edit, be it the kernel's or the drain thread's, is seen by the beat that fails to come.
        let beat = self.readiness.beat("control");
        let mut beats = tokio::time::interval(beat::EVERY);
        loop {
            let look = self.next_look();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                request = requests.recv() => match request {
                    Some(request) => self.serve(request).await?,
                    None => return Ok(()),
                },
                _ = cuts.tick() => {
                    self.cut(self.word.side(), self.word.config_id(), Cut::Running).await?;
                }
                () = tokio::time::sleep_until(look) => self.place_again().await?,
                _ = beats.tick() => beat.tell(),
            }
        }
    }

    async fn serve(&mut self, request: Request) -> Result<(), ControlError> {
        match request {
            Request::Apply(plans) => {
                self.plans = plans;
                self.place_again().await
            }
            Request::Labels(labels) => {
                self.labels = Some(labels);
                self.place_again().await
            }
            Request::Ended(ended) => {
                self.expiry.restore(ended);
                Ok(())
            }
            Request::Cut(answer) => {
                let ledger = self
                    .cut(self.word.side(), self.word.config_id(), Cut::Running)
                    .await?;
                if answer.send(ledger).is_err() {
                    tracing::debug!("whoever asked for a cut has gone");
                }
                Ok(())
            }
        }
    }

    /// Detaches everything, drains, waits for acks until `deadline`, makes the epoch's last cut and ends publishing.
    pub async fn finish(mut self, deadline: tokio::time::Instant) -> Result<Finished, ControlError> {
        self.side.detach_all();
        let (side, config_id) = (self.word.side(), self.word.config_id());
        // First a cut that seals and hands over all there is, then the one that knows what became of it.
        self.cut(side, config_id, Cut::Sealing).await?;
        let drained = self.publisher.drain(deadline).await;
        let ledger = self.cut(side, config_id, Cut::Final).await?;
        let mut report = self.publisher.finish(deadline).await;
        report.shed_events += drained.shed_events;
        Ok(Finished { ledger, report })
    }

    /// Places the plans as things are now, and makes that run if it differs.
    async fn place_again(&mut self) -> Result<(), ControlError> {
        loop {
            let now = unix_now();
            self.expiry.observe(&self.plans, now);
            self.view.ended(self.expiry.ended());
            let facts = NodeFacts {
                labels: self.labels.clone(),
                supported: self.supported.clone(),
                now,
                ended: self.expiry.ended().clone(),
            };
            let placement = weir_profile::place(&self.plans, &facts, &self.assignment);
            let waits = placement
                .refused
                .iter()
                .any(|refusal| refusal.reason == ConditionReason::Pending);
            let changed = placement.config != self.config;
            if changed {
                if let Edit::Kept(error) = self.apply(&placement).await? {
                    self.keep(&placement.config, &error);
                    return Ok(());
                }
            } else {
                self.report(&placement);
            }
            self.try_again = None;
            self.assignment = placement.assignment.clone();
            self.placement = placement;
            // A hook may have refused to attach: its kinds are then placed nowhere.
            let supported = self.side.supported();
            let lost_kinds = supported != self.supported;
            self.supported = supported;
            let freed = self.assignment.quarantined.clone();
            self.assignment.quarantined.release(&freed);
            // What waited for a place that this edit freed gets it in another round.
            if !(lost_kinds || waits && changed) {
                return Ok(());
            }
        }
    }

    /// Shows what did not fit and what is not supported.
    fn report(&self, placement: &Placement) {
        for refusal in &placement.refused {
            tracing::warn!(profile = %refusal.profile, reason = refusal.reason.as_str(), "{}", refusal.message);
        }
        for event in &placement.unsupported {
            tracing::warn!(profile = %event.profile, event = %event.event, kind = event.kind.as_str(), "no hook for this kind works here; see `weir-agent probe`");
        }
        let state = match (placement.refused.first(), placement.unsupported.first()) {
            (Some(refusal), _) => State::Degraded {
                reason: format!("profile {}: {}", refusal.profile, refusal.message),
                remedy: remedy(refusal.reason).into(),
            },
            (None, Some(event)) => State::Degraded {
                reason: format!(
                    "event {} of profile {}: no hook for {} works here",
                    event.event,
                    event.profile,
                    event.kind.as_str()
                ),
                remedy: "run `weir-agent probe`, which says why".into(),
            },
            (None, None) => State::Live,
        };
        self.readiness.set("profiles", state, SystemTime::now());
        self.view.placed(placement);
    }

    /// Goes on with what runs after an edit that the kernel did not take, and says so of each profile that waits.
    fn keep(&mut self, wanted: &NodeConfig, error: &MapsError) {
        let why = chain(error);
        tracing::error!(error = %why, "the new configuration is not applied; what ran before goes on");
        let shown = kept::placement(&self.placement, &self.config, wanted, &why);
        self.report(&shown);
        self.try_again = Some(Instant::now() + TRY_AGAIN);
    }

    /// When something may be different without anybody's asking: a profile expires, an edit is tried again.
    fn next_look(&self) -> Instant {
        let expiry = Instant::now() + self.expiry.wait(&self.plans, unix_now());
        self.try_again.map_or(expiry, |at| at.min(expiry))
    }
}

const fn remedy(reason: ConditionReason) -> &'static str {
    match reason {
        ConditionReason::Pending => "wait; if it lasts, see whether the agent reaches the API server",
        ConditionReason::ProgrammingFailed => "see the reason; it is tried again every minute",
        _ => "remove or narrow a profile of lower priority",
    }
}

/// Wall clock, seconds since 1970.
fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|now| i64::try_from(now.as_secs()).ok())
        .unwrap_or(0)
}

const _: () = assert!(outcome::LANES == 2);

#[cfg(test)]
mod tests;
