//! The local provider: real Kubernetes components as plain processes in network namespaces of their own.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::command::{in_netns, in_node};
use super::component::Component;
use super::layout::{API_PORT, CONTROL_ADDRESS, CONTROL_NETNS, HOST_API_PORT, Layout, Node};
use super::process::{self, wait_for};
use super::state::State;
use super::{Options, cgroup, config, kubeconfig, network, node, pki, teardown};
use crate::shell::capture;

/// The API server answers after 3 to 5 s on two busy cores.
const API_LIMIT: Duration = Duration::from_mins(1);
const NODE_LIMIT: Duration = Duration::from_secs(90);

/// A cluster on this machine.
pub(crate) struct Local {
    pub(super) layout: Layout,
    /// The binary that holds the Kubernetes components.
    pub(super) kube: PathBuf,
}

impl Local {
    /// Brings the cluster up; one that runs with these options already is left as it is.
    pub(crate) fn up(&self, options: &Options) -> Result<()> {
        let start = Instant::now();
        if self.is_up(options) {
            println!("the cluster is up already");
            return Ok(());
        }
        teardown::claim(&self.layout)?;
        teardown::down(&self.layout, &self.kube)?;
        teardown::mark_owner(&self.layout)?;
        let mut state = State::new(options, free_port(HOST_API_PORT)?, &self.kube);
        state.save(&self.layout)?;
        self.prepare(&state)?;
        self.start_all(&state)?;
        state.ready_millis = u64::try_from(start.elapsed().as_millis()).ok();
        state.save(&self.layout)?;
        let nodes = if state.nodes == 1 { "node" } else { "nodes" };
        println!(
            "{} {nodes} ready after {:.1} s",
            state.nodes,
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn is_up(&self, options: &Options) -> bool {
        let Ok(state) = State::load(&self.layout) else {
            return false;
        };
        state.is_as_wanted(options, &self.kube)
            && Component::all(state.nodes)
                .iter()
                .all(|component| process::running(&self.layout, &component.to_string()).is_some())
            && self.kubectl(&["get", "--raw=/readyz"]).is_ok()
    }

    fn prepare(&self, state: &State) -> Result<()> {
        pki::write(&self.layout, state.nodes)?;
        kubeconfig::write(&self.layout, state.nodes, state.host_port)?;
        config::write_all(&self.layout, state.nodes)?;
        self.link_kubectl()?;
        network::create(state.nodes).context("creating the cluster's network")?;
        Node::all(state.nodes)
            .try_for_each(cgroup::create)
            .context("creating the nodes' cgroups")
    }

    fn start_all(&self, state: &State) -> Result<()> {
        let all = Component::all(state.nodes);
        let needs_api = |component: &Component| {
            !matches!(
                component,
                Component::Etcd
                    | Component::Apiserver
                    | Component::Forward
                    | Component::Holder(_)
                    | Component::Containerd(_)
            )
        };
        for component in all.iter().filter(|component| !needs_api(component)) {
            self.start(*component, state)?;
        }
        for node in Node::all(state.nodes) {
            self.import(node, &self.layout.pause_image())?;
        }
        wait_for("an answer of the API server", API_LIMIT, || {
            self.kubectl(&["get", "--raw=/readyz"])
        })
        .with_context(|| self.hint(Component::Apiserver))?;
        for component in all.iter().filter(|component| needs_api(component)) {
            self.start(*component, state)?;
        }
        let dns = self.layout.config("dns.yaml").display().to_string();
        self.kubectl(&["apply", "--server-side", "-f", &dns])?;
        for node in Node::all(state.nodes) {
            self.wait_until_ready(node)
                .with_context(|| self.hint(Component::Kubelet(node)))?;
        }
        // Without it the first pod of the namespace is refused.
        wait_for("the default service account", API_LIMIT, || {
            self.kubectl(&["get", "serviceaccount", "default", "--namespace=default"])
        })
        .with_context(|| self.hint(Component::ControllerManager))?;
        // One that ended after it was started would otherwise show only in what it leaves undone.
        match all
            .iter()
            .find(|component| process::running(&self.layout, &component.to_string()).is_none())
        {
            Some(component) => Err(anyhow!("{component} ended").context(self.hint(*component))),
            None => Ok(()),
        }
    }

    fn wait_until_ready(&self, node: Node) -> Result<()> {
        let path = "jsonpath={range .status.conditions[?(@.type=='Ready')]}{.status} {.message}{end}";
        wait_for("a ready node", NODE_LIMIT, || {
            let ready = self.kubectl(&["get", "node", &node.name(), "-o", path])?;
            if !ready.starts_with("True") {
                bail!("{}: Ready is {ready:?}", node.name());
            }
            Ok(())
        })
    }

    /// Starts one component. It must not run already.
    pub(crate) fn start(&self, component: Component, state: &State) -> Result<()> {
        let name = component.to_string();
        if process::running(&self.layout, &name).is_some() {
            bail!("{name} runs already");
        }
        let mut command = match component.node() {
            None => in_netns(CONTROL_NETNS),
            Some(node) if matches!(component, Component::Holder(_)) => in_netns(&node.netns()),
            Some(node) => in_node(&node.netns(), self.holder(node)?),
        };
        command.args(component.command_line(&self.layout, &self.kube));
        command.current_dir(self.layout.root());
        let stdin = match component {
            // The socket stays in the host's network namespace, wherever the process that accepts from it is.
            Component::Forward => {
                let address = ("127.0.0.1", state.host_port);
                let listener = TcpListener::bind(address)
                    .with_context(|| format!("listening on 127.0.0.1:{}", state.host_port))?;
                Stdio::from(OwnedFd::from(listener))
            }
            _ => Stdio::null(),
        };
        let pid = process::start(&self.layout, &name, &mut command, stdin)?;
        if let Some(node) = component.node() {
            cgroup::join(node, pid)?;
        }
        match component {
            Component::Holder(node) => {
                node::mount(&self.layout, node, pid, state.masked_tracefs == Some(node))
            }
            Component::Containerd(node) => {
                wait_for("an answer of containerd", Duration::from_secs(20), || {
                    capture(self.ctr(node)?.arg("version"))
                })
                .with_context(|| self.hint(component))
                .map(drop)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn stop(&self, component: Component) -> Result<()> {
        process::stop(&self.layout, &component.to_string())
    }

    /// Imports an image archive into every node.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        let state = State::load(&self.layout)?;
        let archive = archive
            .canonicalize()
            .with_context(|| format!("finding the image archive {}", archive.display()))?;
        for node in Node::all(state.nodes) {
            self.import(node, &archive)?;
        }
        Ok(())
    }

    fn import(&self, node: Node, archive: &Path) -> Result<()> {
        capture(
            self.ctr(node)?
                .args(["images", "import", "--no-unpack=false"])
                .arg(archive),
        )
        .with_context(|| format!("importing {} into {}", archive.display(), node.name()))
        .map(drop)
    }

    fn ctr(&self, node: Node) -> Result<Command> {
        let mut command = in_node(&node.netns(), self.holder(node)?);
        command.args(["ctr", "--namespace=k8s.io"]);
        Ok(command)
    }

    /// Runs a command that sees the cluster as a pod does: its addresses, its names, and the administrator's rights.
    pub(crate) fn run(&self, arguments: &[OsString]) -> Result<ExitStatus> {
        State::load(&self.layout)?;
        let own_names = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let mut command = in_netns(CONTROL_NETNS);
        command
            .args(["unshare", "--mount", "sh", "-c", own_names])
            .arg(self.layout.resolv_conf());
        command.args(arguments);
        command
            .env("KUBECONFIG", self.layout.inner_kubeconfig())
            .env("PATH", self.path_with_kubectl()?);
        command
            .status()
            .context("starting nsenter: is util-linux installed?")
    }

    fn holder(&self, node: Node) -> Result<u32> {
        process::running(&self.layout, &Component::Holder(node).to_string())
            .map(|identity| identity.pid)
            .with_context(|| format!("{} is not up: `cargo xtask cluster up` first", node.name()))
    }

    /// `kubectl`, for those who have none: the components' binary is it when called by this name.
    fn link_kubectl(&self) -> Result<()> {
        let link = self.bin().join("kubectl");
        fs::create_dir_all(self.bin()).with_context(|| format!("creating {}", self.bin().display()))?;
        std::os::unix::fs::symlink(&self.kube, &link).with_context(|| format!("linking {}", link.display()))
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.layout.root().join("bin")
    }

    fn path_with_kubectl(&self) -> Result<OsString> {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.bin()).chain(std::env::split_paths(&old));
        std::env::join_paths(folders).context("a folder on PATH contains a colon")
    }

    /// Runs kubectl inside the cluster's network.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = in_netns(CONTROL_NETNS);
        command.arg(&self.kube).arg("kubectl").arg("--request-timeout=5s");
        command
            .arg(format!(
                "--kubeconfig={}",
                self.layout.inner_kubeconfig().display()
            ))
            .args(arguments);
        capture(&mut command)
    }

    /// Says where to look when a component does not do its work.
    fn hint(&self, component: Component) -> String {
        let path = self.layout.log(&component.to_string());
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        format!(
            "{component} of https://{CONTROL_ADDRESS}:{API_PORT}; its log is {}, ending:\n{last}\n",
            path.display()
        )
    }
}

/// The first port from `first` on that nobody listens on.
fn free_port(first: u16) -> Result<u16> {
    (first..first.saturating_add(100))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .with_context(|| format!("the ports {first} to {} of 127.0.0.1 are all in use", first + 99))
}
