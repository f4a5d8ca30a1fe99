//! The kind provider: nodes in Docker containers, where Docker and kind exist.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

use crate::shell::{capture, run, which};

/// The cluster's name; its context in a kubeconfig is `kind-weir`.
const NAME: &str = "weir";

/// A cluster that kind keeps.
pub(crate) struct Kind {
    /// `kind-config.yaml` of the checkout, which says how many nodes there are.
    pub(crate) config: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Kind {
    /// Whether this machine has what kind needs, and a Docker that answers.
    pub(crate) fn is_available() -> bool {
        which("kind").is_some()
            && which("docker").is_some()
            && capture(Command::new("docker").arg("info")).is_ok()
    }

    pub(crate) fn up(&self) -> Result<()> {
        if Self::exists()? {
            println!("the cluster is up already");
        } else {
            let mut kind = kind(&["create", "cluster", "--wait=120s"]);
            run(kind
                .arg("--config")
                .arg(&self.config)
                .arg("--kubeconfig")
                .arg(&self.kubeconfig))?;
        }
        // Also into the user's own file, as kind itself does by default.
        run(&mut kind(&["export", "kubeconfig"]))
    }

    pub(crate) fn down(&self) -> Result<()> {
        run(&mut kind(&["delete", "cluster"]))?;
        match std::fs::remove_file(&self.kubeconfig) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.kubeconfig.display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn load(archive: &Path) -> Result<()> {
        run(kind(&["load", "image-archive"]).arg(archive))
    }

    pub(crate) fn status(&self) -> Result<()> {
        let mut kubectl = Command::new("kubectl");
        run(kubectl
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .args(["get", "nodes", "-o", "wide"]))
    }

    /// kind publishes the API server on the host, so a command needs nothing but the kubeconfig.
    pub(crate) fn run(&self, arguments: &[OsString]) -> Result<ExitStatus> {
        let (program, rest) = arguments.split_first().context("`run` needs a command")?;
        let mut command = Command::new(program);
        command.args(rest).env("KUBECONFIG", &self.kubeconfig);
        command
            .status()
            .with_context(|| format!("starting {}", program.display()))
    }

    fn exists() -> Result<bool> {
        Ok(capture(Command::new("kind").args(["get", "clusters"]))?
            .lines()
            .any(|name| name == NAME))
    }
}

fn kind(arguments: &[&str]) -> Command {
    let mut command = Command::new("kind");
    command.args(arguments).args(["--name", NAME]);
    command
}
