//! The kernel side as the control loop sees it: configure, attach, cut, count.

use std::collections::BTreeSet;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::trace_point::TracePointLinkId;
use aya::programs::{BtfTracePoint, ProgramError, TracePoint};
use weir_node_agent_common::cgroup::{Ancestor, NodeRoot};
use weir_node_agent_common::config::{Active, Scope};
use weir_profile::EventKind;
use weir_runtime::error::chain;

use super::grace::{Grace, GraceError};
use super::hook::{Attach, HOOKS, Hook, HookError, Needed};
use super::image::{Image, kind_number};
use super::maps::{Maps, MapsError, take};
use super::object::{self, LoadError};
use super::ring::{Ring, RingError};
use super::{seed, tracefs};

/// Why the kernel side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Loading failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map failed.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// A ring failed.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Waiting for running programs is not possible.
    #[error(transparent)]
    Grace(#[from] GraceError),
    /// Who we are could not be told, and the agent would observe itself.
    #[error("the agent could not learn its own process id from the kernel, and would observe itself")]
    Handshake(#[source] seed::SeedError),
}

enum Link {
    Typed(BtfTracePointLinkId),
    Classic(TracePointLinkId),
}

/// One hook's life.
struct HookState {
    loaded: Result<(), HookError>,
    link: Option<Link>,
    attach_error: Option<HookError>,
}

/// What a hook is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookStatus {
    /// Attached.
    Attached,
    /// Loaded; no profile needs it.
    Idle,
    /// It cannot run here.
    Failed(HookError),
}

/// What the drain thread takes over: the rings and the maps that it alone writes.
pub struct DrainParts {
    /// Lifecycle records.
    pub control: Ring,
    /// Event records.
    pub bulk: Ring,
    /// cgroup id to scope.
    pub scope: HashMap<MapData, u64, Scope>,
    /// How the rings wake.
    pub wake: Array<MapData, u64>,
    /// The processes that were there at start.
    pub seed: Vec<u8>,
    /// The agent's own cgroup, then those above it.
    pub own_cgroup: Vec<Ancestor>,
}

/// Programs and maps.
pub struct Kernel {
    ebpf: Ebpf,
    maps: Maps,
    grace: Grace,
    node_root: Array<MapData, NodeRoot>,
    hooks: Vec<HookState>,
    word: Active,
}

impl Kernel {
    /// Loads all programs, learns who we are, and attaches nothing yet.
    ///
    /// Sizes are those of [`object::load`].
    pub fn load(ring_bytes: u32, match_paths: Option<u32>) -> Result<(Self, DrainParts), KernelError> {
        tracefs::ensure_mounted();
        let mut object = object::load(ring_bytes, match_paths)?;
        let seed = match &object.seed {
            Ok(()) => seed::read(&mut object.ebpf).map_err(KernelError::Handshake)?,
            Err(error) => return Err(KernelError::Handshake(seed::SeedError::Program(error.clone()))),
        };
        let control = Ring::new(ring_map(&mut object.ebpf, "CONTROL")?)?;
        let bulk = Ring::new(ring_map(&mut object.ebpf, "BULK")?)?;
        let open = |name| {
            move |source| MapsError::Kernel {
                action: "open",
                map: name,
                source,
            }
        };
        let scope = take(&mut object.ebpf, "SCOPE")?
            .try_into()
            .map_err(open("SCOPE"))?;
        let wake = take(&mut object.ebpf, "WAKE")?.try_into().map_err(open("WAKE"))?;
        let own = take(&mut object.ebpf, "OWN_CGROUP")?
            .try_into()
            .map_err(open("OWN_CGROUP"))?;
        let own_cgroup = seed::own_cgroup(&own)?;
        let node_root = take(&mut object.ebpf, "NODE_ROOT")?
            .try_into()
            .map_err(open("NODE_ROOT"))?;
        let maps = Maps::take(&mut object.ebpf)?;
        let grace = Grace::take(&mut object.ebpf)?;
        let hooks = object
            .hooks
            .into_iter()
            .map(|loaded| HookState {
                loaded,
                link: None,
                attach_error: None,
            })
            .collect();
        let kernel = Self {
            ebpf: object.ebpf,
            maps,
            grace,
            node_root,
            hooks,
            word: Active::new(0, 0, 0),
        };
        Ok((
            kernel,
            DrainParts {
                control,
                bulk,
                scope,
                wake,
                seed,
                own_cgroup,
            },
        ))
    }

    /// Says where this node's cgroups begin. Until then every cgroup is taken for this node's.
    pub fn set_node_root(&mut self, root: NodeRoot) -> Result<(), MapsError> {
        self.node_root
            .set(0, root, 0)
            .map_err(|source| MapsError::Kernel {
                action: "write",
                map: "NODE_ROOT",
                source,
            })
    }

