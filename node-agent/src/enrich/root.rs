//! Finds the cgroup v2 mount and where this node's cgroups begin in the hierarchy.
//!
//! Several nodes may share one kernel, as kind's do: what is not under the node's root belongs to another node. Such a
//! node is itself a container with a cgroup namespace of its own, so that what is mounted in it begins below the
//! hierarchy's root, while the kernel's records tell paths from that root. Only the kernel can join the two: see
//! [`Ancestry`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;
use weir_node_agent_common::cgroup::NodeRoot;

use super::ancestry::Ancestry;
use super::cgroup_path::node_root_len;
use super::walk::{self, WalkError};

/// `CGROUP2_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Why the cgroup root could not be found.
#[derive(Debug, Error)]
pub enum RootError {
    /// The mount table cannot be read.
    #[error("cannot read /proc/self/mountinfo to find the cgroup v2 mount")]
    Mounts(#[source] io::Error),
    /// There is no v2 hierarchy.
    #[error(
        "no cgroup v2 hierarchy is mounted: mount one (mount -t cgroup2 none /sys/fs/cgroup/unified), or in a pod \
         mount the host's /sys/fs/cgroup read-only"
    )]
    NotMounted,
    /// The kernel did not tell the whole way from the agent's cgroup to the root.
    #[error(
        "the agent's own cgroup is too deep in the hierarchy; start it in one with at most 30 others above it"
    )]
    OwnCgroup,
    /// None of the mounts shows the agent's own cgroup.
    #[error(
        "no cgroup v2 mount shows the agent's own cgroup, and so not its node: in a pod, mount the host's \
         /sys/fs/cgroup read-only"
    )]
    NotShown,
    /// `--cgroup-root` does not exist below the mount.
    #[error("--cgroup-root {path}: not a directory below the cgroup v2 mount {mount}")]
    NoSuchRoot {
        /// As given.
        path: PathBuf,
        /// Where the v2 hierarchy is mounted.
        mount: PathBuf,
    },
}

/// The part of the v2 hierarchy that is this node's. Paths are from the hierarchy's root: empty for itself, else with a
/// leading and without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot {
    mount: Mount,
    prefix: Box<[u8]>,
    id: u64,
}

/// A mount of the hierarchy or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// The path of what is mounted.
    path: Box<[u8]>,
}

impl CgroupRoot {
    /// A root at `prefix` (`/` or empty is the whole hierarchy) of the hierarchy, whose id is `id`; the whole hierarchy is
    /// mounted at `mount`.
    #[must_use]
    pub fn new(mount: PathBuf, prefix: &[u8], id: u64) -> Self {
        let mount = Mount {
            point: mount,
            path: Box::default(),
        };
        Self {
            prefix: joined(&mount.path, prefix),
            mount,
            id,
        }
    }

    /// Finds the mount, and the node's root: `configured` (from the mount, or as a file system path) if given, else, in a
    /// pod, what lies above the kubepods cgroup that the agent itself runs in, else all that is mounted.
    pub fn discover(configured: Option<&Path>, own: Option<&Ancestry>) -> Result<Self, RootError> {
        let own = own.ok_or(RootError::OwnCgroup)?;
        let mountinfo = std::fs::read("/proc/self/mountinfo").map_err(RootError::Mounts)?;
        let mounts: Vec<(PathBuf, u64)> = mount_points(&mountinfo).into_iter().filter_map(shown).collect();
        if mounts.is_empty() {
            return Err(RootError::NotMounted);
        }
        Self::of(choose(mounts, own).ok_or(RootError::NotShown)?, configured, own)
    }

    fn of(mount: Mount, configured: Option<&Path>, own: &Ancestry) -> Result<Self, RootError> {
        if let Some(configured) = configured {
            return Self::configured(mount, configured);
        }
        let in_pod = node_root_len(own.path());
        let len = in_pod.unwrap_or(mount.path.len());
        if in_pod.is_none() && len > 0 {
            tracing::info!(
                cgroup = %String::from_utf8_lossy(&mount.path),
                "only a part of the cgroup hierarchy is mounted here: this node is taken to be that part, and what runs \
                 outside of it another node's"
            );
        }
        let id = own.id_at(len).ok_or(RootError::OwnCgroup)?;
        Ok(Self {
            prefix: own.path().get(..len).unwrap_or_default().into(),
            mount,
            id,
        })
    }

    fn configured(mount: Mount, configured: &Path) -> Result<Self, RootError> {
        let below = configured.strip_prefix(&mount.point).unwrap_or(configured);
        let climbs = below
            .components()
            .any(|component| component == Component::ParentDir);
        let relative = below.strip_prefix("/").unwrap_or(below);
        match std::fs::metadata(mount.point.join(relative)) {
            Ok(found) if found.is_dir() && !climbs => Ok(Self {
                prefix: joined(&mount.path, below.as_os_str().as_bytes()),
                mount,
                id: found.ino(),
            }),
            _ => Err(RootError::NoSuchRoot {
                path: configured.to_path_buf(),
                mount: mount.point,
            }),
        }
    }

