//! Finds and, if it must, mounts tracefs, where classic tracepoints are listed.

use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::hook::HookError;

/// Where it is mounted, in order of preference.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The first place where tracefs shows events.
#[must_use]
pub fn root() -> Option<PathBuf> {
    PLACES
        .iter()
        .map(PathBuf::from)
        .find(|place| place.join("events").is_dir())
}

/// Mounts tracefs at its usual place if it is nowhere yet. Without the privilege that is left to each hook's
/// own error.
pub fn ensure_mounted() {
    if root().is_some() {
        return;
    }
    match rustix::mount::mount("tracefs", PLACES[0], "tracefs", MountFlags::empty(), None) {
        Ok(()) => tracing::info!(at = PLACES[0], "mounted tracefs"),
        Err(error) => tracing::warn!(
            %error,
            "tracefs is not mounted and cannot be mounted here; run: mount -t tracefs tracefs {}",
            PLACES[0]
        ),
    }
}

/// Whether the running kernel lists the tracepoint.
pub fn has_event(category: &'static str, name: &'static str) -> Result<(), HookError> {
    let root = root().ok_or_else(|| HookError::NoTracefs(PLACES[0].into()))?;
    let id = Path::new("events").join(category).join(name).join("id");
    match std::fs::read_to_string(root.join(id)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(HookError::NoTracepoint(name)),
        Err(_) => Err(HookError::NoTracefs(root.display().to_string())),
    }
}