    /// The maps.
    #[must_use]
    pub const fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The maps, to write.
    pub const fn maps_mut(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// What runs now.
    #[must_use]
    pub const fn active(&self) -> Active {
        self.word
    }

    /// Writes the configuration to the side that does not run.
    pub fn prepare(&mut self, image: &Image) -> Result<u32, MapsError> {
        let side = 1 - self.word.side();
        self.maps.write(side, image)?;
        Ok(side)
    }

    /// Makes the word the running one and waits until no program runs with the old one.
    pub fn switch(&mut self, word: Active) -> Result<(), KernelError> {
        self.maps.activate(word)?;
        self.word = word;
        Ok(self.grace.wait()?)
    }

    /// Attaches what tells of cgroups, so that none is missed between the walk and the first configuration.
    pub fn attach_lifecycle(&mut self) {
        self.attach(|hook| hook.needed == Needed::Always && hook.kind.is_none());
    }

    /// Attaches what the image needs. Errors stay with their hooks.
    pub fn attach_for(&mut self, image: &Image) {
        self.attach(|hook| is_needed(hook, image));
    }

    fn attach(&mut self, wanted: impl Fn(&Hook) -> bool) {
        for (hook, state) in HOOKS.iter().zip(&mut self.hooks) {
            if !wanted(hook) || state.link.is_some() || state.loaded.is_err() {
                continue;
            }
            match place(&mut self.ebpf, hook) {
                Ok(link) => {
                    tracing::debug!(hook = hook.name(), "attached");
                    state.link = Some(link);
                    state.attach_error = None;
                }
                Err(error) => {
                    tracing::warn!(hook = hook.name(), %error, "hook cannot be attached; its kinds are not collected");
                    state.attach_error = Some(error);
                }
            }
        }
    }

    /// Detaches what the image does not need: an attached hook costs every program on the node.
    pub fn detach_for(&mut self, image: &Image) {
        for (hook, state) in HOOKS.iter().zip(&mut self.hooks) {
            if is_needed(hook, image) {
                continue;
            }
            if let Some(link) = state.link.take() {
                match detach(&mut self.ebpf, hook, link) {
                    Ok(()) => tracing::debug!(hook = hook.name(), "detached"),
                    Err(error) => tracing::warn!(hook = hook.name(), %error, "hook cannot be detached"),
                }
            }
        }
    }

    /// What each hook does, by the order of [`HOOKS`].
    #[must_use]
    pub fn hook_statuses(&self) -> Vec<HookStatus> {
        self.hooks
            .iter()
            .map(|state| match (&state.loaded, &state.attach_error, &state.link) {
                (Err(error), _, _) | (_, Some(error), None) => HookStatus::Failed(error.clone()),
                (_, _, Some(_)) => HookStatus::Attached,
                (_, _, None) => HookStatus::Idle,
            })
            .collect()
    }

    /// Kinds whose essential hooks were loaded.
    #[must_use]
    pub fn supported(&self) -> BTreeSet<EventKind> {
        let failed = |kind: &EventKind| {
            HOOKS.iter().zip(&self.hooks).any(|(hook, state)| {
                hook.kind == Some(*kind)
                    && hook.essential
                    && (state.loaded.is_err() || state.attach_error.is_some())
            })
        };
        EventKind::ALL
            .iter()
            .copied()
            .filter(|kind| !failed(kind))
            .collect()
    }

    /// How often the kernel skipped each hook's program, by the order of [`HOOKS`]; `None` where it does not count that.
    #[must_use]
    pub fn missed(&self) -> Vec<Option<u64>> {
        HOOKS
            .iter()
            .map(|hook| super::missed::of(&self.ebpf, hook))
            .collect()
    }
}

fn is_needed(hook: &Hook, image: &Image) -> bool {
    match hook.needed {
        Needed::Always => !image.kinds.is_empty(),
        Needed::For(kind) => image.collected().any(|number| number == kind_number(kind)),
    }
}

fn ring_map(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, MapsError> {
    match take(ebpf, name)? {
        aya::maps::Map::RingBuf(data) => Ok(data),
        _ => Err(MapsError::Missing(name)),
    }
}

fn place(ebpf: &mut Ebpf, hook: &Hook) -> Result<Link, HookError> {
    let program = ebpf
        .program_mut(hook.program)
        .ok_or_else(|| HookError::Attach("not in the object".into()))?;
    let failed = |error: ProgramError| HookError::Attach(chain(&error));
    match hook.attach {
        Attach::Typed(_) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(failed)?;
            program.attach().map(Link::Typed).map_err(failed)
        }
        Attach::Classic(category, name) => {
            let program: &mut TracePoint = program.try_into().map_err(failed)?;
            program.attach(category, name).map(Link::Classic).map_err(failed)
        }
    }
}

fn detach(ebpf: &mut Ebpf, hook: &Hook, link: Link) -> Result<(), HookError> {
    let program = ebpf
        .program_mut(hook.program)
        .ok_or_else(|| HookError::Attach("not in the object".into()))?;
    let failed = |error: ProgramError| HookError::Attach(chain(&error));
    match link {
        Link::Typed(link) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(failed)?;
            program.detach(link).map_err(failed)
        }
        Link::Classic(link) => {
            let program: &mut TracePoint = program.try_into().map_err(failed)?;
            program.detach(link).map_err(failed)
        }
    }
}
