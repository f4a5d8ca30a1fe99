//! The NATS protocol, as much of it as reading a stream needs.
//!
//! Written out here, so that what checks the agent shares no code with it, and so that `cargo xtask` stays quick to
//! build. Protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longer than any request here may take: after it the server is taken for dead.
const TIMEOUT: Duration = Duration::from_secs(15);
/// All replies come to subjects below this one; one connection has one.
const INBOX: &str = "_INBOX.weir-demo";
/// A server's own bound on a message is 64 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A message, or a status such as "no more messages".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Where it was published.
    pub(super) subject: String,
    /// The server's status code in place of a message: 404, 408, 409, 503.
    pub(super) status: Option<u16>,
    /// The body.
    pub(super) payload: Vec<u8>,
}

/// One connection; requests are made one after the other.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    requests: u64,
}

/// What the server sends.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Message(Message),
    Ping,
    Other,
}

impl Connection {
    /// Connects and subscribes to the inbox.
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let writer = TcpStream::connect_timeout(&address, TIMEOUT)
            .with_context(|| format!("connecting to nats-server at {address}"))?;
        writer.set_read_timeout(Some(TIMEOUT))?;
        writer.set_nodelay(true)?;
        let mut connection = Self {
            reader: BufReader::new(writer.try_clone()?),
            writer,
            requests: 0,
        };
        connection.send(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"rust\",\
             \"version\":\"0\",\"name\":\"cargo xtask demo\"}}\r\nSUB {INBOX}.* 1\r\n"
        ))?;
        Ok(connection)
    }

    /// Sends a request; its answers are then read with [`Self::answer`].
    pub(super) fn request(&mut self, subject: &str, payload: &str) -> Result<()> {
        self.requests += 1;
        let number = self.requests;
        self.send(&format!(
            "PUB {subject} {INBOX}.{number} {}\r\n{payload}\r\n",
            payload.len()
        ))
    }

    /// The next answer to the last request. Answers to earlier ones are dropped.
    pub(super) fn answer(&mut self) -> Result<Message> {
        loop {
            match read_frame(&mut self.reader).context("reading from nats-server")? {
                Frame::Message(message) if self.is_current(&message.subject) => return Ok(message),
                Frame::Ping => self.send("PONG\r\n")?,
                Frame::Message(_) | Frame::Other => {}
            }
        }
    }

    fn is_current(&self, subject: &str) -> bool {
        // A stream's message comes with the stream's subject; only statuses and API answers show the inbox.
        subject
            .strip_prefix(INBOX)
            .is_none_or(|rest| rest == format!(".{}", self.requests))
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.writer
            .write_all(text.as_bytes())
            .context("writing to nats-server")
    }
}

fn read_frame(reader: &mut impl BufRead) -> Result<Frame> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.ends_with('\n'), "the server closed the connection");
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("MSG") => read_message(reader, &words.collect::<Vec<_>>(), false),
        Some("HMSG") => read_message(reader, &words.collect::<Vec<_>>(), true),
        Some("PING") => Ok(Frame::Ping),
        Some("INFO" | "PONG" | "+OK") => Ok(Frame::Other),
        Some("-ERR") => bail!("the server says: {}", line.trim()),
        _ => bail!("not the NATS protocol: {line:?}"),
    }
}

/// `subject sid [reply] [header-bytes] total-bytes`, then the bytes.
fn read_message(reader: &mut impl BufRead, words: &[&str], with_headers: bool) -> Result<Frame> {
    let sizes = if with_headers { 2 } else { 1 };
    ensure!(
        words.len() >= 2 + sizes,
        "a message line of {} words",
        words.len()
    );
    let size = |word: &str| {
        word.parse::<usize>()
            .with_context(|| format!("{word:?} is not a size"))
    };
    let total = size(words[words.len() - 1])?;
    let head = if with_headers {
        size(words[words.len() - 2])?
    } else {
        0
    };
    ensure!(
        head <= total && total <= MAX_MESSAGE_BYTES,
        "a message of {total} bytes with {head} of headers"
    );
    let mut bytes = vec![0; total + 2];
    reader.read_exact(&mut bytes)?;
    ensure!(
        bytes.ends_with(b"\r\n"),
        "a message that does not end where its size says"
    );
    bytes.truncate(total);
    let payload = bytes.split_off(head);
    let status = status_of(&String::from_utf8_lossy(&bytes));
    Ok(Frame::Message(Message {
        subject: words[0].to_owned(),
        status,
        payload,
    }))
}

/// `NATS/1.0 404 No Messages` has one; `NATS/1.0` alone has none.
fn status_of(headers: &str) -> Option<u16> {
    headers
        .lines()
        .next()?
        .strip_prefix("NATS/1.0 ")?
        .get(..3)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<Result<Frame, String>> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            frames.push(read_frame(&mut bytes).map_err(|error| error.to_string()));
            if frames.last().is_some_and(Result::is_err) {
                break;
            }
        }
        frames
    }

    fn message(subject: &str, status: Option<u16>, payload: &[u8]) -> Frame {
        Frame::Message(Message {
            subject: subject.into(),
            status,
            payload: payload.to_vec(),
        })
    }

    #[test]
    fn read_frame_messages_with_and_without_headers() {
        let bytes = b"INFO {}\r\nMSG a.b 1 3\r\nxyz\r\nPING\r\n\
            HMSG a.b 1 $JS.ACK.x 18 20\r\nNATS/1.0\r\nK: v\r\n\r\n{}\r\n\
            HMSG in 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n";
        let expected = [
            Ok(Frame::Other),
            Ok(message("a.b", None, b"xyz")),
            Ok(Frame::Ping),
            Ok(message("a.b", None, b"{}")),
            Ok(message("in", Some(404), b"")),
        ];
        assert_eq!(frames(bytes), expected);
    }

    #[test]
    fn read_frame_broken_input_is_an_error_not_a_hang() {
        for (bytes, reason) in [
            (
                &b"-ERR 'Authorization Violation'\r\n"[..],
                "Authorization Violation",
            ),
            (b"MSG a 1 999999999\r\n", "999999999"),
            (b"MSG a 1 2\r\nabcdef\r\n", "where its size says"),
            (b"HMSG a 1 9 2\r\nab\r\n", "2 bytes with 9"),
            (b"MSG a\r\n", "1 words"),
            (b"GET / HTTP/1.1\r\n", "not the NATS protocol"),
            (b"MSG a 1 2", "closed"),
        ] {
            let last = frames(bytes).pop().expect("a frame");
            let error = last.expect_err("broken");
            assert!(error.contains(reason), "{error}");
        }
    }
}
