//! Loads the object: its maps, and each program on its own, so that one that the kernel refuses costs its kinds
//! only.

use aya::programs::{BtfTracePoint, Iter, ProgramError, TracePoint};
use aya::{Ebpf, EbpfLoader};
use weir_node_agent_common::offset::{MISSING, Offsets, RENAMED};

use super::btf::{Btf, BtfError};
use super::hook::{Attach, HOOKS, Hook, HookError};
use super::tracefs;

/// The object that the build script made; empty where it was told to skip it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir.o"));

/// Name of the seeding iterator.
const SEED: &str = "process_seed";

/// Fields that the seeding iterator cannot do without: a cgroup's path that is wrong would be worse than none.
const SEED_FIELDS: &[&str] = &["task_cgroups", "css_set_cgroup", "cgroup_kn", "kernfs_"];

/// The first kernel that may have what the programs need.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// Sizes that the bulk ring may have, if a power of two.
pub const RING_BYTES: std::ops::RangeInclusive<u32> = 65_536..=268_435_456;

/// Why nothing could be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built without the BPF object.
    #[error(
        "this binary was built without its BPF programs (WEIR_SKIP_BPF=1); build it again without that variable"
    )]
    NoObject,
    /// The kernel's types are not there.
    #[error("the kernel's types (BTF) cannot be read, and no hook can be placed without them")]
    Btf(#[from] BtfError),
    /// Missing privileges.
    #[error("no permission to load BPF programs: run as root, or with the capabilities BPF and PERFMON")]
    Permission(#[source] aya::EbpfError),
    /// Anything else.
    #[error("cannot load the BPF object")]
    Object(#[source] aya::EbpfError),
    /// The kernel is older than the programs can be.
    #[error(
        "Linux {0} is too old: the programs need compare-and-swap and task registers in BPF, which came with Linux 5.15 (Red Hat's 5.14 has them too)"
    )]
    KernelTooOld(String),
    /// The ring's size is unusable.
    #[error("bulk ring of {0} bytes: it must be a power of two from 65536 to 268435456")]
    RingBytes(u32),
}

/// The loaded object and what became of each hook's program.
pub struct Object {
    /// Maps and programs.
    pub ebpf: Ebpf,
    /// By the order of [`HOOKS`].
    pub hooks: Vec<Result<(), HookError>>,
    /// Whether the seeding iterator was loaded.
    pub seed: Result<(), HookError>,
}

/// Loads everything that loads. `ring_bytes` is the bulk ring's size; `match_paths` the entries that the table of paths
/// has, unless those that the object says.
pub fn load(ring_bytes: u32, match_paths: Option<u32>) -> Result<Object, LoadError> {
    if OBJECT.is_empty() {
        return Err(LoadError::NoObject);
    }
    if !ring_bytes.is_power_of_two() || !RING_BYTES.contains(&ring_bytes) {
        return Err(LoadError::RingBytes(ring_bytes));
    }
    let release = release();
    if is_older(&release, OLDEST_KERNEL) {
        return Err(LoadError::KernelTooOld(release));
    }
    let types = Btf::from_kernel()?;
    let offsets = Offsets::resolve(|structure, member| {
        let newer = RENAMED
            .iter()
            .find(|(of, name, _)| (*of, *name) == (structure, member));
        types
            .offset_of(structure, member)
            .or_else(|| types.offset_of(structure, newer?.2))
    });
    let group_dead = u32::from(types.tracepoint_arguments("sched_process_exit").unwrap_or(1) > 1);
    drop(types);
    let btf =
        aya::Btf::from_sys_fs().map_err(|source| LoadError::Object(aya::EbpfError::BtfError(source)))?;
    let mut loader = EbpfLoader::new();
    if let Some(entries) = match_paths {
        loader.map_max_entries("MATCH_PATH", entries);
    }
    let mut ebpf = loader
        .btf(Some(&btf))
        .override_global("OFFSETS", &offsets, true)
        .override_global("EXIT_HAS_GROUP_DEAD", &group_dead, true)
        .map_max_entries("BULK", ring_bytes)
        .load(OBJECT)
        .map_err(permission)?;
    let hooks = HOOKS
        .iter()
        .map(|hook| load_hook(&mut ebpf, hook, &btf, &offsets))
        .collect();
    let seed = load_seed(&mut ebpf, &btf, &offsets);
    drop(btf);
    Ok(Object { ebpf, hooks, seed })
}

