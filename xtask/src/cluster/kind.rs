//! The kind provider: nodes in Docker containers, where Docker and kind exist.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

use super::Options;
use crate::shell::{capture, run, which};

/// The cluster's name.
const NAME: &str = "weir";
/// Its context in a kubeconfig.
pub(crate) const CONTEXT: &str = "kind-weir";

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

    /// Whether the kubeconfig of this checkout leads to a cluster of kind's.
    pub(crate) fn is_there(kubeconfig: &Path) -> bool {
        std::fs::read_to_string(kubeconfig).is_ok_and(|text| text.contains(CONTEXT))
    }

    /// Fails when something is asked for that kind cannot make.
    fn check(&self, options: &Options) -> Result<()> {
        if let Some(node) = options.masked_tracefs_node {
            bail!(
                "--masked-tracefs-node {node}: kind's nodes all see the host's tracefs; use `--provider local`"
            );
        }
        let text = std::fs::read_to_string(&self.config)
            .with_context(|| format!("reading {}", self.config.display()))?;
        let workers = workers(&text);
        match options.nodes {
            Some(nodes) if usize::from(nodes) != workers => bail!(
                "--nodes {nodes}: {} has {workers} workers; change it, or use `--provider local`",
                self.config.display()
            ),
            _ => Ok(()),
        }
    }

    pub(crate) fn up(&self, options: &Options) -> Result<()> {
        self.check(options)?;
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

/// The nodes of a configuration that run ordinary pods.
fn workers(config: &str) -> usize {
    config
        .lines()
        .filter(|line| line.trim() == "- role: worker")
        .count()
}

fn kind(arguments: &[&str]) -> Command {
    let mut command = Command::new("kind");
    command.args(arguments).args(["--name", NAME]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    fn kind() -> Kind {
        Kind {
            config: workspace::root().join("kind-config.yaml"),
            kubeconfig: PathBuf::new(),
        }
    }

    fn options(nodes: Option<u8>, masked_tracefs_node: Option<u8>) -> Options {
        Options {
            nodes,
            masked_tracefs_node,
            no_images: false,
        }
    }

    #[test]
    fn check_what_kind_cannot_make_is_refused_with_the_remedy() {
        let kind = kind();
        for good in [None, Some(2)] {
            kind.check(&options(good, None)).unwrap();
        }
        for bad in [options(Some(3), None), options(Some(2), Some(2))] {
            let error = kind.check(&bad).unwrap_err().to_string();
            assert!(error.contains("--provider local"), "{error}");
        }
    }

    #[test]
    fn every_node_of_the_configuration_has_tracefs() {
        let text = std::fs::read_to_string(kind().config).unwrap();
        let nodes = text
            .lines()
            .filter(|line| line.trim_start().starts_with("- role:"))
            .count();
        let mounts = text
            .lines()
            .filter(|line| line.trim_start().starts_with("extraMounts:"))
            .count();
        assert_eq!(nodes, mounts);
    }
}
