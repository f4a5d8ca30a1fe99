//! Reads the seeding iterator: the processes that were there, and through it who we are ourselves.

use std::io::Read as _;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use weir_node_agent_common::cgroup::{ANCESTORS, Ancestor};
use weir_node_agent_common::record::Seed;
use zerocopy::FromBytes as _;

use super::hook::HookError;
use super::maps::MapsError;
use super::object::open_seed;

/// Why the seed could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The iterator cannot run.
    #[error(transparent)]
    Program(#[from] HookError),
    /// Reading it failed.
    #[error("cannot read the task iterator")]
    Read(#[source] std::io::Error),
}

/// Reads it whole. The kernel side learns our process id and notes our cgroup on the way.
pub fn read(ebpf: &mut Ebpf) -> Result<Vec<u8>, SeedError> {
    let mut file = open_seed(ebpf)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(SeedError::Read)?;
    Ok(bytes)
}

/// The processes in a seed, with their executables; stops at the first malformed one.
pub fn parse(mut bytes: &[u8]) -> impl Iterator<Item = (Seed, &[u8])> {
    std::iter::from_fn(move || {
        let (seed, rest) = Seed::read_from_prefix(bytes).ok()?;
        let (exe, rest) = rest.split_at_checked(seed.exe_len as usize)?;
        bytes = rest;
        Some((seed, exe))
    })
}

/// Our own cgroup and those above it, as the iterator noted them.
pub fn own_cgroup(noted: &Array<MapData, Ancestor>) -> Result<Vec<Ancestor>, MapsError> {
    let mut own = Vec::new();
    for level in 0..ANCESTORS {
        let ancestor = noted.get(&level, 0).map_err(|source| MapsError::Kernel {
            action: "read",
            map: "OWN_CGROUP",
            source,
        })?;
        if ancestor.id == 0 {
            break;
        }
        own.push(ancestor);
    }
    Ok(own)
}
