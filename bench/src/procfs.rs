//! What the kernel says of a process: time on the CPU and memory, from files that any tool can read.

use std::fs;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Time that the process's living threads have spent on a CPU, in nanoseconds.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    // schedstat counts what ran; the ticks of /proc/PID/stat miss threads that sleep between ticks.
    let directory = format!("/proc/{pid}/task");
    let mut sum = 0;
    for entry in fs::read_dir(&directory).with_context(|| format!("reading {directory}"))? {
        let path = entry?.path().join("schedstat");
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let first = text
            .split_ascii_whitespace()
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        sum += first.with_context(|| format!("{}: {text:?}", path.display()))?;
    }
    Ok(sum)
}

/// Time that the calling thread has spent on a CPU, in nanoseconds: what others do on a shared machine is not in it.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Memory of a process, in MB (10^6 bytes).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) rss: f64,
    pub(crate) pss: f64,
    /// The highest resident size so far.
    pub(crate) peak: f64,
}

/// The process's memory.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    };
    let (rollup, status) = (read("smaps_rollup")?, read("status")?);
    let find =
        |text: &str, key: &str| megabytes(text, key).with_context(|| format!("no {key} of process {pid}"));
    Ok(Memory {
        rss: find(&rollup, "Rss:")?,
        pss: find(&rollup, "Pss:")?,
        peak: find(&status, "VmHWM:")?,
    })
}

fn megabytes(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Load averages, as text.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn megabytes_are_read_from_kib() {
        assert_eq!(megabytes("Rss:    1000 kB\nPss:   500 kB\n", "Pss:"), Some(0.512));
        assert_eq!(megabytes("Rss: x", "Rss:"), None);
    }

    #[test]
    fn own_process_has_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).unwrap() > 0);
        let memory = memory(pid).unwrap();
        assert!(memory.rss > 0.0 && memory.peak >= memory.rss && memory.pss <= memory.rss);
    }
}
