//! Writes tar archives that depend on nothing but their content: sorted, dateless, with the owner that is asked for.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result, bail};

const BLOCK: usize = 512;
/// Field of the ustar header; longer names would need an extension that no image of ours does.
const MAX_NAME: usize = 100;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Symlink { target: String },
}

/// Paths without a leading slash, in the order in which they are written.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// Writes `tree`, everything owned by root, at the start of the epoch.
pub(crate) fn write(tree: &Tree, out: &mut impl Write) -> Result<()> {
    for (path, entry) in tree {
        append(path, entry, out).with_context(|| format!("writing {path} to an archive"))?;
    }
    out.write_all(&[0; BLOCK * 2]).context("ending an archive")
}

fn append(path: &str, entry: &Entry, out: &mut impl Write) -> Result<()> {
    let (name, kind, mode, target, content): (_, u8, u32, &str, &[u8]) = match entry {
        Entry::Directory { mode } => (format!("{path}/"), b'5', *mode, "", &[]),
        Entry::File { mode, content } => (path.to_owned(), b'0', *mode, "", content),
        Entry::Symlink { target } => (path.to_owned(), b'2', 0o777, target, &[]),
    };
    if name.len() > MAX_NAME || target.len() > MAX_NAME {
        bail!("a path in an archive may have at most {MAX_NAME} bytes: {name} {target}");
    }
    let mut header = [0_u8; BLOCK];
    put(&mut header, 0, name.as_bytes());
    put(&mut header, 100, format!("{mode:07o}").as_bytes());
    put(&mut header, 108, b"0000000");
    put(&mut header, 116, b"0000000");
    put(&mut header, 124, format!("{:011o}", content.len()).as_bytes());
    put(&mut header, 136, b"00000000000");
    put(&mut header, 156, &[kind]);
    put(&mut header, 157, target.as_bytes());
    put(&mut header, 257, b"ustar\0");
    put(&mut header, 263, b"00");
    // The checksum counts its own field as spaces.
    put(&mut header, 148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(content)?;
    pad(content.len(), out)?;
    Ok(())
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

fn pad(length: usize, out: &mut impl Write) -> io::Result<()> {
    let rest = length.next_multiple_of(BLOCK) - length;
    out.write_all(&[0; BLOCK][..rest])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sample() -> Tree {
        Tree::from([
            ("bin".to_owned(), Entry::Directory { mode: 0o755 }),
            (
                "bin/sh".to_owned(),
                Entry::Symlink {
                    target: "busybox".into(),
                },
            ),
            (
                "bin/busybox".to_owned(),
                Entry::File {
                    mode: 0o755,
                    content: vec![7; 1000],
                },
            ),
            (
                "etc-passwd".to_owned(),
                Entry::File {
                    mode: 0o644,
                    content: vec![1; 512],
                },
            ),
        ])
    }

    #[test]
    fn system_tar_reads_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("x.tar");
        write(&sample(), &mut std::fs::File::create(&archive).unwrap()).unwrap();
        let listing = Command::new("tar").arg("-tvf").arg(&archive).output().unwrap();
        assert!(
            listing.status.success(),
            "{}",
            String::from_utf8_lossy(&listing.stderr)
        );
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(
            std::fs::read(folder.path().join("bin/busybox")).unwrap(),
            vec![7; 1000]
        );
        assert_eq!(
            std::fs::read_link(folder.path().join("bin/sh")).unwrap(),
            std::path::Path::new("busybox")
        );
        assert_eq!(
            std::fs::read(folder.path().join("etc-passwd")).unwrap().len(),
            512
        );
    }

    #[test]
    fn name_that_does_not_fit_is_an_error() {
        let tree = Tree::from([(
            "x".repeat(101),
            Entry::File {
                mode: 0o644,
                content: Vec::new(),
            },
        )]);
        let error = write(&tree, &mut Vec::new()).unwrap_err();
        assert!(format!("{error:#}").contains("at most 100 bytes"), "{error:#}");
    }
}
