//! The operator's own settings: how agents are deployed. Read once at start; everything wrong is said at once.
//!
//! They are a file and not an object, because whoever may change them decides what runs privileged on every node.

mod quantity;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

pub use quantity::same_quantity;

/// How agents are deployed where the file says nothing else.
pub const DEFAULT_MAX_UNAVAILABLE: &str = "10%";
/// Enough to drain at the end of a pod.
const DEFAULT_GRACE_SECONDS: i64 = 15;
/// What an agent takes for its ring.
const RING_BYTES: RangeInclusive<i64> = 65_536..=268_435_456;
/// The NATS client's own words repeat what the agent says of its sinks.
const DEFAULT_AGENT_LOG: &str = "info,async_nats=off,kube_client=off,kube_runtime=off";
/// Registry and repository of released images, without the image's name.
const DEFAULT_REPOSITORY: &str = "ghcr.io/weir-dev";

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    cluster_name: Option<String>,
    agent: AgentFile,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AgentFile {
    image: Option<String>,
    image_pull_policy: Option<String>,
    image_pull_secrets: Vec<String>,
    resources: Option<ResourceRequirements>,
    node_selector: BTreeMap<String, String>,
    affinity: Option<Affinity>,
    tolerations: Option<Vec<Toleration>>,
    priority_class_name: Option<String>,
    max_unavailable: Option<MaxUnavailable>,
    termination_grace_period_seconds: Option<i64>,
    network: bool,
    ring_bytes: Option<i64>,
    log: Option<String>,
}

/// A number of nodes or a percentage of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum MaxUnavailable {
    /// Nodes.
    Nodes(i32),
    /// `10%`
    Percent(String),
}

/// Validated settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the cluster in events; `None` lets agents use theirs.
    pub cluster_name: Option<String>,
    /// The agents.
    pub agent: AgentSettings,
}

/// How agents are deployed.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSettings {
    /// Their image; `None` is the one beside the operator's own.
    pub image: Option<String>,
    /// When the image is pulled.
    pub image_pull_policy: String,
    /// Secrets in the agents' namespace with which it is pulled.
    pub image_pull_secrets: Vec<String>,
    /// Requests and limits.
    pub resources: ResourceRequirements,
    /// Labels that a node must have, besides `kubernetes.io/os=linux`.
    pub node_selector: BTreeMap<String, String>,
    /// Further terms.
    pub affinity: Option<Affinity>,
    /// Taints that do not keep agents away.
    pub tolerations: Vec<Toleration>,
    /// Priority of their pods.
    pub priority_class_name: String,
    /// Nodes that may be without an agent during a roll-out.
    pub max_unavailable: MaxUnavailable,
    /// Time to drain at the end.
    pub grace_seconds: i64,
    /// Whether agents get `NET_ADMIN` for hooks on cgroup sockets.
    pub network: bool,
    /// Size of each agent's bulk ring in bytes; `None` is the agent's own default.
    pub ring_bytes: Option<i64>,
    /// Their log filter.
    pub log: String,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("the settings file {} cannot be read; correct --config or mount the file", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML of the right shape.
    #[error("the settings file {} is not valid: {source}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// Values are out of bounds.
    #[error("the settings file {} is not valid:\n{}", path.display(), problems.join("\n"))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// `field: what is wrong; remedy`, all of them.
        problems: Vec<String>,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self::from_file(File::default(), &mut Vec::new())
    }
}

