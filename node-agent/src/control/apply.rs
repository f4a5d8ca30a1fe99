//! An edit: everything the new configuration needs is made ready first, then it runs from one event to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use weir_events::{Encoding, Kind};
use weir_node_agent_common::limit;
use weir_node_agent_common::outcome::MAX_SLOTS;
use weir_profile::place::SlotKey;
use weir_profile::plan::SinkPlan;
use weir_profile::{EventKind, NodeConfig, PlacedProfile, PlacedSlot, Placement};

use super::{Control, ControlError, Cut, LiveRow};
use crate::bpf::image::kind_number;
use crate::bpf::maps::{MapsError, Outcomes};
use crate::drain::table::{SinkFacts, Slot, Table};
use crate::drain::{Command, Stopped};
use crate::enrich::ProfileScope;
use crate::ledger::RowInfo;
use crate::publish::SinkSettings;

/// How long records may be held is bounded to a quarter of a second; a sink that goes away is kept for as many looks.
const HELD_LOOKS: u32 = 10;
/// Between two looks.
const HELD_LOOK: Duration = Duration::from_millis(50);

/// How sinks are used on this node.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Where credential files are.
    pub credentials_dir: Option<PathBuf>,
    /// Whether the agent itself makes streams: only where no operator does.
    pub manage_streams: bool,
    /// What servers call us.
    pub client_name: String,
}

/// What became of an edit.
pub(super) enum Edit {
    /// It runs.
    Runs,
    /// It could not be made ready: what ran before it goes on, untouched.
    Kept(MapsError),
}

/// A configuration that is in the kernel and does not run yet.
struct Ready {
    side: u32,
    /// What the slots of new events had counted on each lane.
    baselines: BTreeMap<SlotKey, [Outcomes; 2]>,
}

impl Control {
    /// Makes a placed configuration run.
    pub(super) async fn apply(&mut self, placement: &Placement) -> Result<Edit, ControlError> {
        let config = placement.config.clone();
        // What may fail comes first: nothing that runs knows of it.
        let Ready { side, baselines } = match self.make_ready(&config) {
            Ok(ready) => ready,
            Err(error) => {
                self.side.detach_unneeded(&self.config);
                return Ok(Edit::Kept(error));
            }
        };
        // Sinks then: a batch must never find its sink missing, neither one of the new configuration nor one of the
        // old, which runs until the cut.
        let wanted = self.sinks_of(&config);
        let mut both = self.running_sinks.clone();
        both.extend(wanted.clone());
        let drops = both.len() > wanted.len();
        self.use_sinks(both).await?;
        self.open_rows(&config, baselines);
        let config_id = self.word.config_id().wrapping_add(1);
        let table = self.table(&config, config_id, side);
        let rules = config
            .profiles
            .iter()
            .map(|profile| ProfileScope {
                profile: u32::from(profile.index),
                rule: profile.scope.clone(),
            })
            .collect();
        let (done, prepared) = oneshot::channel();
        self.commands
            .send(Command::Prepare {
                table: Box::new(table),
                rules,
                done,
            })
            .await?;
        prepared.await.map_err(|_| Stopped)?;
        for profile in &config.profiles {
            for slot in &profile.slots {
                if let Some(row) = self.live.get(&key(profile, slot)) {
                    self.ledger
                        .advance(row.row, profile.generation.unsigned_abs(), &profile.digest);
                }
            }
        }
        self.cut(side, config_id, Cut::Running).await?;
        self.announce_moves(&config);
        let forgotten = self.retire(config_id).await?;
        if drops {
            self.drop_sinks(wanted, config_id, forgotten).await?;
        }
        self.clamp(&config)?;
        self.close_rows(&config);
        self.side.detach_unneeded(&config);
        for profile in &config.profiles {
            tracing::info!(
                profile = %profile.name,
                generation = profile.generation,
                digest = %profile.digest,
                events = profile.slots.len(),
                "profile runs"
            );
        }
        self.config = config;
        self.report(placement);
        self.view.applied(&self.config, &self.side.hook_statuses());
        Ok(Edit::Runs)
    }

