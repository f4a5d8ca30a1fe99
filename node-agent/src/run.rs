//! `weir-agent run`: puts the parts together, in the order in which they need each other, and takes them apart again.

mod cluster;
mod end;
mod memory;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use weir_runtime::admin::AdminServer;
use weir_runtime::beat::Beat;
use weir_runtime::error::chain;
use weir_runtime::metrics::Metrics;
use weir_runtime::readiness::Readiness;
use weir_runtime::shutdown::{Cause, Shutdown};
use weir_runtime::supervise::Supervisor;

use crate::bpf::kernel::KernelError;
use crate::cli::RunArgs;
use crate::config::watch::Hangups;
use crate::config::{ConfigError, Desired, Files};
use crate::control::view::View;
use crate::control::{Control, ControlError, ControlParts, Request, SinkOptions, requests};
use crate::drain::{CommandSender, Drain, DrainError, Identity};
use crate::enrich::{RootError, WalkError};
use crate::ledger::Ledger;
use crate::lock::{Lock, LockError, pid};
use crate::publish::metrics::PublishMetrics;
use crate::publish::{AgentIdentity, PublishHandle, Publisher, PublisherParts, StartError};
use crate::state::{Remembered, StateDir, StateError, next_epoch};
use crate::{admin, metrics};

use end::Running;
use memory::Memory;

/// Part of the grace that is kept for the last cut and for ending threads.
const END: Duration = Duration::from_millis(700);

/// Why the agent did not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is bad.
    #[error("{}", list(.0))]
    Config(Vec<ConfigError>),
    /// State.
    #[error(transparent)]
    State(#[from] StateError),
    /// Kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Another agent observes this node.
    #[error(
        "another weir-agent{} runs on this host and observes the same cgroups; stop it first",
        pid(*holder)
    )]
    Second {
        /// Its process id, if it can be told.
        holder: Option<u32>,
    },
    /// cgroups.
    #[error(transparent)]
    Root(#[from] RootError),
    /// cgroups.
    #[error("cannot learn the cgroups that exist")]
    Walk(#[from] WalkError),
    /// Publishing.
    #[error(transparent)]
    Publish(#[from] StartError),
    /// Control.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The drain thread.
    #[error(transparent)]
    Drain(#[from] DrainError),
    /// The system.
    #[error("cannot {what}")]
    System {
        /// What we were doing.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn list(errors: &[ConfigError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn system<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl FnOnce(E) -> RunError {
    move |source| RunError::System {
        what,
        source: source.into(),
    }
}

impl From<LockError> for RunError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Taken { holder, .. } => Self::Second { holder },
            LockError::System { .. } => system("make sure that there is one agent")(error),
        }
    }
}

impl RunError {
    /// Whether starting again cannot help.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// Where the gathered credentials are mounted in a cluster.
const CLUSTER_CREDENTIALS: &str = "/etc/weir/sinks";

/// The files of a standalone agent, what they said when they were read first, and what tells to read them again; `None`
/// in a cluster.
type Standalone = Option<(Files, Desired, Hangups)>;

/// Runs until SIGTERM, `--duration`, or a failure.
pub async fn run(mut args: RunArgs) -> Result<(), RunError> {
    // Before the files are read, so that an edit and its SIGHUP are not lost in between. In a cluster, where there are no
    // files, a SIGHUP means nothing; to be listened to keeps it from ending the agent there, too.
    let hangups = Hangups::listen().map_err(system("listen for SIGHUP"))?;
    // All configuration is read before anything starts.
    let standalone = read_files(&args)?.map(|(files, desired)| (files, desired, hangups));
    let place = if args.in_cluster {
        Some(cluster::identity()?)
    } else {
        None
    };
    if let Some(place) = &place {
        args.credentials_dir
            .get_or_insert_with(|| PathBuf::from(CLUSTER_CREDENTIALS));
        args.node.get_or_insert_with(|| place.node.clone());
    }
    let state = Arc::new(StateDir::open(
        &args.state_dir.clone().unwrap_or_else(default_state_dir),
    )?);
    let before = state.read();
    let identity = Arc::new(AgentIdentity {
        cluster: args.cluster.clone(),
        node: args.node.clone().unwrap_or_else(host_name),
        epoch: next_epoch(SystemTime::now(), before.as_ref().map(|before| before.epoch)),
    });
    match state.write(&Remembered::begun(identity.epoch, before.as_ref())) {
        // A node whose disk is full wants to be seen more than ever; the next epoch follows from the clock as well.
        Err(error) if error.is_full() => tracing::warn!(
            error = chain(&error),
            "this epoch is not remembered; free space in the state directory"
        ),
        written => written?,
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = %identity.cluster,
        node = %identity.node,
        epoch = identity.epoch,
        "starting"
    );
    let shutdown =
        Shutdown::listen(Duration::from_secs(args.grace.into())).map_err(system("listen for signals"))?;
    if let Some(duration) = args.duration {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            shutdown.trigger(Cause::Own);
        });
    }
    let mut agent = Agent::assemble(&args, &identity, shutdown)?;
    if let Some(before) = before.and_then(Remembered::unfinished) {
        agent.control.announce_last_life(&before);
    }
    agent.live(&args, standalone, place, state, identity.epoch).await
}

fn read_files(args: &RunArgs) -> Result<Option<(Files, Desired)>, RunError> {
    if args.in_cluster {
        return Ok(None);
    }
    let mut files = Files::new(args.profile.clone(), args.sink.as_deref())
        .map_err(|error| RunError::Config(vec![error]))?;
    let desired = files.start().map_err(RunError::Config)?;
    Ok(Some((files, desired)))
}

