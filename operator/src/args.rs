//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Deploys Weir's agents and keeps the status of profiles and sinks truthful.
///
/// Exit codes: 0 after SIGTERM, 64 for a bad configuration, 1 for a failure (a lost Lease is one).
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "weir-operator", version)]
pub struct Args {
    /// Settings of the agents: image, resources, tolerations and more [default: those of the documentation]
    #[arg(long, value_name = "FILE", env = "WEIR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Whether to act only while holding the Lease `weir-operator`; without it, run one instance only
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// The operator's namespace: its Lease, and the Secrets that sinks name
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "weir-system",
        env = "POD_NAMESPACE"
    )]
    pub namespace: String,
    /// The namespace that agents run in
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "weir-agents",
        env = "WEIR_AGENT_NAMESPACE"
    )]
    pub agent_namespace: String,
}
