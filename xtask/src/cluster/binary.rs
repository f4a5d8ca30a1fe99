//! The Kubernetes components: built from `e2e/cluster`, kept among the other tools, keyed by the module's content.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::tools::{Ctx, go};
use crate::{shell, workspace};

const VERSION: &str = "1.34.4";
const PROGRAM: &str = "weir-kube";
const WHY: &str =
    "etcd, Kubernetes and CoreDNS for the local cluster, built from their Go modules (about 4 minutes, once)";
const SOURCES: [&str; 4] = ["go.mod", "go.sum", "main.go", "forward.go"];

/// Returns the program, building it when this version of the module was not built before.
pub(crate) fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    let module = module();
    let flags = linker_flags();
    let version = version(&module, &flags)?;
    let directory = ctx.directory("kube", &version);
    let program = directory.join(PROGRAM);
    if program.is_file() {
        ctx.found("weir-kube", &version, &program.display().to_string());
        return Ok(program);
    }
    let go = go::ensure(ctx)?;
    ctx.install("weir-kube", &version, WHY, &program.display().to_string(), || {
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        // A build that is cut off must not look like a finished one.
        let unfinished = directory.join("weir-kube.unfinished");
        let mut build = Command::new(&go);
        build.current_dir(&module).args([
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &flags,
        ]);
        build.arg("-o").arg(&unfinished).arg(".");
        build
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("GOFLAGS", "");
        shell::run(&mut build)?;
        fs::rename(&unfinished, &program)
            .with_context(|| format!("moving the build to {}", program.display()))
    })?;
    Ok(program)
}

fn version(module: &Path, flags: &str) -> Result<String> {
    Ok(format!("{VERSION}-{}", fingerprint(module, flags)?))
}

/// The folder of the Go module.
pub(crate) fn module() -> PathBuf {
    workspace::root().join("e2e/cluster")
}

/// What `kubectl version` and the nodes report; without it they say v0.0.0.
fn linker_flags() -> String {
    let mut numbers = VERSION.split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let version = "k8s.io/component-base/version";
    format!(
        "-s -w -X {version}.gitVersion=v{VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor} \
         -X {version}.gitTreeState=clean -X {version}.buildDate=1970-01-01T00:00:00Z"
    )
}

fn fingerprint(module: &Path, flags: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for name in SOURCES {
        let path = module.join(name);
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        hash.update(format!("{name} {}\n", content.len()));
        hash.update(content);
    }
    hash.update(flags);
    let mut text = String::new();
    for byte in hash.finalize().iter().take(6) {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_follows_the_content() {
        let folder = tempfile::tempdir().unwrap();
        for name in SOURCES {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let before = fingerprint(folder.path(), "flags").unwrap();
        assert_eq!(fingerprint(folder.path(), "flags").unwrap(), before);
        assert_ne!(fingerprint(folder.path(), "other").unwrap(), before);
        fs::write(folder.path().join("go.sum"), "changed").unwrap();
        assert_ne!(fingerprint(folder.path(), "flags").unwrap(), before);
        assert_eq!(before.len(), 12);
    }

    #[test]
    fn every_source_of_the_module_is_in_the_fingerprint() {
        let entries = fs::read_dir(module()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let go: Vec<String> = names
            .filter(|name| {
                name.starts_with("go.") || Path::new(name).extension().is_some_and(|kind| kind == "go")
            })
            .collect();
        assert_eq!(go.len(), SOURCES.len(), "{go:?}");
    }
}
