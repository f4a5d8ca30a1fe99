//! Where records come from: the kernel's rings, or a generator.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Array, MapData, MapError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_node_agent_common::config::{WAKE_ADAPTIVE, WAKE_NEVER};

use super::synthetic::Generator;
use crate::bpf::ring::Ring;

/// The rings.
pub struct Rings {
    /// Lifecycle records.
    pub control: Ring,
    /// Event records.
    pub bulk: Ring,
    /// How they wake us.
    pub wake: Array<MapData, u64>,
}

/// A source of records.
pub enum Source {
    /// The kernel.
    Kernel(Box<Rings>, Arc<OwnedFd>),
    /// A generator of synthetic events.
    Synthetic(Box<Generator>, Arc<OwnedFd>),
}

impl Source {
    /// How far bulk records were written.
    pub(super) fn bulk_position(&mut self) -> u64 {
        match self {
            Self::Kernel(rings, _) => rings.bulk.producer_position(),
            Self::Synthetic(generator, _) => generator.produce(),
        }
    }

    /// Whether all bulk records before `until` were handed out.
    pub(super) const fn has_read(&self, until: u64) -> bool {
        match self {
            Self::Kernel(rings, _) => rings.bulk.position() >= until,
            Self::Synthetic(..) => true,
        }
    }

    /// Whether the events are made up.
    pub(super) const fn is_synthetic(&self) -> bool {
        matches!(self, Self::Synthetic(..))
    }

    /// Says whether the kernel must not wake us.
    pub(super) fn set_wake(&mut self, busy: bool) -> Result<(), MapError> {
        match self {
            Self::Kernel(rings, _) => rings
                .wake
                .set(0, if busy { WAKE_NEVER } else { WAKE_ADAPTIVE }, 0),
            Self::Synthetic(..) => Ok(()),
        }
    }

    /// Whether nothing waits, after making our position known.
    pub(super) fn is_caught_up(&self) -> bool {
        match self {
            Self::Kernel(rings, _) => rings.bulk.is_caught_up() && rings.control.is_caught_up(),
            Self::Synthetic(..) => true,
        }
    }

    /// Sleeps until a record, a command, or the end of `wait`.
    pub(super) fn wait(&self, wait: Duration) -> Result<(), rustix::io::Errno> {
        let timeout = |wait: Duration| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let (mut fds, wait, command) = match self {
            Self::Kernel(rings, command) => {
                let fds = vec![
                    PollFd::new(command, PollFlags::IN),
                    PollFd::from_borrowed_fd(rings.bulk.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(rings.control.as_fd(), PollFlags::IN),
                ];
                (fds, wait, command)
            }
            Self::Synthetic(generator, command) => (
                vec![PollFd::new(command, PollFlags::IN)],
                wait.min(generator.interval()),
                command,
            ),
        };
        match poll(&mut fds, Some(&timeout(wait))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        // Empties the counter, so that the next command wakes again.
        match rustix::io::read(command, &mut [0; 8]) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
