//! Wires everything together: watches, election, controllers, and their orderly end.

mod watches;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use tokio_util::sync::CancellationToken;
use weir_profile::api::ConditionReason;
use weir_runtime::admin::{AdminError, AdminServer};
use weir_runtime::backoff::Backoff;
use weir_runtime::metrics::Metrics;
use weir_runtime::readiness::Readiness;
use weir_runtime::shutdown::{Shutdown, SignalError};
use weir_runtime::supervise::{SuperviseError, Supervisor};

use crate::args::Args;
use crate::context::{Context, Namespaces};
use crate::controller;
use crate::election::{self, Turn};
use crate::error::chain;
use crate::metrics;
use crate::settings::{Settings, beside};
use crate::trouble::Concern;

/// Time to finish visits and to let go of the Lease.
const GRACE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to the API server is configured.
    #[error("no way to the API server is configured: run in a pod with a ServiceAccount, or set KUBECONFIG")]
    Access(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The runtime could not be started.
    #[error("the async runtime cannot start")]
    Runtime(#[source] std::io::Error),
    /// The admin server cannot run.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Signals cannot be listened to.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// A part ended that must not.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
}

/// Runs until SIGTERM.
pub fn block_on(args: Args, settings: Settings) -> Result<(), RunError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?
        .block_on(run(args, settings))
}

async fn run(args: Args, settings: Settings) -> Result<(), RunError> {
    let shutdown = Shutdown::listen(GRACE)?;
    let admin = AdminServer::bind(args.admin).await?;
    let client = client().await?;
    let namespaces = Namespaces {
        system: args.namespace,
        agents: args.agent_namespace,
    };
    let pod = std::env::var("POD_NAME").ok();
    let stop = shutdown.token();
    let (readiness, registry) = (
        Readiness::new(),
        Metrics::new("operator", env!("CARGO_PKG_VERSION")),
    );
    // Both from the first answer on: what is waited for is never less than it says.
    let (started, crds_fit) = (readiness.gate("started"), readiness.gate("crds"));
    let mut supervisor = Supervisor::new(shutdown.clone());
    // Before anything is asked of the API server, whose absence must not look like a hung operator.
    supervisor.spawn(
        "admin",
        admin.serve(
            readiness.clone(),
            registry.clone(),
            axum::Router::new(),
            stop.clone(),
        ),
    );
    let Some(own) = own_image(&client, &namespaces.system, pod.as_deref(), &settings, &stop).await else {
        return Ok(supervisor.run().await?);
    };
    started.open();
    let image = settings.agent_image(own.as_deref());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        agent_image = image,
        leader_elect = args.leader_elect,
        "starting"
    );

    let installed = CancellationToken::new();
    let (context, watches, publisher) = watches::prepare(
        client.clone(),
        namespaces.clone(),
        settings,
        image,
        pod.clone(),
        &readiness,
    );
    let leader = metrics::register(&registry, &context);

    supervisor.spawn("events", infallible(publisher.run(stop.clone())));
    let crds = crate::crds::run(Arc::clone(&context), crds_fit, installed.clone(), stop.clone());
    supervisor.spawn("crds", infallible(crds));
    let ready = watches.spawn(&mut supervisor, &context, &installed, &stop);
    let turn = Turn {
        stop: stop.clone(),
        ..Turn::default()
    };
    let Turn { leading, idle, .. } = turn.clone();
    elect(&mut supervisor, &context, args.leader_elect, pod.as_deref(), turn);
    supervisor.spawn(
        "controllers",
        infallible(async move {
            // Cancelled however this ends: the Lease is kept until then.
            let _idle = idle.drop_guard();
            if stop.run_until_cancelled(leading.cancelled()).await.is_none() {
                return;
            }
            leader.set(1);
            let profiles = async {
                if stop
                    .run_until_cancelled(ready.for_profiles(&context))
                    .await
                    .is_some()
                {
                    controller::profile::run(Arc::clone(&context), stop.clone()).await;
                }
            };
            let rest = async {
                if stop.run_until_cancelled(ready.for_all()).await.is_some() {
                    tracing::info!("all controllers start");
                    tokio::join!(
                        controller::sink::run(Arc::clone(&context), stop.clone()),
                        controller::daemonset::run(Arc::clone(&context), stop.clone()),
                    );
                }
            };
            tokio::join!(profiles, rest);
        }),
    );
    Ok(supervisor.run().await?)
}

