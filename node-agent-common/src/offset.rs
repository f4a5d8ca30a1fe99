//! Offsets of kernel structures' fields, read from the running kernel's BTF and given to the programs.

macro_rules! offsets {
    ($($field:ident: $structure:literal . $member:literal,)*) => {
        /// Byte offsets; [`MISSING`] where this kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            feature = "user",
            derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
        )]
        pub struct Offsets { $(#[doc = concat!("`", $structure, "::", $member, "`")] pub $field: u32,)* }

        // SAFETY: `repr(C)`, only `u32` fields, every bit pattern valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for Offsets {}

        impl Offsets {
            /// None known.
            pub const NONE: Self = Self { $($field: MISSING,)* };

            /// Each field with its structure and member, in order.
            pub const FIELDS: &'static [(&'static str, &'static str, &'static str)] =
                &[$((stringify!($field), $structure, $member),)*];

            /// Fills every field by asking `find(structure, member)`.
            #[must_use]
            pub fn resolve(mut find: impl FnMut(&str, &str) -> Option<u32>) -> Self {
                Self { $($field: find($structure, $member).unwrap_or(MISSING),)* }
            }
        }
    };
}

/// Fields that newer kernels call otherwise: structure, name in [`Offsets::FIELDS`], newer name. Linux 6.15.
pub const RENAMED: &[(&str, &str, &str)] = &[("kernfs_node", "parent", "__parent")];

/// The field does not exist in this kernel.
pub const MISSING: u32 = u32::MAX;

offsets! {
    task_pid: "task_struct"."pid",
    task_tgid: "task_struct"."tgid",
    task_flags: "task_struct"."flags",
    task_cred: "task_struct"."cred",
    task_cgroups: "task_struct"."cgroups",
    task_real_parent: "task_struct"."real_parent",
    task_group_leader: "task_struct"."group_leader",
    task_start_boottime: "task_struct"."start_boottime",
    task_exit_code: "task_struct"."exit_code",
    task_signal: "task_struct"."signal",
    task_mm: "task_struct"."mm",
    task_fs: "task_struct"."fs",
    task_files: "task_struct"."files",
    task_comm: "task_struct"."comm",
    cred_uid: "cred"."uid",
    cred_gid: "cred"."gid",
    css_set_cgroup: "css_set"."dfl_cgrp",
    signal_live: "signal_struct"."live",
    signal_flags: "signal_struct"."flags",
    signal_group_exit_code: "signal_struct"."group_exit_code",
    mm_exe_file: "mm_struct"."exe_file",
    mm_arg_start: "mm_struct"."arg_start",
    mm_arg_end: "mm_struct"."arg_end",
    file_path: "file"."f_path",
    file_private: "file"."private_data",
    file_flags: "file"."f_flags",
    path_mnt: "path"."mnt",
    path_dentry: "path"."dentry",
    dentry_parent: "dentry"."d_parent",
    dentry_name: "dentry"."d_name",
    qstr_name: "qstr"."name",
    qstr_len: "qstr"."len",
    vfsmount_root: "vfsmount"."mnt_root",
    mount_mnt: "mount"."mnt",
    mount_parent: "mount"."mnt_parent",
    mount_mountpoint: "mount"."mnt_mountpoint",
    fs_root: "fs_struct"."root",
    files_fdt: "files_struct"."fdt",
    fdtable_fd: "fdtable"."fd",
    fdtable_max: "fdtable"."max_fds",
    socket_sk: "socket"."sk",
    sock_protocol: "sock"."sk_protocol",
    sock_err: "sock"."sk_err",
    sock_family: "sock_common"."skc_family",
    sock_dport: "sock_common"."skc_dport",
    sock_num: "sock_common"."skc_num",
    sock_daddr: "sock_common"."skc_daddr",
    sock_saddr: "sock_common"."skc_rcv_saddr",
    sock_v6_daddr: "sock_common"."skc_v6_daddr",
    sock_v6_saddr: "sock_common"."skc_v6_rcv_saddr",
    cgroup_kn: "cgroup"."kn",
    cgroup_root: "cgroup"."root",
    kernfs_id: "kernfs_node"."id",
    kernfs_name: "kernfs_node"."name",
    kernfs_parent: "kernfs_node"."parent",
    root_hierarchy: "cgroup_root"."hierarchy_id",
}
