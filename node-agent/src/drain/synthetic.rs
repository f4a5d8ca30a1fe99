//! A generator of events at a set rate, for load tests and demonstrations. Its events are marked, and nothing
//! turns it on but the user.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_node_agent_common::kind;
use weir_node_agent_common::outcome::{self, MAX_SLOTS};
use weir_node_agent_common::record::{Exec, Header, Open};
use zerocopy::IntoBytes as _;

use crate::enrich::clock;

/// Events in one go at most: a generator that was stopped for long does not make up for it at once.
const MAX_RUN: u64 = 100_000;
/// How often it makes events.
const INTERVAL: Duration = Duration::from_millis(1);

/// What runs: written by the control side, read by the generator.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// Configuration id.
    pub config_id: u32,
    /// Lane.
    pub lane: u8,
    /// Slots by kind number: mask and node-wide slot of each bit.
    pub kinds: Vec<(u8, u64, Vec<u16>)>,
}

/// Shared with the control side: what runs, and what was made.
#[derive(Debug)]
pub struct Shared {
    running: Mutex<(Running, Vec<u64>)>,
}

impl Default for Shared {
    fn default() -> Self {
        let counters = vec![0; (outcome::LANES * MAX_SLOTS) as usize];
        Self {
            running: Mutex::new((Running::default(), counters)),
        }
    }
}

impl Shared {
    /// Changes what runs. Whoever is making events meanwhile finishes first.
    pub fn set(&self, change: impl FnOnce(&mut Running)) {
        change(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner).0);
    }

    /// Events made for a slot on a lane.
    #[must_use]
    pub fn made(&self, lane: u32, slot: u16) -> u64 {
        let guard = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        guard
            .1
            .get(((lane & 1) * MAX_SLOTS + u32::from(slot)) as usize)
            .copied()
            .unwrap_or(0)
    }
}

/// The generator. Events that were made wait in a buffer, as in a ring.
pub struct Generator {
    shared: Arc<Shared>,
    /// Events per second.
    rate: u64,
    made_until_ns: u64,
    remainder: u64,
    ready: Vec<(Header, u32)>,
    scratch: Vec<u8>,
    number: u32,
}

impl Generator {
    /// Makes `rate` events per second.
    #[must_use]
    pub fn new(rate: u32, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            rate: u64::from(rate),
            made_until_ns: clock::boot_ns(),
            remainder: 0,
            ready: Vec::new(),
            scratch: Vec::new(),
            number: 0,
        }
    }

    /// How often to look.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        INTERVAL
    }

    /// Makes what is due by now and counts it.
    pub fn produce(&mut self) -> u64 {
        let now_ns = clock::boot_ns();
        let due = now_ns
            .saturating_sub(self.made_until_ns)
            .saturating_mul(self.rate)
            + self.remainder;
        self.made_until_ns = now_ns;
        self.remainder = due % 1_000_000_000;
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (running, counters) = &mut *guard;
        if running.kinds.is_empty() {
            return 0;
        }
        for _ in 0..(due / 1_000_000_000).min(MAX_RUN) {
            let index = self.number as usize % running.kinds.len();
            let (kind, slots, numbers) = &running.kinds[index];
            self.number = self.number.wrapping_add(1);
            for slot in numbers {
                if let Some(count) =
                    counters.get_mut(usize::from(running.lane & 1) * MAX_SLOTS as usize + usize::from(*slot))
                {
                    *count += 1;
                }
            }
            self.ready
                .push((header(*kind, *slots, running, now_ns, self.number), self.number));
        }
        0
    }

    /// Hands the events out as records.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> u64 {
        let ready = std::mem::take(&mut self.ready);
        for (header, number) in &ready {
            self.scratch.clear();
            self.scratch.extend_from_slice(header.as_bytes());
            body(header.kind, *number, &mut self.scratch);
            each(&self.scratch);
        }
        let records = ready.len() as u64;
        self.ready = ready;
        self.ready.clear();
        records
    }
}

fn header(kind: u8, slots: u64, running: &Running, boot_ns: u64, number: u32) -> Header {
    Header {
        kind,
        lane: running.lane,
        flags: 0,
        config_id: running.config_id,
        slots,
        boot_ns,
        cgroup_id: 0,
        tgid: 1_000 + number % 4_000,
        tid: 1_000 + number % 4_000,
        ppid: 1,
        uid: 1_000,
        gid: 1_000,
        pod_index: 0,
        start_ns: boot_ns.saturating_sub(1_000_000_000),
        comm: *b"synthetic\0\0\0\0\0\0\0",
    }
}

fn body(number_of_kind: u8, number: u32, to: &mut Vec<u8>) {
    use weir_node_agent_common::record::{Connect, Exit};
    match number_of_kind {
        kind::PROCESS_EXEC => {
            const EXE: &[u8; 18] = b"/usr/bin/synthetic";
            const ARGS: &[u8; 18] = b"synthetic\0--event\0";
            let fixed = Exec {
                exe_len: 18,
                args_len: 18,
                reserved: 0,
            };
            to.extend_from_slice(fixed.as_bytes());
            to.extend_from_slice(EXE);
            to.extend_from_slice(ARGS);
        }
        kind::PROCESS_EXIT => {
            to.extend_from_slice(
                Exit {
                    status: 0,
                    reserved: 0,
                    duration_ns: 1_000_000,
                }
                .as_bytes(),
            );
        }
        kind::NET_CONNECT => {
            let mut destination = [0; 16];
            destination[..4].copy_from_slice(&[127, 0, 0, 1]);
            let fixed = Connect {
                result: 0,
                family: 2,
                protocol: 6,
                destination_port: 443,
                source_port: 40_000,
                reserved: 0,
                latency_ns: 120_000,
                destination,
                source: destination,
            };
            to.extend_from_slice(fixed.as_bytes());
        }
        _ => {
            const FOLDER: &[u8; 19] = b"/var/lib/synthetic/";
            let fixed = Open {
                result: 3,
                flags: 0,
                path_len: 20,
                reserved: 0,
                mode: 0,
            };
            to.extend_from_slice(fixed.as_bytes());
            to.extend_from_slice(FOLDER);
            to.push(b'a' + u8::try_from(number % 26).unwrap_or(0));
        }
    }
}