/// Waits for the Lease before this instance leads; or, without election, leads at once and looks out for others.
fn elect(
    supervisor: &mut Supervisor,
    context: &Arc<Context>,
    leader_elect: bool,
    pod: Option<&str>,
    turn: Turn,
) {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespaces.system);
    let identity = format!("{}_{:08x}", pod.unwrap_or("weir-operator"), rand::random::<u32>());
    let (context, me) = (Arc::clone(context), identity.clone());
    let tell = move |other: Option<&str>| tell_of_second(&context, &me, other);
    if leader_elect {
        supervisor.spawn("election", election::run(api, identity, turn, tell));
    } else {
        tracing::warn!("election is off: make sure that no other instance runs");
        turn.leading.cancel();
        supervisor.spawn(
            "election",
            infallible(election::look_out(api, identity, tell, turn.stop)),
        );
    }
}

/// Both instances write the same status, so that its words must not say which of them wrote it.
fn tell_of_second(context: &Context, me: &str, other: Option<&str>) {
    let reason = ConditionReason::SecondOperator;
    let trouble = other.is_some().then(|| {
        let text =
            "another operator acts on the same objects, too: run one Deployment of it, and leave leader election on";
        (reason, text.to_owned())
    });
    if let Some(other) = other {
        let note = format!(
            "{me} and {other} act on the same objects, and at least one of them runs with --leader-elect=false: \
             run one Deployment of the operator, and leave leader election on"
        );
        context.tell_of_operator(reason.as_str(), &note);
    }
    context.set_trouble(Concern::Operators, trouble);
}

async fn infallible(task: impl Future<Output = ()>) -> Result<(), std::convert::Infallible> {
    task.await;
    Ok(())
}

async fn client() -> Result<Client, RunError> {
    let mut config = kube::Config::infer()
        .await
        .map_err(|error| RunError::Access(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).map_err(|error| RunError::Access(Box::new(error)))
}

/// The image of the pod that this process runs in, so that the agents come from the same registry and release; asked
/// for until it is known, for a wrong guess would replace every agent. `None` when the process is to stop.
async fn own_image(
    client: &Client,
    namespace: &str,
    pod: Option<&str>,
    settings: &Settings,
    stop: &CancellationToken,
) -> Option<Option<String>> {
    let Some(pod) = pod.filter(|_| !settings.names_agent_image()) else {
        return Some(None);
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut retry = Backoff::new(RETRY_FIRST, CONNECT_TIMEOUT);
    loop {
        let trouble = match tokio::time::timeout(CONNECT_TIMEOUT, pods.get(pod)).await {
            Ok(Ok(object)) => {
                let containers = object.spec.map(|spec| spec.containers).unwrap_or_default();
                let mut images = containers.into_iter().filter_map(|container| container.image);
                // Meshes put containers of their own before it.
                let own = images.find(|image| beside(image).is_some());
                if own.is_none() {
                    tracing::warn!(
                        pod,
                        "no image of this pod is named weir-operator, beside which the agents' would be: theirs is taken to be \
                         the released one. Name agent.image in the operator's settings"
                    );
                }
                return Some(own);
            }
            Ok(Err(error)) => chain(&error),
            Err(_elapsed) => "the API server does not answer".to_owned(),
        };
        tracing::warn!(
            error = trouble,
            pod,
            "the operator's own pod cannot be read, beside whose image the agents' is; trying again. \
             Apply the manifests' RBAC, or name agent.image in the operator's settings"
        );
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(retry.next(rand::random())) => {}
        }
    }
}
