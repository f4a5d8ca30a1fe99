//! The standard library's source: `core` is built from it for the kernel's instruction set.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Ctx;
use crate::{shell, workspace};

const WHY: &str = "the kernel side builds core from source";

/// Returns the directory of the sources.
pub(crate) fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    // Asked in the workspace, so that rustup answers for the pinned toolchain.
    let in_workspace = |program: &str, args: &[&str]| {
        shell::capture(Command::new(program).args(args).current_dir(workspace::root()))
    };
    let version = in_workspace("rustc", &["--version"])?;
    let version = version
        .split_whitespace()
        .nth(1)
        .context("rustc --version prints no version")?;
    let sysroot = in_workspace("rustc", &["--print", "sysroot"])?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    let place = sources.display().to_string();
    if sources.join("core/Cargo.toml").is_file() {
        ctx.found("rust-src", version, &place);
        return Ok(sources);
    }
    if shell::which("rustup").is_none() {
        bail!(
            "the toolchain has no sources of core and there is no rustup: install Rust's rust-src for {version}"
        );
    }
    ctx.install_unless(
        "rust-src",
        version,
        WHY,
        &place,
        || sources.join("core/Cargo.toml").is_file(),
        || {
            let mut rustup = Command::new("rustup");
            shell::run(
                rustup
                    .args(["component", "add", "rust-src"])
                    .current_dir(workspace::root()),
            )
        },
    )?;
    Ok(sources)
}
