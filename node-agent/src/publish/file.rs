//! A file that is appended to, as a sink.
//!
//! A frame is acked when it is written and flushed to the kernel; it is not synced to the disk. What a failed write left
//! behind is cut off, so that the file holds whole frames only. A file that was moved away is opened anew. Where a life
//! that was killed left half a line, the next begins a new one, so that no more than that line is unreadable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::settings::Encoding;
use super::state::{Trouble, TroubleKind};
use super::writer::Output;

/// Appends to a file.
#[derive(Debug)]
pub(crate) struct FileOutput {
    path: PathBuf,
    /// Frames are lines.
    lines: bool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Only a regular file can be cut off.
    regular: bool,
}

impl FileOutput {
    pub(crate) fn new(path: PathBuf, encoding: Encoding) -> Self {
        Self {
            path,
            lines: encoding == Encoding::Json,
            open: None,
        }
    }
}

impl Open {
    fn at(path: &Path, lines: bool) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let regular = file.metadata()?.is_file();
        let mut open = Self { file, regular };
        if lines && regular && has_open_line(path)? {
            open.append(b"\n")?;
        }
        Ok(open)
    }

    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.file.metadata(), path.metadata()) {
            (Ok(ours), Ok(named)) => identity(&ours) == identity(&named),
            _ => false,
        }
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let before = if self.regular {
            Some(self.file.metadata()?.len())
        } else {
            None
        };
        let written = self.file.write_all(frame).and_then(|()| self.file.flush());
        if written.is_err()
            && let Some(before) = before
        {
            self.file.set_len(before)?;
        }
        written
    }
}

/// Whether the file's last line has no end.
fn has_open_line(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

fn append(path: &Path, lines: bool, open: Option<Open>, frame: &[u8]) -> io::Result<Open> {
    let mut open = match open {
        Some(open) if open.is_at(path) => open,
        _ => Open::at(path, lines)?,
    };
    open.append(frame)?;
    Ok(open)
}

impl Output for FileOutput {
    async fn write(&mut self, frame: Bytes) -> io::Result<()> {
        let (path, lines, open) = (self.path.clone(), self.lines, self.open.take());
        let written = tokio::task::spawn_blocking(move || append(&path, lines, open, &frame)).await;
        self.open = Some(written.map_err(io::Error::other)??);
        Ok(())
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        let (kind, remedy) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                TroubleKind::DiskFull,
                "free space on that file system; writing is tried again",
            ),
            io::ErrorKind::NotFound => (
                TroubleKind::CannotWrite,
                "create the directory that the path names",
            ),
            io::ErrorKind::PermissionDenied => (
                TroubleKind::CannotWrite,
                "let the agent's user write there, or choose another path",
            ),
            _ => (TroubleKind::CannotWrite, "look at the path and its file system"),
        };
        Trouble {
            kind,
            message: format!("{}: {error}", self.path.display()),
            remedy: remedy.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &mut FileOutput, text: &'static str) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("builds");
        runtime.block_on(output.write(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn file_moved_away_is_opened_anew() {
        let dir = tempfile::tempdir().expect("makes a directory");
        let (path, moved) = (dir.path().join("events"), dir.path().join("events.1"));
        let mut output = FileOutput::new(path.clone(), Encoding::Json);
        write(&mut output, "one\n").expect("writes");
        std::fs::rename(&path, &moved).expect("renames");
        write(&mut output, "two\n").expect("writes");
        write(&mut output, "three\n").expect("writes");
        assert_eq!(std::fs::read_to_string(&moved).expect("reads"), "one\n");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "two\nthree\n");
    }

    #[test]
    fn file_that_ends_in_half_a_line_is_gone_on_with_a_new_one() {
        let dir = tempfile::tempdir().expect("makes a directory");
        let path = dir.path().join("events");
        for (encoding, expected) in [
            (Encoding::Json, "[{\"half\none\ntwo\n"),
            (Encoding::Protobuf, "[{\"halfone\ntwo\n"),
        ] {
            std::fs::write(&path, "[{\"half").expect("writes");
            let mut output = FileOutput::new(path.clone(), encoding);
            write(&mut output, "one\n").expect("writes");
            drop(output);
            let mut output = FileOutput::new(path.clone(), encoding);
            write(&mut output, "two\n").expect("writes");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), expected);
        }
    }

    #[test]
    fn file_on_a_full_disk_says_so() {
        let mut output = FileOutput::new("/dev/full".into(), Encoding::Json);
        let error = write(&mut output, "one\n").expect_err("is full");
        let trouble = output.trouble(&error);
        assert_eq!(trouble.kind, TroubleKind::DiskFull);
        assert!(trouble.message.starts_with("/dev/full: "), "{}", trouble.message);
    }

    #[test]
    fn file_in_a_missing_directory_says_what_to_create() {
        let mut output = FileOutput::new("/nonexistent/events".into(), Encoding::Json);
        let error = write(&mut output, "one\n").expect_err("has no directory");
        assert!(output.trouble(&error).remedy.contains("create the directory"));
    }
}
