//! Logging: one line per event for a person on a terminal, JSON for everything else.
//!
//! Logs go to standard error, because standard output may be a sink. What is logged is the callers' business.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// The variable that holds the filter, in `tracing`'s directive syntax.
pub const FILTER_VARIABLE: &str = "WEIR_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Human,
    /// One JSON object per line.
    Json,
}

impl Format {
    /// Human on a terminal, JSON otherwise.
    #[must_use]
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Human
        } else {
            Self::Json
        }
    }
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter in the environment is malformed.
    #[error(
        "{FILTER_VARIABLE}={value:?} is not a log filter; use a level such as `debug`, or `weir_node_agent=debug,info`"
    )]
    Filter {
        /// What the variable held.
        value: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Something else in this process has set a subscriber.
    #[error("logging is already set up in this process")]
    AlreadySet(#[source] TryInitError),
}

/// Sets logging up for the whole process; `default_filter` holds where [`FILTER_VARIABLE`] is not set.
pub fn init(default_filter: &str, format: Format) -> Result<(), TelemetryError> {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let value = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| default_filter.to_owned());
    let filter = filter(&value)?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Human => registry.with(layer.compact().with_target(false)).try_init(),
        Format::Json => registry
            .with(layer.json().flatten_event(true).with_current_span(false))
            .try_init(),
    }
    .map_err(TelemetryError::AlreadySet)
}

fn filter(value: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(value)
        .map_err(|source| TelemetryError::Filter {
            value: value.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_malformed_names_the_variable_and_a_remedy() {
        let error = filter("weir=loud").expect_err("`loud` is not a level");
        let message = error.to_string();
        assert!(message.contains("WEIR_LOG=\"weir=loud\""), "{message}");
        assert!(message.contains("debug"), "{message}");
    }

    #[test]
    fn filter_of_levels_and_targets_is_accepted() {
        assert!(filter("weir_node_agent=debug,info").is_ok());
    }
}
