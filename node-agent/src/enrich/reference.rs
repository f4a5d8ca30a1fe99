//! Puts together what events say of a pod and container; nothing else decides what that is.

use weir_events::Workload;

use super::workloads::{Container, Pod};

/// The workload of a container `id` of the pod with the cgroup UID `uid`, as far as metadata is here.
pub(super) fn workload(
    uid: &str,
    pod: Option<&Pod>,
    id: Option<&str>,
    container: Option<&Container>,
) -> Workload {
    let mut workload = Workload {
        pod_uid: uid.to_owned(),
        ..Workload::default()
    };
    if let Some(id) = id {
        id.clone_into(&mut workload.container_id);
    }
    if let Some(Pod {
        uid,
        cgroup_uid: _,
        namespace,
        name,
        labels: _,
        owner,
        node,
        containers: _,
    }) = pod
    {
        uid.clone_into(&mut workload.pod_uid);
        namespace.clone_into(&mut workload.namespace);
        name.clone_into(&mut workload.pod);
        node.clone_into(&mut workload.node);
        if let Some(owner) = owner {
            owner.kind.clone_into(&mut workload.owner_kind);
            owner.name.clone_into(&mut workload.owner_name);
        }
    }
    if let Some(Container { id: _, name, image }) = container {
        name.clone_into(&mut workload.container);
        image.clone_into(&mut workload.image);
    }
    workload
}
