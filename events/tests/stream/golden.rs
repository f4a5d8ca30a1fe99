//! Golden files: what this release writes is byte for byte what is on file, and what any release wrote is read for
//! ever.
//!
//! `golden/v1/<kind>.batch.json` and `.pb` are payloads; `<kind>.json` is what a consumer reads from either.
//! `WEIR_UPDATE_GOLDEN=1 cargo test -p weir-events golden` writes them anew. A file whose bytes change without need is
//! a broken consumer.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_events::decode::UnifiedEvent;
use weir_events::{Encoding, Kind, encode_agent_event};

use crate::{read, sample};

const BASE: u64 = 42;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn payload(kind: Kind, encoding: Encoding) -> Vec<u8> {
    if let Some(event) = sample::agent_event(kind) {
        return encode_agent_event(encoding, &sample::agent_header(), &event)
            .payload
            .to_vec();
    }
    let workload = sample::workload();
    let views = sample::views(kind, &workload);
    read::seal(encoding, &sample::header(kind), BASE, &views)
        .payload
        .to_vec()
}

/// At once, since another test may be reading it.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn compare(path: &Path, written: &[u8]) {
    if std::env::var_os("WEIR_UPDATE_GOLDEN").is_some() {
        replace(path, written);
    }
    let on_file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        on_file == written,
        "{} is not what is written now:\n{}\nnow:\n{}",
        path.display(),
        String::from_utf8_lossy(&on_file),
        String::from_utf8_lossy(written)
    );
}

/// Compares what is in a batch as JSON values: their text is not part of the contract.
fn compare_events(path: &Path, batch: &[u8]) {
    let batch: Vec<Value> = serde_json::from_slice(batch).unwrap();
    let events: Vec<Value> = batch.into_iter().map(|mut event| event["data"].take()).collect();
    if std::env::var_os("WEIR_UPDATE_GOLDEN").is_some() {
        replace(
            path,
            (serde_json::to_string_pretty(&events).unwrap() + "\n").as_bytes(),
        );
    }
    let on_file: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(on_file, events, "{}", path.display());
}

#[test]
fn payload_of_every_kind_is_the_one_on_file() {
    for kind in Kind::ALL {
        let directory = directory().join("v1");
        compare(
            &directory.join(format!("{}.batch.json", kind.name())),
            &payload(kind, Encoding::Json),
        );
        let protobuf = payload(kind, Encoding::Protobuf);
        compare(&directory.join(format!("{}.pb", kind.name())), &protobuf);
        compare_events(
            &directory.join(format!("{}.json", kind.name())),
            &payload(kind, Encoding::Json),
        );
    }
}

#[test]
fn payload_on_file_of_every_version_is_read_as_what_is_on_file() {
    let mut found = 0;
    for version in std::fs::read_dir(directory()).unwrap() {
        for file in std::fs::read_dir(version.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(kind) = name.strip_suffix(".pb") else {
                continue;
            };
            let events = path.with_file_name(format!("{kind}.json"));
            let events: Vec<UnifiedEvent> = serde_json::from_slice(&std::fs::read(events).unwrap()).unwrap();
            assert_eq!(read::protobuf(&std::fs::read(&path).unwrap()), events, "{name}");
            let batch = std::fs::read(path.with_file_name(format!("{kind}.batch.json"))).unwrap();
            let batch: Vec<UnifiedEvent> = read::json(&batch).into_iter().map(|event| event.data).collect();
            assert_eq!(batch, events, "{kind}.batch.json");
            found += 1;
        }
    }
    assert!(found >= Kind::ALL.len(), "only {found} kinds are on file");
}

#[test]
fn payload_of_every_kernel_kind_is_read_as_its_view() {
    let workload = sample::workload();
    for kind in Kind::ALL {
        let views = sample::views(kind, &workload);
        if !views.is_empty() {
            read::assert_read_back(&sample::header(kind), BASE, &views);
        }
    }
}
