//! How often the kernel skipped a program because another ran on that CPU (`recursion_misses`).

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Ebpf;

/// The program's misses; 0 where this kernel does not tell (before 5.12) or the program is not loaded.
pub(super) fn of(ebpf: &Ebpf, program: &str) -> u64 {
    let Some(Ok(fd)) = ebpf.program(program).map(aya::programs::Program::fd) else {
        return 0;
    };
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()));
    info.ok().and_then(|info| parse(&info)).unwrap_or(0)
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
    #[test]
    fn misses_are_read_from_the_kernels_text_and_from_nothing_else() {
        let info = "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t42\nverified_insns:\t813\n";
        assert_eq!(super::parse(info), Some(42));
        assert_eq!(super::parse("prog_type:\t26\n"), None);
    }
}
