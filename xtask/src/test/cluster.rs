//! The layer of tests on a real cluster: images, a cluster, what a user types on it, the tests, a second cluster with a node
//! that cannot trace.
//!
//! Always the local provider: only it can make the faults, the node and the audit log that the tests are about.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::layer::Layer;
use super::report::Report;
use super::steps::{NEEDS_ROOT, cargo, may_be_root, runner, targets};
use super::{Outcome, Setting};
use crate::cluster::{Means, ready_after};
use crate::demo::fleet;
use crate::deployed::{Deployed, build_images};
use crate::shell;
use crate::workspace::TestTarget;

/// The tests that need a cluster with a node without tracefs; in any other they skip themselves.
const MASKED: &str = "tracefs";
/// A node's number that [`MASKED`] finds in the cluster's own record.
const MASKED_NODE: &str = "2";
/// As the README has it.
const NODES: [&str; 2] = ["--nodes", "2"];
/// What is promised of a harness that is built, from nothing to ready nodes.
const UP_LIMIT: Duration = Duration::from_secs(30);
const DEMO_SECONDS: u64 = 10;

/// Runs the layer's steps.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let (masked, others): (Vec<_>, Vec<_>) = targets(Layer::Cluster)?
        .into_iter()
        .partition(|target| target.name == MASKED);
    if !may_be_root() {
        return report.step("real cluster", || Ok(Outcome::Skipped(NEEDS_ROOT.to_owned())));
    }
    let mut built = false;
    report.step("images", || {
        build_images(&setting.path)?;
        // While the cluster is up, nothing should compete with it for the processor.
        let all: Vec<TestTarget> = others.iter().chain(&masked).cloned().collect();
        shell::run(tests(setting, &all).arg("--no-run"))?;
        built = true;
        Ok(Outcome::Passed)
    })?;
    // Without images every test would fail, each after its own patience; the failed step stands in the report.
    if !built {
        return Ok(());
    }
    let mut cluster = None;
    report.step("a cluster of two nodes", || {
        cluster = Some(up(&NODES, setting)?);
        check_time()
    })?;
    if let Some(cluster) = cluster {
        report.step("what a user types, and the demo", || as_typed(&cluster))?;
        report.step("real cluster", || on(&cluster, setting, &others))?;
    }
    report.step("a node without tracefs", || {
        let options = [&NODES[..], &["--masked-tracefs-node", MASKED_NODE]].concat();
        let cluster = up(&options, setting)?;
        on(&cluster, setting, &masked)
    })
}

/// A cluster that is taken away whatever comes of the tests on it.
fn up(options: &[&str], setting: &Setting) -> Result<Deployed> {
    Deployed::up(Some(Means::Local), options, &setting.path)
}

fn check_time() -> Result<Outcome> {
    let took = ready_after()?.context("the cluster does not say what it took")?;
    println!("its nodes were ready after {:.1} s", took.as_secs_f64());
    ensure!(
        took <= UP_LIMIT,
        "its nodes were ready after {took:?} only; {UP_LIMIT:?} are promised"
    );
    Ok(Outcome::Passed)
}

/// The commands of the README, word for word, and the demo on what they made.
fn as_typed(cluster: &Deployed) -> Result<Outcome> {
    cluster.up_again(&NODES)?;
    let shown = fleet::on(cluster, DEMO_SECONDS);
    cluster.kubectl(&["delete", "namespace", "weir-demo", "--ignore-not-found"])?;
    Outcome::of(shown)
}

fn on(cluster: &Deployed, setting: &Setting, targets: &[TestTarget]) -> Result<Outcome> {
    let mut tests = tests(setting, targets);
    tests.envs(cluster.environment()?).envs(runner()?);
    Outcome::of(shell::run(&mut tests))
}

fn tests(setting: &Setting, targets: &[TestTarget]) -> std::process::Command {
    let mut command = cargo(setting, "test");
    command.args(["--workspace", "--no-fail-fast"]);
    super::steps::select(&mut command, targets);
    command
}