    /// The sinks that a configuration names, as far as they can be used.
    fn sinks_of(&self, config: &NodeConfig) -> BTreeMap<Arc<str>, SinkSettings> {
        let mut sinks = BTreeMap::new();
        for profile in &config.profiles {
            let SinkOptions {
                credentials_dir,
                manage_streams,
                client_name,
            } = &self.sinks;
            match SinkSettings::from_plan(
                &profile.sink,
                credentials_dir.as_deref(),
                *manage_streams,
                client_name,
            ) {
                Ok(sink) => {
                    sinks.insert(Arc::clone(&sink.name), sink);
                }
                Err(error) => {
                    tracing::error!(profile = %profile.name, sink = %profile.sink.name, %error, "sink cannot be used");
                }
            }
        }
        sinks
    }

    async fn use_sinks(&mut self, sinks: BTreeMap<Arc<str>, SinkSettings>) -> Result<(), ControlError> {
        self.running_sinks.clone_from(&sinks);
        self.publisher
            .set_sinks(sinks.into_values().collect())
            .await
            .map_err(|_| ControlError::Publish)
    }

    /// Has the drain thread forget the configurations before this one, which may have to wait for records that are
    /// held. Returns whether it forgot them all.
    async fn retire(&self, before: u32) -> Result<bool, ControlError> {
        let (done, forgotten) = oneshot::channel();
        self.commands.send(Command::Retire { before, done }).await?;
        forgotten.await.map_err(|_| Stopped.into())
    }

    /// Takes sinks out of use that the configuration does not name, once the last batch for them was handed over.
    async fn drop_sinks(
        &mut self,
        sinks: BTreeMap<Arc<str>, SinkSettings>,
        config_id: u32,
        mut forgotten: bool,
    ) -> Result<(), ControlError> {
        for _ in 0..HELD_LOOKS {
            if forgotten {
                break;
            }
            tokio::time::sleep(HELD_LOOK).await;
            forgotten = self.retire(config_id).await?;
        }
        self.use_sinks(sinks).await
    }

    /// Writes the side that does not run, attaches what it needs, and empties the buckets of numbers that nothing uses
    /// yet.
    fn make_ready(&mut self, config: &NodeConfig) -> Result<Ready, MapsError> {
        let side = self.side.prepare(config)?;
        let mut baselines = BTreeMap::new();
        let known: BTreeSet<u8> = self.config.profiles.iter().map(|profile| profile.index).collect();
        for profile in &config.profiles {
            if !known.contains(&profile.index) {
                self.side.reset_bucket(MAX_SLOTS + u32::from(profile.index))?;
                if let Some(each) = profile.per_workload {
                    self.side.reset_table(each.table)?;
                }
            }
            for slot in &profile.slots {
                let key = key(profile, slot);
                if self.live.contains_key(&key) {
                    continue;
                }
                self.side.reset_bucket(u32::from(slot.slot))?;
                if let Some(table) = slot.limit.and_then(|limit| limit.table) {
                    self.side.reset_table(table)?;
                }
                let baseline = [
                    self.side.outcomes(0, slot.slot)?,
                    self.side.outcomes(1, slot.slot)?,
                ];
                baselines.insert(key, baseline);
            }
        }
        Ok(Ready { side, baselines })
    }

    /// Opens a ledger row for each new slot, from its recorded baseline.
    fn open_rows(&mut self, config: &NodeConfig, mut baselines: BTreeMap<SlotKey, [Outcomes; 2]>) {
        for profile in &config.profiles {
            for slot in &profile.slots {
                let key = key(profile, slot);
                let Some(baseline) = baselines.remove(&key) else {
                    continue;
                };
                let row = self.ledger.open(RowInfo {
                    profile: profile.name.clone(),
                    uid: profile.uid.clone(),
                    generation: profile.generation.unsigned_abs(),
                    digest: profile.digest.clone(),
                    event: slot.event.clone(),
                    kind: slot.kind.as_str(),
                    slot: slot.slot,
                });
                self.quiet
                    .resize(self.quiet.len().max(row.0 as usize + 1), Default::default());
                self.live.insert(
                    key,
                    LiveRow {
                        row,
                        slot: slot.slot,
                        baseline,
                    },
                );
            }
        }
    }

