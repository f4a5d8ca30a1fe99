//! A cluster of our own with Weir's images in it, for as long as somebody needs it; it goes in any case.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::{self, Means};
use crate::in_use::{HOLDER, InUse};
use crate::shell;
use crate::workspace;

/// The archives that `cargo xtask images` makes for this machine.
const ARCHIVES: [&str; 4] = ["agent.tar", "operator.tar", "nats.tar", "testbox.tar"];
/// What is applied first; see `manifests/default/kustomization.yaml`.
pub(crate) const DEFAULT: &str = "manifests/default";
const NOTHING: [&str; 0] = [];
/// A broker, a sink and a first profile.
pub(crate) const QUICKSTART: &str = "manifests/quickstart";

/// A running cluster. Dropping it takes it away.
pub(crate) struct Deployed {
    xtask: PathBuf,
    path: OsString,
    means: Means,
    in_use: InUse,
}

/// Builds every image for this machine.
pub(crate) fn build_images(path: &OsStr) -> Result<()> {
    let mut images = Command::new(env::current_exe().context("looking for our own program")?);
    images.args(["images", "--platform"]);
    images.arg(crate::release::Platform::host()?.name);
    shell::run(images.env("PATH", path))
}

impl Deployed {
    /// Brings a cluster up with `options` of `cargo xtask cluster up`, and loads the images that were built. It begins with
    /// nothing: what a run that was cut off has left is taken away, and a person's cluster is not touched.
    pub(crate) fn up(means: Option<Means>, options: &[&str], path: &OsStr) -> Result<Self> {
        let mut in_use = InUse::take(&workspace::target_directory()?)?;
        let there = cluster::present()?;
        if let Some(there) = there
            && !in_use.is_left_behind()
        {
            bail!(
                "a cluster of the provider {} is up that this command did not make, and it takes none but its own: \
                 `cargo xtask cluster down` first. To run the tests on yours: `cargo test -p weir-e2e`",
                there.name()
            );
        }
        in_use.mark(&format!("`{}`, process {}\n", command_line(), std::process::id()))?;
        let mut cluster = Self {
            xtask: env::current_exe().context("looking for our own program")?,
            path: path.to_owned(),
            means: there.or(means).unwrap_or_else(cluster::default_means),
            in_use,
        };
        if there.is_some() {
            println!("taking away the cluster of a run that was cut off");
            cluster.xtask(&["down"], &NOTHING)?;
            cluster.means = means.unwrap_or_else(cluster::default_means);
        }
        cluster.xtask(&["up", "--no-images"], options)?;
        let images = workspace::target_directory()?.join("images");
        let archives: Vec<OsString> = ARCHIVES.iter().map(|name| images.join(name).into()).collect();
        cluster.xtask(&["load"], &archives)?;
        Ok(cluster)
    }

    /// Runs `cargo xtask cluster up` with `options` as a user types it, which builds and loads the images by itself.
    pub(crate) fn up_again(&self, options: &[&str]) -> Result<()> {
        self.xtask(&["up"], options)
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
        let mut environment = vec![
            ("WEIR_XTASK", self.xtask.clone().into_os_string()),
            // The tests change no cluster that nobody has named.
            ("WEIR_E2E_CONTEXT", self.means.context().into()),
        ];
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
        command.args(["cluster", "--provider", self.means.name()]);
        command.args(action).args(arguments);
        command.env("PATH", &self.path).env(HOLDER, "1");
        command
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let down = shell::clean_up(&mut self.xtask_command(&["down"], &NOTHING));
        if let Err(error) = down.and_then(|()| self.in_use.mark("")) {
            eprintln!(
                "the cluster could not be taken away: {error:#}; `cargo xtask cluster down` tries again"
            );
        }
    }
}

/// How this program was called, for whoever finds its cluster in use.
fn command_line() -> String {
    let words: Vec<String> = env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}

fn local_folder() -> Result<PathBuf> {
    Ok(Path::new(&workspace::target_directory()?).join("cluster"))
}
