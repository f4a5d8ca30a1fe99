//! `cargo xtask test`: runs every layer of tests, goes on after a failure, and reports all of them at the end.
//!
//! Which test binary belongs to which layer follows from its name (`layer.rs`); how a layer is run is `steps.rs`.

mod cluster;
mod layer;
mod report;
mod steps;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::layer::Layer;
use self::report::Report;
use crate::{shell, tools};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only this layer; may be given more than once
    #[arg(long, value_enum, value_name = "LAYER")]
    only: Vec<Layer>,
}

/// What the steps need to know about this run.
struct Setting {
    /// PATH with the installed tools in front.
    path: OsString,
    /// The server that tests start, where a layer wants it.
    nats_server: Option<PathBuf>,
    /// Where cargo-deny is, or why it is not.
    cargo_deny: Result<PathBuf>,
    /// In CI nothing real may be missing: what would be skipped fails.
    strict: bool,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::catch_signals()?;
    let layers = if args.only.is_empty() {
        Layer::ALL.to_vec()
    } else {
        args.only.clone()
    };
    let setting = set_up(&layers)?;
    let mut report = Report::new(setting.strict);
    for layer in Layer::ALL.into_iter().filter(|layer| layers.contains(layer)) {
        steps::run(layer, &setting, &mut report)?;
    }
    report.finish()
}

fn set_up(layers: &[Layer]) -> Result<Setting> {
    let ctx = tools::Ctx::new()?;
    tools::build(&ctx).context("without it nothing that contains the agent can be built")?;
    let mut nats_server = None;
    if layers.iter().any(|layer| layer.wants_nats()) {
        nats_server =
            Some(tools::nats_server::ensure(&ctx).context("the tests publish to a real nats-server")?);
    }
    let cargo_deny = if layers.contains(&Layer::Lint) {
        tools::cargo_deny::ensure(&ctx)
    } else {
        Err(anyhow::anyhow!("not asked for"))
    };
    ctx.summary();
    Ok(Setting {
        path: ctx.path()?,
        nats_server,
        cargo_deny,
        strict: is_ci(),
    })
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The end of a step that did not fail.
enum Outcome {
    Passed,
    /// Something real is missing; the text says what and how to get it.
    Skipped(String),
}

impl Outcome {
    fn of(result: Result<()>) -> Result<Self> {
        result.map(|()| Self::Passed)
    }
}

fn reject(failed: &[String]) -> Result<()> {
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
