//! A cluster of our own with Weir's images in it, for as long as somebody needs it; it goes in any case.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;
use crate::workspace;

/// The archives that `cargo xtask images` makes for this machine.
const ARCHIVES: [&str; 4] = ["agent.tar", "operator.tar", "nats.tar", "testbox.tar"];
/// What is applied first; see `manifests/default/kustomization.yaml`.
pub(crate) const DEFAULT: &str = "manifests/default";
/// A broker, a sink and a first profile.
pub(crate) const QUICKSTART: &str = "manifests/quickstart";

/// A running cluster. Dropping it takes it away.
pub(crate) struct Deployed {
    xtask: PathBuf,
    path: OsString,
}

/// Builds every image for this machine.
pub(crate) fn build_images(path: &OsStr) -> Result<()> {
    let mut images = Command::new(env::current_exe().context("looking for our own program")?);
    images.args(["images", "--platform"]);
    images.arg(crate::release::Platform::host()?.name);
    shell::run(images.env("PATH", path))
}

impl Deployed {
    /// Brings a cluster up with `options` of `cargo xtask cluster up`, and loads the images that were built.
    pub(crate) fn up(options: &[&str], path: &OsStr) -> Result<Self> {
        let cluster = Self {
            xtask: env::current_exe().context("looking for our own program")?,
            path: path.to_owned(),
        };
        cluster.xtask(&["up"], options)?;
        let images = workspace::target_directory()?.join("images");
        let archives: Vec<OsString> = ARCHIVES.iter().map(|name| images.join(name).into()).collect();
        cluster.xtask(&["load"], &archives)?;
        Ok(cluster)
    }

    /// Runs kubectl with what it prints on our terminal.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<()> {
        shell::run(&mut self.kubectl_command(arguments)?)
    }

    /// kubectl for this cluster.
    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let own = local_folder()?.join("bin/kubectl");
        let mut command = Command::new(if own.exists() { own } else { "kubectl".into() });
        command.current_dir(workspace::root()).args(arguments);
        command.env("PATH", &self.path).envs(self.environment()?);
        Ok(command)
    }

    /// What tests and tools need to find this cluster.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let mut environment = vec![("WEIR_XTASK", self.xtask.clone().into_os_string())];
        // kind writes the user's own kubeconfig.
        let kubeconfig = local_folder()?.join("kubeconfig");
        if kubeconfig.exists() {
            environment.push(("KUBECONFIG", kubeconfig.into_os_string()));
        }
        Ok(environment)
    }

    fn xtask(&self, action: &[&str], arguments: &[impl AsRef<OsStr>]) -> Result<()> {
        shell::run(&mut self.xtask_command(action, arguments))
    }

    fn xtask_command(&self, action: &[&str], arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.xtask);
        command.arg("cluster").args(action).args(arguments);
        command.env("PATH", &self.path);
        command
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let none: [&str; 0] = [];
        if let Err(error) = shell::clean_up(&mut self.xtask_command(&["down"], &none)) {
            eprintln!(
                "the cluster could not be taken away: {error:#}; `cargo xtask cluster down` tries again"
            );
        }
    }
}

fn local_folder() -> Result<PathBuf> {
    Ok(Path::new(&workspace::target_directory()?).join("cluster"))
}
