//! `weir-agent`: arguments, telemetry, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use weir_node_agent::cli::{Cli, Command, Output};
use weir_node_agent::config::check;
use weir_node_agent::{probe, run};
use weir_runtime::error::chain;
use weir_runtime::exit::{Exit, on_panic};
use weir_runtime::telemetry::{self, Format};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::BadConfiguration
            } else {
                Exit::Graceful
            };
            // Nobody can be told that the message could not be printed.
            error.print().ok();
            return exit.into();
        }
    };
    if let Err(error) = telemetry::init("info,async_nats=off", Format::detect()) {
        eprintln!("weir-agent: {}", chain(&error));
        return Exit::BadConfiguration.into();
    }
    on_panic();
    act(cli.command).into()
}

fn act(command: Command) -> Exit {
    match command {
        Command::Run(args) => {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return fail(&error, Exit::Failure),
            };
            match runtime.block_on(run::run(*args)) {
                Ok(()) => Exit::Graceful,
                Err(error) if error.is_configuration() => fail(&error, Exit::BadConfiguration),
                Err(error) => fail(&error, Exit::Failure),
            }
        }
        Command::Probe { output } => match (probe::probe(), output) {
            (Ok(report), Output::Table) => print(&report.table()),
            (Ok(report), Output::Json) => match serde_json::to_string_pretty(&report) {
                Ok(json) => print(&format!("{json}\n")),
                Err(error) => fail(&error, Exit::Failure),
            },
            (Err(error), _) => fail(&error, Exit::Failure),
        },
        Command::Check { files, sink } => {
            let report = check::check(files, sink.as_deref());
            print(&report.to_string());
            if report.is_good() {
                Exit::Graceful
            } else {
                Exit::BadConfiguration
            }
        }
    }
}

fn print(text: &str) -> Exit {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Graceful,
        Err(error) => fail(&error, Exit::Failure),
    }
}

fn fail(error: &(dyn std::error::Error + 'static), exit: Exit) -> Exit {
    eprintln!("weir-agent: {}", chain(error));
    exit
}
