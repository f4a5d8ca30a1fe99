//! `weir-bench`: what `cargo xtask bench` runs, built for release.
//!
//! This file only reads arguments and dispatches. Measurements are in `measure`, one file each; what they share
//! (processes, the workload, statistics, the table) stands beside it.

mod agent;
mod child;
mod config;
mod fleet;
mod latency;
mod machine;
mod measure;
mod procfs;
mod report;
mod server;
mod stat;
mod storm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the agent beside its alternatives.
#[derive(Parser)]
#[command(name = "weir-bench", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take the measurements, print the table, write the JSON
    Run(measure::Args),
    /// Open and close a file, in a process of its own
    #[command(hide = true)]
    Storm(storm::Args),
    /// Read a stream and say how late its events are
    #[command(hide = true)]
    Latency(latency::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => measure::run(&args),
        Command::Storm(args) => storm::run(&args),
        Command::Latency(args) => latency::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
