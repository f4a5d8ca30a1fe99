//! A pod's processes as this host's `/proc` shows them: what they cost.
//!
//! Only for the local cluster, whose nodes share the host's kernel.

use std::fs;
use std::io::{Error, Result};
use std::time::Duration;

/// A process of a pod's containers, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number on the host.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// What a process has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Resident bytes now.
    pub resident: u64,
    /// Time on a processor since its start.
    pub cpu: Duration,
}

/// Processes of a pod's containers; what holds the pod's namespaces is none of them.
pub fn of_pod(uid: &str) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        let Some(pid) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        // Either may be gone already.
        let cgroup = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let name = name.trim().to_owned();
        let own = cgroup.contains(uid) || cgroup.contains(&uid.replace('-', "_"));
        if own && name != "pause" {
            found.push(Process { pid, name });
        }
    }
    Ok(found)
}

/// What all processes of a pod have cost so far.
pub fn cost_of(uid: &str) -> Result<Cost> {
    let mut sum = Cost::default();
    let processes = of_pod(uid)?;
    if processes.is_empty() {
        return Err(Error::other(format!("the pod {uid} has no process")));
    }
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid))?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid))?;
        let cost = parse(&status, &stat)
            .ok_or_else(|| Error::other(format!("/proc/{} is not as expected: {stat}", process.pid)))?;
        sum.resident += cost.resident;
        sum.cpu += cost.cpu;
    }
    Ok(sum)
}

/// `VmRSS` of the status; user and system time of the stat, fields 14 and 15, in clock ticks.
fn parse(status: &str, stat: &str) -> Option<Cost> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    // The name may hold spaces and parentheses; what follows it begins with field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let micros = (ticks(11)? + ticks(12)?) * 1_000_000 / rustix::param::clock_ticks_per_second();
    Some(Cost {
        resident: kibibytes * 1024,
        cpu: Duration::from_micros(micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_memory_and_both_times() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 1 2 3 4 150 50 7 8 20 0 1 0 98765";
        let cost = parse("Name:\tx\nVmRSS:\t    2048 kB\n", stat).unwrap();
        assert_eq!(cost.resident, 2 << 20);
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cost.cpu, Duration::from_micros(200 * 1_000_000 / ticks));
        assert_eq!(parse("", stat), None);
        assert_eq!(parse("VmRSS: 1 kB", "42"), None);
    }
}
