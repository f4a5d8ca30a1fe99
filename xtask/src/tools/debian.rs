//! Debian packages: asked for by major version, since archives keep only current builds.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Ctx;
use super::ctx::privileged;
use crate::shell;

/// A package, and what it is for.
pub(crate) struct Package {
    /// Name in the archive.
    pub(crate) name: &'static str,
    /// The reason shown when it is installed.
    pub(crate) why: &'static str,
    /// What to do where the distribution does not have it.
    pub(crate) remedy: &'static str,
}

/// What `cargo xtask bench` compares the agent with.
pub(crate) const BENCH: &[Package] = &[
    Package {
        name: "linux-perf",
        why: "bench compares its cost with perf's",
        remedy: "install perf, then try again",
    },
    Package {
        name: "bpftrace",
        why: "bench compares its cost with bpftrace's",
        remedy: "install bpftrace, then try again",
    },
];

/// Installs those of `packages` that are missing, in one go.
pub(crate) fn ensure(ctx: &Ctx, packages: &[Package]) -> Result<()> {
    let mut missing = Vec::new();
    for package in packages {
        match installed_version(package.name) {
            Some(version) => ctx.found(package.name, &version, "Debian package"),
            None => missing.push(package),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if shell::which("apt-get").is_none() {
        let list: Vec<_> = missing
            .iter()
            .map(|package| format!("{} ({})", package.name, package.remedy))
            .collect();
        bail!(
            "this system has no apt-get; by other means, please install: {}",
            list.join("; ")
        );
    }
    for package in &missing {
        if !in_archive(package.name) {
            refresh(ctx)?;
        }
        if !in_archive(package.name) {
            bail!(
                "this distribution has no package {}: {}",
                package.name,
                package.remedy
            );
        }
    }
    for package in &missing {
        println!("installing {}: {}", package.name, package.why);
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if apt_install(&names).is_err() {
        // The lists can name builds that the archive has replaced since.
        refresh(ctx)?;
        apt_install(&names)?;
    }
    for package in missing {
        let version = installed_version(package.name)
            .with_context(|| format!("apt-get reported success, but {} is not installed", package.name))?;
        ctx.found(package.name, &version, "Debian package, just installed");
    }
    Ok(())
}

fn apt_install(names: &[&str]) -> Result<()> {
    let mut args = vec![
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "--yes",
        // Another installation is waited for.
        "--option=DPkg::Lock::Timeout=300",
        "--quiet=2",
    ];
    args.push("--no-install-recommends");
    args.extend(names);
    shell::run(&mut privileged("env", &args)?)
}

pub(crate) fn refresh(ctx: &Ctx) -> Result<()> {
    if ctx.claim_apt_refresh() {
        println!("refreshing the package lists: they do not have what is needed");
        shell::run(&mut privileged("apt-get", &["update", "--quiet=2"])?)?;
    }
    Ok(())
}

pub(crate) fn in_archive(name: &str) -> bool {
    shell::capture(Command::new("apt-cache").args(["show", "--no-all-versions", name])).is_ok()
}

fn installed_version(name: &str) -> Option<String> {
    let query =
        shell::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status} ${Version}", name]));
    parse_status(&query.ok()?)
}

fn parse_status(line: &str) -> Option<String> {
    line.strip_prefix("installed ")
        .map(|version| version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_status_only_installed_counts() {
        assert_eq!(
            parse_status("installed 1:22.1.8-1"),
            Some("1:22.1.8-1".to_owned())
        );
        assert_eq!(parse_status("config-files 1:22.1.8-1"), None);
        assert_eq!(parse_status(""), None);
    }
}
