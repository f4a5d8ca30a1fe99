//! Knows every process's executable and parent, from the internal exec, fork and exit records and the seed.
//!
//! A process is (pid in the initial namespace, start time): a lookup with another start time is another process
//! and finds nothing. `/proc` is never read. Nothing is allocated on lookup.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::intern::{PathId, Paths};

/// Most processes kept, the exited ones included. At 64 bytes each, 4 MiB.
pub const PROCESSES_MAX: usize = 65_536;
/// Most exited processes kept.
pub const TOMBSTONES_MAX: usize = 8_192;
/// How long an exited process is kept: records of other CPUs' rings may still be on their way.
pub const TOMBSTONE_NS: u64 = 5_000_000_000;

/// A process as a record's header names it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Start, boot time, nanoseconds.
    pub start_ns: u64,
    /// When the record was made, boot time, nanoseconds.
    pub boot_ns: u64,
    /// Task name, NUL padded.
    pub comm: &'a [u8; 16],
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessFacts<'a> {
    /// Path of the executable from the process's root, links resolved; empty for a kernel thread or a file without one.
    pub exe: &'a [u8],
    /// The path was cut at its bound.
    pub exe_truncated: bool,
    /// The process never exec'd: the executable is its parent's.
    pub inherited: bool,
}

/// What the table did, monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessCounts {
    /// Lookups that found the process or its parent.
    pub found: u64,
    /// Lookups that found neither.
    pub unknown: u64,
    /// Exited processes given up before their time because a bound was reached.
    pub evicted_exited: u64,
    /// Running processes given up because the table was full of running ones.
    pub evicted_running: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    tgid: u32,
    ppid: u32,
    start_ns: u64,
    /// The executable since `since_ns`, and the one before it, for records that arrive after the exec's.
    exe: Exe,
    since_ns: u64,
    before: Option<Exe>,
    comm: [u8; 16],
    exited: bool,
    /// Distinguishes the slot's successive tenants in the tombstone queue.
    tenant: u32,
}

#[derive(Debug, Clone, Copy)]
struct Exe {
    path: PathId,
    truncated: bool,
    inherited: bool,
}

#[derive(Debug, Clone, Copy)]
struct Tombstone {
    expires_ns: u64,
    slot: u32,
    tenant: u32,
}

/// The process table. One owner; bounded by [`PROCESSES_MAX`].
#[derive(Debug)]
pub struct Processes {
    by_pid: HashMap<u32, u32, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    tombstones: VecDeque<Tombstone>,
    paths: Paths,
    counts: ProcessCounts,
    max: usize,
    /// Where the search for a running process to evict goes on.
    hand: usize,
    next_tenant: u32,
}

impl Default for Processes {
    fn default() -> Self {
        Self::new(PROCESSES_MAX)
    }
}

