//! What an open's flags mean.

/// The names of the bits, by place (`include/uapi/asm-generic/fcntl.h`); empty where there is none. `O_SYNC` and
/// `O_TMPFILE` are their own bit and that of another flag, and stand for both.
const NAMES: [&[u8]; 32] = {
    let mut names: [&[u8]; 32] = [b""; 32];
    names[6] = b"O_CREAT";
    names[7] = b"O_EXCL";
    names[8] = b"O_NOCTTY";
    names[9] = b"O_TRUNC";
    names[10] = b"O_APPEND";
    names[11] = b"O_NONBLOCK";
    names[12] = b"O_DSYNC";
    names[13] = b"O_ASYNC";
    names[18] = b"O_NOATIME";
    names[19] = b"O_CLOEXEC";
    names[20] = b"O_SYNC";
    names[21] = b"O_PATH";
    names[22] = b"O_TMPFILE";
    let [directory, nofollow, direct, largefile] = PARTICULAR;
    names[directory] = b"O_DIRECTORY";
    names[nofollow] = b"O_NOFOLLOW";
    names[direct] = b"O_DIRECT";
    names[largefile] = b"O_LARGEFILE";
    names
};

/// The places of `O_DIRECTORY`, `O_NOFOLLOW`, `O_DIRECT` and `O_LARGEFILE`, the only ones that differ by architecture.
#[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
const PARTICULAR: [usize; 4] = [16, 17, 14, 15];
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
const PARTICULAR: [usize; 4] = [14, 15, 16, 17];

const O_DIRECTORY: u32 = 1 << PARTICULAR[0];

const ACCESS_MASK: u32 = 0o3;
const O_DSYNC: u32 = 0o10000;
const SYNC_BIT: u32 = 0o4_000_000;
const TMPFILE_BIT: u32 = 0o20_000_000;
const O_PATH: u32 = 0o10_000_000;

/// The names of the flags that are set, the access mode aside. Bits without a name are in the number only.
pub(crate) fn flag_names(flags: u32) -> impl Iterator<Item = &'static [u8]> {
    let implied = if flags & SYNC_BIT == 0 { 0 } else { O_DSYNC }
        | if flags & TMPFILE_BIT == 0 { 0 } else { O_DIRECTORY };
    let mut rest = flags & !implied;
    std::iter::from_fn(move || {
        while rest != 0 {
            let place = rest.trailing_zeros();
            rest &= rest - 1;
            let name = usize::try_from(place)
                .ok()
                .and_then(|place| NAMES.get(place))
                .copied()
                .unwrap_or_default();
            if !name.is_empty() {
                return Some(name);
            }
        }
        None
    })
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
