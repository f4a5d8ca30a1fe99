//! The one release build, which images hold, the demo shows and the benchmarks measure: static musl binaries whose
//! bytes do not depend on where they were built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::{self, Ctx, debian};
use crate::{shell, workspace};

/// Cargo package and binary of each of our own programs.
pub(crate) const AGENT: (&str, &str) = ("weir-node-agent", "weir-agent");
pub(crate) const OPERATOR: (&str, &str) = ("weir-operator", "weir-operator");

/// A platform that images are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Platform {
    /// As Go and OCI name it.
    pub(crate) name: &'static str,
    target: &'static str,
    /// Compiles the C parts of our dependencies.
    compiler: &'static str,
    strip: &'static str,
}

pub(crate) const AMD64: Platform = Platform {
    name: "amd64",
    target: "x86_64-unknown-linux-musl",
    compiler: "musl-gcc",
    strip: "strip",
};
pub(crate) const ARM64: Platform = Platform {
    name: "arm64",
    target: "aarch64-unknown-linux-musl",
    compiler: "aarch64-linux-gnu-gcc",
    strip: "aarch64-linux-gnu-strip",
};
pub(crate) const PLATFORMS: [Platform; 2] = [AMD64, ARM64];

const MUSL: &[debian::Package] = &[debian::Package {
    name: "musl-tools",
    why: "compiles the C parts of static binaries",
    remedy: "install musl's compiler wrapper, musl-gcc",
}];

impl Platform {
    /// The platform this program runs on.
    pub(crate) fn host() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(AMD64),
            "aarch64" => Ok(Self {
                compiler: "musl-gcc",
                strip: "strip",
                ..ARM64
            }),
            other => bail!("Weir is built for amd64 and arm64, and this machine is {other}"),
        }
    }

    /// Finds a platform by the name that Go and OCI give it.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let found = PLATFORMS.into_iter().find(|platform| platform.name == name);
        found.ok_or_else(|| "images are built for amd64 and arm64".to_owned())
    }

    /// What compiles C for it here.
    pub(crate) fn compiler(self) -> &'static str {
        self.compiler
    }

    /// Whether this machine can compile for it: a cross compiler without the C library's headers cannot.
    pub(crate) fn is_available(self) -> bool {
        if Self::host().is_ok_and(|host| host.name == self.name) {
            return true;
        }
        let mut compiler = Command::new(self.compiler);
        compiler.args(["-fsyntax-only", "-include", "stdlib.h", "-x", "c", "/dev/null"]);
        shell::which(self.compiler).is_some() && shell::capture(&mut compiler).is_ok()
    }

    /// Installs the C compiler where it is a Debian package. Programs without C parts do without.
    fn ensure_compiler(self, ctx: &Ctx) -> Result<()> {
        if self.compiler == "musl-gcc" && shell::which(self.compiler).is_none() {
            debian::ensure(ctx, MUSL)?;
        }
        Ok(())
    }

    /// Installs the standard library for the platform.
    pub(crate) fn ensure_std(self, ctx: &Ctx) -> Result<()> {
        let rustc = |arguments: &[&str]| {
            shell::capture(
                Command::new("rustc")
                    .args(arguments)
                    .current_dir(workspace::root()),
            )
        };
        let sysroot = rustc(&["--print", "sysroot"])?;
        let library = Path::new(sysroot.trim()).join("lib/rustlib").join(self.target);
        let place = library.display().to_string();
        if library.is_dir() {
            ctx.found(self.target, "std", &place);
            return Ok(());
        }
        if shell::which("rustup").is_none() {
            bail!(
                "the toolchain cannot build for {0} and there is no rustup: install Rust's std for {0}",
                self.target
            );
        }
        ctx.install(self.target, "std", "the release build is static", &place, || {
            let mut rustup = Command::new("rustup");
            shell::run(
                rustup
                    .args(["target", "add", self.target])
                    .current_dir(workspace::root()),
            )
        })
    }

    /// Installs what the release build for the platform needs.
    fn ensure(self, ctx: &Ctx) -> Result<()> {
        self.ensure_std(ctx)?;
        self.ensure_compiler(ctx)?;
        tools::build(ctx)
    }

    /// Builds the binaries of `packages` in one go and returns where they are, unstripped. Installs what that needs.
    pub(crate) fn build(self, ctx: &Ctx, packages: &[(&str, &str)]) -> Result<Vec<PathBuf>> {
        self.ensure(ctx)?;
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--release", "--locked", "--target", self.target]);
        for (package, _) in packages {
            cargo.args(["--package", package]);
        }
        let variable = self.target.replace('-', "_");
        cargo.env(format!("CC_{variable}"), self.compiler);
        let variable = variable.to_uppercase();
        if self.compiler != "musl-gcc" {
            cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), self.compiler);
        }
        cargo.env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), remap()?);
        cargo.env("PATH", ctx.path()?);
        shell::run(&mut cargo)?;
        let folder = workspace::target_directory()?.join(self.target).join("release");
        Ok(packages.iter().map(|(_, binary)| folder.join(binary)).collect())
    }

    /// Builds one source file without dependencies.
    pub(crate) fn compile(self, source: &Path, out: &Path) -> Result<()> {
        let mut rustc = Command::new("rustc");
        rustc
            .current_dir(workspace::root())
            .args(["--edition=2024", "--target", self.target]);
        rustc
            .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-o"])
            .arg(out)
            .arg(source);
        shell::capture(&mut rustc).map(drop)
    }

    /// A copy of `binary` without symbols in `folder`; it is an error when it needs a loader or is for another machine.
    pub(crate) fn stripped(self, binary: &Path, folder: &Path) -> Result<PathBuf> {
        let name = binary
            .file_name()
            .with_context(|| format!("{} is not a file", binary.display()))?;
        let out = folder.join(name);
        shell::capture(Command::new(self.strip).arg("-s").arg("-o").arg(&out).arg(binary))?;
        check(&out, self.name).with_context(|| format!("{} cannot go into an image", binary.display()))?;
        Ok(out)
    }
}

