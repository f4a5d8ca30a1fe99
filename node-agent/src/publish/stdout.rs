//! Standard output as a sink.

use std::io::{self, Write};

use bytes::Bytes;

use super::state::{Trouble, TroubleKind};
use super::writer::Output;

/// Writes to this process's standard output.
#[derive(Debug)]
pub(crate) struct StdoutOutput;

impl Output for StdoutOutput {
    /// On another thread, because whoever reads may be slow.
    async fn write(&mut self, frame: Bytes) -> io::Result<()> {
        tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&frame)?;
            stdout.flush()
        })
        .await
        .map_err(io::Error::other)?
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        let (kind, remedy) = match error.kind() {
            io::ErrorKind::BrokenPipe => (
                TroubleKind::OutputClosed,
                "start again with a reader, or end this agent",
            ),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                TroubleKind::DiskFull,
                "free space where standard output is redirected to",
            ),
            _ => (
                TroubleKind::CannotWrite,
                "look at where standard output is redirected to",
            ),
        };
        Trouble {
            kind,
            message: format!("standard output: {error}"),
            remedy: remedy.to_owned(),
        }
    }
}
