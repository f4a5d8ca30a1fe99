//! Finds the cgroup v2 mount and where this node's cgroups begin in it.
//!
//! Several nodes may share one kernel, as kind's do: what is not under the node's root belongs to another node.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use super::cgroup_path::node_root_len;
use super::walk::{self, WalkError};

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
    /// The agent's own cgroup cannot be read.
    #[error("cannot read /proc/self/cgroup to find the node's cgroup root; name it with --cgroup-root")]
    OwnCgroup(#[source] io::Error),
    /// `--cgroup-root` does not exist below the mount.
    #[error("--cgroup-root {path}: not a directory below the cgroup v2 mount {mount}")]
    NoSuchRoot {
        /// As given.
        path: PathBuf,
        /// Where the v2 hierarchy is mounted.
        mount: PathBuf,
    },
    /// The hierarchy cannot be searched for the agent's own cgroup.
    #[error(
        "cannot search the cgroup hierarchy for the agent's own cgroup; name the node's root with --cgroup-root"
    )]
    Search(#[source] WalkError),
}

/// The part of the v2 hierarchy that is this node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot {
    mount: PathBuf,
    /// Path of the node's root from the hierarchy's root: empty, or with a leading and without a trailing slash.
    prefix: Box<[u8]>,
}

impl CgroupRoot {
    /// A root at `prefix` (`/` or empty is the whole hierarchy) of the hierarchy mounted at `mount`.
    #[must_use]
    pub fn new(mount: PathBuf, prefix: &[u8]) -> Self {
        let mut normal = Vec::with_capacity(prefix.len() + 1);
        for component in prefix
            .split(|&byte| byte == b'/')
            .filter(|component| !component.is_empty())
        {
            normal.push(b'/');
            normal.extend_from_slice(component);
        }
        Self {
            mount,
            prefix: normal.into(),
        }
    }

    /// Finds the mount, and the node's root in it: `configured` (from the hierarchy's root, or below the mount as a
    /// file system path) if given, else, in a pod, what lies above the kubepods cgroup that the agent itself runs
    /// in, else everything.
    ///
    /// A container with its own cgroup namespace cannot see its path: its cgroup is then found by `own_cgroup`, the
    /// id that the kernel has told, or else as the one that lists the agent's own process.
    pub fn discover(configured: Option<&Path>, own_cgroup: Option<u64>) -> Result<Self, RootError> {
        let mounts = std::fs::read("/proc/self/mountinfo").map_err(RootError::Mounts)?;
        let mount = find_mount(&mounts).ok_or(RootError::NotMounted)?;
        if let Some(configured) = configured {
            return Self::configured(mount, configured);
        }
        let own = std::fs::read("/proc/self/cgroup").map_err(RootError::OwnCgroup)?;
        let mut path = own_v2_path(&own).unwrap_or_default().to_vec();
        if node_root_len(&path).is_none() {
            let found = match own_cgroup {
                Some(id) => walk::find(&mount, id),
                None => find_pod_of(&mount, std::process::id()),
            };
            path = found.map_err(RootError::Search)?.unwrap_or(path);
        }
        let len = node_root_len(&path).unwrap_or(0);
        Ok(Self::new(mount, path.get(..len).unwrap_or_default()))
    }

    fn configured(mount: PathBuf, configured: &Path) -> Result<Self, RootError> {
        let below = configured.strip_prefix(&mount).unwrap_or(configured);
        let prefix = below.as_os_str().as_bytes();
        let root = Self::new(mount, prefix);
        let climbs = below
            .components()
            .any(|component| component == Component::ParentDir);
        if climbs || !root.directory().is_dir() {
            return Err(RootError::NoSuchRoot {
                path: configured.to_path_buf(),
                mount: root.mount,
            });
        }
        Ok(root)
    }

    /// Where the v2 hierarchy is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The node's root from the hierarchy's root; empty when it is the whole hierarchy.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The directory of the node's root.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.mount.join(OsStr::from_bytes(
            self.prefix.strip_prefix(b"/").unwrap_or(&self.prefix),
        ))
    }

    /// `path`, from the hierarchy's root, relative to the node's root; `None` when it is another node's.
    #[must_use]
    pub fn relative<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.strip_prefix(&*self.prefix)?;
        (rest.is_empty() || rest.starts_with(b"/") || self.prefix.is_empty()).then_some(rest)
    }
}

/// The cgroup v2 mount that shows most of the hierarchy, from the text of `/proc/self/mountinfo`.
///
/// In a container with its own cgroup namespace the container's own mount has the root `/`, and the host's, mounted
/// in, one that climbs (`/../../..`): the one that climbs furthest is the host's.
#[must_use]
pub fn find_mount(mountinfo: &[u8]) -> Option<PathBuf> {
    let mut best: Option<((usize, std::cmp::Reverse<usize>), PathBuf)> = None;
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let (Some(root), Some(point)) = (fields.nth(3), fields.next()) else {
            continue;
        };
        // Optional fields end at a lone dash; the type follows.
        if fields.find(|field| *field == b"-").is_none() || fields.next() != Some(b"cgroup2") {
            continue;
        }
        let (mut climbs, mut descends) = (0, 0);
        for component in root
            .split(|&byte| byte == b'/')
            .filter(|component| !component.is_empty())
        {
            if component == b".." {
                climbs += 1;
            } else {
                descends += 1;
            }
        }
        let rank = (climbs, std::cmp::Reverse(descends));
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, PathBuf::from(OsStr::from_bytes(&unescape(point)))));
        }
    }
    best.map(|(_, point)| point)
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

