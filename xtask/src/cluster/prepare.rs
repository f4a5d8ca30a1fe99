//! What must be on the machine before the local provider can work, and what sudo changes about files.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::layout::Layout;
use super::local::Local;
use super::state::State;
use super::{Action, binary, config};
use crate::release::Platform;
use crate::tools::{Ctx, debian, privileged};
use crate::{images, shell};

/// Program that shows that a package is there, whoever installed it, and the package. The CNI plugins have none.
const PACKAGES: [(&str, debian::Package); 6] = [
    needed("containerd", "containerd", "runs the pods of local nodes"),
    needed("runc", "runc", "runs the containers of local nodes"),
    needed(
        "nft",
        "nftables",
        "kube-proxy translates service addresses with it",
    ),
    needed(
        "conntrack",
        "conntrack",
        "kube-proxy ends stale connections with it",
    ),
    needed("ethtool", "ethtool", "the kubelet asks for it"),
    needed("ip", "iproute2", "makes the cluster's network"),
];
const CNI: debian::Package = debian::Package {
    name: "containernetworking-plugins",
    why: "gives pods their addresses",
    remedy: "install the CNI plugins ptp, host-local and loopback into /opt/cni/bin",
};

const fn needed(
    program: &'static str,
    name: &'static str,
    why: &'static str,
) -> (&'static str, debian::Package) {
    (
        program,
        debian::Package {
            name,
            why,
            remedy: "install it by other means and put it on PATH",
        },
    )
}

/// Installs and builds what the local provider needs. This part runs as the user.
pub(super) fn local(action: &Action, layout: Layout) -> Result<Local> {
    if !matches!(action, Action::Up(_)) {
        // Nothing is installed, so another set-up is not waited for: tests make faults while one is held. Without a
        // cluster each action says so itself, except `down`, which has less to take away.
        let kube = State::load(&layout).map(|state| state.kube).unwrap_or_default();
        return Ok(Local { layout, kube });
    }
    let ctx = Ctx::new()?;
    ensure_packages(&ctx)?;
    let kube = binary::ensure(&ctx)?;
    std::fs::create_dir_all(layout.root())
        .with_context(|| format!("creating {}", layout.root().display()))?;
    let source = binary::module().join("pause.rs");
    images::ensure_pause(&ctx, &source, config::PAUSE_IMAGE, &layout.pause_image())?;
    Ok(Local { layout, kube })
}

/// Installs what is missing, in one go.
fn ensure_packages(ctx: &Ctx) -> Result<()> {
    // The system's own tools may be in folders that only root has on PATH.
    let exists = |program: &str| {
        shell::which(program).is_some()
            || ["/usr/sbin", "/sbin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
    };
    let mut missing: Vec<_> = PACKAGES
        .into_iter()
        .filter(|(program, _)| !exists(program))
        .map(|(_, package)| package)
        .collect();
    if config::cni_plugins().is_none() {
        missing.push(CNI);
    }
    debian::ensure(ctx, &missing)
}

/// Set for the second run of a command, as root: what is built is built by the user.
const PREPARED: &str = "WEIR_XTASK_PREPARED";

/// Whether this is the first run of a command, whoever typed it.
pub(super) fn is_first_run() -> bool {
    std::env::var_os(PREPARED).is_none()
}

/// Builds the images that `manifests` name, where they are missing or older than their sources.
pub(super) fn images() -> Result<()> {
    println!("building the images that the manifests name (release; the first time takes some minutes)");
    images::run(&images::Args {
        names: vec![images::Name::Agent, images::Name::Operator, images::Name::Nats],
        binaries: Vec::new(),
        platforms: vec![Platform::host()?],
        output: None,
    })
}

/// Does the same once more as root: namespaces, cgroups and containers need it.
pub(super) fn as_root() -> Result<()> {
    let this = std::env::current_exe().context("finding this program")?;
    let mut arguments = vec![format!("{PREPARED}=1")];
    // The same caches and the same user's kubeconfig, which sudo would replace by root's.
    for name in [
        "HOME",
        "XDG_CACHE_HOME",
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "PATH",
    ] {
        if let Ok(value) = std::env::var(name) {
            arguments.push(format!("{name}={value}"));
        }
    }
    arguments.push(this.display().to_string());
    arguments.extend(std::env::args().skip(1));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    shell::run(&mut privileged("env", &arguments)?)
}

/// Who typed the command, when sudo ran it.
fn sudo_user() -> Option<(u32, u32)> {
    let id = |name: &str| std::env::var(name).ok()?.parse().ok();
    id("SUDO_UID").zip(id("SUDO_GID"))
}

/// What stays below `target` must not stop the user's own `cargo clean`.
pub(super) fn give_remains_to_user(layout: &Layout) -> Result<()> {
    let Some((user, group)) = sudo_user() else {
        return Ok(());
    };
    let mut chown = Command::new("chown");
    shell::capture(
        chown
            .arg("--recursive")
            .arg(format!("{user}:{group}"))
            .arg(layout.root()),
    )
    .map(drop)
}

/// Under sudo, the user who typed the command owns what kubectl must read.
pub(super) fn give_to_user(local: &Local) -> Result<()> {
    let Some((user, group)) = sudo_user() else {
        return Ok(());
    };
    let layout = &local.layout;
    let mut files = vec![layout.kubeconfig(), layout.pki("admin.key")];
    if let Some(home) = std::env::var_os("HOME") {
        files.extend([".kube", ".kube/config"].map(|name| Path::new(&home).join(name)));
    }
    for file in files {
        std::os::unix::fs::chown(&file, Some(user), Some(group))
            .with_context(|| format!("giving {} to user {user}", file.display()))?;
    }
    Ok(())
}
