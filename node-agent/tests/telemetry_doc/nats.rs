//! As much of a NATS server as it takes to answer batches in every way: ack, repeat, refuse, stay silent, hang up.
//!
//! It proves nothing about NATS; `publish_nats` does that with a real server.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

const INFO: &str = "INFO {\"server_id\":\"T\",\"server_name\":\"T\",\"version\":\"2.11.0\",\"go\":\"\",\"host\":\"127.0.0.1\",\
                    \"port\":4222,\"headers\":true,\"max_payload\":1048576,\"proto\":1,\"client_id\":1,\"jetstream\":true}\r\n";
const ACK: &str = r#"{"stream":"T","seq":1}"#;
const DUPLICATE: &str = r#"{"stream":"T","seq":1,"duplicate":true}"#;
/// Final: "message size exceeds maximum allowed".
const TOO_LARGE: &str = r#"{"error":{"code":400,"err_code":10054,"description":"too large"}}"#;
/// May pass: "system not available".
const AWAY: &str = r#"{"error":{"code":503,"err_code":10008,"description":"away"}}"#;

/// How far the play has come; it goes on over connections.
#[derive(Default)]
struct Play {
    answered: usize,
    unanswered: HashSet<String>,
    hung_up: bool,
}

/// What to do with a batch.
enum Act {
    Say(&'static str),
    Nothing,
    HangUp,
}

impl Play {
    fn act(&mut self, id: &str) -> Act {
        const ANSWERS: [&str; 4] = [ACK, DUPLICATE, TOO_LARGE, AWAY];
        if let Some(answer) = ANSWERS.get(self.answered) {
            self.answered += 1;
            return Act::Say(answer);
        }
        if self.hung_up {
            return Act::Say(ACK);
        }
        // Silence until the agent sends again what it got no answer to.
        if self.unanswered.insert(id.to_owned()) {
            return Act::Nothing;
        }
        self.hung_up = true;
        Act::HangUp
    }
}

/// Serves until the test's process ends.
pub struct Server {
    address: SocketAddr,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let play = Arc::new(Mutex::new(Play::default()));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let play = Arc::clone(&play);
                // A connection that ends, ends its thread.
                std::thread::spawn(move || serve(stream, &play).ok());
            }
        });
        Self { address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(mut stream: TcpStream, play: &Mutex<Play>) -> std::io::Result<()> {
    stream.write_all(INFO.as_bytes())?;
    let mut input = BufReader::new(stream.try_clone()?);
    let mut inbox = (String::new(), String::new());
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => stream.write_all(b"PONG\r\n")?,
            ["SUB", subject, sid] => inbox = (subject.trim_end_matches('*').to_owned(), (*sid).to_owned()),
            ["HPUB", subject, reply, headers, total] => {
                let number = |text: &str| text.parse::<usize>().map_err(std::io::Error::other);
                let (headers, total) = (number(headers)?, number(total)?);
                let mut message = vec![0; total + 2];
                input.read_exact(&mut message)?;
                let text = String::from_utf8_lossy(&message[..headers]).into_owned();
                let id = text
                    .lines()
                    .find_map(|line| line.strip_prefix("Nats-Msg-Id:"))
                    .unwrap_or_default()
                    .trim();
                let act = if subject.contains("._agent.") {
                    Act::Say(ACK)
                } else {
                    play.lock().unwrap_or_else(PoisonError::into_inner).act(id)
                };
                match act {
                    Act::Say(answer) if reply.starts_with(&inbox.0) => {
                        write!(stream, "MSG {reply} {} {}\r\n{answer}\r\n", inbox.1, answer.len())?;
                    }
                    Act::Say(_) => return Err(std::io::Error::other("a reply to nobody")),
                    Act::Nothing => {}
                    Act::HangUp => return Ok(()),
                }
            }
            _ => {}
        }
    }
}
