//! One run of a program for one occurrence: what is read once at entry, and whether it concerns us at all.

use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use weir_node_agent_common::config::{Active, KindConfig, SCOPE_EXCLUDED, kind_index};
use weir_node_agent_common::hook;

use crate::emit::count_hook;
use crate::maps::{ACTIVE, KINDS, NODE_ROOT, SCOPE, SELF};
use crate::task::Typed;

/// What a program knows after its entry.
pub struct Visit {
    /// Who runs now; not who it is about where the program runs in interrupt context.
    pub task: Typed,
    pub active: Active,
    pub hook: u32,
    pub pid_tgid: u64,
    pub cgroup_id: u64,
    /// The agent has told of this cgroup.
    pub known: bool,
    /// Profiles whose scope takes this cgroup; all of them when it is unknown.
    pub profiles: u64,
    /// Index of the pod and, above it, of the container; 0 where unknown.
    pub workload: u64,
}

impl Visit {
    /// Enters for the current task; `None` when excluded (and counted).
    #[inline(always)]
    pub fn enter(hook: u32) -> Option<Self> {
        let task = Typed::current();
        let visit = Self::enter_as(hook, task, task.pid_tgid(), task.cgroup_id())?;
        if !visit.known && is_another_nodes() {
            count_hook(hook, hook::EXCLUDED);
            return None;
        }
        Some(visit)
    }

    /// Enters for a task whose identity was kept when it entered itself.
    #[inline(always)]
    pub fn enter_as(hook: u32, task: Typed, pid_tgid: u64, cgroup_id: u64) -> Option<Self> {
        let active = Active(ACTIVE.get(0).map_or(0, |word| {
            // SAFETY: a map value; one aligned read, so that side, lane and id belong together.
            unsafe { (&raw const *word).read_volatile() }
        }));
        if SELF.get(0).copied().unwrap_or(0) == (pid_tgid >> 32) as u32 {
            count_hook(hook, hook::EXCLUDED);
            return None;
        }
        let mut visit = Self {
            task,
            active,
            hook,
            pid_tgid,
            cgroup_id,
            known: false,
            profiles: u64::MAX,
            workload: 0,
        };
        if let Some(scope) = SCOPE.get_ptr(&cgroup_id) {
            // SAFETY: a map value; entries live until after a grace period.
            let scope = unsafe { &*scope };
            if scope.flags & SCOPE_EXCLUDED != 0 {
                count_hook(hook, hook::EXCLUDED);
                return None;
            }
            visit.known = true;
            visit.profiles = if active.side() == 0 {
                scope.profiles[0]
            } else {
                scope.profiles[1]
            };
            visit.workload = u64::from(scope.pod_index) | u64::from(scope.container_index) << 32;
        }
        Some(visit)
    }

    /// The kind's configuration on the active side.
    #[inline(always)]
    pub fn kind(&self, kind: u8) -> Option<&'static KindConfig> {
        let config = KINDS.get_ptr(kind_index(self.active.side(), kind));
        if config.is_none() {
            count_hook(self.hook, hook::ERROR_CONFIG);
        }
        // SAFETY: array map values live as long as the map.
        config.map(|config| unsafe { &*config })
    }

    #[inline(always)]
    pub fn tgid(&self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }
}

/// Whether the current task is outside of this node's cgroups. What the agent was never told of, such as a cgroup that
/// was there before it and that its mount does not show, can be judged by this alone.
#[inline(always)]
fn is_another_nodes() -> bool {
    let Some(root) = NODE_ROOT.get(0) else {
        return false;
    };
    // SAFETY: a helper of plain numbers.
    root.level != 0 && unsafe { bpf_get_current_ancestor_cgroup_id(root.level as i32) } != root.id
}
