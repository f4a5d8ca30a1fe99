//! Reads a container's identity out of a cgroup's path; total on any bytes, no I/O, no tables.
//!
//! Known layouts, each with the table row in the tests that pins it:
//!
//! * cgroupfs driver: `kubepods[/burstable|/besteffort]/pod<UID>/<container id>`;
//! * systemd driver: `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID>.slice/<runtime>-<id>.scope`,
//!   dashes of the UID written as underscores;
//! * the kubelet's `--cgroup-root`, as kind sets it: `kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-...`;
//! * a runtime left on cgroupfs under a kubelet on systemd:
//!   `system.slice/containerd.service/kubepods-...-pod<UID>.slice:cri-containerd:<id>`.
//!
//! A cgroup below a container's own (a systemd in the container, a nested runtime) is the container's.

/// Longest pod UID that is believed: UUIDs have 36 bytes, static pods' hashes 32.
pub const POD_UID_MAX: usize = 64;
/// Longest container id that is believed; every CRI runtime uses 64 hexadecimal digits.
pub const CONTAINER_ID_MAX: usize = 64;
/// Shortest container id that is believed, so that a service's own sub-cgroup is not taken for one.
pub const CONTAINER_ID_MIN: usize = 12;

/// The pod's quality-of-service class, as far as its cgroup's path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Directly under the kubepods cgroup.
    Guaranteed,
    /// Under its `burstable` child.
    Burstable,
    /// Under its `besteffort` child.
    BestEffort,
}

/// Who made the container's cgroup, by the prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// `cri-containerd-<id>.scope`.
    Containerd,
    /// `crio-<id>[.scope]`.
    Crio,
    /// `docker-<id>.scope`.
    Docker,
    /// `libpod-<id>.scope`.
    Podman,
    /// A bare id: the cgroupfs driver does not say.
    Unnamed,
}

/// What a cgroup's path says about the processes in it. Borrows from nothing: it is kept for the cgroup's life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Not in a pod.
    Host,
    /// In a pod, outside any container that could be named (the pod's own cgroup, a runtime's monitor).
    Pod(PodCgroup),
    /// In a container.
    Container(PodCgroup, ContainerCgroup),
}

/// A pod, by its cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodCgroup {
    /// The pod's UID, dashes restored. A static pod's is the hash that its mirror pod carries in the annotation
    /// `kubernetes.io/config.hash`.
    pub uid: Box<str>,
    /// The pod's class.
    pub qos: Qos,
}

/// A container, by its cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerCgroup {
    /// The runtime's id, without the runtime's prefix.
    pub id: Box<str>,
    /// Who made it.
    pub runtime: Runtime,
}

impl Identity {
    /// The pod, if there is one.
    #[must_use]
    pub fn pod(&self) -> Option<&PodCgroup> {
        match self {
            Self::Host => None,
            Self::Pod(pod) | Self::Container(pod, _) => Some(pod),
        }
    }

    /// The container, if there is one.
    #[must_use]
    pub fn container(&self) -> Option<&ContainerCgroup> {
        match self {
            Self::Container(_, container) => Some(container),
            Self::Host | Self::Pod(_) => None,
        }
    }
}

/// Parses a path, relative to the node's cgroup root or with any prefix before its kubepods component.
///
/// Every input has an answer: what is not recognised as a pod's is [`Identity::Host`].
#[must_use]
pub fn parse(path: &[u8]) -> Identity {
    let mut parent = Parent::Other;
    let mut components = path
        .split(|&byte| byte == b'/')
        .filter(|component| !component.is_empty());
    while let Some(component) = components.next() {
        if let Some(found) = systemd_pod(component) {
            let inline = found.inline_container;
            return with_container(
                found.pod,
                inline.or_else(|| components.next().and_then(container)),
            );
        }
        if let Some(qos) = parent.qos()
            && let Some(uid) = component.strip_prefix(b"pod").and_then(pod_uid)
        {
            return with_container(PodCgroup { uid, qos }, components.next().and_then(container));
        }
        parent = parent.then(component);
    }
    Identity::Host
}

/// Where a node's own cgroups begin, given the path of a cgroup inside one of its pods: what lies above the
/// innermost kubepods component, without the `kubelet` parent that kind puts there.
///
/// Returns the length of the prefix of `path`; `None` when the path is not a pod's.
#[must_use]
pub fn node_root_len(path: &[u8]) -> Option<usize> {
    let mut root = None;
    let mut start = 0;
    let mut before_kubelet = None;
    for component in path.split(|&byte| byte == b'/') {
        let end_of_prefix = start.max(1) - 1;
        if is_kubepods(component) {
            root = Some(before_kubelet.unwrap_or(end_of_prefix));
        }
        before_kubelet = matches!(component, b"kubelet" | b"kubelet.slice").then_some(end_of_prefix);
        start += component.len() + 1;
    }
    root.filter(|_| parse(path) != Identity::Host)
}

