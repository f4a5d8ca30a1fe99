//! `cargo xtask demo`: the agent at work on this machine, and a proof that its ledger closes.
//!
//! This file is the order of events. Each part has a file of its own; what they start ends with them, whichever way
//! the demo ends.

mod agent;
mod compare;
mod event;
pub(crate) mod fleet;
mod http;
mod jetstream;
mod ledger;
mod live;
mod nats;
mod process;
mod received;
mod report;
mod server;
pub(crate) mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::agent::{Agent, Cut};
use self::jetstream::JetStream;
use self::live::Live;
use self::received::Received;
use self::server::Server;
use self::workload::{Made, Workload};
use crate::mounts::Mounted;
use crate::table::grouped;
use crate::{mounts, release, shell, tools};

/// The profile and the sink, as a user would write them.
const PROFILE: &str = include_str!("../demo/profile.yaml");
/// The server in [`PROFILE`], replaced by the one that the demo starts.
const PROFILE_SERVER: &str = "nats://127.0.0.1:4222";
/// The stream in [`PROFILE`].
const STREAM: &str = "weir-demo";
/// From the flood's begin to the ledger's cut in the midst of it.
const CUT_DELAY: Duration = Duration::from_secs(1);

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to show live events
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
    /// Run this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Show two nodes of a real cluster instead of this machine
    #[arg(long, conflicts_with = "agent")]
    cluster: bool,
}

/// Runs `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begin = Instant::now();
    shell::catch_signals()?;
    if args.cluster {
        return fleet::run(args.seconds);
    }
    let nats_server = set_up(args.agent.is_none())?;
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => release::agent(&tools::Ctx::new()?)?,
    };
    let scratch = tempfile::Builder::new()
        .prefix("weir-demo.")
        .tempdir()
        .context("making a scratch directory")?;
    let outcome = show(args, &nats_server, &agent, scratch.path());
    scratch.close().context("removing the scratch directory")?;
    println!(
        "\n{} s in all; nothing is left running, and no file behind",
        begin.elapsed().as_secs()
    );
    outcome
}

fn set_up(build: bool) -> Result<PathBuf> {
    let ctx = tools::Ctx::new()?;
    if build {
        release::ensure(&ctx)?;
    }
    let nats_server = tools::nats_server::ensure(&ctx)?;
    ctx.summary();
    Ok(nats_server)
}

fn show(args: &Args, nats_server: &Path, agent: &Path, scratch: &Path) -> Result<()> {
    let _tracefs = Mounted::new(mounts::TRACEFS)?;
    let server = Server::start(nats_server, scratch)?;
    println!("\nnats-server with JetStream listens on {}", server.url());

    let profile = scratch.join("profile.yaml");
    fs::write(&profile, PROFILE.replace(PROFILE_SERVER, server.url()))
        .with_context(|| format!("writing {}", profile.display()))?;
    let flood = workload::flood_directory()?;
    let mut agent = Agent::start(agent, &profile, scratch)?;
    agent.wait_until_ready()?;
    println!("the agent runs as root with xtask/demo/profile.yaml; its hooks are in the kernel");

    let watched = watch(args, &server, &mut agent, flood.path())?;
    println!("\n{} events were shown or counted above", grouped(watched.seen));
    println!(
        "GET /ledger?cut=now, in the midst of the flood: cut {}, {}",
        watched.cut.id,
        watched.cut.state()
    );
    println!("stopping the agent, which drains what it holds");
    let stopped = agent.stop()?;
    println!("it ended {} ms after SIGTERM", stopped.as_millis());

    let mut stream = JetStream::open(server.address(), STREAM)?;
    let received = Received::read(&mut stream)?;
    let ledger = received.final_ledger()?;
    report::print(&ledger, &received, &watched.made, &watched.cut)
}

/// What came of the time in which events were shown.
struct Watched {
    made: Made,
    seen: u64,
    cut: Cut,
}

/// Shows events while the workload runs, and has the agent cut its ledger while the flood is on.
fn watch(args: &Args, server: &Server, agent: &mut Agent, flood: &Path) -> Result<Watched> {
    let duration = Duration::from_secs(args.seconds);
    let mut stream = JetStream::open_when_made(server.address(), STREAM, || agent.check())?;
    let mut workload = Workload::start(duration, server.address(), flood)?;
    println!(
        "for {} s: programs start, files are opened, connections are made\n",
        args.seconds
    );
    let mut live = Live::new();
    let start = Instant::now();
    let mut cut = None;
    while start.elapsed() < duration || workload.is_running()? {
        shell::interrupted()?;
        agent.check()?;
        for message in stream.next(Duration::from_millis(200))? {
            live.message(&message.payload)?;
        }
        live.tick();
        if cut.is_none() && start.elapsed() > workload::flood_begins(duration) + CUT_DELAY {
            cut = Some(agent.cut()?);
        }
    }
    live.finish();
    let cut = cut.context("the time was too short for a cut")?;
    Ok(Watched {
        made: workload.finish()?,
        seen: live.seen(),
        cut,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_what_the_code_replaces_and_reads() {
        assert_eq!(PROFILE.matches(PROFILE_SERVER).count(), 1);
        assert!(PROFILE.contains(&format!("stream: {{name: {STREAM},")));
        assert!(PROFILE.contains(&format!("prefix: [/tmp/{}]", workload::FLOOD_PREFIX)));
        let limit = format!(
            "eventsPerSecond: {}, burst: {}",
            workload::FLOOD_RATE,
            workload::FLOOD_BURST
        );
        assert!(PROFILE.contains(&limit));
    }
}
