use proptest::prelude::*;

use super::*;

const UID: &str = "8d2a3c1e-5f60-4b7a-9c1d-2e3f4a5b6c7d";
const UID_UNDERSCORES: &str = "8d2a3c1e_5f60_4b7a_9c1d_2e3f4a5b6c7d";
const HASH_UID: &str = "f3cc103136423a57975750907ebc1d36";
const ID: &str = "3f4b0cbb6b0d2f4a4c3e8e9d8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a";

fn pod(uid: &str, qos: Qos) -> PodCgroup {
    PodCgroup { uid: uid.into(), qos }
}

fn in_container(uid: &str, qos: Qos, runtime: Runtime) -> Identity {
    Identity::Container(
        pod(uid, qos),
        ContainerCgroup {
            id: ID.into(),
            runtime,
        },
    )
}

/// Paths as real nodes show them, by source.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of fixtures")]
fn parse_real_layouts_give_their_identity() {
    use Qos::{BestEffort, Burstable, Guaranteed};
    use Runtime::{Containerd, Crio, Docker, Podman, Unnamed};
    let rows: Vec<(&str, String, Identity)> = vec![
        (
            "cgroupfs guaranteed",
            format!("/kubepods/pod{UID}/{ID}"),
            in_container(UID, Guaranteed, Unnamed),
        ),
        (
            "cgroupfs burstable",
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            in_container(UID, Burstable, Unnamed),
        ),
        (
            "cgroupfs best effort",
            format!("/kubepods/besteffort/pod{UID}/{ID}"),
            in_container(UID, BestEffort, Unnamed),
        ),
        (
            "cgroupfs static pod",
            format!("/kubepods/burstable/pod{HASH_UID}/{ID}"),
            in_container(HASH_UID, Burstable, Unnamed),
        ),
        (
            "cgroupfs pod level",
            format!("/kubepods/burstable/pod{UID}"),
            Identity::Pod(pod(UID, Burstable)),
        ),
        (
            "cgroupfs CRI-O",
            format!("/kubepods/burstable/pod{UID}/crio-{ID}"),
            in_container(UID, Burstable, Crio),
        ),
        (
            "relative, no slash",
            format!("kubepods/burstable/pod{UID}/{ID}"),
            in_container(UID, Burstable, Unnamed),
        ),
        (
            "systemd containerd burstable",
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            in_container(UID, Burstable, Containerd),
        ),
        (
            "systemd containerd guaranteed",
            format!("/kubepods.slice/kubepods-pod{UID_UNDERSCORES}.slice/cri-containerd-{ID}.scope"),
            in_container(UID, Guaranteed, Containerd),
        ),
        (
            "systemd CRI-O best effort",
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_UNDERSCORES}.slice/crio-{ID}.scope"
            ),
            in_container(UID, BestEffort, Crio),
        ),
        (
            "CRI-O, container in its own child",
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_UNDERSCORES}.slice/crio-{ID}.scope/container"
            ),
            in_container(UID, BestEffort, Crio),
        ),
        (
            "CRI-O's monitor is the pod's, no container",
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_UNDERSCORES}.slice/crio-conmon-{ID}.scope"
            ),
            Identity::Pod(pod(UID, BestEffort)),
        ),
        (
            "systemd docker",
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_UNDERSCORES}.slice/docker-{ID}.scope"
            ),
            in_container(UID, Burstable, Docker),
        ),
        (
            "systemd podman",
            format!("/kubepods.slice/kubepods-pod{UID_UNDERSCORES}.slice/libpod-{ID}.scope"),
            in_container(UID, Guaranteed, Podman),
        ),
        (
            "systemd static pod",
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH_UID}.slice/cri-containerd-{ID}.scope"
            ),
            in_container(HASH_UID, Burstable, Containerd),
        ),
        (
            "kind, systemd, seen from the node's root",
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID_UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            in_container(UID, Burstable, Containerd),
        ),
        (
            "kind, systemd, guaranteed, seen from the kernel's root",
            format!(
                "/system.slice/docker-{ID}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            in_container(UID, Guaranteed, Containerd),
        ),
        (
            "kind, cgroupfs",
            format!("/docker/{ID}/kubelet/kubepods/besteffort/pod{UID}/{ID}"),
            in_container(UID, BestEffort, Unnamed),
        ),
        (
            "kubelet with a cgroup root",
            format!("/weir-node2/kubepods/burstable/pod{UID}/{ID}"),
            in_container(UID, Burstable, Unnamed),
        ),
        (
            "containerd on cgroupfs under a kubelet on systemd",
            format!(
                "/system.slice/containerd.service/kubepods-burstable-pod{UID_UNDERSCORES}.slice:cri-containerd:{ID}"
            ),
            in_container(UID, Burstable, Containerd),
        ),
        (
            "the same, a child below",
            format!(
                "/system.slice/containerd.service/kubepods-besteffort-pod{UID_UNDERSCORES}.slice:cri-containerd:{ID}/init.scope"
            ),
            in_container(UID, BestEffort, Containerd),
        ),
        (
            "systemd in the container",
            format!("/kubepods/pod{UID}/{ID}/system.slice/nginx.service"),
            in_container(UID, Guaranteed, Unnamed),
        ),
        (
            "a cluster nested in a pod is the outer pod's",
            format!("/kubepods/burstable/pod{UID}/{ID}/kubelet/kubepods/pod{HASH_UID}/{ID}"),
            in_container(UID, Burstable, Unnamed),
        ),
        ("root", "/".into(), Identity::Host),
        ("empty", String::new(), Identity::Host),
        (
            "a service",
            "/system.slice/containerd.service".into(),
            Identity::Host,
        ),
        (
            "a user session",
            "/user.slice/user-1000.slice/session-3.scope".into(),
            Identity::Host,
        ),
        ("kubepods itself", "/kubepods".into(), Identity::Host),
        ("a class", "/kubepods/burstable".into(), Identity::Host),
        (
            "a class slice",
            "/kubepods.slice/kubepods-burstable.slice".into(),
            Identity::Host,
        ),
        (
            "plain docker is the host's",
            format!("/docker/{ID}"),
            Identity::Host,
        ),
        (
            "plain docker, systemd",
            format!("/system.slice/docker-{ID}.scope"),
            Identity::Host,
        ),
        (
            "a folder named like a pod elsewhere",
            format!("/srv/pod{UID}/{ID}"),
            Identity::Host,
        ),
        (
            "kubepods as the end of another word",
            format!("/mykubepods/pod{UID}/{ID}"),
            Identity::Host,
        ),
        ("an empty UID", "/kubepods/pod".into(), Identity::Host),
        (
            "an unknown child of a pod is the pod's",
            format!("/kubepods/pod{UID}/helper"),
            Identity::Pod(pod(UID, Guaranteed)),
        ),
        (
            "an unknown prefix is the pod's",
            format!("/kubepods/pod{UID}/other-{ID}.scope"),
            Identity::Pod(pod(UID, Guaranteed)),
        ),
    ];
    for (source, path, expected) in rows {
        assert_eq!(parse(path.as_bytes()), expected, "{source}: {path}");
    }
}

