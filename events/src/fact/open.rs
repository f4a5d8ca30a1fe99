//! What an open's flags mean.

/// Flags that every architecture numbers alike (`include/uapi/asm-generic/fcntl.h`).
const COMMON: [(u32, &[u8]); 11] = [
    (0o100, b"O_CREAT"),
    (0o200, b"O_EXCL"),
    (0o400, b"O_NOCTTY"),
    (0o1000, b"O_TRUNC"),
    (0o2000, b"O_APPEND"),
    (0o4000, b"O_NONBLOCK"),
    (0o10000, b"O_DSYNC"),
    (0o20000, b"O_ASYNC"),
    (0o1_000_000, b"O_NOATIME"),
    (0o2_000_000, b"O_CLOEXEC"),
    (O_PATH, b"O_PATH"),
];

/// Flags that architectures number differently: x86-64 and riscv64 as asm-generic.
#[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
const PARTICULAR: [(u32, &[u8]); 4] = [
    (0o40000, b"O_DIRECT"),
    (0o100_000, b"O_LARGEFILE"),
    (O_DIRECTORY, b"O_DIRECTORY"),
    (0o400_000, b"O_NOFOLLOW"),
];
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
const PARTICULAR: [(u32, &[u8]); 4] = [
    (O_DIRECTORY, b"O_DIRECTORY"),
    (0o100_000, b"O_NOFOLLOW"),
    (0o200_000, b"O_DIRECT"),
    (0o400_000, b"O_LARGEFILE"),
];

#[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
const O_DIRECTORY: u32 = 0o200_000;
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
const O_DIRECTORY: u32 = 0o40000;

const ACCESS_MASK: u32 = 0o3;
const O_DSYNC: u32 = 0o10000;
const SYNC_BIT: u32 = 0o4_000_000;
const TMPFILE_BIT: u32 = 0o20_000_000;
const O_PATH: u32 = 0o10_000_000;

/// The names of the flags that are set, the access mode aside. Bits without a name are in the number only.
pub(crate) fn flag_names(flags: u32) -> impl Iterator<Item = &'static [u8]> {
    // Two flags are a bit of their own and another flag; they stand for both.
    let sync = flags & SYNC_BIT != 0;
    let tmpfile = flags & TMPFILE_BIT != 0;
    let implied = if sync { O_DSYNC } else { 0 } | if tmpfile { O_DIRECTORY } else { 0 };
    let single = flags & !implied;
    let composed = [(sync, b"O_SYNC".as_slice()), (tmpfile, b"O_TMPFILE")];
    COMMON
        .into_iter()
        .chain(PARTICULAR)
        .filter(move |(bit, _)| single & bit != 0)
        .map(|(_, name)| name)
        .chain(composed.into_iter().filter(|(set, _)| *set).map(|(_, name)| name))
}

/// Number and name in the schema's `FileAccess`.
pub(crate) const fn access(flags: u32) -> (u32, &'static str) {
    match flags & ACCESS_MASK {
        _ if flags & O_PATH != 0 => (4, "FILE_ACCESS_NONE"),
        0 => (1, "FILE_ACCESS_READ"),
        1 => (2, "FILE_ACCESS_WRITE"),
        2 => (3, "FILE_ACCESS_READ_WRITE"),
        _ => (4, "FILE_ACCESS_NONE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(flags: u32) -> Vec<&'static str> {
        flag_names(flags)
            .map(|name| std::str::from_utf8(name).unwrap())
            .collect()
    }

    #[test]
    fn flags_of_usual_opens_have_their_names() {
        assert_eq!(names(0), Vec::<&str>::new());
        assert_eq!(names(0o2_001_101), ["O_CREAT", "O_TRUNC", "O_CLOEXEC"]);
        assert_eq!(names(SYNC_BIT | O_DSYNC), ["O_SYNC"]);
        assert_eq!(names(O_DSYNC), ["O_DSYNC"]);
        assert_eq!(names(TMPFILE_BIT | O_DIRECTORY | 2), ["O_TMPFILE"]);
        assert_eq!(names(O_DIRECTORY), ["O_DIRECTORY"]);
    }

    #[test]
    fn access_of_every_mode_is_told() {
        assert_eq!(access(0o2_000_000).0, 1);
        assert_eq!(
            [access(1).0, access(2).0, access(3).0, access(O_PATH | 2).0],
            [2, 3, 4, 4]
        );
    }
}
