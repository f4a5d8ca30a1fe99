//! `cargo xtask crds`: writes what is generated from the API types, the CRDs and their reference page.
//!
//! The types are compiled by a program of their own: linking them here would make every `cargo xtask` of a fresh
//! clone wait for the Kubernetes client.

use anyhow::Result;

use crate::{shell, workspace};

/// Runs `cargo xtask crds`.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut generate = workspace::cargo();
    generate.args([
        "run",
        "--quiet",
        "--package",
        "weir-profile",
        "--example",
        "generate",
        "--",
    ]);
    shell::run(generate.args([root.join("crds"), root.join("docs")]))?;
    println!("wrote crds/ and docs/profile-reference.md");
    Ok(())
}