impl Settings {
    /// Reads and validates a file; without one, the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Validates a file's text.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        // An empty document is a wish for nothing but the defaults.
        let has_content = text
            .lines()
            .any(|line| !matches!(line.trim(), "" | "---") && !line.trim().starts_with('#'));
        let file = if has_content {
            serde_saphyr::from_str(text).map_err(|source| SettingsError::Parse {
                path: path.to_path_buf(),
                source: Box::new(source),
            })?
        } else {
            File::default()
        };
        let mut problems = Vec::new();
        let settings = Self::from_file(file, &mut problems);
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError::Invalid {
                path: path.to_path_buf(),
                problems,
            })
        }
    }

    fn from_file(file: File, problems: &mut Vec<String>) -> Self {
        let File { cluster_name, agent } = file;
        let AgentFile {
            image,
            image_pull_policy,
            image_pull_secrets,
            resources,
            node_selector,
            affinity,
            tolerations,
            priority_class_name,
            max_unavailable,
            termination_grace_period_seconds,
            network,
            ring_bytes,
            log,
        } = agent;
        let mut check = |ok: bool, text: String| {
            if !ok {
                problems.push(text);
            }
        };
        if let Some(name) = &cluster_name {
            check(
                weir_profile::validate::is_dns_label(name),
                format!("clusterName: {name:?} is not a DNS label of at most 63 characters; choose one"),
            );
        }
        if let Some(image) = &image {
            let plain = !image.is_empty() && !image.contains(char::is_whitespace) && image.len() <= 512;
            check(
                plain,
                format!("agent.image: {image:?} is not an image reference; write registry/name:tag"),
            );
        }
        let image_pull_policy = image_pull_policy.unwrap_or_else(|| "IfNotPresent".to_owned());
        check(
            ["Always", "IfNotPresent", "Never"].contains(&image_pull_policy.as_str()),
            format!("agent.imagePullPolicy: {image_pull_policy:?} is none of Always, IfNotPresent, Never"),
        );
        let resources = resources.unwrap_or_else(default_resources);
        for (path, map) in [("requests", &resources.requests), ("limits", &resources.limits)] {
            for (name, quantity) in map.iter().flatten() {
                check(
                    quantity::parse(&quantity.0).is_some(),
                    format!(
                        "agent.resources.{path}.{name}: {:?} is not a quantity such as 100m or 128Mi",
                        quantity.0
                    ),
                );
            }
        }
        let max_unavailable =
            max_unavailable.unwrap_or(MaxUnavailable::Percent(DEFAULT_MAX_UNAVAILABLE.to_owned()));
        check(
            max_unavailable.is_valid(),
            format!("agent.maxUnavailable: {max_unavailable} must be at least 1 node, or 1% to 100%"),
        );
        let grace_seconds = termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        check(
            (5..=600).contains(&grace_seconds),
            format!(
                "agent.terminationGracePeriodSeconds: {grace_seconds} must be 5 to 600; agents drain in that time"
            ),
        );
        problems.extend(toleration_problems(tolerations.as_deref().unwrap_or_default()));
        problems.extend(ring_bytes.and_then(ring_problem));
        Self {
            cluster_name,
            agent: AgentSettings {
                image,
                image_pull_policy,
                image_pull_secrets,
                resources,
                node_selector,
                affinity,
                tolerations: tolerations.unwrap_or_else(|| {
                    // Every node is observed, tainted ones first of all.
                    vec![Toleration {
                        operator: Some("Exists".to_owned()),
                        ..Toleration::default()
                    }]
                }),
                priority_class_name: priority_class_name.unwrap_or_else(|| "system-node-critical".to_owned()),
                max_unavailable,
                grace_seconds,
                network,
                ring_bytes,
                log: log.unwrap_or_else(|| DEFAULT_AGENT_LOG.to_owned()),
            },
        }
    }

    /// Whether the agents' image does not depend on the operator's own.
    #[must_use]
    pub fn names_agent_image(&self) -> bool {
        self.agent.image.is_some()
    }

    /// The agents' image: as set, else beside the operator's own image, else the released one of this version.
    #[must_use]
    pub fn agent_image(&self, own_image: Option<&str>) -> String {
        self.agent
            .image
            .clone()
            .or_else(|| own_image.and_then(beside))
            .unwrap_or_else(|| format!("{DEFAULT_REPOSITORY}/weir-agent:{}", env!("CARGO_PKG_VERSION")))
    }
}

/// `registry/weir-operator:tag` becomes `registry/weir-agent:tag`. A digest names the operator's bytes alone: where there
/// is nothing else, the agents' tag is this version's. `None` for an image of another name.
#[must_use]
pub fn beside(own: &str) -> Option<String> {
    let own = own.split('@').next().unwrap_or(own);
    let (folder, name) = own
        .rsplit_once('/')
        .map_or(("", own), |(folder, name)| (folder, name));
    let (name, tag) = name.split_once(':').unwrap_or((name, env!("CARGO_PKG_VERSION")));
    let name = name
        .strip_suffix("weir-operator")
        .map(|prefix| format!("{prefix}weir-agent"))?;
    Some(if folder.is_empty() {
        format!("{name}:{tag}")
    } else {
        format!("{folder}/{name}:{tag}")
    })
}

impl MaxUnavailable {
    fn is_valid(&self) -> bool {
        match self {
            Self::Nodes(nodes) => *nodes >= 1,
            Self::Percent(text) => text
                .strip_suffix('%')
                .and_then(|number| number.parse::<u32>().ok())
                .is_some_and(|percent| (1..=100).contains(&percent)),
        }
    }
}

impl std::fmt::Display for MaxUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nodes(nodes) => write!(f, "{nodes}"),
            Self::Percent(text) => write!(f, "{text:?}"),
        }
    }
}

/// What the API server would refuse of tolerations.
fn toleration_problems(tolerations: &[Toleration]) -> Vec<String> {
    let known =
        |value: &Option<String>, words: &[&str]| value.as_deref().is_none_or(|value| words.contains(&value));
    let is_known = |toleration: &Toleration| {
        known(&toleration.operator, &["Exists", "Equal"])
            && known(
                &toleration.effect,
                &["", "NoSchedule", "PreferNoSchedule", "NoExecute"],
            )
    };
    let wrong = tolerations
        .iter()
        .enumerate()
        .filter(|(_, toleration)| !is_known(toleration));
    wrong
        .map(|(index, _)| {
            format!(
                "agent.tolerations[{index}]: operator is Exists or Equal, and effect NoSchedule, PreferNoSchedule or NoExecute"
            )
        })
        .collect()
}

fn ring_problem(bytes: i64) -> Option<String> {
    let fits = RING_BYTES.contains(&bytes) && bytes.count_ones() == 1;
    (!fits).then(|| {
        let (least, most) = (RING_BYTES.start(), RING_BYTES.end());
        format!("agent.ringBytes: {bytes} must be a power of two from {least} to {most}")
    })
}

/// What an agent needs by measurement: 25 MB steady, 60 MB while loading, unacknowledged batches of at most 32 MB.
/// No CPU limit: throttling would turn a burst into loss.
fn default_resources() -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.to_owned());
    ResourceRequirements {
        requests: Some(
            [
                ("cpu".to_owned(), quantity("50m")),
                ("memory".to_owned(), quantity("64Mi")),
            ]
            .into_iter()
            .collect(),
        ),
        limits: Some([("memory".to_owned(), quantity("256Mi"))].into_iter().collect()),
        ..ResourceRequirements::default()
    }
}

#[cfg(test)]
mod tests;
