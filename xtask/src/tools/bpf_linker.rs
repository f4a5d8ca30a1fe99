//! bpf-linker, which turns the kernel side's LLVM bitcode into a BPF object.
//!
//! It must be built against the LLVM of the pinned compiler: with another one every `memset` of the kernel side
//! fails to link.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Ctx;
use super::debian::{self, Package};
use super::program::{Program, exactly, last_word};
use crate::shell;

const VERSION: &str = "0.13.0";
/// The major version of the LLVM inside the pinned toolchain (`rustc -vV`).
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const PROGRAM: Program = Program {
    name: "bpf-linker",
    version: VERSION,
    why: "links the kernel side (built from source, about a minute)",
    path: "bin/bpf-linker",
    reported: last_word,
    suits: exactly,
};

const LLVM_REMEDY: &str = "take it from LLVM's own archive (apt.llvm.org), or put a bpf-linker 0.13.0 that was built \
    with `--no-default-features --features llvm-22` on PATH";

const PACKAGES: &[Package] = &[
    Package {
        name: "llvm-22-dev",
        why: "bpf-linker is built against the compiler's LLVM",
        remedy: LLVM_REMEDY,
    },
    Package {
        name: "libzstd-dev",
        why: "LLVM needs zstd to link",
        remedy: "install zstd's development files",
    },
    Package {
        name: "zlib1g-dev",
        why: "LLVM needs zlib to link",
        remedy: "install zlib's development files",
    },
    Package {
        name: "libxml2-dev",
        why: "LLVM needs libxml2 to link",
        remedy: "install libxml2's development files",
    },
];
const COMPILER: &[Package] = &[Package {
    name: "g++",
    why: "bpf-linker links LLVM, which is C++",
    remedy: "install a C++ compiler",
}];

/// Returns the program.
pub(crate) fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    if let Some(found) = PROGRAM.find(ctx) {
        return Ok(found);
    }
    let prefix = std::env::var_os("LLVM_PREFIX").unwrap_or_else(|| LLVM_PREFIX.into());
    if prefix == LLVM_PREFIX {
        debian::ensure(ctx, PACKAGES)?;
    }
    if shell::which("c++").is_none() {
        debian::ensure(ctx, COMPILER)?;
    }
    PROGRAM.install(ctx, |directory| {
        // Not in the workspace: its pinned manifest and settings are not bpf-linker's.
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(ctx.tools()).env("LLVM_PREFIX", prefix);
        cargo
            .args(["install", "bpf-linker", "--version", VERSION])
            .args(["--locked", "--quiet", "--force"])
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(directory);
        shell::run(&mut cargo).context("the build's messages are above")
    })
}
