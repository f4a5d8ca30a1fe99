//! `cargo xtask demo --cluster`: a cluster of two nodes, Weir installed as a user would, and events of both nodes' pods.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::jetstream::JetStream;
use super::live::Live;
use super::process::Process;
use crate::deployed::{DEFAULT, Deployed, QUICKSTART, build_images};
use crate::{shell, tools};

/// The stream of the quick start's sink.
const STREAM: &str = "WEIR";
const NODES: usize = 2;
/// kubectl listens within a second; the rest is patience with a busy machine.
const FORWARD_LIMIT: Duration = Duration::from_secs(20);

/// Runs the demo for `seconds` of live events.
pub(super) fn run(seconds: u64) -> Result<()> {
    let ctx = tools::Ctx::new()?;
    tools::build(&ctx)?;
    ctx.summary();
    println!("\nbuilding the images (release; the first time takes some minutes)");
    build_images(&ctx.path()?)?;
    let cluster = Deployed::up(None, &["--nodes", &NODES.to_string()], &ctx.path()?)?;
    on(&cluster, seconds)
}

/// The demo on a cluster that is there: what a user types, then `seconds` of live events.
pub(crate) fn on(cluster: &Deployed, seconds: u64) -> Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix("weir-demo.")
        .tempdir()
        .context("making a scratch directory")?;
    let shown = show(cluster, seconds, scratch.path());
    scratch.close().context("removing the scratch directory")?;
    shown
}

fn show(cluster: &Deployed, seconds: u64, scratch: &Path) -> Result<()> {
    let begin = Instant::now();
    // Word for word as the README has it, one after the other without a wait between them.
    typed(cluster, &["apply", "-k", DEFAULT])?;
    typed(cluster, &["apply", "-k", QUICKSTART])?;
    cluster.kubectl(&["apply", "--server-side", "-f", "xtask/demo/pods.yaml"])?;
    typed(
        cluster,
        &["wait", "--for=condition=Ready", "cprof/baseline", "--timeout=60s"],
    )?;
    println!(
        "from the first command to Ready: {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    cluster.kubectl(&[
        "rollout",
        "status",
        "daemonset/shop",
        "--namespace=weir-demo",
        "--timeout=60s",
    ])?;

    let live = watch(cluster, seconds, scratch)?;
    println!();
    typed(cluster, &["get", "cprof,cnode"])?;
    println!();
    for (node, events) in live.pods_of() {
        println!("{events} events of pods came from {node}");
    }
    ensure!(
        live.pods_of().len() == NODES,
        "events of pods came from {} of {NODES} nodes",
        live.pods_of().len()
    );
    Ok(())
}

/// Shows what the broker stores from now on.
fn watch(cluster: &Deployed, seconds: u64, scratch: &Path) -> Result<Live> {
    let arguments = ["port-forward", "--namespace=weir-nats", "pod/nats-0", ":4222"];
    let mut forward = Process::start("port-forward", cluster.kubectl_command(&arguments)?, scratch)?;
    let address = forwarded(&mut forward)?;
    let mut stream = JetStream::open_when_made(address, STREAM, || forward.check())?;
    println!("\nfor {seconds} s: what the pods of both nodes do\n");
    let mut live = Live::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        shell::interrupted()?;
        forward.check()?;
        for message in stream.next(Duration::from_millis(200))? {
            live.message(&message.payload)?;
        }
        live.tick();
    }
    live.finish();
    forward.stop()?;
    Ok(live)
}

/// Where kubectl listens, from what it prints: `Forwarding from 127.0.0.1:43211 -> 4222`.
fn forwarded(forward: &mut Process) -> Result<SocketAddr> {
    let deadline = Instant::now() + FORWARD_LIMIT;
    loop {
        shell::interrupted()?;
        forward.check()?;
        let log = forward.log_tail();
        let port = log
            .split_once("127.0.0.1:")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if let Some(port) = port {
            return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        ensure!(
            Instant::now() < deadline,
            "kubectl port-forward did not say where it listens:\n{log}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command that a user would type, and shows it.
fn typed(cluster: &Deployed, arguments: &[&str]) -> Result<()> {
    println!("$ kubectl {}", arguments.join(" "));
    cluster.kubectl(arguments)
}
