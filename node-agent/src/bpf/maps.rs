//! The configuration and counter maps: written on the side that does not run, read back, then made to run.

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use weir_node_agent_common::config::{
    Active, ExactKey, KEY_HEAD_BITS, KEYED_WORKLOADS, KindConfig, NetKey, PATH_KEY_BYTES, PathKey,
    SLOTS_PER_KIND, SlotConfig, keyed_index, kind_index, slot_index,
};
use weir_node_agent_common::outcome::{self, MAX_SLOTS};
use weir_node_agent_common::{hook, kind};

use super::image::{Image, Net, Path};

/// Why a map could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    /// The object lacks it.
    #[error("the BPF object has no map {0}; the binary is damaged, build or install it again")]
    Missing(&'static str),
    /// The kernel refused an operation.
    #[error("the kernel refused to {action} map {map}; is its memory limit reached?")]
    Kernel {
        /// What we did.
        action: &'static str,
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// What was read back is not what was written.
    #[error("map {0} read back differently from what was written; the configuration was not activated")]
    ReadBack(&'static str),
}

/// Outcome counters of one slot on one lane, over all CPUs.
pub type Outcomes = [u64; outcome::COUNTERS];

/// The maps that the control side owns.
pub struct Maps {
    active: Array<MapData, u64>,
    kinds: Array<MapData, KindConfig>,
    slots: Array<MapData, SlotConfig>,
    exact: HashMap<MapData, ExactKey, u64>,
    paths: LpmTrie<MapData, PathKey, u64>,
    nets: LpmTrie<MapData, NetKey, u64>,
    buckets: Array<MapData, u64>,
    keyed: Array<MapData, u64>,
    counters: PerCpuArray<MapData, Outcomes>,
    hooks: PerCpuArray<MapData, [u64; hook::COUNTERS]>,
    /// What each side holds now.
    written: [Image; 2],
}

/// Takes a map out of the object.
pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, MapsError> {
    ebpf.take_map(name).ok_or(MapsError::Missing(name))
}

fn failed(action: &'static str, map: &'static str) -> impl FnOnce(MapError) -> MapsError {
    move |source| MapsError::Kernel { action, map, source }
}

macro_rules! typed {
    ($ebpf:expr, $name:literal) => {
        take($ebpf, $name)?.try_into().map_err(failed("open", $name))?
    };
}

impl Maps {
    /// Takes the maps out of the object.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, MapsError> {
        Ok(Self {
            active: typed!(ebpf, "ACTIVE"),
            kinds: typed!(ebpf, "KINDS"),
            slots: typed!(ebpf, "SLOTS"),
            exact: typed!(ebpf, "MATCH_EXACT"),
            paths: typed!(ebpf, "MATCH_PATH"),
            nets: typed!(ebpf, "MATCH_NET"),
            buckets: typed!(ebpf, "BUCKET"),
            keyed: typed!(ebpf, "KEYED"),
            counters: typed!(ebpf, "COUNTERS"),
            hooks: typed!(ebpf, "HOOKS"),
            written: [Image::default(), Image::default()],
        })
    }

    /// Makes `side`, which must not be running, hold `image`, and reads it back.
    pub fn write(&mut self, side: u32, image: &Image) -> Result<(), MapsError> {
        let index = (side & 1) as usize;
        let before = std::mem::take(&mut self.written[index]);
        let result = self
            .replace(side, &before, image)
            .and_then(|()| self.read_back(side, image));
        self.written[index] = if result.is_ok() {
            image.clone()
        } else {
            // The side holds a mixture. It is emptied, or else the union is what a later write must remove.
            let mixture = union(before, image);
            match self.replace(side, &mixture, &Image::default()) {
                Ok(()) => Image::default(),
                Err(_) => mixture,
            }
        };
        result
    }

    fn replace(&mut self, side: u32, before: &Image, image: &Image) -> Result<(), MapsError> {
        for number in 0..u8::try_from(kind::MAX_KINDS).unwrap_or(u8::MAX) {
            let config = image.kinds.get(&number).copied().unwrap_or(KindConfig::EMPTY);
            if before.kinds.get(&number) != Some(&config) {
                self.kinds
                    .set(kind_index(side, number), config, 0)
                    .map_err(failed("write", "KINDS"))?;
            }
        }
        for ((number, bit), config) in &image.slots {
            let at = slot_index(side, *number, u32::from(*bit));
            self.slots.set(at, config, 0).map_err(failed("write", "SLOTS"))?;
        }
        for key in before.exact.keys().filter(|key| !image.exact.contains_key(*key)) {
            gone(self.exact.remove(&exact_key(side, key))).map_err(failed("remove from", "MATCH_EXACT"))?;
        }
        for (key, mask) in &image.exact {
            self.exact
                .insert(exact_key(side, key), mask, 0)
                .map_err(failed("write", "MATCH_EXACT"))?;
        }
        for key in before.paths.keys().filter(|key| !image.paths.contains_key(*key)) {
            gone(self.paths.remove(&path_key(side, key))).map_err(failed("remove from", "MATCH_PATH"))?;
        }
        for (key, mask) in &image.paths {
            self.paths
                .insert(&path_key(side, key), mask, 0)
                .map_err(failed("write", "MATCH_PATH"))?;
        }
        for key in before.nets.keys().filter(|key| !image.nets.contains_key(*key)) {
            gone(self.nets.remove(&net_key(side, key))).map_err(failed("remove from", "MATCH_NET"))?;
        }
        for (key, mask) in &image.nets {
            self.nets
                .insert(&net_key(side, key), mask, 0)
                .map_err(failed("write", "MATCH_NET"))?;
        }
        Ok(())
    }

    fn read_back(&self, side: u32, image: &Image) -> Result<(), MapsError> {
        for (number, config) in &image.kinds {
            let read = self
                .kinds
                .get(&kind_index(side, *number), 0)
                .map_err(failed("read", "KINDS"))?;
            if read != *config {
                return Err(MapsError::ReadBack("KINDS"));
            }
        }
        for ((number, bit), config) in &image.slots {
            let at = slot_index(side, *number, u32::from(*bit));
            if self.slots.get(&at, 0).map_err(failed("read", "SLOTS"))? != *config {
                return Err(MapsError::ReadBack("SLOTS"));
            }
        }
        for (key, mask) in &image.exact {
            if self
                .exact
                .get(&exact_key(side, key), 0)
                .map_err(failed("read", "MATCH_EXACT"))?
                != *mask
            {
                return Err(MapsError::ReadBack("MATCH_EXACT"));
            }
        }
        for (key, mask) in &image.paths {
            if self
                .paths
                .get(&path_key(side, key), 0)
                .map_err(failed("read", "MATCH_PATH"))?
                != *mask
            {
                return Err(MapsError::ReadBack("MATCH_PATH"));
            }
        }
        for (key, mask) in &image.nets {
            if self
                .nets
                .get(&net_key(side, key), 0)
                .map_err(failed("read", "MATCH_NET"))?
                != *mask
            {
                return Err(MapsError::ReadBack("MATCH_NET"));
            }
        }
        Ok(())
    }

    /// Makes side, lane and id the running ones: one aligned word, so that no program sees a mixture.
    pub fn activate(&mut self, word: Active) -> Result<(), MapsError> {
        self.active.set(0, word.0, 0).map_err(failed("write", "ACTIVE"))
    }

    /// The running word.
    pub fn active(&self) -> Result<Active, MapsError> {
        self.active
            .get(&0, 0)
            .map(Active)
            .map_err(failed("read", "ACTIVE"))
    }

    /// Outcome counters of a slot on a lane.
    pub fn outcomes(&self, lane: u32, slot: u16) -> Result<Outcomes, MapsError> {
        let index = (lane & 1) * MAX_SLOTS + u32::from(slot);
        let per_cpu = self.counters.get(&index, 0).map_err(failed("read", "COUNTERS"))?;
        Ok(sum(per_cpu.iter()))
    }

    /// Counters of a hook.
    pub fn hook(&self, number: u32) -> Result<[u64; hook::COUNTERS], MapsError> {
        let per_cpu = self.hooks.get(&number, 0).map_err(failed("read", "HOOKS"))?;
        Ok(sum(per_cpu.iter()))
    }

    /// Empties a bucket, for a slot or profile that takes over a used number.
    pub fn reset_bucket(&mut self, index: u32) -> Result<(), MapsError> {
        self.buckets.set(index, 0, 0).map_err(failed("write", "BUCKET"))
    }

    /// Empties all buckets of a keyed table.
    pub fn reset_table(&mut self, table: u8) -> Result<(), MapsError> {
        for workload in 0..KEYED_WORKLOADS {
            let at = keyed_index(u32::from(table), workload);
            self.keyed.set(at, 0, 0).map_err(failed("write", "KEYED"))?;
        }
        Ok(())
    }

    /// Cuts a bucket's debt to what its present limit allows: a bucket that was slow before an edit would
    /// otherwise hold a faster limit back. The present limit must run already, and `now` is asked after the bucket
    /// was read: what is above that limit then admits nothing, so that no event that was charged meanwhile is
    /// forgotten.
    pub fn clamp_bucket(&mut self, index: u32, now: fn() -> u64, tolerance_ns: u64) -> Result<(), MapsError> {
        let tat = self.buckets.get(&index, 0).map_err(failed("read", "BUCKET"))?;
        let latest = now().saturating_add(tolerance_ns);
        if tat > latest {
            self.buckets
                .set(index, latest, 0)
                .map_err(failed("write", "BUCKET"))?;
        }
        Ok(())
    }

    /// The same for all buckets of a keyed table.
    pub fn clamp_table(&mut self, table: u8, now: fn() -> u64, tolerance_ns: u64) -> Result<(), MapsError> {
        for workload in 0..KEYED_WORKLOADS {
            let at = keyed_index(u32::from(table), workload);
            let tat = self.keyed.get(&at, 0).map_err(failed("read", "KEYED"))?;
            let latest = now().saturating_add(tolerance_ns);
            if tat > latest {
                self.keyed.set(at, latest, 0).map_err(failed("write", "KEYED"))?;
            }
        }
        Ok(())
    }

    /// What a side holds.
    #[must_use]
    pub fn written(&self, side: u32) -> &Image {
        &self.written[(side & 1) as usize]
    }
}

fn sum<'a, const N: usize>(values: impl Iterator<Item = &'a [u64; N]>) -> [u64; N] {
    values.fold([0; N], |mut total, value| {
        for (total, value) in total.iter_mut().zip(value) {
            *total += value;
        }
        total
    })
}

