//! bpf-linker, which turns the kernel side's LLVM bitcode into a BPF object.
//!
//! It must be built against the LLVM of the pinned compiler: with another one every `memset` of the kernel side
//! fails to link.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Ctx;
use super::debian::{self, Package};
use crate::shell;

const VERSION: &str = "0.13.0";
/// The major version of the LLVM inside the pinned toolchain (`rustc -vV`).
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const WHY: &str = "links the kernel side (built from source, about a minute)";

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
    let directory = ctx.directory("bpf-linker", VERSION);
    let ours = directory.join("bin/bpf-linker");
    let on_path = shell::which("bpf-linker");
    for candidate in [Some(&ours), on_path.as_ref()].into_iter().flatten() {
        if is_right(candidate) {
            ctx.found("bpf-linker", VERSION, &candidate.display().to_string());
            ctx.add_to_path(candidate);
            return Ok(candidate.clone());
        }
    }
    let prefix = std::env::var_os("LLVM_PREFIX").unwrap_or_else(|| LLVM_PREFIX.into());
    if prefix == LLVM_PREFIX {
        debian::ensure(ctx, PACKAGES)?;
    }
    if shell::which("c++").is_none() {
        debian::ensure(ctx, COMPILER)?;
    }
    ctx.install_unless(
        "bpf-linker",
        VERSION,
        WHY,
        &ours.display().to_string(),
        || is_right(&ours),
        || {
            // Not in the workspace: its pinned manifest and settings are not bpf-linker's.
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.current_dir(ctx.tools()).env("LLVM_PREFIX", prefix);
            cargo.args([
                "install",
                "bpf-linker",
                "--version",
                VERSION,
                "--locked",
                "--quiet",
                "--force",
            ]);
            cargo
                .args(["--no-default-features", "--features", "llvm-22", "--root"])
                .arg(&directory);
            shell::run(&mut cargo).context("the build's messages are above")?;
            if !is_right(&ours) {
                bail!(
                    "{} was built but does not report version {VERSION}",
                    ours.display()
                );
            }
            Ok(())
        },
    )?;
    ctx.add_to_path(&ours);
    Ok(ours)
}

fn is_right(program: &Path) -> bool {
    shell::capture(Command::new(program).arg("--version"))
        .is_ok_and(|text| text.trim() == "bpf-linker 0.13.0")
}