    /// The node's root from the hierarchy's root; empty when it is the whole hierarchy.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The id of the node's root.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// What the programs must know to tell this node's tasks from others'.
    #[must_use]
    pub fn node_root(&self) -> NodeRoot {
        let level = self.prefix.split(|byte| *byte == b'/').count() - 1;
        NodeRoot {
            id: self.id,
            level: u32::try_from(level).unwrap_or(u32::MAX),
            reserved: 0,
        }
    }

    /// Calls `visit` with the id and the path of every cgroup that the mount shows; see [`walk::walk`].
    pub fn walk(&self, visit: impl FnMut(u64, &[u8])) -> Result<(), WalkError> {
        walk::walk(&self.mount.point, &self.mount.path, visit)
    }

    /// `path`, from the hierarchy's root, relative to the node's root; `None` when it is another node's.
    #[must_use]
    pub fn relative<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.strip_prefix(&*self.prefix)?;
        (rest.is_empty() || rest.starts_with(b"/") || self.prefix.is_empty()).then_some(rest)
    }
}

/// `below` appended to `path`, without double and trailing slashes.
fn joined(path: &[u8], below: &[u8]) -> Box<[u8]> {
    let mut whole = path.to_vec();
    for component in below
        .split(|&byte| byte == b'/')
        .filter(|component| !component.is_empty())
    {
        whole.push(b'/');
        whole.extend_from_slice(component);
    }
    whole.into()
}

/// The mount point and the id of the cgroup that it shows, unless something else is mounted over it.
fn shown(point: PathBuf) -> Option<(PathBuf, u64)> {
    let is_cgroup = rustix::fs::statfs(&point)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == CGROUP2_MAGIC));
    let id = std::fs::metadata(&point).ok().filter(|_| is_cgroup)?.ino();
    Some((point, id))
}

/// Of the mounts, by the id of what they show, the one that shows most of those that show the agent's own cgroup.
///
/// In a container there are two: the container's own, which shows the container, and the node's, mounted in.
fn choose(mounts: Vec<(PathBuf, u64)>, own: &Ancestry) -> Option<Mount> {
    let above = mounts.into_iter().filter_map(|(point, id)| {
        let path = own.path_of(id)?.into();
        Some(Mount { point, path })
    });
    above.min_by_key(|mount| mount.path.len())
}

/// Where cgroup v2 is mounted, from the text of `/proc/self/mountinfo`.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let point = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let point = fields.nth(4)?;
        // Optional fields end at a lone dash; the type follows.
        fields.find(|field| *field == b"-")?;
        (fields.next()? == b"cgroup2").then(|| PathBuf::from(OsStr::from_bytes(&unescape(point))))
    };
    mountinfo.split(|&byte| byte == b'\n').filter_map(point).collect()
}

