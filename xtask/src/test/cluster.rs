//! The layer of tests on a real cluster: images, a cluster, the tests, a second cluster with a node that cannot trace.

use anyhow::Result;

use super::layer::Layer;
use super::report::Report;
use super::steps::{NEEDS_ROOT, cargo, may_be_root, targets};
use super::{Outcome, Setting};
use crate::deployed::{Deployed, build_images};
use crate::shell;
use crate::workspace::TestTarget;

/// The tests that need a cluster with a node without tracefs; in any other they skip themselves.
const MASKED: &str = "tracefs";
/// A node's number that [`MASKED`] finds in the cluster's own record.
const MASKED_NODE: &str = "2";

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
    report.step("real cluster", || {
        Outcome::of(on_cluster(setting, &["--nodes", "2"], &others))
    })?;
    report.step("a node without tracefs", || {
        let options = ["--nodes", "2", "--masked-tracefs-node", MASKED_NODE];
        Outcome::of(on_cluster(setting, &options, &masked))
    })
}

/// Runs tests on a cluster of their own, which is taken away whatever comes of them.
fn on_cluster(setting: &Setting, options: &[&str], targets: &[TestTarget]) -> Result<()> {
    let cluster = Deployed::up(options, &setting.path)?;
    let mut tests = tests(setting, targets);
    tests.envs(cluster.environment()?);
    shell::run(&mut tests)
}

fn tests(setting: &Setting, targets: &[TestTarget]) -> std::process::Command {
    let mut command = cargo(setting, "test");
    command.args(["--workspace", "--no-fail-fast"]);
    super::steps::select(&mut command, targets);
    command
}