#[test]
fn node_root_is_cut_above_the_innermost_kubepods() {
    let rows: Vec<(&str, String, Option<&str>)> = vec![
        (
            "a plain node",
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            Some(""),
        ),
        (
            "a plain node, systemd",
            format!("/kubepods.slice/kubepods-pod{UID_UNDERSCORES}.slice/cri-containerd-{ID}.scope"),
            Some(""),
        ),
        (
            "a kubelet with a cgroup root",
            format!("/weir-node2/kubepods/pod{UID}/{ID}"),
            Some("/weir-node2"),
        ),
        (
            "kind",
            format!("/docker/abc/kubelet/kubepods/pod{UID}/{ID}"),
            Some("/docker/abc"),
        ),
        (
            "kind, systemd",
            format!(
                "/docker/abc/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_UNDERSCORES}.slice/cri-containerd-{ID}.scope"
            ),
            Some("/docker/abc"),
        ),
        (
            "nested",
            format!("/kubepods/pod{UID}/{ID}/kubelet/kubepods/pod{HASH_UID}/{ID}"),
            Some(
                "/kubepods/pod8d2a3c1e-5f60-4b7a-9c1d-2e3f4a5b6c7d/3f4b0cbb6b0d2f4a4c3e8e9d8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a",
            ),
        ),
        ("not in a pod", "/system.slice/weir-agent.service".into(), None),
        ("a class only", "/kubepods/burstable".into(), None),
        ("empty", String::new(), None),
    ];
    for (what, path, expected) in rows {
        assert_eq!(
            node_root_len(path.as_bytes()).map(|len| &path[..len]),
            expected,
            "{what}: {path}"
        );
    }
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::Guaranteed), Just(Qos::Burstable), Just(Qos::BestEffort)]
}

