//! What can be wrong with profile files: which file, which field, the bound and the remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_profile::api::ConditionReason;
use weir_profile::load::MAX_FILE_BYTES;
use weir_profile::plan::SinkUrlError;
use weir_profile::{FieldError, LoadError};

/// One thing that is wrong.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: cannot be read ({source}); check its path and permissions", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said; part of the message, which is shown without its chain.
        source: io::Error,
    },
    /// A file is too large.
    #[error("{}: is larger than the {MAX_FILE_BYTES} bytes that are read; split it", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// A file is not UTF-8.
    #[error("{}: is not UTF-8 text from byte {valid_up_to} on; save it as UTF-8", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// How much of it is.
        valid_up_to: usize,
    },
    /// A document of a file is not valid.
    #[error("{}: {source}", file.display())]
    Document {
        /// The file.
        file: PathBuf,
        /// Which document and field, and why.
        source: LoadError,
    },
    /// Two files have a document of the same kind and name.
    #[error(
        "{}: {kind} {name:?} already stands in {}; rename or remove one",
        file.display(), first.display()
    )]
    Duplicate {
        /// The later file.
        file: PathBuf,
        /// The earlier one, whose document holds.
        first: PathBuf,
        /// Kind of the document.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A valid profile cannot be planned here.
    #[error("{}: CollectorProfile {profile:?}: {source}{}", file.display(), remedy(source))]
    Profile {
        /// The file.
        file: PathBuf,
        /// The profile's name.
        profile: String,
        /// Which field, and why.
        source: FieldError,
    },
    /// No file has a profile.
    #[error("no CollectorProfile in {}; add one", list(files))]
    NoProfile {
        /// All files.
        files: Vec<PathBuf>,
    },
    /// `--sink` is no sink.
    #[error("--sink: {0}")]
    Sink(#[source] SinkUrlError),
}

/// Standalone, there is one more way out than the planner knows.
fn remedy(error: &FieldError) -> &'static str {
    match error.reason {
        ConditionReason::SinkNotFound => ", add the CollectorSink to the files, or give --sink",
        _ => "",
    }
}

fn list(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
