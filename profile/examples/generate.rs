//! Writes the CRDs and the profile reference into the folders named on the command line.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folders: Vec<String> = std::env::args().skip(1).collect();
    let [crds, docs] = folders.as_slice() else {
        eprintln!("usage: generate CRDS_FOLDER DOCS_FOLDER");
        return ExitCode::from(64);
    };
    if let Err(error) = weir_profile::crds::write(Path::new(crds)) {
        eprintln!("{error}: {:?}", std::error::Error::source(&error));
        return ExitCode::FAILURE;
    }
    let page = Path::new(docs).join("profile-reference.md");
    if let Err(error) = std::fs::write(&page, weir_profile::crds::reference_markdown()) {
        eprintln!("write {}: {error}", page.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
