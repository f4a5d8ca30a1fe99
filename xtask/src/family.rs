//! Processes by descent, as `/proc` tells it: whom to spare, and whom to end with a program that we started.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// The parent of a process; nothing when it is gone.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold spaces and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A process, what it started, what that started, and so on. What was started detached and has lost its parent is init's.
pub(crate) fn with_descendants(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((process, parent)) = process.and_then(|process| Some((process, parent(process)?))) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(member) = family.get(next) {
        family.extend(children.get(member).into_iter().flatten());
        next += 1;
    }
    family
}

/// Sends a signal to each. One that is gone, or is root's while we are not, is left alone.
pub(crate) fn signal(family: &[u32], signal: Signal) {
    let pids = family.iter().filter_map(|pid| i32::try_from(*pid).ok());
    for pid in pids.filter_map(Pid::from_raw) {
        kill_process(pid, signal).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn signal_reaches_what_a_child_has_started() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 1000 & wait"])
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut family = with_descendants(child.id());
        while family.len() < 2 && Instant::now() < deadline {
            family = with_descendants(child.id());
        }
        assert_eq!(family[0], child.id());
        assert_eq!(parent(family[1]), Some(child.id()), "{family:?}");
        signal(&family, Signal::TERM);
        child.wait().unwrap();
        let gone = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !gone(family[1]) {
            assert!(Instant::now() < deadline, "the sleeper goes on");
        }
    }
}