/// mountinfo writes space, tab, newline and backslash as three octal digits after a backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .first_chunk::<3>()
            .filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(&[a, b, c]) if first == b'\\' => {
                out.push(
                    (a - b'0')
                        .wrapping_mul(64)
                        .wrapping_add((b - b'0') * 8)
                        .wrapping_add(c - b'0'),
                );
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ancestry::ancestor;
    use super::*;

    const POD: &str = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0f4c1c1e_7a51_4b39_9a0e_2f6f0b7c8d11.slice/\
        cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";

    /// The ancestry of a cgroup: the root has the id 1, what is below it 2, and so on.
    fn own(path: &str) -> Ancestry {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let above = (2..).zip(&names).map(|(id, name)| ancestor(id, name));
        let mut own: Vec<_> = std::iter::once(ancestor(1, "")).chain(above).collect();
        own.reverse();
        Ancestry::new(&own).unwrap()
    }

    fn found(mounts: &[(&str, u64)], own: &Ancestry) -> CgroupRoot {
        let mounts = mounts.iter().map(|(point, id)| (PathBuf::from(point), *id));
        CgroupRoot::of(choose(mounts.collect(), own).unwrap(), None, own).unwrap()
    }

    #[test]
    fn mount_points_of_hybrid_and_pure_layouts() {
        let hybrid = b"24 20 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            25 24 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            34 24 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_points(hybrid), [Path::new("/sys/fs/cgroup/unified")]);
        let in_a_pod = b"1 2 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
            3 2 0:26 /../../../.. /host/cgroup\\040root ro - cgroup2 cgroup2 rw\n";
        let both = ["/sys/fs/cgroup", "/host/cgroup root"].map(PathBuf::from);
        assert_eq!(mount_points(in_a_pod), both);
        assert!(mount_points(b"1 2 0:1 / / rw - ext4 /dev/sda rw\n").is_empty());
        assert!(mount_points(b"").is_empty());
    }

    #[test]
    fn root_on_a_host_and_in_its_pod_is_the_whole_hierarchy() {
        let host = found(&[("/sys/fs/cgroup", 1)], &own("/system.slice/weir.service"));
        assert_eq!(
            (host.prefix(), host.id(), host.node_root().level),
            (&b""[..], 1, 0)
        );
        assert_eq!(host.relative(b"/a"), Some(&b"/a"[..]));
        assert_eq!(host.relative(b"/"), Some(&b"/"[..]));
        let pod = own("/kubepods/besteffort/pod0f4c1c1e-7a51-4b39-9a0e-2f6f0b7c8d11/0123456789abcdef");
        let pod = found(&[("/sys/fs/cgroup", 5), ("/host/sys/fs/cgroup", 1)], &pod);
        assert_eq!((pod.prefix(), pod.id()), (&b""[..], 1));
        assert_eq!(pod.mount.point, Path::new("/host/sys/fs/cgroup"));
    }

    #[test]
    fn root_in_a_pod_of_a_node_that_is_a_container_is_that_container() {
        let docker = own(&format!("/system.slice/docker-40.scope/{POD}"));
        // With the node's own cgroup namespace its mount begins at the container; without, at the hierarchy's root.
        for mounts in [&[("/sys/fs/cgroup", 7), ("/host", 3)][..], &[("/host", 1)]] {
            let root = found(mounts, &docker);
            assert_eq!(root.prefix(), b"/system.slice/docker-40.scope");
            assert_eq!((root.id(), root.node_root().level), (3, 2));
            let pod = format!("/system.slice/docker-40.scope/{POD}");
            assert_eq!(root.relative(pod.as_bytes()), Some(format!("/{POD}").as_bytes()));
            let others = format!("/system.slice/docker-41.scope/{POD}");
            for other in [&others, "/system.slice/docker-401.scope", "/system.slice", "/"] {
                assert_eq!(root.relative(other.as_bytes()), None, "{other}");
            }
        }
    }

    #[test]
    fn root_of_an_agent_that_is_in_no_pod_of_its_node_is_all_that_is_mounted() {
        let by_hand = found(&[("/sys/fs/cgroup", 3)], &own("/docker/node1/init.scope"));
        assert_eq!((by_hand.prefix(), by_hand.id()), (&b"/docker/node1"[..], 3));
    }

    #[test]
    fn mounts_that_do_not_show_the_agent_are_not_chosen() {
        assert_eq!(choose(vec![("/elsewhere".into(), 40)], &own("/a")), None);
    }

    #[test]
    fn configured_root_is_accepted_below_the_mount_and_refused_elsewhere() {
        let point = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(point.path().join("a/b")).unwrap();
        let mount = |path: &[u8]| Mount {
            point: point.path().into(),
            path: path.into(),
        };
        let id = std::fs::metadata(point.path().join("a/b")).unwrap().ino();
        for given in [point.path().join("a/b"), "/a/b/".into(), "a/b".into()] {
            let root = CgroupRoot::configured(mount(b""), &given).unwrap();
            assert_eq!((root.prefix(), root.id()), (&b"/a/b"[..], id), "{given:?}");
            let below = CgroupRoot::configured(mount(b"/docker/node1"), &given).unwrap();
            assert_eq!(below.prefix(), b"/docker/node1/a/b", "{given:?}");
        }
        for given in ["/c", "/a/../.."] {
            let error = CgroupRoot::configured(mount(b""), Path::new(given)).unwrap_err();
            assert!(error.to_string().contains("--cgroup-root"), "{error}");
        }
    }

    #[test]
    fn relative_cuts_whole_components_only() {
        let root = CgroupRoot::new("/sys/fs/cgroup".into(), b"weir-node2/", 7);
        assert_eq!(root.prefix(), b"/weir-node2");
        assert_eq!(root.relative(b"/weir-node2/kubepods"), Some(&b"/kubepods"[..]));
        assert_eq!(root.relative(b"/weir-node2"), Some(&b""[..]));
        assert_eq!(root.relative(b"/weir-node22/kubepods"), None);
        assert_eq!(root.relative(b"/"), None);
    }

    proptest! {
        #[test]
        fn mount_points_any_bytes_never_panics(text in "([0-9 /.\\\\-]|cgroup2|\n){0,60}") {
            let _points = mount_points(text.as_bytes());
        }

        #[test]
        fn unescape_any_bytes_never_grows(field in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(unescape(&field).len() <= field.len());
        }
    }
}
