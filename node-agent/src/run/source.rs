//! Where events and configuration come from, as the command line says.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_node_agent_common::record::Seed;
use weir_runtime::readiness::{Readiness, State};
use weir_runtime::supervise::Supervisor;

use super::{RunError, system};
use crate::bpf::kernel::{self, Kernel, KernelError};
use crate::bpf::seed;
use crate::cli::{RunArgs, SourceArg};
use crate::config::watch::{self, FileWatch, Hangups};
use crate::config::{Desired, Files};
use crate::control::side::Side;
use crate::control::{Request, Requests};
use crate::drain::source::{Rings, Source};
use crate::drain::synthetic::{Generator, Running, Shared};
use crate::drain::{CommandSender, Drain, DrainParts, Identity, channel};
use crate::enrich::{Ancestry, CgroupRoot, Index, Processes, Subject, clock, processes};
use crate::ledger::Ledger;
use crate::lock::{self, Lock};
use crate::publish::PublishHandle;

/// The two halves of a source, and what joins them.
pub(super) struct Built {
    pub(super) side: Side,
    pub(super) drain: Drain,
    pub(super) commands: CommandSender,
    /// Held while the agent lives.
    pub(super) lock: Option<Lock>,
}

/// Builds the source that `--source` names.
pub(super) fn build(
    args: &RunArgs,
    identity: Identity,
    publish: PublishHandle,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> Result<Built, RunError> {
    let (sender, commands, wake) = channel().map_err(system("make the drain thread's wake-up"))?;
    let mut processes = Processes::new(processes::PROCESSES_MAX);
    let mut lock = None;
    let (side, source, scope, index) = match args.source {
        SourceArg::Kernel => {
            let (
                mut kernel,
                kernel::DrainParts {
                    control,
                    bulk,
                    scope,
                    wake: mode,
                    seed,
                    own_cgroup,
                },
            ) = Kernel::load(args.ring_bytes, args.match_paths)?;
            // Which cgroups are this node's only the kernel knows, so that the lock comes after the loading; nothing is
            // attached yet.
            let root =
                CgroupRoot::discover(args.cgroup_root.as_deref(), Ancestry::new(&own_cgroup).as_ref())?;
            lock = lock::of_node(Path::new(lock::RUN_DIR), root.id())?;
            kernel
                .set_node_root(root.node_root())
                .map_err(KernelError::from)?;
            learn_processes(&mut processes, &seed);
            // The hook first, then the walk: what is made meanwhile is told by one or both.
            kernel.attach_lifecycle();
            let mut index = Index::new(root.clone());
            root.walk(|id, path| index.cgroup_made(id, path, clock::boot_ns()))?;
            let source = Source::Kernel(
                Box::new(Rings {
                    control,
                    bulk,
                    wake: mode,
                }),
                wake,
            );
            (
                Side::Kernel(Box::new(kernel), index.shared_counts()),
                source,
                Some(scope),
                index,
            )
        }
        SourceArg::Synthetic(rate) => {
            let shared = Arc::new(Shared::default());
            let source = Source::Synthetic(Box::new(Generator::new(rate, Arc::clone(&shared))), wake);
            let index = Index::new(CgroupRoot::new("/sys/fs/cgroup".into(), b"", 1));
            (Side::Synthetic(shared, Running::default()), source, None, index)
        }
    };
    let drain = Drain::new(DrainParts {
        source,
        scope,
        index,
        processes,
        identity,
        publish,
        ledger,
        commands,
        stop,
    })?;
    Ok(Built {
        side,
        drain,
        commands: sender,
        lock,
    })
}

fn learn_processes(processes: &mut Processes, bytes: &[u8]) {
    let mut learned = 0_u32;
    for (
        Seed {
            tgid,
            ppid,
            start_ns,
            flags,
            comm,
            ..
        },
        exe,
    ) in seed::parse(bytes)
    {
        let subject = Subject {
            tgid,
            ppid,
            start_ns,
            boot_ns: start_ns,
            comm: &comm,
        };
        processes.seed(subject, exe, flags != 0);
        learned += 1;
    }
    tracing::debug!(learned, "learned the processes that were there");
}

/// Applies edits of profile files as they come.
pub(super) fn follow_files(
    supervisor: &mut Supervisor,
    mut files: Files,
    hangups: Hangups,
    requests: Requests,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let (ask, asked) = watch::channel();
    let watching = match FileWatch::start(&files.paths(), ask.clone()) {
        Ok(watching) => Some(watching),
        Err(error) => {
            // SIGHUP still works.
            tracing::warn!(%error, "profile files are not watched");
            None
        }
    };
    let hangup_stop = stop.clone();
    supervisor.spawn("sighup", async move {
        tokio::select! {
            () = hangup_stop.cancelled() => {}
            () = hangups.follow(ask) => {}
        }
        Ok::<_, Infallible>(())
    });
    // One edit waits; the reader of files blocks until it is taken.
    let (desired_sender, mut desired) = mpsc::channel::<Desired>(1);
    let reader = std::thread::Builder::new()
        .name("weir-profiles".into())
        .spawn(move || {
            while asked.recv().is_ok() {
                if desired_sender.blocking_send(files.reread()).is_err() {
                    return;
                }
            }
        });
    supervisor.spawn("profiles", async move {
        let _watching = watching;
        reader.map_err(|error| format!("cannot start the thread that reads profiles: {error}"))?;
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return Ok::<_, String>(()),
                next = desired.recv() => next,
            };
            let Some(Desired {
                plans,
                errors,
                problems: _,
            }) = next
            else {
                return Ok(());
            };
            for error in &errors {
                tracing::error!("{error}");
            }
            let state = if errors.is_empty() {
                State::Live
            } else {
                State::Degraded {
                    reason: errors.join("; "),
                    remedy: "correct the file; the last good profile goes on until then".into(),
                }
            };
            readiness.set("profile files", state, SystemTime::now());
            if requests.send(Request::Apply(plans)).await.is_err() {
                return Ok(());
            }
        }
    });
}
