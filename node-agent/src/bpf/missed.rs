//! How often the kernel skipped a program because another ran on that CPU (`recursion_misses`).

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Ebpf;

use super::hook::{Attach, Hook};
use super::object;

/// The first kernel that counts the runs of classic tracepoints that it skips (`trace_call_bpf`, dd8657894c11). An older
/// one skips them too, and shows a 0 all the same: nothing but its version tells.
const COUNTS_CLASSIC: (u32, u32) = (6, 7);

/// The runs of the hook's program that the kernel skipped; 0 where it is not loaded, `None` where the kernel does not
/// count them.
pub(super) fn of(ebpf: &Ebpf, hook: &Hook) -> Option<u64> {
    let Some(Ok(fd)) = ebpf.program(hook.program).map(aya::programs::Program::fd) else {
        return Some(0);
    };
    if !is_counted(hook.attach, &object::release()) {
        return None;
    }
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()));
    info.ok().and_then(|info| parse(&info))
}

/// Whether a kernel of this release counts what it skips of such a hook. Of typed tracepoints (`tp_btf`) it skips nothing
/// before 6.1, and counts what it skips from then on.
fn is_counted(attach: Attach, release: &str) -> bool {
    match attach {
        Attach::Typed(_) => true,
        Attach::Classic(..) => !object::is_older(release, COUNTS_CLASSIC),
    }
}

fn parse(info: &str) -> Option<u64> {
    info.lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use crate::bpf::hook::Attach;

    #[test]
    fn misses_of_classic_tracepoints_are_not_told_by_kernels_that_do_not_count_them() {
        let (typed, classic) = (
            Attach::Typed("sched_process_exec"),
            Attach::Classic("syscalls", "sys_exit_open"),
        );
        for release in ["5.14.0-503.el9", "6.1.0-50-cloud-amd64", "6.6.87"] {
            assert!(!super::is_counted(classic, release), "{release}");
            assert!(super::is_counted(typed, release), "{release}");
        }
        for release in ["6.7.0", "6.12.117+deb12-cloud-amd64", "7.2.13+deb14"] {
            assert!(super::is_counted(classic, release), "{release}");
        }
    }

    #[test]
    fn misses_are_read_from_the_kernels_text_and_from_nothing_else() {
        let info = "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t42\nverified_insns:\t813\n";
        assert_eq!(super::parse(info), Some(42));
        assert_eq!(super::parse("prog_type:\t26\n"), None);
    }
}
