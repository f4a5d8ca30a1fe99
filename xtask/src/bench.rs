//! `cargo xtask bench`: builds what is measured and what measures, for release, and runs it.
//!
//! The measurements themselves are in the package `weir-bench`: they need the agent's own code, built with
//! optimization, which this program stays free of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::mounts::Mounted;
use crate::tools::{Ctx, privileged};
use crate::{mounts, release, shell, tools, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these groups: encode, ring, limiter, accuracy, cost, saturated, steady, idle, fleet
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
    let (agent, operator) = (release::agent(&ctx)?, release::operator(&ctx)?);
    println!("\nbuilding the measurements (release)");
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package", "weir-bench", "--bins"]);
    shell::run(cargo.env("PATH", ctx.path()?))?;
    let target = workspace::target_directory()?;
    let json = args.json.clone().unwrap_or_else(|| target.join("bench.json"));
    let _tracefs = Mounted::new(mounts::TRACEFS)?;
    shell::run(&mut measure(args, [&agent, &operator], &nats_server, &json)?)?;
    println!("the whole result is in {}", json.display());
    Ok(())
}

fn measure(args: &Args, [agent, operator]: [&Path; 2], nats_server: &Path, json: &Path) -> Result<Command> {
    let target = workspace::target_directory()?;
    // Copies: a build beside us may replace the originals while they are measured.
    let copies = target.join("bench");
    fs::create_dir_all(&copies).with_context(|| format!("creating {}", copies.display()))?;
    let copy = |from: &Path, name: &str| {
        let to = copies.join(name);
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        anyhow::Ok(to)
    };
    let bench = copy(&target.join("release/weir-bench"), "weir-bench")?;
    let mut command = privileged(bench, &["run"])?;
    command
        .arg("--agent")
        .arg(copy(agent, "weir-agent")?)
        .arg("--operator")
        .arg(copy(operator, "weir-operator")?)
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