impl Processes {
    /// A table of at most `max` processes, at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            by_pid: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            tombstones: VecDeque::new(),
            paths: Paths::default(),
            counts: ProcessCounts::default(),
            max: max.max(1),
            hand: 0,
            next_tenant: 0,
        }
    }

    /// Processes held, exited ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// No process is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_pid.is_empty()
    }

    /// What the table did so far.
    #[must_use]
    pub fn counts(&self) -> ProcessCounts {
        self.counts
    }

    /// A process exec'd `exe` at `subject.boot_ns`.
    pub fn exec(&mut self, subject: Subject<'_>, exe: &[u8], truncated: bool) {
        let path = self.paths.acquire(exe);
        let exe = Exe {
            path,
            truncated,
            inherited: false,
        };
        if let Some(slot) = self.current_mut(subject.tgid, subject.start_ns) {
            let oldest = slot.before.replace(slot.exe);
            slot.exe = exe;
            slot.since_ns = subject.boot_ns;
            slot.ppid = subject.ppid;
            slot.comm = *subject.comm;
            if let Some(oldest) = oldest {
                self.paths.release(oldest.path);
            }
            return;
        }
        // Before its first exec the process ran what its parent ran.
        let before = self.inherit(subject);
        if let Some(before) = before {
            self.paths.retain(before.path);
        }
        self.insert(subject, exe, subject.boot_ns, before);
    }

    /// A process exists that was there before the hooks: from the seeding iterator. Apply the seed before the first
    /// drain; a process that an exec record already told of is left as it is.
    pub fn seed(&mut self, subject: Subject<'_>, exe: &[u8], truncated: bool) {
        if self
            .slot_of(subject.tgid)
            .is_some_and(|slot| slot.start_ns >= subject.start_ns)
        {
            return;
        }
        let path = self.paths.acquire(exe);
        self.insert(
            subject,
            Exe {
                path,
                truncated,
                inherited: false,
            },
            subject.start_ns,
            None,
        );
    }

    /// `subject` was forked off by its `ppid`: exact inheritance, where the kernel side reports forks.
    pub fn fork(&mut self, subject: Subject<'_>) {
        if self.current_mut(subject.tgid, subject.start_ns).is_some() {
            return;
        }
        if let Some(parent) = self
            .slot_of(subject.ppid)
            .filter(|parent| parent.start_ns <= subject.start_ns)
        {
            let exe = Exe {
                inherited: true,
                ..parent.exe_at(subject.start_ns)
            };
            self.paths.retain(exe.path);
            self.insert(subject, exe, subject.start_ns, None);
        }
    }

    /// The process ended at `boot_ns`; it is kept for [`TOMBSTONE_NS`].
    pub fn exit(&mut self, tgid: u32, start_ns: u64, boot_ns: u64) {
        let Some(&slot) = self.by_pid.get(&tgid) else {
            return;
        };
        let Some(entry) = self.current_mut(tgid, start_ns).filter(|entry| !entry.exited) else {
            return;
        };
        entry.exited = true;
        let tombstone = Tombstone {
            expires_ns: boot_ns.saturating_add(TOMBSTONE_NS),
            slot,
            tenant: entry.tenant,
        };
        self.tombstones.push_back(tombstone);
        if self.tombstones.len() > TOMBSTONES_MAX && self.bury_oldest() {
            self.counts.evicted_exited += 1;
        }
    }

    /// Forgets exited processes whose time is over. Call about every second.
    pub fn expire(&mut self, now_boot_ns: u64) {
        while self
            .tombstones
            .front()
            .is_some_and(|oldest| oldest.expires_ns <= now_boot_ns)
        {
            self.bury_oldest();
        }
    }

    /// What is known of a process.
    ///
    /// A process that never exec'd runs its parent's executable. That is inferred only while the parent's task name
    /// is the child's own: a child handed to another parent must not get that one's executable. What is inferred is
    /// kept, and outlives the parent.
    pub fn lookup(&mut self, subject: Subject<'_>) -> Option<ProcessFacts<'_>> {
        let known = self
            .slot_of(subject.tgid)
            .filter(|slot| slot.start_ns == subject.start_ns);
        let exe = match known {
            Some(slot) => Some(slot.exe_at(subject.boot_ns)),
            None => self.inherit(subject).inspect(|&exe| {
                self.paths.retain(exe.path);
                self.insert(subject, exe, subject.start_ns, None);
            }),
        };
        match exe {
            Some(_) => self.counts.found += 1,
            None => self.counts.unknown += 1,
        }
        exe.map(
            |Exe {
                 path,
                 truncated,
                 inherited,
             }| ProcessFacts {
                exe: self.paths.get(path),
                exe_truncated: truncated,
                inherited,
            },
        )
    }

    fn inherit(&self, subject: Subject<'_>) -> Option<Exe> {
        let parent = self.slot_of(subject.ppid)?;
        let plausible = parent.start_ns <= subject.start_ns && parent.comm == *subject.comm;
        plausible.then(|| Exe {
            inherited: true,
            ..parent.exe_at(subject.start_ns)
        })
    }

    fn slot_of(&self, tgid: u32) -> Option<&Slot> {
        self.slots.get(*self.by_pid.get(&tgid)? as usize)?.as_ref()
    }

    fn current_mut(&mut self, tgid: u32, start_ns: u64) -> Option<&mut Slot> {
        let slot = *self.by_pid.get(&tgid)?;
        self.slots
            .get_mut(slot as usize)?
            .as_mut()
            .filter(|slot| slot.start_ns == start_ns)
    }

    /// Owns the references of `exe` and `before` from here on.
    fn insert(&mut self, subject: Subject<'_>, exe: Exe, since_ns: u64, before: Option<Exe>) {
        if let Some(&old) = self.by_pid.get(&subject.tgid) {
            self.remove(old);
        }
        while self.by_pid.len() >= self.max {
            self.evict();
        }
        self.next_tenant = self.next_tenant.wrapping_add(1);
        let Subject {
            tgid,
            ppid,
            start_ns,
            boot_ns: _,
            comm,
        } = subject;
        let slot = Slot {
            tgid,
            ppid,
            start_ns,
            exe,
            since_ns,
            before,
            comm: *comm,
            exited: false,
            tenant: self.next_tenant,
        };
        let index = if let Some(index) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(index as usize) {
                *place = Some(slot);
            }
            index
        } else {
            self.slots.push(Some(slot));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_pid.insert(tgid, index);
    }

    /// Exited ones first, oldest first; then whichever running one the hand is at.
    fn evict(&mut self) {
        while !self.tombstones.is_empty() {
            if self.bury_oldest() {
                self.counts.evicted_exited += 1;
                return;
            }
        }
        for _ in 0..self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len();
            if self.slots.get(self.hand).is_some_and(Option::is_some) {
                self.remove(u32::try_from(self.hand).unwrap_or(u32::MAX));
                self.counts.evicted_running += 1;
                return;
            }
        }
    }

    /// Takes the oldest tombstone; true if its process was still in the table.
    fn bury_oldest(&mut self) -> bool {
        let Some(Tombstone { slot, tenant, .. }) = self.tombstones.pop_front() else {
            return false;
        };
        let current = self.slots.get(slot as usize).and_then(Option::as_ref);
        let there = current.is_some_and(|current| current.tenant == tenant);
        if there {
            self.remove(slot);
        }
        there
    }

    fn remove(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        self.by_pid.remove(&slot.tgid);
        self.paths.release(slot.exe.path);
        if let Some(before) = slot.before {
            self.paths.release(before.path);
        }
        self.free.push(index);
    }
}

impl Slot {
    fn exe_at(&self, boot_ns: u64) -> Exe {
        match self.before {
            Some(before) if boot_ns < self.since_ns => before,
            _ => self.exe,
        }
    }
}

#[cfg(test)]
mod tests;
