//! `weir-operator`: arguments, settings, and an exit code.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use weir_operator::args::Args;
use weir_operator::error::chain;
use weir_operator::run::{self, RunError};
use weir_operator::settings::Settings;
use weir_runtime::exit::{self, Exit};
use weir_runtime::telemetry::{self, Format};

/// Libraries say only what is wrong.
const DEFAULT_FILTER: &str = "warn,kube_client=off,kube_runtime=off,weir_operator=info,weir_runtime=info";

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody reads a closed terminal.
            error.print().ok();
            return if asked {
                Exit::Graceful
            } else {
                Exit::BadConfiguration
            }
            .into();
        }
    };
    if let Err(error) = telemetry::init(DEFAULT_FILTER, Format::detect()) {
        eprintln!("{}", chain(&error));
        return Exit::BadConfiguration.into();
    }
    exit::on_panic();
    let settings = match Settings::load(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            return Exit::BadConfiguration.into();
        }
    };
    match run::block_on(args, settings) {
        Ok(()) => Exit::Graceful,
        Err(error @ RunError::Access(_)) => {
            tracing::error!("{}", chain(&error));
            Exit::BadConfiguration
        }
        Err(error) => {
            tracing::error!("{}", chain(&error));
            Exit::Failure
        }
    }
    .into()
}