/// What the components read so far mean for a cgroupfs pod component.
#[derive(Clone, Copy)]
enum Parent {
    Kubepods,
    Qos(Qos),
    Other,
}

impl Parent {
    fn qos(self) -> Option<Qos> {
        match self {
            Self::Kubepods => Some(Qos::Guaranteed),
            Self::Qos(qos) => Some(qos),
            Self::Other => None,
        }
    }

    fn then(self, component: &[u8]) -> Self {
        match (self, component) {
            (Self::Kubepods, b"burstable") => Self::Qos(Qos::Burstable),
            (Self::Kubepods, b"besteffort") => Self::Qos(Qos::BestEffort),
            _ if is_kubepods(component) => Self::Kubepods,
            _ => Self::Other,
        }
    }
}

fn is_kubepods(component: &[u8]) -> bool {
    component == b"kubepods"
        || component
            .strip_suffix(b".slice")
            .is_some_and(|name| is_or_ends_dashed(name, b"kubepods"))
}

/// `name` is `word`, or ends in `-word`.
fn is_or_ends_dashed(name: &[u8], word: &[u8]) -> bool {
    name.strip_suffix(word)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with(b"-"))
}

struct SystemdPod {
    pod: PodCgroup,
    inline_container: Option<ContainerCgroup>,
}

/// `[<prefix>-]kubepods[-burstable|-besteffort]-pod<uid>.slice[:<runtime>:<id>]`
fn systemd_pod(component: &[u8]) -> Option<SystemdPod> {
    let (slice, inline) = match component.iter().position(|&byte| byte == b':') {
        Some(colon) => (component.get(..colon)?, component.get(colon + 1..)),
        None => (component, None),
    };
    let name = slice.strip_suffix(b".slice")?;
    let at = name.windows(4).rposition(|window| window == b"-pod")?;
    let (parents, uid) = (name.get(..at)?, name.get(at + 4..)?);
    let (parents, qos) = if let Some(rest) = parents.strip_suffix(b"-burstable") {
        (rest, Qos::Burstable)
    } else if let Some(rest) = parents.strip_suffix(b"-besteffort") {
        (rest, Qos::BestEffort)
    } else {
        (parents, Qos::Guaranteed)
    };
    if !is_or_ends_dashed(parents, b"kubepods") {
        return None;
    }
    let uid = pod_uid(uid)?;
    let inline_container = inline.and_then(|inline| {
        let colon = inline.iter().position(|&byte| byte == b':')?;
        let runtime = runtime_of(inline.get(..colon)?)?;
        Some(ContainerCgroup {
            id: container_id(inline.get(colon + 1..)?)?,
            runtime,
        })
    });
    Some(SystemdPod {
        pod: PodCgroup { uid, qos },
        inline_container,
    })
}

fn with_container(pod: PodCgroup, container: Option<ContainerCgroup>) -> Identity {
    match container {
        Some(container) => Identity::Container(pod, container),
        None => Identity::Pod(pod),
    }
}

/// `<runtime>-<id>.scope`, `crio-<id>`, or a bare id.
fn container(component: &[u8]) -> Option<ContainerCgroup> {
    let name = component.strip_suffix(b".scope").unwrap_or(component);
    let (runtime, id) = match name.iter().rposition(|&byte| byte == b'-') {
        Some(dash) => (runtime_of(name.get(..dash)?)?, name.get(dash + 1..)?),
        None => (Runtime::Unnamed, name),
    };
    Some(ContainerCgroup {
        id: container_id(id)?,
        runtime,
    })
}

/// `crio-conmon` is deliberately absent: the monitor is the pod's, but no container.
fn runtime_of(prefix: &[u8]) -> Option<Runtime> {
    match prefix {
        b"cri-containerd" => Some(Runtime::Containerd),
        b"crio" => Some(Runtime::Crio),
        b"docker" => Some(Runtime::Docker),
        b"libpod" => Some(Runtime::Podman),
        _ => None,
    }
}

fn container_id(bytes: &[u8]) -> Option<Box<str>> {
    let fits = (CONTAINER_ID_MIN..=CONTAINER_ID_MAX).contains(&bytes.len());
    (fits && bytes.iter().all(u8::is_ascii_hexdigit))
        .then(|| bytes.iter().map(|&byte| char::from(byte)).collect())
}

/// Accepts both spellings of the dashes.
fn pod_uid(bytes: &[u8]) -> Option<Box<str>> {
    let fits = (1..=POD_UID_MAX).contains(&bytes.len());
    let valid = bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (fits && valid).then(|| {
        bytes
            .iter()
            .map(|&byte| if byte == b'_' { '-' } else { char::from(byte) })
            .collect()
    })
}

#[cfg(test)]
mod tests;
