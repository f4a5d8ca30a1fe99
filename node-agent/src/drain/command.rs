//! What the control side asks of the drain thread, and how it wakes it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::Drain;
use super::home::Moved;
use super::table::Table;
use crate::enrich::{Change, ProfileScope, clock};

/// Commands that wait: edits and cuts are one at a time, metadata comes in bursts. When it is full the control side
/// waits.
const COMMANDS: usize = 256;

/// A program writes its record within microseconds; a virtual CPU may be taken from it for some milliseconds meanwhile.
const UNDONE_NS: u64 = 100_000_000;

/// The thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the drain thread has ended")]
pub struct Stopped;

/// The drain thread's part of a closed cut.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The next `seq` of each profile.
    pub next_seq: BTreeMap<String, u64>,
    /// The profiles that changed their sink with this cut.
    pub moved: Vec<Moved>,
}

/// A command.
pub enum Command {
    /// Know this configuration, and write its scopes on its side; it is about to run.
    Prepare {
        /// What its records mean.
        table: Box<Table>,
        /// Which workloads each profile takes.
        rules: Vec<ProfileScope>,
        /// Told when the side is written.
        done: oneshot::Sender<()>,
    },
    /// No program counts on the cut's lane any more: drain what it wrote, and flush the counts.
    Close {
        /// The cut.
        cut: u32,
        /// Seal open batches too: the epoch ends.
        last: bool,
        /// Told when all is counted.
        done: oneshot::Sender<Closed>,
    },
    /// Configurations before this id are no longer in any record.
    Retire {
        /// The oldest id that may still come.
        before: u32,
        /// Told when they are forgotten and what they left open is sealed: false while a record is held that one of
        /// them admitted.
        done: oneshot::Sender<bool>,
    },
    /// Metadata changed.
    Metadata(Change),
}

/// The control side's end.
#[derive(Clone)]
pub struct CommandSender {
    sender: Sender<Command>,
    wake: Arc<OwnedFd>,
}

/// A bounded channel and the descriptor that wakes its reader.
pub fn channel() -> Result<(CommandSender, Receiver<Command>, Arc<OwnedFd>), rustix::io::Errno> {
    let (sender, receiver) = bounded(COMMANDS);
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    Ok((
        CommandSender {
            sender,
            wake: Arc::clone(&wake),
        },
        receiver,
        wake,
    ))
}

impl CommandSender {
    /// Hands a command over; waits while the channel is full.
    pub async fn send(&self, mut command: Command) -> Result<(), Stopped> {
        loop {
            match self.sender.try_send(command) {
                Ok(()) => return self.wake(),
                Err(TrySendError::Disconnected(_)) => return Err(Stopped),
                Err(TrySendError::Full(back)) => {
                    command = back;
                    self.wake()?;
                    // The thread empties the channel every round, at most a nap away.
                    tokio::time::sleep(super::MAX_NAP).await;
                }
            }
        }
    }

    /// Wakes the thread, so that it sees commands or its stop.
    pub fn wake(&self) -> Result<(), Stopped> {
        match rustix::io::write(self.wake.as_fd(), &1_u64.to_ne_bytes()) {
            // A full counter wakes as well.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(_) => Err(Stopped),
        }
    }
}

impl Drain {
    /// Does what was asked.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Prepare { table, rules, done } => {
                let side = table.side;
                self.settle_side(side);
                let table = self.batches.resolve(*table);
                self.tables.insert(table);
                self.index.set_rules(side as usize, rules);
                self.scope.write(&mut self.index, self.closed);
                Self::answer(done, ());
            }
            Command::Close { cut, last, done } => {
                self.drain_all(cut);
                self.closed = cut;
                if last {
                    self.settle_held(u64::MAX);
                    self.batches.seal_all(&mut self.tally);
                }
                let moved = self.batches.leave_all(&mut self.tally);
                self.tally.flush();
                let next_seq = self.batches.sequences();
                Self::answer(done, Closed { next_seq, moved });
            }
            Command::Retire { before, done } => {
                // What is held was admitted by a configuration that must stay known until it is decided.
                let oldest = self
                    .held
                    .oldest_config()
                    .map_or(before, |oldest| oldest.min(before));
                self.tables.retire(oldest);
                self.batches.sweep(&self.tables.used_batches(), &mut self.tally);
                Self::answer(done, oldest == before);
            }
            Command::Metadata(change) => self.index.apply(change, clock::boot_ns()),
        }
    }

    /// Drains everything that was written until now. A program that began after the cut may stand, not yet done, before
    /// records of the cut's lane: they are waited for, since the cut is about to say that all of them arrived.
    fn drain_all(&mut self, cut: u32) {
        let until = self.source.bulk_position();
        self.drain_to(until);
        let begin = clock::boot_ns();
        while !self.source.has_read(until) {
            if clock::boot_ns().saturating_sub(begin) > UNDONE_NS {
                tracing::warn!(
                    cut,
                    "a record in the ring is still not done; the cut goes on without what is behind it"
                );
                return;
            }
            std::thread::yield_now();
            self.drain_to(until);
        }
    }

    fn answer<T>(done: oneshot::Sender<T>, answer: T) {
        if done.send(answer).is_err() {
            tracing::debug!("the control side gave up waiting for the drain thread");
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
