//! BPF programs as the kernel of this host lists them: what is loaded, and which of it a pod holds.
//!
//! Only for the local cluster, whose nodes share the host's kernel.

use std::collections::BTreeSet;
use std::fs;

use aya::programs::{ProgramError, loaded_programs};

use crate::process;

/// Why the kernel's list is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The kernel refused.
    #[error("the kernel does not list its BPF programs; are the tests run as root?")]
    List(#[source] ProgramError),
    /// `/proc` could not be read.
    #[error("reading /proc")]
    Proc(#[source] std::io::Error),
}

/// Ids of all loaded programs.
pub fn loaded() -> Result<BTreeSet<u32>, ProgramsError> {
    loaded_programs()
        .map(|program| program.map(|program| program.id()).map_err(ProgramsError::List))
        .collect()
}

/// Ids of the programs that processes of the pod `uid` hold open.
pub fn held_by(uid: &str) -> Result<BTreeSet<u32>, ProgramsError> {
    let mut held = BTreeSet::new();
    for process in process::of_pod(uid).map_err(ProgramsError::Proc)? {
        // A process or a descriptor that is gone by now holds nothing.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fdinfo", process.pid)) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let info = fs::read_to_string(descriptor.path()).unwrap_or_default();
            held.extend(info.lines().filter_map(program_id));
        }
    }
    Ok(held)
}

/// Of a line such as `prog_id: 17`, which programs and links to them have.
fn program_id(line: &str) -> Option<u32> {
    line.strip_prefix("prog_id:")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_id_of_a_descriptors_line() {
        assert_eq!(program_id("prog_id:\t17"), Some(17));
        assert_eq!(program_id("prog_type:\t17"), None);
    }
}
