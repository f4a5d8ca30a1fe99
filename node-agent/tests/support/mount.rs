//! Mounts that go when the test ends.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Mount(PathBuf);

impl Mount {
    /// A new directory with a file system of so much room, such as `16k`.
    pub fn tmpfs(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir(&at).expect("makes a directory");
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], &at);
        Self(at)
    }

    /// A file that stands in for another, which nothing tells who watches the other's directory.
    pub fn over(path: PathBuf, new: &Path) -> Self {
        mount(&["--bind", &new.display().to_string()], &path);
        Self(path)
    }

    pub fn resize(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.0);
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The agent may have a file open still: detach.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn mount(options: &[&str], at: &Path) {
    let status = Command::new("mount").args(options).arg(at).status();
    assert!(status.expect("mount starts").success());
}
