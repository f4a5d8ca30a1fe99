//! The operator with 15 000 nodes: how long until it knows them, what it holds, and how soon it tells what changed.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use super::Ctx;
use crate::child::Child;
use crate::fleet::objects::{self, NODES, PROFILES, Planned, REPORTS, Size};
use crate::fleet::{Fleet, Write};
use crate::procfs;
use crate::report::Row;
use crate::stat::{Samples, float};

const SIZE: Size = Size {
    nodes: 15_000,
    profiles: 10,
};
const SYNC_LIMIT: Duration = Duration::from_mins(1);
const FLIP_LIMIT: Duration = Duration::from_secs(20);
const FLIPS: usize = 5;
/// Kubelets write their Node every five minutes.
const HEARTBEATS: Duration = Duration::from_mins(5);
const CHURN: Duration = Duration::from_secs(30);
/// Between two flips: the write budget of a profile has to fill up again.
const REST: Duration = Duration::from_secs(11);

/// The rows.
pub(super) fn rows(ctx: &Ctx<'_>) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let (fleet, address) = runtime.block_on(Fleet::serve(SIZE))?;
    let folder = tempfile::Builder::new().prefix("weir-bench.").tempdir()?;
    let begin = Instant::now();
    let mut operator = start(ctx, &folder, &address.to_string())?;
    let sync = until(
        &mut operator,
        SYNC_LIMIT,
        "every profile's status counts the fleet",
        || {
            let writes = fleet.writes(0);
            (0..SIZE.profiles).all(|index| {
                let path = status_of(index);
                let counted = |write: &&Write| {
                    write.path == path && write.body["status"]["nodes"]["live"] == SIZE.nodes
                };
                writes.iter().any(|write| counted(&write))
            })
        },
    )?;
    let sync = sync.duration_since(begin).as_secs_f64();
    let peak = procfs::memory(operator.pid())?;
    let flips = flips(&fleet, &mut operator)?;
    let (percent, most) = churn(&fleet, &operator)?;
    let steady = procfs::memory(operator.pid())?;
    let bytes = fleet
        .writes(0)
        .iter()
        .filter(|write| write.path.contains("collectorprofiles"))
        .map(|write| write.body["status"].to_string().len())
        .max()
        .unwrap_or(0);
    operator.end(rustix::process::Signal::TERM)?;
    let one = |value: f64| Samples::of(vec![value]);
    let fleet_of = format!("operator, {} nodes, {} profiles", SIZE.nodes, SIZE.profiles);
    Ok(vec![
        Row::new("fleet", format!("{fleet_of}: start to every profile's status"), "s", one(sync))
            .at_most(10.0, "≤ 10 s")
            .note("against an API server in memory; 15 000 Nodes of 8 KB, their agents' pods and reports. The cluster's other pods are not watched"),
        Row::new("fleet", "highest RSS until then", "MB", one(peak.peak)).at_most(150.0, "≤ 150 MB"),
        Row::new("fleet", "RSS at the end", "MB", one(steady.rss)).at_most(150.0, "≤ 150 MB"),
        Row::new("fleet", "one node fails: until every profile's Ready says so", "s", Samples::of(flips))
            .at_most(5.0, "≤ 5 s"),
        Row::new("fleet", "CPU while every kubelet writes its Node every 5 minutes", "% of a core", one(percent)),
        Row::new("fleet", "writes of one profile in any 5 s meanwhile", "", one(most)).at_most(1.0, "≤ 1"),
        Row::new("fleet", "largest status of a profile", "B", one(float(bytes as u64))).at_most(8192.0, "≤ 8 KiB"),
    ])
}

fn start(ctx: &Ctx<'_>, folder: &TempDir, address: &str) -> Result<Child> {
    let kubeconfig = folder.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "fleet",
        "clusters": [{"name": "fleet", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "fleet", "user": {}}],
        "contexts": [{"name": "fleet", "context": {"cluster": "fleet", "user": "fleet"}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(ctx.operator);
    command
        .args(["--leader-elect=false", &format!("--admin={free}")])
        .env("KUBECONFIG", kubeconfig)
        .env_remove("POD_NAME")
        .env_remove("POD_NAMESPACE");
    Child::logged("weir-operator", command, folder.path())
}

fn status_of(index: usize) -> String {
    format!("{PROFILES}/{}/status", objects::profile_name(index))
}

fn until(operator: &mut Child, limit: Duration, what: &str, holds: impl Fn() -> bool) -> Result<Instant> {
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return Ok(Instant::now());
        }
        operator.check()?;
        if Instant::now() >= deadline {
            bail!("not within {limit:?}: {what}\n{}", operator.said());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A node fails and recovers, again and again; seconds from each change to the last profile's word of it.
fn flips(fleet: &Arc<Fleet>, operator: &mut Child) -> Result<Vec<f64>> {
    let plans: Vec<Planned> = (0..SIZE.profiles).map(Planned::new).collect();
    let mut seconds = Vec::new();
    for flip in 0..FLIPS {
        thread::sleep(REST);
        let (state, ready) = if flip % 2 == 0 {
            ("Failed", "False")
        } else {
            ("Live", "True")
        };
        let from = fleet.written();
        let begin = Instant::now();
        fleet.change(REPORTS, objects::report(flip / 2, &plans, state));
        let end = until(operator, FLIP_LIMIT, "every profile tells the change", || {
            let writes = fleet.writes(from);
            (0..SIZE.profiles).all(|index| {
                let path = status_of(index);
                writes
                    .iter()
                    .any(|write| write.path == path && says(write, ready))
            })
        })?;
        seconds.push(end.duration_since(begin).as_secs_f64());
    }
    Ok(seconds)
}

fn says(write: &Write, ready: &str) -> bool {
    let conditions = write.body["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == ready)
}

/// Kubelets write their Nodes as they always do. The share of a core that it costs, and the most writes of one profile in
/// any 5 s.
fn churn(fleet: &Arc<Fleet>, operator: &Child) -> Result<(f64, f64)> {
    thread::sleep(REST);
    let (from, cpu, begin) = (fleet.written(), procfs::cpu_ns(operator.pid())?, Instant::now());
    let every = HEARTBEATS / u32::try_from(SIZE.nodes)?;
    let mut index = 0;
    while begin.elapsed() < CHURN {
        fleet.change(NODES, objects::node(index % SIZE.nodes));
        index += 1;
        thread::sleep((every * u32::try_from(index)?).saturating_sub(begin.elapsed()));
    }
    let percent = float(procfs::cpu_ns(operator.pid())? - cpu) / begin.elapsed().as_secs_f64() / 1e7;
    let writes = fleet.writes(from);
    let most = (0..SIZE.profiles)
        .map(|profile| {
            let path = status_of(profile);
            let times: Vec<Instant> = writes
                .iter()
                .filter(|write| write.path == path)
                .map(|write| write.at)
                .collect();
            let within = |start: &Instant| {
                let window = *start..*start + Duration::from_secs(5);
                times.iter().filter(|time| window.contains(*time)).count()
            };
            times.iter().map(within).max().unwrap_or(0)
        })
        .max()
        .unwrap_or(0);
    Ok((percent, float(most as u64)))
}
