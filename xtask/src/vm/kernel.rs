//! Finds and unpacks a Debian kernel without installing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::tools::{Ctx, debian};

/// The newest kernel of `line` in the archive, unpacked below `folder`.
pub(super) fn ensure(ctx: &Ctx, line: &str, folder: &Path) -> Result<PathBuf> {
    let package = if let Some(package) = newest(line)? {
        package
    } else {
        debian::refresh(ctx)?;
        newest(line)?.with_context(|| {
                format!("this distribution has no linux-image-{line}*-cloud-amd64: use Debian 12, or name another line")
        })?
    };
    let kernel = folder.join(format!("{package}.vmlinuz"));
    if kernel.exists() {
        return Ok(kernel);
    }
    println!("fetching {package}: its kernel runs in a virtual machine, and is not installed");
    let scratch = tempfile::tempdir().context("making a scratch directory")?;
    if download(&package, scratch.path()).is_err() {
        // The lists can name builds that the archive has replaced since.
        debian::refresh(ctx)?;
        download(&package, scratch.path())?;
    }
    let archive = only_file(scratch.path())?;
    let unpacked = scratch.path().join("unpacked");
    shell::capture(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(&unpacked),
    )?;
    let boot = unpacked.join("boot");
    let vmlinuz = fs::read_dir(&boot)
        .with_context(|| format!("{package} has no {}", boot.display()))?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz"))
        .with_context(|| format!("{package} has no kernel"))?;
    // Named at last, so that a half copy is not taken for it.
    let partial = kernel.with_extension("partial");
    fs::copy(vmlinuz.path(), &partial).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, &kernel).with_context(|| format!("naming {}", kernel.display()))?;
    Ok(kernel)
}

fn download(package: &str, into: &Path) -> Result<String> {
    // As root, apt-get would drop its rights for a directory that only root can read.
    shell::capture(
        Command::new("apt-get")
            .args(["download", "--quiet=2", "-o", "APT::Sandbox::User=root", package])
            .current_dir(into),
    )
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .next();
    match entry {
        Some(entry) => Ok(entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path()),
        None => bail!("apt-get reported success, and downloaded nothing"),
    }
}

/// The package of the line with the highest version that the archive still has.
fn newest(line: &str) -> Result<Option<String>> {
    let names = shell::capture(Command::new("apt-cache").arg("pkgnames"))?;
    let mut packages: Vec<&str> = names.lines().filter(|name| is_of(name, line)).collect();
    packages.sort_unstable_by_key(|name| std::cmp::Reverse(numbers(name)));
    Ok(packages
        .into_iter()
        .find(|name| debian::in_archive(name))
        .map(str::to_owned))
}

fn is_of(name: &str, line: &str) -> bool {
    name.strip_prefix("linux-image-")
        .and_then(|rest| rest.strip_prefix(line))
        .is_some_and(|rest| rest.starts_with('.') && rest.ends_with("-cloud-amd64"))
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_of_a_line_takes_its_signed_cloud_kernels_only() {
        assert!(is_of("linux-image-6.1.0-50-cloud-amd64", "6.1"));
        assert!(is_of("linux-image-6.12.107+deb12-cloud-amd64", "6.12"));
        for other in [
            "linux-image-6.12.107+deb12-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
            "linux-image-6.1.0-50-amd64",
            "linux-headers-6.1.0-50-cloud-amd64",
        ] {
            assert!(!is_of(other, "6.1"), "{other}");
        }
    }

    #[test]
    fn numbers_order_versions_and_not_text() {
        assert!(numbers("linux-image-6.1.0-100-cloud-amd64") > numbers("linux-image-6.1.0-56-cloud-amd64"));
        assert!(numbers("linux-image-6.12.107+deb12") > numbers("linux-image-6.12.94+deb12"));
    }
}
