//! How each layer is run.
//!
//! Every cargo command selects the whole workspace: another selection would unify features differently and build
//! everything a second time.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::layer::Layer;
use super::report::Report;
use super::{Outcome, Setting, cluster};
use crate::tools::{is_root, privileged};
use crate::workspace::{self, TestTarget};
use crate::{mounts, shell, vm};

pub(super) const NEEDS_ROOT: &str = "needs root or sudo, since only root may load BPF programs";

/// Runs the steps of one layer.
pub(super) fn run(layer: Layer, setting: &Setting, report: &mut Report) -> Result<()> {
    match layer {
        Layer::Lint => lint(setting, report),
        Layer::Unit => unit(setting, report),
        Layer::Nats => report.step("real nats-server", || {
            Outcome::of(integration(setting, Layer::Nats, &[], &[]))
        }),
        Layer::Kernel => {
            report.step("real kernel", || kernel(setting))?;
            report.step("the demo", || demo(setting))
        }
        Layer::Vm => report.step("other kernels", other_kernels),
        Layer::Cluster => cluster::run(setting, report),
    }
}

fn lint(setting: &Setting, report: &mut Report) -> Result<()> {
    report.step("formatting", || {
        Outcome::of(shell::run(workspace::cargo().args(["fmt", "--all", "--check"])))
    })?;
    report.step("clippy", || {
        let mut clippy = cargo(setting, "clippy");
        clippy.args([
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ]);
        Outcome::of(shell::run(&mut clippy))
    })?;
    report.step("licences, sources, bans", || {
        let program = match &setting.cargo_deny {
            Ok(program) => program,
            Err(error) => return Ok(Outcome::Skipped(format!("there is no cargo-deny: {error:#}"))),
        };
        // Advisories need a database from the network; they are checked where there is one: `cargo deny check`.
        let mut deny = Command::new(program);
        deny.current_dir(workspace::root())
            .args(["--locked", "--log-level", "error"]);
        deny.args(["check", "licenses", "sources", "bans"]);
        Outcome::of(shell::run(&mut deny))
    })
}

fn unit(setting: &Setting, report: &mut Report) -> Result<()> {
    report.step("unit, property and contract tests", || {
        let mut test = cargo(setting, "test");
        test.args(["--workspace", "--no-fail-fast", "--lib", "--bins"]);
        select(&mut test, &targets(Layer::Unit)?);
        Outcome::of(shell::run(&mut test))
    })?;
    report.step("documentation examples", || {
        Outcome::of(shell::run(cargo(setting, "test").args([
            "--workspace",
            "--no-fail-fast",
            "--doc",
        ])))
    })
}

fn kernel(setting: &Setting) -> Result<Outcome> {
    if !may_be_root() {
        return Ok(Outcome::Skipped(NEEDS_ROOT.to_owned()));
    }
    for mount in [mounts::TRACEFS, mounts::BPFFS] {
        if mounts::ensure(&mount)? {
            println!("mounted {} at {}: {}", mount.kind, mount.place, mount.why);
        }
    }
    let environment = runner()?;
    // One at a time: a node has one agent, and tests count what the whole kernel does.
    Outcome::of(integration(
        setting,
        Layer::Kernel,
        &environment,
        &["--test-threads=1"],
    ))
}

/// What makes cargo run test programs as root: nothing when it does already.
pub(super) fn runner() -> Result<Vec<(String, String)>> {
    if is_root() {
        return Ok(Vec::new());
    }
    // Once where a password can be typed.
    shell::run(&mut privileged("true", &[])?)?;
    let name = format!(
        "CARGO_TARGET_{}_RUNNER",
        workspace::host_target()?.to_uppercase().replace('-', "_")
    );
    Ok(vec![(name, "sudo --preserve-env --".to_owned())])
}

/// The demo proves the whole way on the release build: it fails when its comparison is not exact.
fn demo(setting: &Setting) -> Result<Outcome> {
    if !may_be_root() {
        return Ok(Outcome::Skipped(NEEDS_ROOT.to_owned()));
    }
    let program = env::current_exe().context("looking for our own program")?;
    Outcome::of(shell::run(
        Command::new(program)
            .args(["demo", "--seconds", "10"])
            .env("PATH", &setting.path),
    ))
}

fn other_kernels() -> Result<Outcome> {
    if vm::is_possible()? {
        Outcome::of(vm::run(&vm::Args::default()))
    } else {
        Ok(Outcome::Skipped("the kernels are Debian's for amd64".to_owned()))
    }
}

pub(super) fn may_be_root() -> bool {
    is_root() || shell::which("sudo").is_some()
}

/// Runs the integration tests of `layer`, each binary with `args`.
fn integration(
    setting: &Setting,
    layer: Layer,
    environment: &[(String, String)],
    args: &[&str],
) -> Result<()> {
    let targets = targets(layer)?;
    if targets.is_empty() {
        bail!("the workspace has no tests of this layer");
    }
    let mut test = cargo(setting, "test");
    test.args(["--workspace", "--no-fail-fast"]);
    select(&mut test, &targets);
    test.envs(environment.iter().map(|(name, value)| (name, value)));
    test.arg("--").args(args);
    shell::run(&mut test)
}

pub(super) fn targets(layer: Layer) -> Result<Vec<TestTarget>> {
    let mut targets = workspace::test_targets()?;
    targets.retain(|target| Layer::of(target) == layer);
    Ok(targets)
}

pub(super) fn select(command: &mut Command, targets: &[TestTarget]) {
    let mut names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    names.dedup();
    for name in names {
        command.args(["--test", name]);
    }
}

pub(super) fn cargo(setting: &Setting, subcommand: &str) -> Command {
    let mut command = workspace::cargo();
    command.arg(subcommand).env("PATH", &setting.path);
    if let Some(program) = &setting.nats_server {
        command.env("WEIR_NATS_SERVER", program);
    }
    if setting.strict {
        // The committed lock file is what is tested.
        command.arg("--locked");
    }
    command
}
