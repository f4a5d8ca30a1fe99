//! What a running local cluster was asked to be, so that later commands need no arguments.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Options;
use super::command::write;
use super::layout::{Layout, Node};

/// The cluster's own record of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) nodes: u8,
    /// The node whose pods find an empty folder where tracefs should be.
    pub(crate) masked_tracefs: Option<Node>,
    /// The API server's port on the host's loopback.
    pub(crate) host_port: u16,
    /// The binary of the components, as it was when the cluster came up: a changed checkout names another.
    pub(crate) kube: PathBuf,
    /// What it took until all nodes were ready; nothing while they are not.
    pub(crate) ready_millis: Option<u64>,
}

impl State {
    pub(crate) fn new(options: &Options, host_port: u16, kube: &Path) -> Self {
        Self {
            nodes: options.nodes(),
            masked_tracefs: options.masked_tracefs_node.map(Node),
            host_port,
            kube: kube.to_owned(),
            ready_millis: None,
        }
    }

    pub(crate) fn is_as_wanted(&self, options: &Options, kube: &Path) -> bool {
        let wanted = Self {
            ready_millis: self.ready_millis,
            ..Self::new(options, self.host_port, kube)
        };
        *self == wanted
    }

    pub(crate) fn save(&self, layout: &Layout) -> Result<()> {
        let masked = self.masked_tracefs.map(|node| node.0);
        let value = json!({"nodes": self.nodes, "maskedTracefsNode": masked, "hostPort": self.host_port, "kube": self.kube, "readyMillis": self.ready_millis});
        write(&layout.state(), format!("{value:#}\n"))
    }

    pub(crate) fn load(layout: &Layout) -> Result<Self> {
        let path = layout.state();
        let text =
            fs::read_to_string(&path).context("there is no local cluster: `cargo xtask cluster up` first")?;
        Self::parse(&text)
            .with_context(|| format!("{} is damaged: `cargo xtask cluster down`", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |name: &str| value[name].as_u64();
        Some(Self {
            nodes: u8::try_from(number("nodes")?).ok()?,
            masked_tracefs: number("maskedTracefsNode")
                .and_then(|node| u8::try_from(node).ok())
                .map(Node),
            host_port: u16::try_from(number("hostPort")?).ok()?,
            kube: value["kube"].as_str()?.into(),
            ready_millis: number("readyMillis"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_state_loads_back() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        for masked in [None, Some(Node(2))] {
            let state = State {
                nodes: 2,
                masked_tracefs: masked,
                host_port: 17001,
                kube: "/kube".into(),
                ready_millis: masked.map(|_| 29_000),
            };
            state.save(&layout).unwrap();
            assert_eq!(State::load(&layout).unwrap(), state);
        }
    }

    #[test]
    fn damaged_state_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        write(&layout.state(), "{\"nodes\": 999}").unwrap();
        let error = State::load(&layout).unwrap_err();
        assert!(error.to_string().contains("cargo xtask cluster down"), "{error}");
    }

    #[test]
    fn other_options_want_another_cluster() {
        let kube = Path::new("/kube");
        let state = State {
            nodes: 2,
            masked_tracefs: None,
            host_port: 1,
            kube: kube.to_owned(),
            ready_millis: Some(1),
        };
        let options = |nodes, masked_tracefs_node| Options {
            nodes: Some(nodes),
            masked_tracefs_node,
            no_images: true,
        };
        assert!(state.is_as_wanted(&options(2, None), kube));
        assert!(!state.is_as_wanted(&options(1, None), kube));
        assert!(!state.is_as_wanted(&options(2, Some(1)), kube));
        assert!(!state.is_as_wanted(&options(2, None), Path::new("/newer")));
    }
}
