//! Builds the BPF object for its own target and leaves it in `OUT_DIR/weir.o`.
//!
//! The object needs nothing but the pinned toolchain with its `rust-src`, and bpf-linker for that toolchain's
//! LLVM; `cargo xtask` installs both. `WEIR_SKIP_BPF=1` writes an empty object instead (lint jobs); the loader
//! turns that into a clear error.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINKER_VERSION: &str = "0.13.0";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let object = out.join("weir.o");
    println!("cargo::rerun-if-env-changed=WEIR_SKIP_BPF");
    println!("cargo::rerun-if-env-changed=WEIR_BPF_LINKER");
    println!("cargo::rerun-if-changed=../node-agent-ebpf");
    println!("cargo::rerun-if-changed=../node-agent-common");
    if env::var_os("WEIR_SKIP_BPF").is_some_and(|skip| skip == "1") {
        if let Err(error) = std::fs::write(&object, []) {
            println!(
                "cargo::error=cannot write an empty BPF object to {}: {error}",
                object.display()
            );
        }
        return;
    }
    if let Err(message) = build(&out, &object) {
        println!("cargo::error={message}");
    }
}

fn build(out: &Path, object: &Path) -> Result<(), String> {
    let linker = linker().ok_or_else(|| {
        format!("bpf-linker {LINKER_VERSION} was not found; `cargo xtask setup` installs it (or set WEIR_BPF_LINKER, or WEIR_SKIP_BPF=1 to go without the BPF object)")
    })?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let target_dir = out.join("bpf");
    // target-cpu v3: compare-and-swap and fetching atomics.
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        "-Ctarget-cpu=v3".into(),
        format!("-Clinker={}", linker.display()),
    ];
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--package",
            "weir-node-agent-ebpf",
            "--bin",
            "weir",
            "--release",
        ])
        .args([
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2");
    for inherited in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(inherited);
    }
    let status = command
        .status()
        .map_err(|error| format!("cannot run cargo for the BPF object: {error}"))?;
    if !status.success() {
        return Err(format!(
            "building the BPF object failed ({status}); see the compiler's output above"
        ));
    }
    let built = target_dir.join("bpfel-unknown-none/release/weir");
    std::fs::copy(&built, object)
        .map_err(|error| format!("cannot copy the BPF object from {}: {error}", built.display()))?;
    Ok(())
}

/// bpf-linker from the environment, where `cargo xtask` puts it, or on the path.
fn linker() -> Option<PathBuf> {
    if let Some(named) = env::var_os("WEIR_BPF_LINKER") {
        return Some(PathBuf::from(named));
    }
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let installed =
        cache.map(|cache| cache.join(format!("weir/tools/bpf-linker-{LINKER_VERSION}/bin/bpf-linker")));
    installed
        .into_iter()
        .chain(
            env::split_paths(&env::var_os("PATH").unwrap_or_default())
                .map(|folder| folder.join("bpf-linker")),
        )
        .find(|candidate| candidate.is_file())
}
