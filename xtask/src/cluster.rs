//! `cargo xtask cluster`: a real cluster for people and tests, by whichever means this machine has.

mod binary;
mod cgroup;
mod command;
mod component;
mod config;
mod kind;
mod kubeconfig;
mod layout;
mod local;
mod network;
mod node;
mod pki;
mod prepare;
mod process;
mod state;
mod status;
mod teardown;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};

use self::component::Component;
use self::kind::Kind;
use self::layout::{Layout, MAX_NODES, Node};
use self::local::Local;
use self::state::State;
use crate::in_use::{HOLDER, InUse};
use crate::tools::is_root;
use crate::{shell, workspace};

/// Arguments of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How the cluster is made [default: kind where Docker and kind work, otherwise local]
    #[arg(long, value_enum, global = true)]
    pub(crate) provider: Option<Means>,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// Archives of the images that `manifests` name, as `cargo xtask images` writes them.
const IMAGES: [&str; 3] = ["agent.tar", "operator.tar", "nats.tar"];

/// A way to make a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Means {
    /// Nodes in Docker containers, as kind-config.yaml says
    Kind,
    /// Real components as processes in network namespaces; needs root
    Local,
}

/// What is done with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Bring a cluster up, taking remains of an earlier one away first
    Up(Options),
    /// Take the cluster away, also after a crash
    Down,
    /// Show the components and nodes
    Status,
    /// Load image archives into every node
    Load {
        /// Archives as `cargo xtask images` writes them
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Run a command that sees the cluster: KUBECONFIG, its addresses, its names
    Run {
        /// The command, after `--`
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Stop one component of a local cluster, as `status` names it
    StopComponent { name: String },
    /// Start a stopped component again
    StartComponent { name: String },
    /// Cut a local node off from the network
    Partition { node: String },
    /// Join a node that was cut off
    Heal { node: String },
}

/// What `up` makes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Number of nodes that run pods [default: 1; kind: what kind-config.yaml says]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    pub(crate) nodes: Option<u8>,
    /// The number of one node to be without tracefs, where no hook can be attached (local provider)
    #[arg(long, value_name = "N")]
    pub(crate) masked_tracefs_node: Option<u8>,
    /// Only the cluster: neither build nor load the images that the manifests name
    #[arg(long)]
    pub(crate) no_images: bool,
}

impl Options {
    /// Of a local cluster.
    fn nodes(&self) -> u8 {
        self.nodes.unwrap_or(1)
    }
}

/// A cluster, however it is made.
enum Provider {
    Kind(Kind),
    Local(Local),
}

impl Means {
    /// As `--provider` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Local => "local",
        }
    }

    /// The context that its kubeconfig leads to.
    pub(crate) fn context(self) -> &'static str {
        match self {
            Self::Kind => kind::CONTEXT,
            Self::Local => layout::CONTEXT,
        }
    }
}

/// Runs `cargo xtask cluster`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let layout = layout()?;
    let is_up = matches!(args.action, Action::Up(_));
    let means = choose(args.provider, there(&layout)?, is_up, Kind::is_available)?;
    if prepare::is_first_run() {
        // A cluster that tests work on is theirs; one that is brought up by hand is its user's from then on.
        if (is_up || matches!(args.action, Action::Down)) && std::env::var_os(HOLDER).is_none() {
            InUse::take(&workspace::target_directory()?)?.mark("")?;
        }
        if let Action::Up(options) = &args.action {
            check(options)?;
            if !options.no_images {
                prepare::images()?;
            }
        }
    }
    let provider = match means {
        Means::Kind => Provider::Kind(Kind {
            config: workspace::root().join("kind-config.yaml"),
            kubeconfig: layout.kubeconfig(),
        }),
        Means::Local => {
            let local = prepare::local(&args.action, layout)?;
            if !is_root() {
                return prepare::as_root();
            }
            Provider::Local(local)
        }
    };
    provider.perform(&args.action)
}

fn layout() -> Result<Layout> {
    Ok(Layout::new(workspace::target_directory()?.join("cluster")))
}

fn check(options: &Options) -> Result<()> {
    let nodes = options.nodes();
    match options.masked_tracefs_node {
        Some(masked) if !(1..=nodes).contains(&masked) => {
            bail!("--masked-tracefs-node {masked}: there are nodes 1 to {nodes}")
        }
        _ => Ok(()),
    }
}

/// By which means this checkout's cluster was made, if there is one.
pub(crate) fn present() -> Result<Option<Means>> {
    there(&layout()?)
}

/// What will make a cluster when nobody says by which means.
pub(crate) fn default_means() -> Means {
    if Kind::is_available() {
        Means::Kind
    } else {
        Means::Local
    }
}

/// What the nodes of the local cluster took to become ready, from nothing.
pub(crate) fn ready_after() -> Result<Option<Duration>> {
    Ok(State::load(&layout()?)?.ready_millis.map(Duration::from_millis))
}

fn there(layout: &Layout) -> Result<Option<Means>> {
    Ok(if teardown::is_there(layout)? {
        Some(Means::Local)
    } else if Kind::is_there(&layout.kubeconfig()) {
        Some(Means::Kind)
    } else {
        None
    })
}

/// The cluster that is there decides, so that `down` finds what `up` made, also when its state was deleted.
fn choose(
    wanted: Option<Means>,
    there: Option<Means>,
    is_up: bool,
    has_kind: impl FnOnce() -> bool,
) -> Result<Means> {
    match (wanted, there) {
        (Some(wanted), Some(there)) if is_up && wanted != there => bail!(
            "--provider {}: a cluster of the provider {} is up, and a checkout holds one: `cargo xtask cluster down` first",
            wanted.name(),
            there.name()
        ),
        (Some(means), _) | (None, Some(means)) => Ok(means),
        (None, None) if has_kind() => Ok(Means::Kind),
        (None, None) => Ok(Means::Local),
    }
}

