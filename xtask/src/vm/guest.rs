//! The machine: an initial file system with nothing but busybox and the agent, and the emulator.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell;

const INIT: &[u8] = include_bytes!("../../vm/init");
const PROFILE: &[u8] = include_bytes!("../../vm/profile.yaml");

const DIRECTORIES: [&str; 8] = ["bin", "data", "dev", "proc", "run", "state", "sys", "tmp"];
/// What the script calls by its own name.
const APPLETS: [&str; 14] = [
    "echo", "grep", "ip", "mount", "poweroff", "seq", "sh", "sleep", "tr", "wc", "wget", "cat", "nc", "kill",
];
/// Emulated, loading all programs takes some seconds; the rest is for a machine that does other things too.
const DEADLINE: Duration = Duration::from_mins(4);
const POLL: Duration = Duration::from_millis(100);

/// Character device 5, 1: where the first process's output goes.
const CONSOLE: (u32, u32) = (5, 1);
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;
const SYMLINK: u32 = 0o120_777;
const CHARACTERS: u32 = 0o020_600;

/// Writes the initial file system.
pub(super) fn image(agent: &Path, folder: &Path) -> Result<PathBuf> {
    let busybox =
        shell::which("busybox").context("busybox-static is installed, but busybox is not on PATH")?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let path = folder.join("initramfs.cpio");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = Archive {
        out: BufWriter::new(file),
        inode: 0,
    };
    for directory in DIRECTORIES {
        out.add(directory, DIRECTORY, &[], None)?;
    }
    out.add("dev/console", CHARACTERS, &[], Some(CONSOLE))?;
    out.add("bin/busybox", EXECUTABLE, &read(&busybox)?, None)?;
    out.add("bin/weir-agent", EXECUTABLE, &read(agent)?, None)?;
    for applet in APPLETS {
        out.add(&format!("bin/{applet}"), SYMLINK, b"busybox", None)?;
    }
    out.add("init", EXECUTABLE, INIT, None)?;
    out.add("profile.yaml", PLAIN, PROFILE, None)?;
    out.add("data/file", PLAIN, b"what the workload reads\n", None)?;
    let mut whole = cpio::newc::trailer(out.out).context("ending the initial file system")?;
    whole.flush().context("writing the initial file system")?;
    Ok(path)
}

struct Archive<W> {
    out: W,
    inode: u32,
}

impl Archive<BufWriter<File>> {
    fn add(&mut self, name: &str, mode: u32, content: &[u8], device: Option<(u32, u32)>) -> Result<()> {
        self.inode += 1;
        let mut entry = cpio::newc::Builder::new(name).ino(self.inode).mode(mode);
        if let Some((major, minor)) = device {
            entry = entry.rdev_major(major).rdev_minor(minor);
        }
        let length = u32::try_from(content.len()).with_context(|| format!("{name} is too long"))?;
        let mut writer = entry.write(self.out.by_ref(), length);
        writer
            .write_all(content)
            .and_then(|()| writer.finish().map(drop))
            .with_context(|| format!("adding {name} to the initial file system"))
    }
}

/// Runs a machine to its end, its console written to a file.
pub(super) fn boot(kernel: &Path, image: &Path, console: &Path) -> Result<()> {
    let file = File::create(console).with_context(|| format!("creating {}", console.display()))?;
    let mut qemu = Command::new("qemu-system-x86_64");
    // 57-bit addresses make some kernels fault under emulation.
    qemu.args(["-accel", "tcg", "-cpu", "max,-la57", "-smp", "2", "-m", "1024"]);
    qemu.args([
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    qemu.stdin(Stdio::null()).stdout(file);
    let mut machine = qemu.spawn().context("starting qemu-system-x86_64")?;
    let begin = Instant::now();
    loop {
        if let Some(status) = machine.try_wait().context("waiting for the machine")? {
            if !status.success() {
                bail!("qemu-system-x86_64 ended with {status}");
            }
            return Ok(());
        }
        let stopped = shell::interrupted();
        if stopped.is_err() || begin.elapsed() > DEADLINE {
            machine.kill().context("ending the machine")?;
            machine.wait().context("waiting for the machine")?;
            stopped?;
            bail!(
                "the machine did not end within {} s; its console says where it stands",
                DEADLINE.as_secs()
            );
        }
        thread::sleep(POLL);
    }
}
