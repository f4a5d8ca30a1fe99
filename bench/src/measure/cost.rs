//! What observing adds to a traced open and close: nothing, the whole agent with acknowledged `JetStream`, and the
//! usual tools on the same system call.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::Ctx;
use crate::agent::Agent;
use crate::child::Child;
use crate::config::{Event, Sink, opens};
use crate::report::Row;
use crate::server::Server;
use crate::stat::{Samples, float};
use crate::storm::{Made, Plan, Storm, Target};

const ROUNDS: usize = 7;
const STORM: Duration = Duration::from_millis(400);
/// Opens that show whether a tool sees them yet.
const PROBE: u64 = 2_000;
/// What the tools write of an open at least.
const BYTES_PER_OPEN: u64 = 10;
/// What perf writes of the two events of an open, about.
const PERF_BYTES: f64 = 150.0;
/// What bpftrace writes of an open: pid, comm and path, about.
const BPFTRACE_BYTES: f64 = 45.0;
const BPFTRACE: &str =
    "tracepoint:syscalls:sys_enter_openat { printf(\"%d %s %s\\n\", pid, comm, str(args->filename)); }";

/// One way to observe, and what it cost.
struct Way {
    name: &'static str,
    run: fn(&Bench<'_>) -> Result<Seen>,
    cpu: Vec<f64>,
    wall: Vec<f64>,
    /// Bytes of output per open.
    kept: Vec<f64>,
    /// Not ours: it may fail.
    peer: bool,
    failed: bool,
}

/// A storm, and what the tool that observed it wrote.
struct Seen {
    made: Made,
    bytes: u64,
}

struct Bench<'a> {
    agent: &'a Path,
    server: &'a Server,
    target: &'a Target,
    scratch: &'a Path,
}