impl Provider {
    fn perform(&self, action: &Action) -> Result<()> {
        // Held to the end: two that build and take away the same namespaces would meet half-way.
        let _lock = if matches!(action, Action::Status | Action::Run { .. }) {
            None
        } else {
            Some(lock()?)
        };
        match (self, action) {
            (Self::Kind(kind), Action::Up(options)) => {
                kind.up(options)?;
                load_images(options, Kind::load)
            }
            (Self::Kind(kind), Action::Down) => kind.down(),
            (Self::Kind(kind), Action::Status) => kind.status(),
            (Self::Kind(_), Action::Load { archives }) => {
                archives.iter().try_for_each(|path| Kind::load(path))
            }
            (Self::Kind(kind), Action::Run { command }) => kind.run(command).map(finish),
            (Self::Kind(_), _) => {
                bail!("kind's components cannot be stopped one by one: use `--provider local`")
            }
            (Self::Local(local), Action::Up(options)) => {
                up(local, options)?;
                load_images(options, |archive| local.load(archive))
            }
            (Self::Local(local), Action::Down) => {
                teardown::claim(&local.layout)?;
                teardown::down(&local.layout, &local.kube)?;
                prepare::give_remains_to_user(&local.layout)
            }
            (Self::Local(local), Action::Status) => status::print(local),
            (Self::Local(local), Action::Load { archives }) => {
                archives.iter().try_for_each(|path| local.load(path))
            }
            (Self::Local(local), Action::Run { command }) => local.run(command).map(finish),
            (Self::Local(local), Action::StopComponent { name }) => local.stop(component(name, local)?),
            (Self::Local(local), Action::StartComponent { name }) => {
                local.start(component(name, local)?, &State::load(&local.layout)?)
            }
            (Self::Local(local), Action::Partition { node: name }) => {
                network::set_connected(node(name, local)?, false)
            }
            (Self::Local(local), Action::Heal { node: name }) => {
                network::set_connected(node(name, local)?, true)
            }
        }
    }
}

/// Loads what the manifests name, so that applying them is all that is left to do.
fn load_images(options: &Options, load: impl Fn(&Path) -> Result<()>) -> Result<()> {
    if options.no_images {
        return Ok(());
    }
    let folder = workspace::target_directory()?.join("images");
    println!("loading {} from {}", IMAGES.join(", "), folder.display());
    IMAGES.iter().try_for_each(|name| load(&folder.join(name)))?;
    println!("next: `kubectl apply -k manifests/default`, `kubectl apply -k manifests/quickstart`");
    Ok(())
}

fn up(local: &Local, options: &Options) -> Result<()> {
    local.up(options)?;
    let home = std::env::var_os("HOME").context("HOME does not say where your kubeconfig is")?;
    println!(
        "{}",
        kubeconfig::publish(&local.layout, &local.kube, Path::new(&home))?
    );
    if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        println!(
            "KUBECONFIG is set in your shell and wins: `export KUBECONFIG={}`",
            local.layout.kubeconfig().display()
        );
    }
    if shell::which("kubectl").is_none() {
        println!(
            "kubectl is not installed; one is in {0}: `export PATH={0}:$PATH`",
            local.bin().display()
        );
    }
    prepare::give_to_user(local)
}

/// Waits until no other `cargo xtask cluster` of this checkout changes its cluster.
fn lock() -> Result<File> {
    let path = workspace::target_directory()?.join("cluster.lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    file.lock()
        .with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// The command's own exit code is ours.
fn finish(status: ExitStatus) {
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
}

/// A component of the cluster that is up.
fn component(name: &str, local: &Local) -> Result<Component> {
    let all = Component::all(State::load(&local.layout)?.nodes);
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    let place = names.iter().position(|other| other == name);
    place
        .and_then(|place| all.get(place).copied())
        .with_context(|| format!("no component {name}; there are {}", names.join(", ")))
}

/// A node of the cluster that is up.
fn node(name: &str, local: &Local) -> Result<Node> {
    let nodes = State::load(&local.layout)?.nodes;
    Node::parse(name)
        .filter(|node| node.0 <= nodes)
        .with_context(|| format!("no node {name}; the last one is {}", Node(nodes).name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choose_cluster_that_is_there_decides() {
        let choose = |wanted, there, is_up, has_kind: bool| choose(wanted, there, is_up, || has_kind);
        // `down` of a local cluster whose state was deleted, on a machine that has kind.
        assert_eq!(
            choose(None, Some(Means::Local), false, true).unwrap(),
            Means::Local
        );
        assert_eq!(choose(None, Some(Means::Kind), true, false).unwrap(), Means::Kind);
        assert_eq!(choose(None, None, true, true).unwrap(), Means::Kind);
        assert_eq!(choose(None, None, true, false).unwrap(), Means::Local);
        assert_eq!(
            choose(Some(Means::Local), None, true, true).unwrap(),
            Means::Local
        );
        // Taking away is always allowed; another one beside it is not.
        assert!(choose(Some(Means::Kind), Some(Means::Local), false, true).is_ok());
        let error = choose(Some(Means::Kind), Some(Means::Local), true, true).unwrap_err();
        assert!(error.to_string().contains("cluster down"), "{error}");
    }
}
