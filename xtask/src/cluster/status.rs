//! Shows what runs of a local cluster, and what the API server says about its nodes.

use std::fs;

use anyhow::Result;

use super::component::Component;
use super::layout::Node;
use super::local::Local;
use super::state::State;
use super::{network, process};
use crate::table;

/// Prints two tables: components, nodes.
pub(crate) fn print(local: &Local) -> Result<()> {
    let state = State::load(&local.layout)?;
    let mut rows = table::new(&["component", "process", "memory (MiB)", "log"], &[1, 2]);
    for component in Component::all(state.nodes) {
        let name = component.to_string();
        let running = process::running(&local.layout, &name).map(|identity| identity.pid);
        let memory = running
            .and_then(resident)
            .map_or_else(String::new, |bytes| (bytes >> 20).to_string());
        let pid = running.map_or_else(|| "stopped".to_owned(), |pid| pid.to_string());
        rows.add_row([
            &name,
            &pid,
            &memory,
            &local.layout.log(&name).display().to_string(),
        ]);
    }
    println!("{rows}");
    for node in Node::all(state.nodes) {
        let connected = if network::is_connected(node)? {
            "connected"
        } else {
            "cut off"
        };
        let tracefs = if state.masked_tracefs == Some(node) {
            ", tracefs masked"
        } else {
            ""
        };
        println!("{}: {connected}{tracefs}", node.name());
    }
    println!("kubeconfig: {}", local.layout.kubeconfig().display());
    println!("writes to the API server: {}", local.layout.audit_log().display());
    match local.kubectl(&["get", "nodes", "-o", "wide"]) {
        Ok(nodes) => print!("{nodes}"),
        Err(error) => println!("the API server does not answer: {error:#}"),
    }
    Ok(())
}

/// Resident bytes of a process: the second field of `/proc/PID/statm`, in pages.
fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}
