//! Kernel file systems that tracing needs and a machine may not have mounted.

use std::fs;

use anyhow::{Context, Result};

use crate::shell;
use crate::tools::privileged;

/// A file system and where it belongs.
pub(crate) struct Mount {
    /// Type, as `mount -t` takes it.
    pub(crate) kind: &'static str,
    /// The conventional mount point.
    pub(crate) place: &'static str,
    /// What it is needed for.
    pub(crate) why: &'static str,
}

/// Formats of tracepoints.
pub(crate) const TRACEFS: Mount = Mount {
    kind: "tracefs",
    place: "/sys/kernel/tracing",
    why: "it describes the kernel's tracepoints",
};
/// Pinned programs and maps.
pub(crate) const BPFFS: Mount = Mount {
    kind: "bpf",
    place: "/sys/fs/bpf",
    why: "BPF objects are pinned there",
};

/// Mounts it if it is not there, as root; returns whether it had to.
pub(crate) fn ensure(mount: &Mount) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    if is_mounted(&mounts, mount) {
        return Ok(false);
    }
    shell::run(&mut privileged(
        "mount",
        &["-t", mount.kind, mount.kind, mount.place],
    )?)
    .with_context(|| format!("{} is not mounted at {}: {}", mount.kind, mount.place, mount.why))?;
    Ok(true)
}

/// A mount that goes again with this value, if it was not there before.
pub(crate) struct Mounted {
    ours: Option<Mount>,
}

impl Mounted {
    /// Mounts it if it is not there.
    pub(crate) fn new(mount: Mount) -> Result<Self> {
        let ours = ensure(&mount)?;
        if ours {
            println!("mounted {} at {} for now: {}", mount.kind, mount.place, mount.why);
        }
        Ok(Self {
            ours: ours.then_some(mount),
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(mount) = &self.ours else { return };
        let result = privileged("umount", &[mount.place]).and_then(|mut umount| shell::clean_up(&mut umount));
        if let Err(error) = result {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

fn is_mounted(mounts: &str, mount: &Mount) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(mount.place) && fields.next() == Some(mount.kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_mounted_place_and_type_must_both_match() {
        let mounts = "tracefs /sys/kernel/debug/tracing tracefs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
        assert!(is_mounted(mounts, &BPFFS));
        assert!(!is_mounted(mounts, &TRACEFS));
    }
}
