//! Every map, and nothing else. Keys and values are in `weir_node_agent_common::config`.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use weir_node_agent_common::cgroup::{ANCESTORS, Ancestor, NodeRoot};
use weir_node_agent_common::config::{
    BUCKETS, ExactKey, KEYED_TABLES, KEYED_WORKLOADS, KindConfig, NetKey, PathKey, SIDES, SLOTS_PER_KIND,
    Scope, SlotConfig,
};
use weir_node_agent_common::kind::MAX_KINDS;
use weir_node_agent_common::{hook, outcome};

use crate::scratch::Work;
use crate::task::Pending;

/// Side, lane and configuration id; read once by each program.
#[map]
pub static ACTIVE: Array<u64> = Array::with_max_entries(1, 0);

/// The agent's process id in the initial namespace.
#[map]
pub static SELF: Array<u32> = Array::with_max_entries(1, 0);

/// The agent's own cgroup, then those above it.
#[map]
pub static OWN_CGROUP: Array<Ancestor> = Array::with_max_entries(ANCESTORS, 0);

/// Where this node's cgroups begin.
#[map]
pub static NODE_ROOT: Array<NodeRoot> = Array::with_max_entries(1, 0);

/// How the rings wake the consumer.
#[map]
pub static WAKE: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static KINDS: Array<KindConfig> = Array::with_max_entries(SIDES * MAX_KINDS, 0);

#[map]
pub static SLOTS: Array<SlotConfig> = Array::with_max_entries(SIDES * MAX_KINDS * SLOTS_PER_KIND, 0);

#[map]
pub static MATCH_EXACT: HashMap<ExactKey, u64> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

#[map]
pub static MATCH_PATH: LpmTrie<PathKey, u64> = LpmTrie::with_max_entries(32_768, BPF_F_NO_PREALLOC);

#[map]
pub static MATCH_NET: LpmTrie<NetKey, u64> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// cgroup id to what is known of it.
#[map]
pub static SCOPE: HashMap<u64, Scope> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Theoretical arrival times: one per slot, then one per profile. They have no sides: they survive edits.
#[map]
pub static BUCKET: Array<u64> = Array::with_max_entries(BUCKETS, 0);

/// Theoretical arrival times per keyed table and workload.
#[map]
pub static KEYED: Array<u64> = Array::with_max_entries(KEYED_TABLES * KEYED_WORKLOADS, 0);

/// Outcomes: lane, slot.
#[map]
pub static COUNTERS: PerCpuArray<[u64; outcome::COUNTERS]> =
    PerCpuArray::with_max_entries(outcome::LANES * outcome::MAX_SLOTS, 0);

/// What is counted per hook.
#[map]
pub static HOOKS: PerCpuArray<[u64; hook::COUNTERS]> = PerCpuArray::with_max_entries(hook::MAX_HOOKS, 0);

/// Lifecycle of cgroups; read before the bulk ring.
#[map]
pub static CONTROL: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Everything else. Its size is set by the loader.
#[map]
pub static BULK: RingBuf = RingBuf::with_byte_size(4 * 1024 * 1024, 0);

/// Buffers to assemble a record in, one per nesting level.
#[map]
pub static SCRATCH: PerCpuArray<Work> = PerCpuArray::with_max_entries(crate::scratch::LEVELS, 0);

/// Connects under way, by socket.
#[map]
pub static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Processes whose end was seen; needed where the kernel does not say which thread was the last.
#[map]
pub static ENDED: LruHashMap<u64, u8> = LruHashMap::with_max_entries(4_096, 0);

/// No program looks at it: the kernel lets every running program end before an update of such a map returns.
#[btf_map]
pub static GRACE: btf_maps::ArrayOfMaps<btf_maps::Array<u32, 1>, 1> = btf_maps::ArrayOfMaps::new();

/// What is put into `GRACE`.
#[btf_map]
pub static GRACE_INNER: btf_maps::Array<u32, 1> = btf_maps::Array::new();
