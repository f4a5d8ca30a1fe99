//! `cargo xtask images`: every image that Weir and its tests need, built from scratch into archives.
//!
//! No Docker is involved: `docker load`, `ctr images import` and `kind load image-archive` all take the result.

pub(crate) mod catalog;
mod oci;
mod tar;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::oci::Image;
use crate::release::{self, AGENT, OPERATOR, PLATFORMS, Platform};
use crate::tools::{Ctx, debian, nats_server};
use crate::{shell, table, workspace};

const BUSYBOX: &[debian::Package] = &[debian::Package {
    name: "busybox-static",
    why: "the tests' pods run its shell and tools",
    remedy: "install a static busybox",
}];

/// An image by its short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    Agent,
    Operator,
    Nats,
    Testbox,
}

/// Arguments of `cargo xtask images`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build only these [default: all]
    #[arg(value_enum)]
    pub(crate) names: Vec<Name>,
    /// Put this static program into an image instead of building it: `agent=PATH` or `operator=PATH`
    #[arg(long = "binary", value_name = "NAME=PATH")]
    pub(crate) binaries: Vec<String>,
    /// Platforms of the agent and the operator [default: this one, and each other that a cross compiler is here for]
    #[arg(long = "platform", value_name = "amd64|arm64", value_parser = Platform::parse)]
    pub(crate) platforms: Vec<Platform>,
    /// Where the archives go [default: target/images]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

/// Runs `cargo xtask images`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let given = args
        .binaries
        .iter()
        .map(|text| parse_binary(text))
        .collect::<Result<Vec<_>>>()?;
    let ctx = Ctx::new()?;
    let output = match &args.output {
        Some(folder) => folder.clone(),
        None => workspace::target_directory()?.join("images"),
    };
    fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;
    let wanted = |name: Name| args.names.is_empty() || args.names.contains(&name);
    let mut built = Vec::new();
    let ours: Vec<Name> = [Name::Agent, Name::Operator]
        .into_iter()
        .filter(|name| wanted(*name))
        .collect();
    for platform in platforms(args)? {
        let host = Platform::host()?.name == platform.name;
        // What was given is for one platform, and its header says which; on this one, a misfit is an error.
        let fits = |path: &Path| host || release::check(path, platform.name).is_ok();
        let (replaced, others): (Vec<_>, Vec<_>) = given.iter().partition(|(_, path)| fits(path));
        let names: Vec<Name> = ours
            .iter()
            .copied()
            .filter(|name| !others.iter().any(|(other, _)| other == name))
            .collect();
        built.extend(own_images(&ctx, platform, &names, &replaced, &output)?);
    }
    let host = Platform::host()?;
    if wanted(Name::Nats) {
        let image = catalog::nats(host.name, &checked(&nats_server::ensure(&ctx)?, host)?)?;
        built.push(save(&image, &output.join("nats.tar"))?);
    }
    if wanted(Name::Testbox) {
        built.push(testbox(&ctx, &output)?);
    }
    print(&built);
    Ok(())
}

/// The platforms that were asked for, or all that this machine can build for.
fn platforms(args: &Args) -> Result<Vec<Platform>> {
    if let Some(platform) = args.platforms.iter().find(|platform| !platform.is_available()) {
        bail!(
            "--platform {0}: install {1} with its C library's headers first",
            platform.name,
            platform.compiler()
        );
    }
    if args.platforms.is_empty() {
        return Ok(PLATFORMS
            .into_iter()
            .filter(|platform| platform.is_available())
            .collect());
    }
    Ok(args.platforms.clone())
}

/// An archive that was written.
struct Built {
    reference: String,
    architecture: &'static str,
    digest: String,
    path: PathBuf,
}