    /// Freezes the rows whose slots are gone: their last record is drained.
    fn close_rows(&mut self, config: &NodeConfig) {
        let kept: BTreeSet<SlotKey> = config
            .profiles
            .iter()
            .flat_map(|profile| profile.slots.iter().map(|slot| key(profile, slot)))
            .collect();
        let ledger = &self.ledger;
        self.live.retain(|key, row| {
            let keep = kept.contains(key);
            if !keep {
                ledger.freeze(row.row);
            }
            keep
        });
    }

    /// Frees changed limits of the debts that were made under the old ones.
    fn clamp(&mut self, config: &NodeConfig) -> Result<(), ControlError> {
        for profile in &config.profiles {
            let before = self
                .config
                .profiles
                .iter()
                .find(|old| old.index == profile.index && old.uid == profile.uid);
            if let Some(all) = profile.limit
                && before.is_none_or(|old| old.limit != profile.limit)
            {
                let tolerance = limit::tolerance(all.rate, all.burst);
                self.side
                    .clamp_bucket(MAX_SLOTS + u32::from(profile.index), tolerance)?;
            }
            if let Some(each) = profile.per_workload
                && before.is_none_or(|old| old.per_workload != profile.per_workload)
            {
                self.side
                    .clamp_table(each.table, limit::tolerance(each.rate, each.burst))?;
            }
            for slot in &profile.slots {
                let old = before.and_then(|old| old.slots.iter().find(|old| old.slot == slot.slot));
                let Some(own) = slot
                    .limit
                    .filter(|_| old.is_none_or(|old| old.limit != slot.limit))
                else {
                    continue;
                };
                let tolerance = limit::tolerance(own.rate, own.burst);
                match own.table {
                    Some(table) => self.side.clamp_table(table, tolerance)?,
                    None => self.side.clamp_bucket(u32::from(slot.slot), tolerance)?,
                }
            }
        }
        Ok(())
    }

    fn table(&self, config: &NodeConfig, id: u32, side: u32) -> Table {
        let mut slots = Vec::new();
        for profile in &config.profiles {
            let sink = Arc::new(sink_facts(&profile.sink));
            let name: Arc<str> = profile.name.as_str().into();
            for slot in &profile.slots {
                let Some(row) = self.live.get(&key(profile, slot)) else {
                    continue;
                };
                slots.push(Slot {
                    kind_number: kind_number(slot.kind),
                    bit: slot.bit,
                    kind: event_kind(slot.kind),
                    row: row.row,
                    profile_index: u32::from(profile.index),
                    profile: Arc::clone(&name),
                    event: slot.event.as_str().into(),
                    generation: profile.generation.unsigned_abs(),
                    weight: slot.sample.map_or(1, |sample| sample.one_in),
                    priority: profile.priority,
                    sink: Arc::clone(&sink),
                });
            }
        }
        Table { id, side, slots }
    }
}

fn key(profile: &PlacedProfile, slot: &PlacedSlot) -> SlotKey {
    SlotKey {
        uid: profile.uid.clone(),
        event: slot.event.clone(),
        kind: slot.kind,
    }
}

/// The kind as events name it.
const fn event_kind(kind: EventKind) -> Kind {
    match kind {
        EventKind::ProcessExec => Kind::ProcessExec,
        EventKind::ProcessExit => Kind::ProcessExit,
        EventKind::NetConnect => Kind::NetConnect,
        EventKind::FileOpen => Kind::FileOpen,
    }
}

fn sink_facts(sink: &SinkPlan) -> SinkFacts {
    SinkFacts {
        name: sink.name.as_str().into(),
        subject_prefix: sink.subject_prefix().into(),
        encoding: match sink.encoding {
            weir_profile::api::Encoding::Json => Encoding::Json,
            weir_profile::api::Encoding::Protobuf => Encoding::Protobuf,
        },
        max_events: sink.batch.max_events,
        max_bytes: sink.batch.max_bytes as usize,
        linger_ns: u64::from(sink.batch.linger_ms) * 1_000_000,
    }
}
