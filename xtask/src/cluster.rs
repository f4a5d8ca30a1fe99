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
mod process;
mod state;
mod status;
mod teardown;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};

use self::component::Component;
use self::kind::Kind;
use self::layout::{Layout, MAX_NODES, Node};
use self::local::Local;
use self::state::State;
use crate::tools::{Ctx, debian, is_root, privileged};
use crate::{images, shell, workspace};

/// Program that shows that a package is there, whoever installed it, and the package. The CNI plugins have none.
const PACKAGES: [(&str, debian::Package); 6] = [
    needed("containerd", "containerd", "runs the pods of local nodes"),
    needed("runc", "runc", "runs the containers of local nodes"),
    needed(
        "nft",
        "nftables",
        "kube-proxy translates service addresses with it",
    ),
    needed(
        "conntrack",
        "conntrack",
        "kube-proxy ends stale connections with it",
    ),
    needed("ethtool", "ethtool", "the kubelet asks for it"),
    needed("ip", "iproute2", "makes the cluster's network"),
];
const CNI: debian::Package = debian::Package {
    name: "containernetworking-plugins",
    why: "gives pods their addresses",
    remedy: "install the CNI plugins ptp, host-local and loopback into /opt/cni/bin",
};

const fn needed(
    program: &'static str,
    name: &'static str,
    why: &'static str,
) -> (&'static str, debian::Package) {
    (
        program,
        debian::Package {
            name,
            why,
            remedy: "install it by other means and put it on PATH",
        },
    )
}

/// Arguments of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How the cluster is made [default: kind where Docker and kind work, otherwise local]
    #[arg(long, value_enum, global = true)]
    provider: Option<Kindness>,
    #[command(subcommand)]
    action: Action,
}

/// A way to make a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kindness {
    /// Nodes in Docker containers, as kind-config.yaml says
    Kind,
    /// Real components as processes in network namespaces; needs root
    Local,
}

#[derive(Debug, Subcommand)]
enum Action {
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
            Kindness::Kind
        } else {
            Kindness::Local
        }
    });
    let provider = match wanted {
        Kindness::Kind => Provider::Kind(Kind {
            config: workspace::root().join("kind-config.yaml"),
            kubeconfig: layout.kubeconfig(),
        }),
        Kindness::Local => {
            let local = prepare_local(&args.action, layout)?;
            if !is_root() {
                return as_root();
            }
            Provider::Local(local)
        }
    };
    provider.perform(&args.action)
}

/// Installs and builds what the local provider needs. This part runs as the user.
fn prepare_local(action: &Action, layout: Layout) -> Result<Local> {
    let ctx = Ctx::new()?;
    if !matches!(action, Action::Up(_)) {
        return Ok(Local {
            kube: binary::place(&ctx)?,
            layout,
        });
    }
    ensure_packages(&ctx)?;
    let kube = binary::ensure(&ctx)?;
    std::fs::create_dir_all(layout.root())
        .with_context(|| format!("creating {}", layout.root().display()))?;
    let source = binary::module().join("pause.rs");
    images::ensure_pause(&ctx, &source, config::PAUSE_IMAGE, &layout.pause_image())?;
    Ok(Local { layout, kube })
}

/// Installs what is missing, in one go.
fn ensure_packages(ctx: &Ctx) -> Result<()> {
    // The system's own tools may be in folders that only root has on PATH.
    let exists = |program: &str| {
        shell::which(program).is_some()
            || ["/usr/sbin", "/sbin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
    };
    let mut missing: Vec<_> = PACKAGES
        .into_iter()
        .filter(|(program, _)| !exists(program))
        .map(|(_, package)| package)
        .collect();
    if config::cni_plugins().is_none() {
        missing.push(CNI);
    }
    debian::ensure(ctx, &missing)
}

/// Does the same once more as root: namespaces, cgroups and containers need it.
fn as_root() -> Result<()> {
    let this = std::env::current_exe().context("finding this program")?;
    let mut arguments = Vec::new();
    // The same caches and the same user's kubeconfig, which sudo would replace by root's.
    for name in [
        "HOME",
        "XDG_CACHE_HOME",
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "PATH",
    ] {
        if let Ok(value) = std::env::var(name) {
            arguments.push(format!("{name}={value}"));
        }
    }
    arguments.push(this.display().to_string());
    arguments.extend(std::env::args().skip(1));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    shell::run(&mut privileged("env", &arguments)?)
}

impl Provider {
    fn perform(&self, action: &Action) -> Result<()> {
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
                give_remains_to_user(&local.layout)
            }
            (Self::Local(local), Action::Status) => status::print(local),
            (Self::Local(local), Action::Load { archives }) => {
                archives.iter().try_for_each(|path| local.load(path))
            }
            (Self::Local(local), Action::Run { command }) => local.run(command).map(finish),
            (Self::Local(local), Action::StopComponent { name }) => local.stop(parse_component(name)?),
            (Self::Local(local), Action::StartComponent { name }) => {
                local.start(parse_component(name)?, &State::load(&local.layout)?)
            }
            (Self::Local(_), Action::Partition { node }) => network::set_connected(parse_node(node)?, false),
            (Self::Local(_), Action::Heal { node }) => network::set_connected(parse_node(node)?, true),
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
    give_to_user(local)
}

/// Who typed the command, when sudo ran it.
fn sudo_user() -> Option<(u32, u32)> {
    let id = |name: &str| std::env::var(name).ok()?.parse().ok();
    id("SUDO_UID").zip(id("SUDO_GID"))
}

/// What stays below `target` must not stop the user's own `cargo clean`.
fn give_remains_to_user(layout: &Layout) -> Result<()> {
    let Some((user, group)) = sudo_user() else {
        return Ok(());
    };
    let mut chown = Command::new("chown");
    shell::capture(
        chown
            .arg("--recursive")
            .arg(format!("{user}:{group}"))
            .arg(layout.root()),
    )
    .map(drop)
}

/// Under sudo, the user who typed the command owns what kubectl must read.
fn give_to_user(local: &Local) -> Result<()> {
    let Some((user, group)) = sudo_user() else {
        return Ok(());
    };
    let layout = &local.layout;
    let mut files = vec![layout.kubeconfig(), layout.pki("admin.key")];
    if let Some(home) = std::env::var_os("HOME") {
        files.extend([".kube", ".kube/config"].map(|name| Path::new(&home).join(name)));
    }
    for file in files {
        std::os::unix::fs::chown(&file, Some(user), Some(group))
            .with_context(|| format!("giving {} to user {user}", file.display()))?;
    }
    Ok(())
}

/// The command's own exit code is ours.
fn finish(status: ExitStatus) {
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
}

fn parse_component(name: &str) -> Result<Component> {
    Component::parse(name)
        .with_context(|| format!("no component {name}: `cargo xtask cluster status` lists them"))
}

fn parse_node(name: &str) -> Result<Node> {
    Node::parse(name).with_context(|| format!("no node {name}: nodes are node1 to node{MAX_NODES}"))
}