/// Builds the agent and the operator of one platform, with one cargo run for both.
fn own_images(
    ctx: &Ctx,
    platform: Platform,
    names: &[Name],
    given: &[&(Name, PathBuf)],
    output: &Path,
) -> Result<Vec<Built>> {
    let missing: Vec<Name> = names
        .iter()
        .copied()
        .filter(|name| !given.iter().any(|(other, _)| other == name))
        .collect();
    let mut found: Vec<(Name, PathBuf)> = given
        .iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, path)| (*name, path.clone()))
        .collect();
    if !missing.is_empty() {
        let packages: Vec<(&str, &str)> = missing.iter().map(|name| package(*name)).collect();
        found.extend(missing.iter().copied().zip(platform.build(ctx, &packages)?));
    }
    let scratch = tempfile::tempdir().context("making a scratch directory")?;
    let mut built = Vec::new();
    for (name, binary) in found {
        let binary = platform.stripped(&binary, scratch.path())?;
        let (image, stem) = match name {
            Name::Agent => (catalog::agent(platform.name, &binary)?, "agent"),
            Name::Operator => (catalog::operator(platform.name, &binary)?, "operator"),
            Name::Nats | Name::Testbox => continue,
        };
        let suffix = if platform.name == Platform::host()?.name {
            String::new()
        } else {
            format!("-{}", platform.name)
        };
        built.push(save(&image, &output.join(format!("{stem}{suffix}.tar")))?);
    }
    Ok(built)
}

fn package(name: Name) -> (&'static str, &'static str) {
    if name == Name::Operator { OPERATOR } else { AGENT }
}

fn testbox(ctx: &Ctx, output: &Path) -> Result<Built> {
    let host = Platform::host()?;
    debian::ensure(ctx, BUSYBOX)?;
    let busybox =
        shell::which("busybox").context("busybox-static is installed, but busybox is not on PATH")?;
    let image = catalog::testbox(host.name, &checked(&busybox, host)?)?;
    save(&image, &output.join("testbox.tar"))
}

/// Builds the image that holds a pod's namespaces into `path`, unless it is there and newer than its source.
pub(crate) fn ensure_pause(ctx: &Ctx, source: &Path, reference: &str, path: &Path) -> Result<()> {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if modified(path).is_ok_and(|built| modified(source).is_ok_and(|changed| changed <= built)) {
        return Ok(());
    }
    let host = Platform::host()?;
    host.ensure_std(ctx)?;
    let scratch = tempfile::tempdir().context("making a scratch directory")?;
    let binary = scratch.path().join("pause");
    host.compile(source, &binary)?;
    let image = catalog::pause(host.name, reference, &checked(&binary, host)?)?;
    save(&image, path).map(drop)
}

fn checked(binary: &Path, platform: Platform) -> Result<PathBuf> {
    release::check(binary, platform.name)
        .with_context(|| format!("{} cannot go into an image", binary.display()))?;
    Ok(binary.to_path_buf())
}

fn save(image: &Image, path: &Path) -> Result<Built> {
    let archive = oci::archive(image).with_context(|| format!("building {}", image.reference))?;
    fs::write(path, &archive.bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(Built {
        reference: image.reference.clone(),
        architecture: image.architecture,
        digest: archive.digest,
        path: path.to_path_buf(),
    })
}

fn parse_binary(text: &str) -> Result<(Name, PathBuf)> {
    let (name, path) = text
        .split_once('=')
        .with_context(|| format!("--binary {text}: expected NAME=PATH"))?;
    let name = match name {
        "agent" => Name::Agent,
        "operator" => Name::Operator,
        other => bail!("--binary {other}=...: the name is `agent` or `operator`"),
    };
    Ok((name, PathBuf::from(path)))
}

fn print(built: &[Built]) {
    let mut rows = table::new(&["image", "for", "digest", "archive"], &[]);
    for image in built {
        rows.add_row([
            image.reference.as_str(),
            image.architecture,
            image.digest.as_str(),
            &image.path.display().to_string(),
        ]);
    }
    println!("{rows}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_argument_needs_a_known_name_and_a_path() {
        assert_eq!(
            parse_binary("agent=/x").unwrap(),
            (Name::Agent, PathBuf::from("/x"))
        );
        assert!(
            parse_binary("agent")
                .unwrap_err()
                .to_string()
                .contains("NAME=PATH")
        );
        assert!(
            parse_binary("nats=/x")
                .unwrap_err()
                .to_string()
                .contains("`agent` or `operator`")
        );
    }

    #[test]
    fn same_binary_gives_the_same_archive_file() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("fake");
        fs::write(&binary, b"not a real program").unwrap();
        let build = |name: &str| {
            let image = catalog::operator("amd64", &binary).unwrap();
            let built = save(&image, &folder.path().join(name)).unwrap();
            (built.digest, fs::read(folder.path().join(name)).unwrap())
        };
        assert_eq!(build("first.tar"), build("second.tar"));
    }
}
