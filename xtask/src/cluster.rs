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

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};

use self::component::Component;
use self::kind::Kind;
use self::layout::{Layout, MAX_NODES, Node};
use self::local::Local;
use self::state::State;
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
    /// Number of nodes that run pods (local provider)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    pub(crate) nodes: u8,
    /// The number of one node to be without tracefs, where no hook can be attached (local provider)
    #[arg(long, value_name = "N")]
    pub(crate) masked_tracefs_node: Option<u8>,
}

/// A cluster, however it is made.
enum Provider {
    Kind(Kind),
    Local(Local),
}

/// Runs `cargo xtask cluster`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Action::Up(Options {
        nodes,
        masked_tracefs_node: Some(masked),
    }) = &args.action
        && !(1..=*nodes).contains(masked)
    {
        bail!("--masked-tracefs-node {masked}: there are nodes 1 to {nodes}");
    }
    // The state of whichever cluster is up decides, so that `down` finds what `up` made.
    let layout = Layout::new(workspace::target_directory()?.join("cluster"));
    let wanted = args.provider.unwrap_or_else(|| {
        if !layout.state().exists() && Kind::is_available() {
            Means::Kind
        } else {
            Means::Local
        }
    });
    let provider = match wanted {
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

impl Provider {
    fn perform(&self, action: &Action) -> Result<()> {
        // Held to the end: two that build and take away the same namespaces would meet half-way.
        let _lock = if matches!(action, Action::Status | Action::Run { .. }) {
            None
        } else {
            Some(lock()?)
        };
        match (self, action) {
            (Self::Kind(kind), Action::Up(_)) => kind.up(),
            (Self::Kind(kind), Action::Down) => kind.down(),
            (Self::Kind(kind), Action::Status) => kind.status(),
            (Self::Kind(_), Action::Load { archives }) => {
                archives.iter().try_for_each(|path| Kind::load(path))
            }
            (Self::Kind(kind), Action::Run { command }) => kind.run(command).map(finish),
            (Self::Kind(_), _) => {
                bail!("kind's components cannot be stopped one by one: use `--provider local`")
            }
            (Self::Local(local), Action::Up(options)) => up(local, options),
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
