//! `cargo xtask bench`: builds what is measured and what measures, for release, and runs it.
//!
//! The measurements themselves are in the package `weir-bench`: they need the agent's own code, built with
//! optimization, which this program stays free of.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::mounts::Mounted;
use crate::tools::{Ctx, privileged};
use crate::{mounts, shell, tools, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these groups: encode, ring, limiter, accuracy, cost, saturated, steady, idle
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the result goes as JSON; target/bench.json if not given
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the table as Markdown, as docs/performance.md has it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::catch_signals()?;
    let ctx = Ctx::new()?;
    tools::build(&ctx)?;
    let nats_server = tools::nats_server::ensure(&ctx)?;
    if let Err(error) = tools::debian::ensure(&ctx, tools::debian::BENCH) {
        println!("going on without perf or bpftrace; what needs them is skipped: {error:#}");
    }
    ctx.summary();
    println!("\nbuilding the agent and the measurements (release; the first time takes some minutes)");
    // One after the other: together, the agent would be built with what only the measurements ask of its crates.
    for package in ["weir-node-agent", "weir-bench"] {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--release", "--package", package, "--bins"]);
        shell::run(cargo.env("PATH", ctx.path()?))?;
    }
    let target = workspace::target_directory()?;
    let json = args.json.clone().unwrap_or_else(|| target.join("bench.json"));
    let _tracefs = Mounted::new(mounts::TRACEFS)?;
    shell::run(&mut measure(args, &target, &nats_server, &json)?)?;
    println!("the whole result is in {}", json.display());
    Ok(())
}

fn measure(
    args: &Args,
    target: &std::path::Path,
    nats_server: &std::path::Path,
    json: &std::path::Path,
) -> Result<Command> {
    let release = |name: &str| target.join("release").join(name);
    // Copies: a build beside us may replace the originals while they are measured.
    let copies = target.join("bench");
    fs::create_dir_all(&copies).with_context(|| format!("creating {}", copies.display()))?;
    for name in ["weir-agent", "weir-bench"] {
        fs::copy(release(name), copies.join(name))
            .with_context(|| format!("copying {}", release(name).display()))?;
    }
    let mut command = privileged(copies.join("weir-bench"), &["run"])?;
    command
        .arg("--agent")
        .arg(copies.join("weir-agent"))
        .arg("--nats-server")
        .arg(nats_server);
    command.arg("--json").arg(json);
    if let Some(markdown) = &args.markdown {
        command.arg("--markdown").arg(markdown);
    }
    for group in &args.only {
        command.args(["--only", group]);
    }
    Ok(command)
}
