//! What `cargo metadata` says about the workspace: where it is and which test binaries it has.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// The integration tests of one package that one name stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestTarget {
    /// Package that holds the test.
    pub(crate) package: String,
    /// Name to give to `cargo test --test`.
    pub(crate) name: String,
}

/// The checkout this program was built from.
pub(crate) fn root() -> PathBuf {
    // CARGO_MANIFEST_DIR of the run wins, so that a moved checkout or a copied binary still works.
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// A cargo command that runs in the workspace root with the cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The directory that holds build output.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let metadata = metadata()?;
    let directory = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target_directory")?;
    Ok(PathBuf::from(directory))
}

/// Every integration test of the workspace, sorted.
pub(crate) fn test_targets() -> Result<Vec<TestTarget>> {
    let mut targets = integration_tests(&metadata()?);
    targets.sort();
    Ok(targets)
}

/// The target triple that this machine's programs are built for.
pub(crate) fn host_target() -> Result<String> {
    let text = shell::capture(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn metadata() -> Result<Value> {
    let text = shell::capture(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    serde_json::from_str(&text).context("reading the output of cargo metadata")
}

fn integration_tests(metadata: &Value) -> Vec<TestTarget> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .flat_map(|package| {
            let targets = package["targets"].as_array().into_iter().flatten();
            targets
                .filter(|target| target["kind"][0] == "test")
                .filter_map(|target| {
                    Some(TestTarget {
                        package: package["name"].as_str()?.to_owned(),
                        name: target["name"].as_str()?.to_owned(),
                    })
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integration_tests_other_targets_are_left_out() {
        let metadata = json!({"packages": [
            {"name": "a", "targets": [{"kind": ["lib"], "name": "a"}, {"kind": ["test"], "name": "kernel_exec"}]},
            {"name": "b", "targets": [{"kind": ["bin"], "name": "b"}]},
        ]});
        let found = integration_tests(&metadata);
        assert_eq!(
            found,
            [TestTarget {
                package: "a".into(),
                name: "kernel_exec".into()
            }]
        );
    }
}