fn systemd(uid: &str, qos: Qos, scope: &str, prefix: &str) -> String {
    let dash = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}-")
    };
    let uid = uid.replace('-', "_");
    match qos {
        Qos::Guaranteed => format!("{dash}kubepods.slice/{dash}kubepods-pod{uid}.slice/{scope}"),
        Qos::Burstable => format!(
            "{dash}kubepods.slice/{dash}kubepods-burstable.slice/{dash}kubepods-burstable-pod{uid}.slice/{scope}"
        ),
        Qos::BestEffort => format!(
            "{dash}kubepods.slice/{dash}kubepods-besteffort.slice/{dash}kubepods-besteffort-pod{uid}.slice/{scope}"
        ),
    }
}

fn cgroupfs(uid: &str, qos: Qos, id: &str) -> String {
    match qos {
        Qos::Guaranteed => format!("kubepods/pod{uid}/{id}"),
        Qos::Burstable => format!("kubepods/burstable/pod{uid}/{id}"),
        Qos::BestEffort => format!("kubepods/besteffort/pod{uid}/{id}"),
    }
}

proptest! {
    #[test]
    fn parse_any_bytes_never_panics(path in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _identity = parse(&path);
        let _root = node_root_len(&path);
    }

    #[test]
    fn parse_nearly_right_paths_never_panics(path in "(/|kube|pods|-|pod|\\.slice|:|burstable|kubelet|[0-9a-f]{12}|docker|\\.scope|_){0,20}") {
        let _identity = parse(path.as_bytes());
        if let Some(len) = node_root_len(path.as_bytes()) {
            prop_assert!(len < path.len());
        }
    }

    #[test]
    fn parse_both_layouts_round_trip(
        uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        id in "[0-9a-f]{64}",
        qos in qos(),
        nested in "(/[a-z.]{1,10}){0,3}",
        prefix in "(|kubelet|weir-node[0-9])",
    ) {
        let expected = |runtime| Identity::Container(
            PodCgroup { uid: uid.as_str().into(), qos },
            ContainerCgroup { id: id.as_str().into(), runtime },
        );
        let path = format!("{}{nested}", systemd(&uid, qos, &format!("cri-containerd-{id}.scope"), &prefix));
        prop_assert_eq!(parse(path.as_bytes()), expected(Runtime::Containerd), "{}", path);
        let path = format!("{prefix}/{}{nested}", cgroupfs(&uid, qos, &id));
        prop_assert_eq!(parse(path.as_bytes()), expected(Runtime::Unnamed), "{}", path);
        let root = node_root_len(path.as_bytes()).unwrap();
        prop_assert_eq!(&path[..root], if prefix == "kubelet" { "" } else { prefix.as_str() });
    }
}
