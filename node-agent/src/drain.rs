//! The drain thread: from the rings to sealed batches, synchronously, with nothing allocated per event.
//!
//! It alone owns the tables of attribution, the open batches and the kernel's scope map. The control side talks to
//! it by commands, answered between two rounds. It must not do I/O beyond maps and rings, and never waits for
//! publishing.

mod batches;
mod command;
mod event;
mod hold;
mod home;
mod pace;
mod scope;
pub mod source;
pub mod synthetic;
pub mod table;
mod tally;

use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio_util::sync::CancellationToken;
use weir_runtime::beat::Beat;

pub use batches::Identity;
pub use command::{Closed, Command, CommandSender, Stopped, channel};
pub use home::Moved;
pub use pace::MAX_NAP;

use crate::enrich::{Index, Processes, WallClock, clock};
use crate::ledger::Ledger;
use crate::publish::PublishHandle;
use batches::Batches;
use hold::Held;
use pace::{Mode, Pace};
use scope::ScopeWriter;
use source::Source;
use table::Tables;
use tally::Tally;

/// How often clocks and tombstones are looked at.
const UPKEEP_NS: u64 = 1_000_000_000;

/// What the thread is made of.
pub struct DrainParts {
    /// Where records come from.
    pub source: Source,
    /// Writes the kernel's scope map; `None` for a generator.
    pub scope: Option<aya::maps::HashMap<aya::maps::MapData, u64, weir_node_agent_common::config::Scope>>,
    /// Cgroups and pods, already walked.
    pub index: Index,
    /// Processes, already seeded.
    pub processes: Processes,
    /// Who we are.
    pub identity: Identity,
    /// Where sealed batches go.
    pub publish: PublishHandle,
    /// Where outcomes are counted.
    pub ledger: std::sync::Arc<Ledger>,
    /// The control side's commands.
    pub commands: Receiver<Command>,
    /// Ends the thread.
    pub stop: CancellationToken,
}

/// Why the thread ended.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// No usable clock.
    #[error("the wall clock cannot be related to boot time")]
    Clock,
    /// Waiting failed.
    #[error("cannot wait for the rings")]
    Wait(#[source] rustix::io::Errno),
    /// The wake mode cannot be written.
    #[error("cannot set how the rings wake the agent")]
    Wake(#[source] aya::maps::MapError),
}

/// The thread's state.
pub struct Drain {
    source: Source,
    scope: ScopeWriter,
    index: Index,
    processes: Processes,
    batches: Batches,
    tables: Tables,
    held: Held,
    tally: Tally,
    clock: WallClock,
    pace: Pace,
    commands: Receiver<Command>,
    stop: CancellationToken,
    next_upkeep_ns: u64,
    /// The last cut that was closed here.
    closed: u32,
}

impl Drain {
    /// Puts the parts together.
    pub fn new(parts: DrainParts) -> Result<Self, DrainError> {
        let DrainParts {
            source,
            scope,
            index,
            processes,
            identity,
            publish,
            ledger,
            commands,
            stop,
        } = parts;
        let clock = WallClock::new(&clock::read()).ok_or(DrainError::Clock)?;
        Ok(Self {
            source,
            scope: ScopeWriter::new(scope),
            index,
            processes,
            batches: Batches::new(identity, publish),
            tables: Tables::default(),
            held: Held::default(),
            tally: Tally::new(ledger),
            clock,
            pace: Pace::default(),
            commands,
            stop,
            next_upkeep_ns: 0,
            closed: 0,
        })
    }

    /// Runs until stopped; each round is a beat.
    pub fn run(mut self, beat: &Beat) -> Result<(), DrainError> {
        self.scope.write(&mut self.index, self.closed);
        while !self.stop.is_cancelled() {
            beat.tell();
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            let records = self.round();
            self.wait(records)?;
        }
        Ok(())
    }

    /// One look at the rings. Returns the number of bulk records.
    fn round(&mut self) -> u64 {
        let until = self.source.bulk_position();
        let records = self.drain_to(until);
        let now_ns = clock::boot_ns();
        self.settle_held(now_ns);
        if now_ns >= self.next_upkeep_ns {
            self.next_upkeep_ns = now_ns + UPKEEP_NS;
            self.clock.update(&clock::read());
            self.index.expire(now_ns);
            self.processes.expire(now_ns);
        }
        self.scope.write(&mut self.index, self.closed);
        let idle = self.pace.mode() == Mode::Idle;
        self.batches.seal_due(
            now_ns,
            pace::nap(self.batches.least_linger_ns()),
            idle,
            &mut self.tally,
        );
        self.tally.flush();
        records
    }

    /// Drains control, then bulk up to `until`, with a look at control in between: a container is known before its
    /// first event is looked at.
    fn drain_to(&mut self, until: u64) -> u64 {
        let mut records = 0;
        loop {
            self.drain_control();
            let (drained, paused) = self.drain_bulk(until);
            records += drained;
            if !paused {
                return records;
            }
        }
    }

    fn wait(&mut self, records: u64) -> Result<(), DrainError> {
        let now_ns = clock::boot_ns();
        if let Some(mode) = self.pace.observe(records, now_ns) {
            self.source
                .set_wake(mode == Mode::Busy)
                .map_err(DrainError::Wake)?;
        }
        match self.pace.mode() {
            Mode::Busy => {
                std::thread::sleep(pace::nap(self.batches.least_linger_ns()));
                Ok(())
            }
            Mode::Idle => {
                // Position first, then the look: a record that comes in between wakes us.
                if !self.source.is_caught_up() {
                    return Ok(());
                }
                let due = [self.batches.next_due_ns(), self.held.next_due_ns()]
                    .into_iter()
                    .flatten()
                    .min();
                let longest = self.pace.longest_wait(now_ns);
                let wait = due.map_or(longest, |due| Duration::from_nanos(due.saturating_sub(now_ns)));
                self.source.wait(wait.min(longest)).map_err(DrainError::Wait)
            }
        }
    }
}