/// The running kernel's release, such as `6.1.0-50-cloud-amd64`.
pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether a release is below a version, major and minor; one that cannot be read is not.
pub(super) fn is_older(release: &str, than: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < than,
        _ => false,
    }
}

fn permission(error: aya::EbpfError) -> LoadError {
    let denied =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).any(|error| {
            error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
        });
    if denied {
        LoadError::Permission(error)
    } else {
        LoadError::Object(error)
    }
}

fn load_hook(ebpf: &mut Ebpf, hook: &Hook, btf: &aya::Btf, offsets: &Offsets) -> Result<(), HookError> {
    let missing = missing_fields(offsets, hook.fields);
    if !missing.is_empty() {
        return Err(HookError::MissingFields(missing.join(", ")));
    }
    let program = ebpf
        .program_mut(hook.program)
        .ok_or_else(|| HookError::Refused("not in the object".into()))?;
    match hook.attach {
        Attach::Typed(name) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)
        }
        Attach::Classic(category, name) => {
            tracefs::has_event(category, name)?;
            let program: &mut TracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
    }
}

fn load_seed(ebpf: &mut Ebpf, btf: &aya::Btf, offsets: &Offsets) -> Result<(), HookError> {
    let missing = missing_fields(offsets, &[SEED_FIELDS]);
    if !missing.is_empty() {
        return Err(HookError::MissingFields(missing.join(", ")));
    }
    let program = ebpf
        .program_mut(SEED)
        .ok_or_else(|| HookError::Refused("not in the object".into()))?;
    let program: &mut Iter = program.try_into().map_err(refused)?;
    program.load("task", btf).map_err(refused)
}

/// Attaches the seeding iterator and opens it for one reading.
pub fn open_seed(ebpf: &mut Ebpf) -> Result<std::fs::File, HookError> {
    let program = ebpf
        .program_mut(SEED)
        .ok_or_else(|| HookError::Refused("not in the object".into()))?;
    let program: &mut Iter = program.try_into().map_err(refused)?;
    let attach = |error: &dyn std::fmt::Display| HookError::Attach(error.to_string());
    let id = program.attach().map_err(|error| attach(&error))?;
    let link = program.take_link(id).map_err(|error| attach(&error))?;
    link.into_file().map_err(|error| attach(&error))
}

/// Fields that a program reads and this kernel lacks.
fn missing_fields(offsets: &Offsets, read: &[&[&str]]) -> Vec<String> {
    let mut missing = Vec::new();
    let bytes = zerocopy::IntoBytes::as_bytes(offsets);
    for ((name, structure, member), offset) in Offsets::FIELDS.iter().zip(bytes.chunks_exact(4)) {
        if offset == MISSING.to_ne_bytes()
            && read
                .iter()
                .copied()
                .flatten()
                .any(|prefix| name.starts_with(prefix))
        {
            missing.push(format!("{structure}.{member}"));
        }
    }
    missing
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn refused(error: ProgramError) -> HookError {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = &error
    {
        if io_error.kind() == std::io::ErrorKind::PermissionDenied
            && verifier_log.to_string().trim().is_empty()
        {
            return HookError::Permission;
        }
        let log = verifier_log.to_string();
        tracing::debug!(%log, "verifier log");
        let last = log.lines().rev().take(6).collect::<Vec<_>>();
        let last = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
        return HookError::Refused(format!("{io_error}: {last}"));
    }
    HookError::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{OLDEST_KERNEL, is_older};

    #[test]
    fn kernels_before_the_oldest_are_told_from_later_ones() {
        for release in ["5.10.0-32-cloud-amd64", "4.18.0-553.el8", "3.10"] {
            assert!(is_older(release, OLDEST_KERNEL), "{release}");
        }
        for release in [
            "5.14.0-503.el9",
            "5.15.0",
            "6.1.0-50-cloud-amd64",
            "7.2.13+deb14",
            "10.0",
            "unknown",
        ] {
            assert!(!is_older(release, OLDEST_KERNEL), "{release}");
        }
    }
}
