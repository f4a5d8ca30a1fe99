//! One event as a line a person can read.

use serde_json::Value;

const DETAIL_CHARS: usize = 56;
const PROCESS_CHARS: usize = 15;

/// The columns of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) kind: String,
    pub(super) process: String,
    pub(super) pid: String,
    pub(super) detail: String,
    pub(super) workload: String,
}

impl Line {
    /// Of one `UnifiedEvent` in JSON. What it lacks stays empty.
    pub(super) fn of(data: &Value) -> Self {
        let kind = text(&data["kind"]);
        let process = &data["process"];
        Self {
            // Of `2026-11-23T05:12:13.123456789Z` the time of day, to the millisecond.
            time: text(&data["time"]).get(11..23).unwrap_or_default().to_owned(),
            process: cut(&text(&process["comm"]), PROCESS_CHARS),
            pid: process["pid"].to_string(),
            detail: cut(&detail(&kind, data), DETAIL_CHARS),
            workload: workload(data),
            kind,
        }
    }
}

fn detail(kind: &str, data: &Value) -> String {
    match kind {
        "process.exec" => exec(&data["processExec"]),
        "process.exit" => exit(&data["processExit"]),
        "net.connect" => connect(&data["netConnect"]),
        "file.open" => open(&data["fileOpen"]),
        _ => String::new(),
    }
}

fn exec(payload: &Value) -> String {
    let mut words = vec![text(&payload["exe"])];
    // The first argument is the program's own name.
    words.extend(payload["args"].as_array().into_iter().flatten().skip(1).map(text));
    words.join(" ")
}

fn exit(payload: &Value) -> String {
    let lived = duration(&payload["durationNanos"])
        .map(|time| format!(" after {time}"))
        .unwrap_or_default();
    match payload["exitCode"].as_u64() {
        Some(code) => format!("exit code {code}{lived}"),
        None => format!("killed by {}{lived}", text(&payload["signalName"])),
    }
}

fn connect(payload: &Value) -> String {
    let address = text(&payload["destinationAddress"]);
    let address = if address.contains(':') {
        format!("[{address}]")
    } else {
        address
    };
    let took = duration(&payload["latencyNanos"])
        .map(|time| format!(" in {time}"))
        .unwrap_or_default();
    format!(
        "{address}:{} {}{took}",
        payload["destinationPort"],
        result(payload)
    )
}

fn open(payload: &Value) -> String {
    let access = text(&payload["access"])
        .trim_start_matches("FILE_ACCESS_")
        .to_lowercase()
        .replace('_', "-");
    format!("{} {access} {}", text(&payload["path"]), result(payload))
}

fn result(payload: &Value) -> String {
    match &payload["errnoName"] {
        Value::String(name) if !name.is_empty() => name.clone(),
        _ if payload["errno"].as_u64().unwrap_or(0) != 0 => format!("errno {}", payload["errno"]),
        _ => "ok".to_owned(),
    }
}

fn workload(data: &Value) -> String {
    let workload = &data["workload"];
    match workload["pod"].as_str() {
        Some(pod) => format!(
            "{}/{pod}/{} on {}",
            text(&workload["namespace"]),
            text(&workload["container"]),
            text(&workload["node"])
        ),
        None => match workload["containerId"].as_str() {
            Some(container) => format!("container {}", cut(container, 12)),
            None => text(&data["attribution"])
                .trim_start_matches("ATTRIBUTION_")
                .to_lowercase(),
        },
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn duration(nanos: &Value) -> Option<String> {
    let nanos: u64 = nanos
        .as_str()
        .and_then(|text| text.parse().ok())
        .or_else(|| nanos.as_u64())?;
    let micros = nanos / 1000;
    Some(match micros {
        0..1000 => format!("{micros} us"),
        1000..1_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    })
}

/// At most `chars` characters, none of which moves the cursor.
fn cut(text: &str, chars: usize) -> String {
    let mut clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let mut short: String = clean.by_ref().take(chars).collect();
    if clean.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_exec_has_every_column() {
        let line = Line::of(&json!({
            "time": "2026-11-23T05:12:13.123456789Z", "kind": "process.exec", "attribution": "ATTRIBUTION_HOST",
            "process": {"pid": 42, "comm": "uname"},
            "processExec": {"exe": "/usr/bin/uname", "args": ["uname", "-r"]},
        }));
        let expected = Line {
            time: "05:12:13.123".into(),
            kind: "process.exec".into(),
            process: "uname".into(),
            pid: "42".into(),
            detail: "/usr/bin/uname -r".into(),
            workload: "host".into(),
        };
        assert_eq!(line, expected);
    }

    #[test]
    fn workload_of_a_pod_names_its_node() {
        let workload = json!({"namespace": "shop", "pod": "web-1", "container": "main", "node": "node2"});
        let line = Line::of(&json!({"workload": workload}));
        assert_eq!(line.workload, "shop/web-1/main on node2");
    }

    #[test]
    fn detail_of_each_kind() {
        for (kind, data, expected) in [
            (
                "process.exit",
                json!({"processExit": {"exitCode": 3, "durationNanos": "1234567"}}),
                "exit code 3 after 1.2 ms",
            ),
            (
                "process.exit",
                json!({"processExit": {"signal": 15, "signalName": "SIGTERM"}}),
                "killed by SIGTERM",
            ),
            (
                "net.connect",
                json!({"netConnect": {"destinationAddress": "::1", "destinationPort": 80, "errno": 111, "errnoName": "ECONNREFUSED"}}),
                "[::1]:80 ECONNREFUSED",
            ),
            (
                "net.connect",
                json!({"netConnect": {"destinationAddress": "10.0.0.1", "destinationPort": 4222, "latencyNanos": "87000"}}),
                "10.0.0.1:4222 ok in 87 us",
            ),
            (
                "file.open",
                json!({"fileOpen": {"path": "/etc/x", "access": "FILE_ACCESS_READ_WRITE"}}),
                "/etc/x read-write ok",
            ),
            ("file.modify", json!({}), ""),
        ] {
            assert_eq!(detail(kind, &data), expected);
        }
    }

    #[test]
    fn cut_long_and_hostile_text_stays_on_its_line() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("a\x1b[2J\n", 9), "a?[2J?");
    }
}