/// The rows.
pub(super) fn rows(ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    let (server, target) = (Server::start(ctx.nats_server)?, Target::new()?);
    let scratch = tempfile::Builder::new()
        .prefix("weir-bench.")
        .tempdir()
        .context("making a directory")?;
    let bench = Bench {
        agent: ctx.agent,
        server: &server,
        target: &target,
        scratch: scratch.path(),
    };
    let mut ways = vec![way("untraced", untraced, false), way("weir-agent", weir, false)];
    for (name, program, run) in [
        ("perf record", "perf", perf as fn(&Bench<'_>) -> Result<Seen>),
        ("bpftrace", "bpftrace", bpftrace),
    ] {
        if Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
        {
            ways.push(way(name, run, true));
        } else {
            ctx.skipped.push(format!(
                "the cost of {name}: it is not installed (cargo xtask setup --bench)"
            ));
        }
    }
    for _ in 0..ROUNDS {
        for way in ways.iter_mut().filter(|way| !way.failed) {
            let seen = (way.run)(&bench).with_context(|| format!("under {}", way.name));
            // A peer that fails is a comparison less; ours that fails is a failure.
            let Seen { made, bytes } = match seen {
                Ok(seen) => seen,
                Err(error) if way.peer => {
                    eprintln!("        {error:#}");
                    way.failed = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            way.cpu.push(float(made.cpu_ns) / float(made.opens));
            way.wall.push(float(made.wall_ns) / float(made.opens));
            way.kept.push(float(bytes) / float(made.opens));
        }
    }
    for way in ways.iter().filter(|way| way.failed) {
        ctx.skipped
            .push(format!("the cost beside {}: it failed in a round", way.name));
    }
    ways.retain(|way| !way.failed);
    let mut ways = ways.into_iter().map(|way| {
        (
            way.name,
            Samples::of(way.cpu),
            Samples::of(way.wall),
            Samples::of(way.kept),
        )
    });
    let (Some((_, base, base_wall, _)), Some((_, weir, weir_wall, _))) = (ways.next(), ways.next()) else {
        return Ok(Vec::new());
    };
    let added = weir.minus(&base);
    let mut rows = vec![
        Row::new("cost", "open and close, untraced", "ns", base.clone()),
        Row::new("cost", "added to open and close by weir-agent, JetStream acked", "ns", added.clone())
            .note(format!(
                "time on the CPU of the opening thread; by the clock {:.0} ns untraced, {:.0} ns traced (medians)",
                base_wall.median, weir_wall.median
            )),
    ];
    for (name, cpu, wall, kept) in ways {
        let (bound, text, whole) = if name == "bpftrace" {
            (0.07, "≤ 0.07x", BPFTRACE_BYTES)
        } else {
            (0.4, "≤ 0.4x", PERF_BYTES)
        };
        // A tool that cannot follow drops events, and a dropped event is cheap: no comparison then.
        if kept.median < whole / 2.0 {
            ctx.skipped.push(format!(
                "the cost beside {name}: it could not follow on this machine, and wrote {:.0} B of about {whole} B per open",
                kept.median
            ));
            continue;
        }
        let row = Row::new(
            "cost",
            "added to open and close by weir-agent",
            "ns",
            added.clone(),
        );
        rows.push(
            row.beside(format!("added by {name}"), cpu.minus(&base))
                .ratio_at_most(bound, text)
                .note(format!(
                    "{name}: {:.0} ns by the clock (median), {:.0} B of output per open",
                    wall.median, kept.median
                )),
        );
    }
    Ok(rows)
}

fn way(name: &'static str, run: fn(&Bench<'_>) -> Result<Seen>, peer: bool) -> Way {
    Way {
        name,
        run,
        cpu: Vec::new(),
        wall: Vec::new(),
        kept: Vec::new(),
        peer,
        failed: false,
    }
}

impl Bench<'_> {
    fn storm(&self) -> Result<Made> {
        Storm::run(&self.target.file(), 0, Plan::Flat(STORM))
    }
}

fn untraced(bench: &Bench<'_>) -> Result<Seen> {
    Ok(Seen {
        made: bench.storm()?,
        bytes: 0,
    })
}

fn weir(bench: &Bench<'_>) -> Result<Seen> {
    let sink = Sink {
        encoding: "Protobuf",
        ..Sink::default(bench.server.url())
    };
    let profile = opens(
        "Active",
        &bench.target.prefix(),
        &[Event::unlimited("opens")],
        sink,
    );
    let mut agent = Agent::start(bench.agent, &profile, &[])?;
    let made = bench.storm()?;
    let cut = agent.settled()?;
    ensure!(
        cut.count("opens", "acked") + cut.lost() == made.opens,
        "{} opens, {} acknowledged, {} lost",
        made.opens,
        cut.count("opens", "acked"),
        cut.lost()
    );
    agent.stop()?;
    Ok(Seen { made, bytes: 0 })
}

fn perf(bench: &Bench<'_>) -> Result<Seen> {
    let data = bench.scratch.join("perf.data");
    let mut command = Command::new("perf");
    command.args(["record", "--all-cpus", "--output"]).arg(&data);
    command.args(["-e", "syscalls:sys_enter_openat,syscalls:sys_exit_openat"]);
    observed(bench, "perf", command, &data)
}

fn bpftrace(bench: &Bench<'_>) -> Result<Seen> {
    let out = bench.scratch.join("bpftrace.out");
    let mut command = Command::new("bpftrace");
    command.arg("-o").arg(&out).args(["-e", BPFTRACE]);
    observed(bench, "bpftrace", command, &out)
}

/// Starts a tool, waits until opens show in its output, storms, and checks that the storm shows too.
fn observed(bench: &Bench<'_>, name: &'static str, command: Command, output: &Path) -> Result<Seen> {
    let mut child = Child::logged(name, command, bench.scratch)?;
    child.until("opens show in its output", |_| {
        Storm::run(&bench.target.file(), 0, Plan::Opens(PROBE))?;
        Ok((size(output) > PROBE * BYTES_PER_OPEN).then_some(()))
    })?;
    let before = size(output);
    let made = bench.storm()?;
    child.end(Signal::INT)?;
    let written = size(output) - before;
    fs::remove_file(output).with_context(|| format!("removing {}", output.display()))?;
    Ok(Seen { made, bytes: written })
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
