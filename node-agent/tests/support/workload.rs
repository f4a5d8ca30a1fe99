//! Work that counts itself: programs that start, files that are opened.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::agent::until;

/// Opens the path until the stop file is there, then prints how often. It may pause after every 64 opens.
const STORM: &str = r"
my ($path, $ready, $stop, $pause) = @ARGV; my $n = 0;
open(my $said, '>', $ready) or die; close($said);
until (-e $stop) { for (1..64) { sysopen(my $f, $path, 0) or die $!; close($f); $n++ } select(undef, undef, undef, $pause) if $pause }
print $n;
";

/// Processes that open one file as fast as they can.
pub struct Storm {
    stop: PathBuf,
    children: Vec<Child>,
}

impl Storm {
    /// Starts them and waits until they all open.
    pub fn start(path: &Path, processes: usize) -> Self {
        Self::pausing(path, processes, "0")
    }

    /// The same at some ten thousand a second, which leaves the processors to others.
    pub fn steady(path: &Path, processes: usize) -> Self {
        Self::pausing(path, processes, "0.005")
    }

    fn pausing(path: &Path, processes: usize, seconds: &str) -> Self {
        let dir = path.parent().expect("is in a directory");
        let stop = dir.join("stop");
        fs::remove_file(&stop).ok();
        let ready = |index: usize| dir.join(format!("ready-{index}"));
        let child = |index: usize| {
            fs::remove_file(ready(index)).ok();
            let mut command = perl(STORM);
            command
                .arg(path)
                .arg(ready(index))
                .arg(&stop)
                .arg(seconds)
                .stdout(Stdio::piped());
            command.spawn().expect("perl starts")
        };
        let children = (0..processes).map(child).collect();
        for index in 0..processes {
            until("the storm begins", || {
                if ready(index).exists() {
                    Ok(())
                } else {
                    Err(String::new())
                }
            });
        }
        Self { stop, children }
    }

    /// Ends them: how often they opened the file.
    pub fn stop(mut self) -> u64 {
        fs::write(&self.stop, "").expect("writes");
        self.children.drain(..).map(counted).sum()
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn counted(mut child: Child) -> u64 {
    let mut said = String::new();
    child
        .stdout
        .take()
        .expect("is piped")
        .read_to_string(&mut said)
        .expect("reads");
    assert!(child.wait().expect("ends").success(), "the workload failed");
    said.trim()
        .parse()
        .unwrap_or_else(|error| panic!("{said:?}: {error}"))
}

/// A perl program; its arguments may be added.
pub fn perl(program: &str) -> Command {
    let mut command = Command::new("/usr/bin/perl");
    command.args(["-e", program, "--"]).stdin(Stdio::null());
    command
}

/// A perl program's output, once it has ended well.
pub fn perl_says(program: &str, arguments: &[&str]) -> String {
    let output = perl(program).args(arguments).output().expect("perl starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file that exists.
pub fn marker(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, "x").expect("writes");
    path
}

/// A directory of the test's own, gone when it is dropped, with a file in it.
pub fn marked() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let file = marker(dir.path(), "file");
    (dir, file)
}

/// A program under a path of its own, so that nobody else starts it.
pub fn own_copy(of: &str, dir: &Path) -> PathBuf {
    let copy = dir.join(Path::new(of).file_name().expect("has a name"));
    fs::copy(of, &copy).expect("copies");
    copy
}

/// Starts the program `each` times from each of `threads` threads; the process ids.
pub fn start_many(program: &Path, threads: usize, each: usize) -> Vec<u32> {
    let run = || -> Vec<u32> {
        let once = |_| {
            let mut child = Command::new(program)
                .stdin(Stdio::null())
                .spawn()
                .expect("the program starts");
            assert!(child.wait().expect("ends").success());
            child.id()
        };
        (0..each).map(once).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}
