//! The measurements, in the order of the table.

mod accuracy;
mod cost;
mod encode;
mod fleet;
mod idle;
mod limiter;
mod ring;
mod saturated;
mod steady;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::machine::Machine;
use crate::procfs;
use crate::report::{Report, Row};

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The release build of weir-agent
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The release build of weir-operator
    #[arg(long, value_name = "FILE")]
    operator: PathBuf,
    /// nats-server
    #[arg(long, value_name = "FILE")]
    nats_server: PathBuf,
    /// Where the result goes as JSON
    #[arg(long, value_name = "FILE")]
    json: PathBuf,
    /// Where the table goes as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Only these groups
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
}

/// A group of rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Encode,
    Ring,
    Limiter,
    Accuracy,
    Cost,
    Saturated,
    Steady,
    Idle,
    Fleet,
}

/// What measurements need.
pub(crate) struct Ctx<'a> {
    agent: &'a Path,
    operator: &'a Path,
    nats_server: &'a Path,
    skipped: Vec<String>,
}

/// Runs `run`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the measurements load BPF programs: run them as root");
    }
    let (begin, machine) = (Instant::now(), Machine::look());
    let mut ctx = Ctx {
        agent: &args.agent,
        operator: &args.operator,
        nats_server: &args.nats_server,
        skipped: Vec::new(),
    };
    let mut rows = Vec::new();
    for group in Group::value_variants() {
        if args.only.is_empty() || args.only.contains(group) {
            let name = group
                .to_possible_value()
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default();
            eprintln!(
                "{:4} s  {name} (load average {})",
                begin.elapsed().as_secs(),
                procfs::load()
            );
            match measure(*group, &mut ctx).with_context(|| format!("measuring {name}")) {
                Ok(found) => rows.extend(found),
                Err(error) => ctx.skipped.push(format!("FAILED: {error:#}")),
            }
        }
    }
    let failed = ctx.skipped.iter().any(|skipped| skipped.starts_with("FAILED"));
    let report = Report {
        machine,
        load_after: procfs::load(),
        seconds: begin.elapsed().as_secs(),
        rows,
        skipped: ctx.skipped,
    };
    println!("{}", report.text());
    write(&args.json, &serde_json::to_string_pretty(&report)?)?;
    if let Some(markdown) = &args.markdown {
        write(markdown, &report.markdown())?;
    }
    if failed {
        bail!("not everything could be measured, see above");
    }
    Ok(())
}

fn measure(group: Group, ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    match group {
        Group::Encode => encode::rows(),
        Group::Ring => ring::rows(),
        Group::Limiter => limiter::rows(ctx),
        Group::Accuracy => accuracy::rows(ctx),
        Group::Cost => cost::rows(ctx),
        Group::Saturated => saturated::rows(ctx),
        Group::Steady => steady::rows(ctx),
        Group::Idle => idle::rows(ctx),
        Group::Fleet => fleet::rows(ctx),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
