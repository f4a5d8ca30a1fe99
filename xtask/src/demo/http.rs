//! One HTTP request to the agent's admin server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Status code and body of `GET path`.
pub(super) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = || -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // HTTP/1.0: the body ends with the connection and is never chunked.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = request().with_context(|| format!("GET http://{address}{path}"))?;
    parse(&text).with_context(|| format!("GET http://{address}{path}: not an HTTP answer: {text:?}"))
}

fn parse(text: &str) -> Option<(u16, String)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_status_and_body_are_split() {
        let text = "HTTP/1.0 503 Service Unavailable\r\nserver: x\r\n\r\nnot yet\n";
        assert_eq!(parse(text), Some((503, "not yet\n".to_owned())));
        assert_eq!(parse("nonsense"), None);
    }
}