fn union(mut before: Image, image: &Image) -> Image {
    before.kinds.clear();
    before
        .exact
        .extend(image.exact.iter().map(|(key, mask)| (*key, *mask)));
    before
        .paths
        .extend(image.paths.iter().map(|(key, mask)| (key.clone(), *mask)));
    before
        .nets
        .extend(image.nets.iter().map(|(key, mask)| (*key, *mask)));
    before
}

/// An entry that is not there need not be removed.
fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn side_byte(side: u32) -> u8 {
    u8::from(side & 1 != 0)
}

fn exact_key(side: u32, (kind, field, value): &(u8, u8, [u8; 16])) -> ExactKey {
    ExactKey {
        side: side_byte(side),
        kind: *kind,
        field: *field,
        reserved: 0,
        value: *value,
    }
}

fn path_key(side: u32, (kind, field, path): &Path) -> Key<PathKey> {
    let mut bytes = [0; PATH_KEY_BYTES];
    let len = path.len().min(PATH_KEY_BYTES);
    bytes[..len].copy_from_slice(&path[..len]);
    let bits = KEY_HEAD_BITS + 8 * u32::try_from(len).unwrap_or(0);
    Key::new(
        bits,
        PathKey {
            side: side_byte(side),
            kind: *kind,
            field: *field,
            reserved: 0,
            path: bytes,
        },
    )
}

fn net_key(side: u32, (kind, field, bits, value): &Net) -> Key<NetKey> {
    let data = NetKey {
        side: side_byte(side),
        kind: *kind,
        field: *field,
        reserved: 0,
        value: *value,
    };
    Key::new(KEY_HEAD_BITS + bits, data)
}

const _: () = assert!(SLOTS_PER_KIND == 64);