/// The parts of a running agent.
struct Agent {
    control: Control,
    drain: Drain,
    drain_stop: CancellationToken,
    commands: CommandSender,
    publish: PublishHandle,
    view: View,
    readiness: Readiness,
    registry: Metrics,
    shutdown: Shutdown,
    lock: Option<Lock>,
}

impl Agent {
    fn assemble(args: &RunArgs, identity: &Arc<AgentIdentity>, shutdown: Shutdown) -> Result<Self, RunError> {
        let readiness = Readiness::new();
        let registry = Metrics::new("agent", env!("CARGO_PKG_VERSION"));
        let ledger = Arc::new(Ledger::default());
        let publisher = Publisher::start(PublisherParts {
            memory_bytes: crate::publish::publisher::DEFAULT_MEMORY_BYTES,
            outcomes: Arc::clone(&ledger) as Arc<dyn crate::publish::Outcomes>,
            encode_losses: identity.losses(),
            retire_grace: crate::publish::publisher::DEFAULT_RETIRE_GRACE,
            readiness: readiness.clone(),
            metrics: PublishMetrics::register(&registry),
        })?;
        let publish = publisher.handle();
        let names = Identity {
            cluster: identity.cluster.clone(),
            node: identity.node.clone(),
            epoch: identity.epoch,
        };
        let drain_stop = CancellationToken::new();
        let source::Built {
            side,
            drain,
            commands,
            lock,
        } = source::build(
            args,
            names,
            publish.clone(),
            Arc::clone(&ledger),
            drain_stop.clone(),
        )?;
        let view = View::default();
        metrics::register(&registry, view.clone());
        let control = Control::new(ControlParts {
            side,
            commands: commands.clone(),
            publisher,
            ledger,
            identity: Arc::clone(identity),
            boot_id: boot_id(),
            sinks: SinkOptions {
                credentials_dir: args.credentials_dir.clone(),
                manage_streams: !args.in_cluster,
                client_name: format!("weir-agent {}", identity.node),
            },
            readiness: readiness.clone(),
            view: view.clone(),
        });
        Ok(Self {
            control,
            drain,
            drain_stop,
            commands,
            publish,
            view,
            readiness,
            registry,
            shutdown,
            lock,
        })
    }

    /// Serves until the shutdown begins, then takes everything apart in order.
    async fn live(
        self,
        args: &RunArgs,
        standalone: Standalone,
        place: Option<crate::cluster::Identity>,
        state: Arc<StateDir>,
        epoch: u64,
    ) -> Result<(), RunError> {
        let Self {
            mut control,
            drain,
            drain_stop,
            commands,
            publish,
            view,
            readiness,
            registry,
            shutdown,
            lock: _lock,
        } = self;
        let (requester, mut asked) = requests();
        let mut supervisor = Supervisor::new(shutdown.clone());
        let server = AdminServer::bind(args.admin)
            .await
            .map_err(system("start the admin server"))?;
        let admin_stop = CancellationToken::new();
        let routes = admin::routes(view.clone(), requester.clone());
        let configured = readiness.gate("configuration");
        let admin = tokio::spawn(server.serve(readiness.clone(), registry, routes, admin_stop.clone()));
        let drain_thread = start_drain(drain, readiness.beat("drain"), shutdown.clone())?;
        let memory = Memory {
            state: Arc::clone(&state),
            epoch,
            view: view.clone(),
        };
        supervisor.spawn("remember", memory.clone().follow(shutdown.token()));
        let mut client = None;
        if let Some((files, desired, hangups)) = standalone {
            requester
                .send(Request::Apply(desired.plans))
                .await
                .map_err(system("apply the profiles"))?;
            configured.open();
            source::follow_files(
                &mut supervisor,
                files,
                hangups,
                requester,
                readiness,
                shutdown.token(),
            );
        } else if let Some(identity) = place.clone() {
            let parts = cluster::Parts {
                identity,
                state_dir: state.path().to_path_buf(),
                credentials: args.credentials_dir.clone().unwrap_or_default(),
                requests: requester,
                commands: commands.clone(),
                configured,
                readiness,
                view,
                publish,
                epoch,
                boot_id: boot_id(),
                stop: shutdown.token(),
            };
            client = Some(cluster::follow(&mut supervisor, parts)?);
        }
        // From here on, a part that ends too early ends the agent.
        let supervised = tokio::spawn(supervisor.run());
        let outcome = control.run(&mut asked, &shutdown.token()).await;
        let running = Running {
            control,
            drain: drain_thread,
            drain_stop,
            commands,
            admin,
            admin_stop,
            supervised,
            memory,
            shutdown,
        };
        let ended = running.end(outcome).await;
        // Also after an error: nothing comes after this agent that would remember for it.
        if let (Some(client), Some(place)) = (client, place) {
            cluster::purge_if_uninstalled(&client, &place, &state).await;
        }
        ended
    }
}

type DrainThread = std::thread::JoinHandle<Result<(), DrainError>>;

/// Starts the drain thread; if it fails, everything ends.
fn start_drain(drain: Drain, beat: Beat, shutdown: Shutdown) -> Result<DrainThread, RunError> {
    std::thread::Builder::new()
        .name("weir-drain".into())
        .spawn(move || {
            let result = drain.run(&beat);
            if let Err(error) = &result {
                tracing::error!(%error, "the drain thread failed");
                shutdown.trigger(Cause::Own);
            }
            result
        })
        .map_err(system("start the drain thread"))
}

fn default_state_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/weir");
    }
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/tmp")).join("weir")
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
        |error| {
            tracing::warn!(%error, "cannot read the kernel's boot id");
            String::new()
        },
        |id| id.trim().to_owned(),
    )
}