/// The pod's cgroup that lists a process. Of processes that this PID namespace cannot see, the kernel lists 0, so
/// that there is at most one, whoever else runs on the kernel.
fn find_pod_of(mount: &Path, pid: u32) -> Result<Option<Vec<u8>>, WalkError> {
    let pid = pid.to_string();
    walk::search(mount, |_, path| {
        let below = OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path));
        // Unreadable ones (threaded, or gone meanwhile) are not a container's.
        let lists = || std::fs::read_to_string(mount.join(below).join("cgroup.procs")).unwrap_or_default();
        if node_root_len(path).is_some() && lists().lines().any(|line| line == pid) {
            ControlFlow::Break(path.to_vec())
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// The v2 line of `/proc/self/cgroup`.
fn own_v2_path(text: &[u8]) -> Option<&[u8]> {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HYBRID: &[u8] = b"24 20 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        25 24 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        34 24 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn find_mount_hybrid_and_pure_layouts() {
        assert_eq!(find_mount(HYBRID).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        let pure = b"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find_mount(pure).unwrap(), Path::new("/sys/fs/cgroup"));
        assert_eq!(find_mount(b"1 2 0:1 / / rw - ext4 /dev/sda rw\n"), None);
        assert_eq!(find_mount(b""), None);
    }

    #[test]
    fn find_mount_in_a_pod_prefers_the_hosts() {
        let own_namespace = b"1 2 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
            3 2 0:26 /../../../.. /host/cgroup\\040root ro - cgroup2 cgroup2 rw\n";
        assert_eq!(find_mount(own_namespace).unwrap(), Path::new("/host/cgroup root"));
        let hosts_namespace = b"1 2 0:26 /kubepods/podx/y /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
            3 2 0:26 / /host/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(find_mount(hosts_namespace).unwrap(), Path::new("/host/cgroup"));
    }

    #[test]
    fn relative_cuts_whole_components_only() {
        let root = CgroupRoot::new("/sys/fs/cgroup".into(), b"weir-node2/");
        assert_eq!(root.prefix(), b"/weir-node2");
        assert_eq!(root.directory(), Path::new("/sys/fs/cgroup/weir-node2"));
        assert_eq!(root.relative(b"/weir-node2/kubepods"), Some(&b"/kubepods"[..]));
        assert_eq!(root.relative(b"/weir-node2"), Some(&b""[..]));
        assert_eq!(root.relative(b"/weir-node22/kubepods"), None);
        assert_eq!(root.relative(b"/"), None);
        let whole = CgroupRoot::new("/sys/fs/cgroup".into(), b"/");
        assert_eq!(whole.relative(b"/a"), Some(&b"/a"[..]));
        assert_eq!(whole.relative(b"/"), Some(&b"/"[..]));
        assert_eq!(whole.directory(), Path::new("/sys/fs/cgroup/"));
    }

    #[test]
    fn configured_root_is_accepted_below_the_mount_and_refused_elsewhere() {
        let mount = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(mount.path().join("a/b")).unwrap();
        for given in [mount.path().join("a/b"), "/a/b".into(), "a/b".into()] {
            let root = CgroupRoot::configured(mount.path().into(), &given).unwrap();
            assert_eq!(root.prefix(), b"/a/b", "{given:?}");
        }
        for given in ["/c", "/a/../.."] {
            let error = CgroupRoot::configured(mount.path().into(), Path::new(given)).unwrap_err();
            assert!(error.to_string().contains("--cgroup-root"), "{error}");
        }
    }

    #[test]
    fn own_pod_is_found_by_the_process_it_lists() {
        let mount = tempfile::tempdir().unwrap();
        let uid = "8d2a3c1e-5f60-4b7a-9c1d-2e3f4a5b6c7d";
        let pod = |node: &str| {
            format!(
                "{node}/kubepods/burstable/pod{uid}/{}",
                "0123456789abcdef".repeat(4)
            )
        };
        for (path, processes) in [
            ("a", "41\n".to_owned()),
            (&pod("node1"), "0\n0\n".into()),
            (&pod("node2"), "0\n41\n".into()),
        ] {
            std::fs::create_dir_all(mount.path().join(path)).unwrap();
            std::fs::write(mount.path().join(path).join("cgroup.procs"), processes).unwrap();
        }
        let found = find_pod_of(mount.path(), 41).unwrap().unwrap();
        assert_eq!(node_root_len(&found), Some("/node2".len()));
        assert_eq!(find_pod_of(mount.path(), 4).unwrap(), None);
    }

    #[test]
    fn discover_on_this_machine_finds_its_hierarchy() {
        let root = CgroupRoot::discover(None, None).unwrap();
        assert!(root.directory().join("cgroup.procs").exists(), "{root:?}");
    }

    proptest! {
        #[test]
        fn find_mount_any_bytes_never_panics(text in "([0-9 /.\\\\-]|cgroup2|\n){0,60}") {
            let _mount = find_mount(text.as_bytes());
        }

        #[test]
        fn unescape_any_bytes_never_grows(field in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(unescape(&field).len() <= field.len());
        }
    }
}
