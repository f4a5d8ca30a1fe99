//! `cargo xtask`: the commands a person types while working on Weir.
//!
//! This file only reads arguments and dispatches; each command has a file of its own.

mod bench;
mod cluster;
mod crds;
mod demo;
mod deployed;
mod family;
mod images;
mod in_use;
mod mounts;
mod release;
mod shell;
mod table;
mod test;
mod tools;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, try and test Weir.
///
/// Every command first installs what it needs and does not find: under ~/.cache/weir/tools at pinned
/// versions, Debian packages through apt-get. A second run installs nothing.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show Weir at work on this machine: real kernel, real nats-server, a ledger that closes
    Demo(demo::Args),
    /// Run every test there is, and report all failures at the end
    Test(test::Args),
    /// Measure the agent beside its alternatives, as one table
    Bench(bench::Args),
    /// A real Kubernetes cluster for people and tests
    Cluster(cluster::Args),
    /// Run the agent on other kernels, in virtual machines
    Vm(vm::Args),
    /// Build the container images from scratch, without Docker
    Images(images::Args),
    /// Write crds/ and its reference page from the API types
    Crds,
    /// Install what the other commands need, and show where it is
    Setup(tools::Args),
    /// The demo's workload, in a process of its own
    #[command(hide = true)]
    Workload(demo::workload::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Images(args) => images::run(&args),
        Command::Crds => crds::run(),
        Command::Setup(args) => tools::run(&args),
        Command::Workload(args) => demo::workload::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