/// Installs what the release build for this machine needs.
pub(crate) fn ensure(ctx: &Ctx) -> Result<()> {
    Platform::host()?.ensure(ctx)
}

/// Builds this machine's agent and leaves it at `target/weir-agent`, where people find it.
pub(crate) fn agent(ctx: &Ctx) -> Result<PathBuf> {
    println!("\nbuilding the agent (release; the first time takes some minutes)");
    let platform = Platform::host()?;
    let built = platform.build(ctx, &[AGENT])?;
    let built = built.first().context("one package gives one binary")?;
    platform.stripped(built, &workspace::target_directory()?)
}

/// Builds this machine's operator and leaves it at `target/weir-operator`.
pub(crate) fn operator(ctx: &Ctx) -> Result<PathBuf> {
    println!("\nbuilding the operator (release)");
    let platform = Platform::host()?;
    let built = platform.build(ctx, &[OPERATOR])?;
    let built = built.first().context("one package gives one binary")?;
    platform.stripped(built, &workspace::target_directory()?)
}

/// Machine-dependent paths in panic messages would make the bytes depend on the checkout's place.
fn remap() -> Result<String> {
    let root = workspace::root();
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME says where cargo keeps its sources")?;
    Ok(format!(
        "--remap-path-prefix={}=/weir --remap-path-prefix={}=/cargo",
        root.display(),
        cargo.display()
    ))
}

/// Whether an ELF file runs alone, on `architecture`: an image has no loader and no libraries.
pub(crate) fn check(binary: &Path, architecture: &str) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    let elf = Elf::parse(&bytes).context("it is not a 64-bit little-endian ELF file")?;
    let expected = match architecture {
        "amd64" => 62,
        "arm64" => 183,
        other => bail!("unknown architecture {other}: images are amd64 or arm64"),
    };
    if elf.machine != expected {
        bail!(
            "it is for ELF machine {}, and {architecture} is {expected}",
            elf.machine
        );
    }
    if elf.has_interpreter {
        bail!("it is linked dynamically: build it for a musl target");
    }
    Ok(())
}

struct Elf {
    machine: u16,
    has_interpreter: bool,
}

impl Elf {
    /// Reads the header and the program headers: offsets from the ELF-64 specification.
    fn parse(bytes: &[u8]) -> Option<Self> {
        const INTERPRETER: u32 = 3;
        if bytes.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let table = usize::try_from(u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?)).ok()?;
        let (size, count) = (usize::from(u16_at(54)?), usize::from(u16_at(56)?));
        let mut has_interpreter = false;
        for index in 0..count {
            let at = table.checked_add(index * size)?;
            let kind = u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?);
            has_interpreter |= kind == INTERPRETER;
        }
        Some(Self {
            machine: u16_at(18)?,
            has_interpreter,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_binary_is_refused_with_the_remedy() {
        let this = std::env::current_exe().unwrap();
        let architecture = Platform::host().unwrap().name;
        let error = check(&this, architecture).unwrap_err();
        assert!(error.to_string().contains("musl"), "{error}");
    }

    #[test]
    fn binary_of_another_machine_is_refused() {
        let this = std::env::current_exe().unwrap();
        let other = if Platform::host().unwrap().name == "amd64" {
            "arm64"
        } else {
            "amd64"
        };
        let error = check(&this, other).unwrap_err();
        assert!(error.to_string().contains("ELF machine"), "{error}");
    }

    #[test]
    fn cut_file_is_no_elf_and_no_panic() {
        let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 5, 20, 63, 64, 100] {
            assert!(Elf::parse(&whole[..length]).is_none(), "{length}");
        }
    }
}
