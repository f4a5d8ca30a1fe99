//! `cargo xtask vm`: the release build on other kernels, each in a virtual machine of its own.
//!
//! The verifier of every kernel line refuses something else. The machines are emulated in software, boot from memory
//! and have neither disk nor network: what they collect is counted inside, and printed on their console.

mod guest;
mod kernel;
mod verdict;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::release::Platform;
use crate::tools::{Ctx, debian};
use crate::{release, shell, workspace};

/// The kernel lines that Debian keeps: the oldest that is tested, and a later one with the newer verifier.
const LINES: [&str; 2] = ["6.1", "6.12"];

const PACKAGES: &[debian::Package] = &[
    debian::Package {
        name: "qemu-system-x86",
        why: "runs other kernels, in software",
        remedy: "install qemu-system-x86_64",
    },
    debian::Package {
        name: "busybox-static",
        why: "is all that runs in the machines besides the agent",
        remedy: "install a static busybox",
    },
];

/// Arguments of `cargo xtask vm`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only these kernel lines, such as 6.1 [default: all that are tested]
    #[arg(value_name = "LINE")]
    lines: Vec<String>,
    /// Run this agent, a static one, instead of building it
    #[arg(long, value_name = "PATH")]
    agent: Option<std::path::PathBuf>,
}

/// Runs `cargo xtask vm`.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::catch_signals()?;
    if !is_possible()? {
        bail!("the kernels are Debian's for amd64, and this machine is another");
    }
    let ctx = Ctx::new()?;
    debian::ensure(&ctx, PACKAGES)?;
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => release::agent(&ctx)?,
    };
    let folder = workspace::target_directory()?.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let image = guest::image(&agent, &folder)?;
    let lines: Vec<&str> = if args.lines.is_empty() {
        LINES.to_vec()
    } else {
        args.lines.iter().map(String::as_str).collect()
    };
    let mut failed = Vec::new();
    for line in lines {
        match on(&ctx, line, &image, &folder) {
            Ok(summary) => println!("Linux {line}: {summary}"),
            Err(error) => {
                println!("Linux {line}: {error:#}");
                failed.push(line);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed on Linux {}", failed.join(" and "));
    }
    Ok(())
}

/// Whether this machine is one that the kernels are for.
pub(crate) fn is_possible() -> Result<bool> {
    Ok(Platform::host()?.name == "amd64")
}

fn on(ctx: &Ctx, line: &str, image: &Path, folder: &Path) -> Result<String> {
    let kernel = kernel::ensure(ctx, line, folder)?;
    let console = folder.join(format!("{line}.console"));
    guest::boot(&kernel, image, &console)?;
    let text = fs::read(&console).with_context(|| format!("reading {}", console.display()))?;
    verdict::of(&String::from_utf8_lossy(&text))
        .with_context(|| format!("the whole console is in {}", console.display()))
}
