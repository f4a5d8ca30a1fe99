//! Waiting until every program that may have read an old word has ended.
//!
//! The kernel lets running programs end before an update of an array of maps returns (since 4.20), on every kernel.
//! membarrier(2) would do the same, and is refused where CPUs run without a timer tick (`nohz_full`); it is asked where
//! the update fails.

use aya::Ebpf;
use aya::maps::{ArrayOfMaps, Map, MapData};
use rustix::thread::{MembarrierCommand, membarrier};

use super::maps::{MapsError, take};

/// Neither way is open.
#[derive(Debug, thiserror::Error)]
#[error(
    "running programs cannot be waited for: a map cannot be updated ({update}), and membarrier(2) is refused; allow it in the seccomp profile"
)]
pub struct GraceError {
    update: String,
    #[source]
    membarrier: rustix::io::Errno,
}

/// What is updated to wait.
pub(super) struct Grace {
    outer: ArrayOfMaps<MapData, MapData>,
    inner: MapData,
}

impl Grace {
    /// Takes its maps out of the object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapsError> {
        let open = |source| MapsError::Kernel {
            action: "open",
            map: "GRACE",
            source,
        };
        let outer = take(ebpf, "GRACE")?.try_into().map_err(open)?;
        match take(ebpf, "GRACE_INNER")? {
            Map::Array(inner) => Ok(Self { outer, inner }),
            _ => Err(MapsError::Missing("GRACE_INNER")),
        }
    }

    /// Waits: programs run inside RCU read sections, and these end within milliseconds.
    pub(super) fn wait(&mut self) -> Result<(), GraceError> {
        let Err(update) = self.outer.set(0, &self.inner, 0) else {
            return Ok(());
        };
        membarrier(MembarrierCommand::Global).map_err(|membarrier| GraceError {
            update: weir_runtime::error::chain(&update),
            membarrier,
        })
    }
}
