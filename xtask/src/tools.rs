//! What the commands need beside Rust, at pinned versions, installed when missing.
//!
//! One file per tool; each has an idempotent `ensure` that returns where the tool is. Nothing is installed
//! outside `$XDG_CACHE_HOME/weir/tools` except Debian packages and toolchain components.

pub(crate) mod bpf_linker;
pub(crate) mod cargo_deny;
mod ctx;
pub(crate) mod debian;
pub(crate) mod go;
pub(crate) mod nats_server;
mod program;
pub(crate) mod rust_src;
mod wheel;

pub(crate) use ctx::{Ctx, is_root, privileged};

use anyhow::Result;

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what `bench` compares with: perf and bpftrace
    #[arg(long)]
    bench: bool,
    /// Also what a local cluster is built with: Go
    #[arg(long)]
    cluster: bool,
}

/// Runs `cargo xtask setup`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ctx = Ctx::new()?;
    build(&ctx)?;
    nats_server::ensure(&ctx)?;
    cargo_deny::ensure(&ctx)?;
    if args.bench {
        debian::ensure(&ctx, debian::BENCH)?;
    }
    if args.cluster {
        go::ensure(&ctx)?;
    }
    ctx.summary();
    Ok(())
}

/// What building the agent needs.
pub(crate) fn build(ctx: &Ctx) -> Result<()> {
    rust_src::ensure(ctx)?;
    bpf_linker::ensure(ctx)?;
    Ok(())
}
