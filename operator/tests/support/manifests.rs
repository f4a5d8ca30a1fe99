//! Reads the manifests, as they are and as kubectl's kustomize renders them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the checkout.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let mut bytes = text.as_bytes();
    serde_saphyr::read::<_, Value>(&mut bytes)
        .map(|document| document.unwrap_or_else(|error| panic!("not YAML: {error}")))
        .filter(|document| !document.is_null())
        .collect()
}

/// A folder of the checkout as kubectl's kustomize renders it, where there is one.
pub(crate) fn kustomize(folder: &str) -> Option<Vec<Value>> {
    let output = match Command::new("kubectl")
        .arg("kustomize")
        .arg(root().join(folder))
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "kubectl is needed in CI: {error}"
            );
            eprintln!("SKIPPED: kubectl is not installed, {folder} was not rendered");
            return None;
        }
    };
    assert!(
        output.status.success(),
        "{folder}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(documents(&String::from_utf8_lossy(&output.stdout)))
}
