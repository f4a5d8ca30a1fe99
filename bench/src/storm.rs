//! The workload: a process that opens and closes one file and says what it cost.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::procfs::thread_cpu_ns;

/// Opens between two looks at the clock.
const RUN: u64 = 256;
/// How often a paced storm opens.
const TICK: Duration = Duration::from_millis(1);

/// Arguments of the hidden `storm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    path: PathBuf,
    #[arg(long)]
    cpu: Option<usize>,
    #[arg(long, conflicts_with = "seconds")]
    ops: Option<u64>,
    #[arg(long)]
    seconds: Option<f64>,
    /// Opens per second; as fast as it can otherwise.
    #[arg(long)]
    rate: Option<u64>,
}

/// What a storm did.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) opens: u64,
    pub(crate) wall_ns: u64,
    /// Time on the CPU of the thread that opens, system calls and what hooks in them included.
    pub(crate) cpu_ns: u64,
}

/// Runs the hidden `storm`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(cpu) = args.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        rustix::thread::sched_setaffinity(None, &cpus).context("pinning the storm to a CPU")?;
    }
    let (begin, cpu) = (Instant::now(), thread_cpu_ns());
    let end = args.seconds.map(Duration::from_secs_f64);
    let limit = args.ops.unwrap_or(u64::MAX);
    let mut opens = 0;
    while opens < limit && end.is_none_or(|end| begin.elapsed() < end) {
        let due = match args.rate {
            None => RUN.min(limit - opens),
            Some(rate) => {
                thread::sleep(TICK);
                let elapsed = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                (elapsed / 1_000 * rate / 1_000_000)
                    .min(limit)
                    .saturating_sub(opens)
            }
        };
        for _ in 0..due {
            open_close(&args.path)?;
        }
        opens += due;
    }
    let made = Made {
        opens,
        wall_ns: u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
        cpu_ns: thread_cpu_ns() - cpu,
    };
    let mut out = std::io::stdout();
    serde_json::to_writer(&out, &made)?;
    out.flush().context("saying what was done")
}

fn open_close(path: &Path) -> Result<()> {
    // openat(2), as the C library does: rustix's open would call open(2), which the tools beside us do not watch.
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(drop)
        .with_context(|| format!("opening {}", path.display()))
}

/// How to storm.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan {
    /// So many opens, as fast as it can.
    Opens(u64),
    /// So long, as fast as it can.
    Flat(Duration),
    /// So long, at so many per second.
    Paced(Duration, u64),
}

/// A storm under way.
pub(crate) struct Storm(Child);

impl Storm {
    /// Starts one, pinned to `cpu` if one is given.
    pub(crate) fn start(path: &Path, cpu: Option<usize>, plan: Plan) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("storm").arg("--path").arg(path);
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        match plan {
            Plan::Opens(opens) => command.args(["--ops", &opens.to_string()]),
            Plan::Flat(time) => command.args(["--seconds", &seconds(time)]),
            Plan::Paced(time, rate) => {
                command.args(["--seconds", &seconds(time), "--rate", &rate.to_string()])
            }
        };
        Ok(Self(Child::piped("storm", command)?))
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Result<Made> {
        let text = self.0.output()?;
        serde_json::from_str(&text).with_context(|| format!("reading what the storm said: {text:?}"))
    }

    /// Runs one from begin to end.
    pub(crate) fn run(path: &Path, cpu: usize, plan: Plan) -> Result<Made> {
        Self::start(path, Some(cpu), plan)?.finish()
    }
}

/// The file that storms open, in a directory that the profiles of `config` name.
pub(crate) struct Target {
    directory: tempfile::TempDir,
}

impl Target {
    /// Makes it.
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("weir-bench-opens.")
            .tempdir_in("/tmp")
            .context("making a directory to open a file in")?;
        let target = Self { directory };
        std::fs::write(target.file(), b"x").context("making the file to open")?;
        Ok(target)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("file")
    }

    /// As a profile's `match.paths.prefix` names it.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/", self.directory.path().display())
    }
}
