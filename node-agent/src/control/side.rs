//! What events come from, as the control side sees it: the kernel, or a generator.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_node_agent_common::config::Active;
use weir_node_agent_common::hook;
use weir_profile::{EventKind, NodeConfig};

use crate::bpf::hook::HOOKS;
use crate::bpf::image::{Image, kind_number};
use crate::bpf::kernel::{HookStatus, Kernel, KernelError};
use crate::bpf::maps::{MapsError, Outcomes};
use crate::drain::synthetic::{Running, Shared};
use crate::enrich::{IndexCounts, SharedCounts, clock};
use crate::ledger::HookCounts;

/// A source of events that can be configured and counted.
pub enum Side {
    /// The kernel, and how full the tables are by which its keyed buckets are addressed.
    Kernel(Box<Kernel>, SharedCounts),
    /// The generator, and what is prepared for it.
    Synthetic(Arc<Shared>, Running),
}

impl Side {
    /// The kinds it can deliver.
    #[must_use]
    pub fn supported(&self) -> BTreeSet<EventKind> {
        match self {
            Self::Kernel(kernel, _) => kernel.supported(),
            Self::Synthetic(..) => EventKind::ALL.iter().copied().collect(),
        }
    }

    /// Writes a configuration where it does not run yet, and attaches what it needs. Returns its side.
    pub fn prepare(&mut self, config: &NodeConfig) -> Result<u32, MapsError> {
        match self {
            Self::Kernel(kernel, _) => {
                let image = Image::of(config);
                let side = kernel.prepare(&image)?;
                kernel.attach_for(&image);
                Ok(side)
            }
            Self::Synthetic(_, running) => {
                running.kinds.clear();
                for slot in config.profiles.iter().flat_map(|profile| &profile.slots) {
                    let number = kind_number(slot.kind);
                    let index = running
                        .kinds
                        .iter()
                        .position(|(kind, ..)| *kind == number)
                        .unwrap_or_else(|| {
                            running.kinds.push((number, 0, Vec::new()));
                            running.kinds.len() - 1
                        });
                    running.kinds[index].1 |= 1 << slot.bit;
                    running.kinds[index].2.push(slot.slot);
                }
                Ok(0)
            }
        }
    }

    /// Makes the word run and waits until nothing runs with the old one.
    pub fn switch(&mut self, word: Active) -> Result<(), KernelError> {
        match self {
            Self::Kernel(kernel, _) => kernel.switch(word),
            Self::Synthetic(shared, prepared) => {
                shared.set(|running| {
                    *running = Running {
                        config_id: word.config_id(),
                        lane: u8::from(word.lane() == 1),
                        kinds: prepared.kinds.clone(),
                    };
                });
                Ok(())
            }
        }
    }

    /// Detaches what the running configuration does not need.
    pub fn detach_unneeded(&mut self, config: &NodeConfig) {
        if let Self::Kernel(kernel, _) = self {
            kernel.detach_for(&Image::of(config));
        }
    }

    /// Detaches everything: nothing is counted from here on.
    pub fn detach_all(&mut self) {
        match self {
            Self::Kernel(kernel, _) => kernel.detach_for(&Image::default()),
            Self::Synthetic(shared, prepared) => {
                prepared.kinds.clear();
                shared.set(|running| running.kinds.clear());
            }
        }
    }

    /// What a slot counted on a lane.
    pub fn outcomes(&self, lane: u32, slot: u16) -> Result<Outcomes, MapsError> {
        match self {
            Self::Kernel(kernel, _) => kernel.maps().outcomes(lane, slot),
            Self::Synthetic(shared, _) => {
                let mut outcomes = Outcomes::default();
                outcomes[weir_node_agent_common::outcome::RINGED as usize] = shared.made(lane, slot);
                Ok(outcomes)
            }
        }
    }

    /// Empties the buckets that a newcomer takes over.
    pub fn reset_bucket(&mut self, index: u32) -> Result<(), MapsError> {
        match self {
            Self::Kernel(kernel, _) => kernel.maps_mut().reset_bucket(index),
            Self::Synthetic(..) => Ok(()),
        }
    }

    /// Empties a keyed table that a newcomer takes over.
    pub fn reset_table(&mut self, table: u8) -> Result<(), MapsError> {
        match self {
            Self::Kernel(kernel, _) => kernel.maps_mut().reset_table(table),
            Self::Synthetic(..) => Ok(()),
        }
    }

    /// Cuts a bucket's debt to what its limit, which runs already, allows.
    pub fn clamp_bucket(&mut self, index: u32, tolerance_ns: u64) -> Result<(), MapsError> {
        match self {
            Self::Kernel(kernel, _) => kernel
                .maps_mut()
                .clamp_bucket(index, clock::boot_ns, tolerance_ns),
            Self::Synthetic(..) => Ok(()),
        }
    }

    /// The same for each workload's bucket of a keyed table.
    pub fn clamp_table(&mut self, table: u8, tolerance_ns: u64) -> Result<(), MapsError> {
        match self {
            Self::Kernel(kernel, _) => kernel.maps_mut().clamp_table(table, clock::boot_ns, tolerance_ns),
            Self::Synthetic(..) => Ok(()),
        }
    }

    /// What the hooks counted.
    pub fn hooks(&self) -> Result<Vec<HookCounts>, MapsError> {
        match self {
            Self::Kernel(kernel, _) => {
                let missed = kernel.missed();
                HOOKS
                    .iter()
                    .zip(missed)
                    .map(|(hook, missed)| Ok((hook.name(), missed, kernel.maps().hook(hook.number)?)))
                    .collect()
            }
            Self::Synthetic(..) => Ok(vec![("synthetic", Some(0), [0; hook::COUNTERS])]),
        }
    }

    /// How full attribution's tables are. A generator has no workloads.
    #[must_use]
    pub fn attribution(&self) -> IndexCounts {
        match self {
            Self::Kernel(_, counts) => counts.get(),
            Self::Synthetic(..) => IndexCounts::default(),
        }
    }

    /// What the hooks do, with their names.
    #[must_use]
    pub fn hook_statuses(&self) -> Vec<(&'static str, HookStatus)> {
        match self {
            Self::Kernel(kernel, _) => HOOKS
                .iter()
                .map(crate::bpf::hook::Hook::name)
                .zip(kernel.hook_statuses())
                .collect(),
            Self::Synthetic(..) => Vec::new(),
        }
    }
}
