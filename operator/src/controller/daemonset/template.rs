//! The agents' pod: what it may do, what it sees of its node, and why. Depends on the operator's settings alone.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, ContainerPort, DownwardAPIProjection,
    DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, HostPathVolumeSource,
    KeyToPath, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec,
    Probe, ProjectedVolumeSource, SeccompProfile, SecretVolumeSource, SecurityContext,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta as Meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::eligibility::OS_LABEL;
use crate::names::{AGENT, AGENT_ADMIN_PORT, CREDENTIALS_DIR, GATHERED_SECRET, LABELS, STATE_DIR};
use crate::settings::Settings;

/// Time for which the API server takes the agent's token; the kubelet renews it long before.
/// Part of the pod's grace period that is not for delivering: signals, the last cut, clearing a node that is uninstalled.
const END_SECONDS: i64 = 3;
const TOKEN_SECONDS: i64 = 3600;
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The pod template.
#[must_use]
pub fn pod_template(settings: &Settings, image: &str) -> PodTemplateSpec {
    let agent = &settings.agent;
    let mut node_selector = agent.node_selector.clone();
    node_selector.insert(OS_LABEL.0.to_owned(), OS_LABEL.1.to_owned());
    let secrets = agent
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect::<Vec<_>>();
    PodTemplateSpec {
        metadata: Some(Meta {
            labels: Some(
                LABELS
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            annotations: Some(
                [(
                    "kubectl.kubernetes.io/default-container".to_owned(),
                    AGENT.to_owned(),
                )]
                .into_iter()
                .collect(),
            ),
            ..Meta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(AGENT.to_owned()),
            // The token is projected below, bound to this pod and so to its node: what an agent may write is decided
            // by the node that its token names.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            priority_class_name: Some(agent.priority_class_name.clone()),
            termination_grace_period_seconds: Some(agent.grace_seconds),
            node_selector: Some(node_selector),
            affinity: agent.affinity.clone(),
            tolerations: Some(agent.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
            image_pull_secrets: Some(secrets).filter(|secrets| !secrets.is_empty()),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![container(settings, image)],
            volumes: Some(volumes()),
            ..PodSpec::default()
        }),
    }
}

fn container(settings: &Settings, image: &str) -> Container {
    let agent = &settings.agent;
    let probe = |path: &str, period: i32, failures: i32| Probe {
        // The pod address, not the node's: nothing listens where other pods of the host network could reach it.
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    Container {
        name: AGENT.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(agent.image_pull_policy.clone()),
        args: Some(arguments(settings)),
        env: Some(environment(settings)),
        ports: Some(vec![ContainerPort {
            name: Some("admin".to_owned()),
            container_port: i32::from(AGENT_ADMIN_PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(agent.resources.clone()),
        security_context: Some(security(agent.network)),
        // The process answers at all. Neither hooks nor sinks count: restarting mends none of them.
        liveness_probe: Some(probe("/livez", 10, 6)),
        // Often, since what an agent reports is trusted only while its pod is ready.
        readiness_probe: Some(probe("/readyz", 2, 2)),
        // Loading programs on a slow node takes a while.
        startup_probe: Some(probe("/livez", 2, 60)),
        volume_mounts: Some(mounts()),
        ..Container::default()
    }
}

fn arguments(settings: &Settings) -> Vec<String> {
    let mut arguments = vec![
        "run".to_owned(),
        "--in-cluster".to_owned(),
        format!("--admin=$(POD_IP):{AGENT_ADMIN_PORT}"),
        format!("--state-dir={STATE_DIR}"),
        format!("--credentials-dir={CREDENTIALS_DIR}"),
        format!("--grace={}", drain_seconds(settings.agent.grace_seconds)),
    ];
    arguments.extend(
        settings
            .agent
            .ring_bytes
            .map(|bytes| format!("--ring-bytes={bytes}")),
    );
    arguments
}

/// How long an agent may drain so that it ends before it is killed.
fn drain_seconds(grace_seconds: i64) -> i64 {
    (grace_seconds - END_SECONDS).max(2)
}

fn environment(settings: &Settings) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    let value = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    let mut environment = vec![
        field("NODE_NAME", "spec.nodeName"),
        field("POD_NAME", "metadata.name"),
        field("POD_UID", "metadata.uid"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_IP", "status.podIP"),
        value("WEIR_LOG", &settings.agent.log),
    ];
    environment.extend(
        settings
            .cluster_name
            .as_deref()
            .map(|name| value("WEIR_CLUSTER", name)),
    );
    environment
}

/// Root inside the container, and nothing that makes root powerful but what the kernel asks for to trace.
fn security(network: bool) -> SecurityContext {
    let mut capabilities = vec![
        // Loads programs and makes maps. Without it the kernel refuses every bpf(2) call that matters.
        "BPF".to_owned(),
        // Attaches programs to tracepoints and functions, and reads kernel memory in them.
        "PERFMON".to_owned(),
    ];
    if network {
        // Hooks on cgroup sockets; nothing else needs it, so that it is the operator's choice (`agent.network`).
        capabilities.push("NET_ADMIN".to_owned());
    }
    SecurityContext {
        // Added capabilities are effective for root only: a container runtime grants no ambient ones. It is also what
        // owns tracefs and the state directory.
        run_as_user: Some(0),
        run_as_group: Some(0),
        run_as_non_root: Some(false),
        privileged: Some(false),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            add: Some(capabilities),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        // It allows bpf(2) and perf_event_open(2) to whoever has the two capabilities.
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    }
}

fn mounts() -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    vec![
        // Which tracepoints there are. A tracefs that the node mounts later shows up too, but programs are loaded once:
        // the agent uses it from its next start on.
        VolumeMount {
            mount_propagation: Some("HostToContainer".to_owned()),
            ..mount("tracefs", "/sys/kernel/tracing", true)
        },
        // Which cgroup is which pod.
        mount("cgroup", "/sys/fs/cgroup", true),
        // The last good configuration and sequence numbers outlive the pod.
        mount("state", STATE_DIR, false),
        // A directory and not single files (subPath), because only directories follow a changed Secret.
        mount("sinks", CREDENTIALS_DIR, true),
        mount("token", TOKEN_DIR, true),
        mount("tmp", "/tmp", false),
    ]
}

fn volumes() -> Vec<Volume> {
    let host = |name: &str, path: &str, type_: &str| Volume {
        name: name.to_owned(),
        host_path: Some(HostPathVolumeSource {
            path: path.to_owned(),
            type_: Some(type_.to_owned()),
        }),
        ..Volume::default()
    };
    vec![
        // Unchecked: where the node has none, that is a reason in the report and not a pod that cannot start.
        host("tracefs", "/sys/kernel/tracing", ""),
        host("cgroup", "/sys/fs/cgroup", "Directory"),
        host("state", STATE_DIR, "DirectoryOrCreate"),
        Volume {
            name: "sinks".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(GATHERED_SECRET.to_owned()),
                // Readable by the agent's user alone.
                default_mode: Some(0o400),
                // Agents start without it: a sink may need no credentials.
                optional: Some(true),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "token".to_owned(),
            projected: Some(token()),
            ..Volume::default()
        },
        Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ]
}

/// What every pod is given by default, spelled out: a token bound to the pod, the API server's CA, the namespace.
fn token() -> ProjectedVolumeSource {
    ProjectedVolumeSource {
        default_mode: Some(0o400),
        sources: Some(vec![
            VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "token".to_owned(),
                    audience: None,
                }),
                ..VolumeProjection::default()
            },
            VolumeProjection {
                config_map: Some(ConfigMapProjection {
                    name: "kube-root-ca.crt".to_owned(),
                    items: Some(vec![KeyToPath {
                        key: "ca.crt".to_owned(),
                        path: "ca.crt".to_owned(),
                        mode: None,
                    }]),
                    optional: None,
                }),
                ..VolumeProjection::default()
            },
            VolumeProjection {
                downward_api: Some(DownwardAPIProjection {
                    items: Some(vec![DownwardAPIVolumeFile {
                        path: "namespace".to_owned(),
                        field_ref: Some(ObjectFieldSelector {
                            api_version: Some("v1".to_owned()),
                            field_path: "metadata.namespace".to_owned(),
                        }),
                        ..DownwardAPIVolumeFile::default()
                    }]),
                }),
                ..VolumeProjection::default()
            },
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::drain_seconds;

    #[test]
    fn agents_end_before_they_are_killed() {
        for (grace, drain) in [(5, 2), (30, 27), (600, 597)] {
            assert_eq!(drain_seconds(grace), drain);
        }
    }
}
