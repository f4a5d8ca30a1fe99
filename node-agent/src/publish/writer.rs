//! The loop of the sinks that write bytes in order: one batch after the other, acked when it is written.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_runtime::backoff::Backoff;

use super::delivery::SinkShared;
use super::metrics::Retry;
use super::settings::Encoding;
use super::state::Trouble;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Where frames are written.
pub(crate) trait Output {
    /// Writes a whole frame and flushes it, or leaves nothing of it behind where the medium allows that.
    fn write(&mut self, frame: Bytes) -> impl Future<Output = io::Result<()>>;
    /// What a failure means to a person.
    fn trouble(&self, error: &io::Error) -> Trouble;
}

/// Writes until the sink is told to stop.
pub(crate) async fn run(sink: Arc<SinkShared>, mut output: impl Output) {
    let stop = sink.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_writing(&sink, &mut output) => {}
    }
    for taken in sink.queue.taken() {
        sink.retry(&taken, None, Retry::write);
    }
}

async fn keep_writing(sink: &SinkShared, output: &mut impl Output) {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let written = match write_next(sink, output).await {
            Ok(written) => written,
            Err(error) => {
                sink.state.degraded(output.trouble(&error));
                tokio::time::sleep(backoff.next(rand::random())).await;
                continue;
            }
        };
        if written {
            backoff.reset();
            sink.state.live();
        } else {
            tokio::select! {
                () = sink.queue.changed() => {}
                () = sink.agent_changed() => {}
            }
        }
    }
}

/// Writes the next agent event or batch; false if there is none.
async fn write_next(sink: &SinkShared, output: &mut impl Output) -> io::Result<bool> {
    let encoding = sink.settings.encoding;
    if let Some(sealed) = sink.next_agent_event() {
        output.write(frame(encoding, &sealed.message.payload)).await?;
        sink.agent.settle(sealed.seq);
        return Ok(true);
    }
    let sent = Instant::now();
    let Some(taken) = sink.take(sent) else {
        return Ok(false);
    };
    match output.write(frame(encoding, &taken.batch.payload)).await {
        Ok(()) => {
            sink.acked(taken.ticket, false, sent);
            Ok(true)
        }
        Err(error) => {
            sink.retry(&taken, None, Retry::write);
            Err(error)
        }
    }
}

/// JSON: a line. Protobuf: its length as a varint, as protobuf's own delimited streams have it.
fn frame(encoding: Encoding, payload: &Bytes) -> Bytes {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    if encoding == Encoding::Protobuf {
        let mut rest = payload.len();
        while rest >= 0x80 {
            frame.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        frame.push(u8::try_from(rest).unwrap_or(0));
        frame.extend_from_slice(payload);
    } else {
        frame.extend_from_slice(payload);
        frame.push(b'\n');
    }
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_a_line_or_length_delimited() {
        assert_eq!(
            frame(Encoding::Json, &Bytes::from_static(b"[1]")),
            b"[1]\n".as_slice()
        );
        assert_eq!(
            frame(Encoding::Protobuf, &Bytes::from_static(b"abc")),
            b"\x03abc".as_slice()
        );
        let long = frame(Encoding::Protobuf, &Bytes::from(vec![7; 300]));
        assert_eq!((&long[..2], long.len()), ([0xac, 0x02].as_slice(), 302));
    }
}
