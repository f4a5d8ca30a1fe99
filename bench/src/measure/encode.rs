//! Encoding: straight from the view into the open batch, beside building owned structs and serializing those.

use std::hint::black_box;

use anyhow::Result;
use prost::Message as _;
use weir_events::decode::UnifiedEvent;
use weir_events::{
    Attribution, BatchBuilder, BatchHeader, Encoding, EventView, FileOpenView, Kind, PayloadView, Payloads,
    ProcessExecView, ProcessView, Workload, WorkloadRef,
};

use crate::procfs::thread_cpu_ns;
use crate::report::Row;
use crate::stat::{Samples, float};

const ROUNDS: usize = 9;
/// Events of a round: some tens of milliseconds.
const EVENTS: u32 = 50_000;
/// Events of a message, as a busy sink gets them.
const BATCH: u32 = 1_024;

/// The rows.
pub(super) fn rows() -> Result<Vec<Row>> {
    let workload = workload();
    let mut rows = Vec::new();
    for payload in [
        PayloadView::FileOpen(FileOpenView {
            path: b"/etc/ssl/certs/ca-certificates.crt",
            ..FileOpenView::default()
        }),
        PayloadView::ProcessExec(ProcessExecView {
            exe: b"/usr/bin/curl",
            args: b"curl\0-s\0https://example.org/index.html\0",
            ..ProcessExecView::default()
        }),
    ] {
        rows.extend(of_kind(&view(payload, &workload))?);
    }
    Ok(rows)
}

/// Nanoseconds and bytes per event of each way to write.
#[derive(Default)]
struct Ways {
    protobuf: Vec<f64>,
    json: Vec<f64>,
    prost: Vec<f64>,
    prost_encode: Vec<f64>,
    serde: Vec<f64>,
    serde_write: Vec<f64>,
}

fn of_kind(view: &EventView<'_>) -> Result<Vec<Row>> {
    let header = header(view.kind);
    let built = UnifiedEvent::from_view(&header, 1, view);
    let mut ways = Ways::default();
    let mut buffer = Vec::with_capacity(1 << 20);
    let (mut protobuf_bytes, mut json_bytes) = (0.0, 0.0);
    let mut protobuf = BatchBuilder::new(Encoding::Protobuf, header.clone());
    let mut json = BatchBuilder::new(Encoding::Json, header.clone());
    for _ in 0..ROUNDS {
        let (ns, bytes) = batches(&mut protobuf, view);
        ways.protobuf.push(ns);
        protobuf_bytes = bytes;
        ways.prost.push(each(view, |view| {
            buffer.clear();
            Ok(UnifiedEvent::from_view(&header, 1, view).encode(&mut buffer)?)
        })?);
        ways.prost_encode.push(each(view, |_| {
            buffer.clear();
            Ok(black_box(&built).encode(&mut buffer)?)
        })?);
        let (ns, bytes) = batches(&mut json, view);
        ways.json.push(ns);
        json_bytes = bytes;
        ways.serde.push(each(view, |view| {
            buffer.clear();
            Ok(serde_json::to_writer(
                &mut buffer,
                &UnifiedEvent::from_view(&header, 1, view),
            )?)
        })?);
        ways.serde_write.push(each(view, |_| {
            buffer.clear();
            Ok(serde_json::to_writer(&mut buffer, black_box(&built))?)
        })?);
    }
    let Ways {
        protobuf,
        json,
        prost,
        prost_encode,
        serde,
        serde_write,
    } = ways;
    let [protobuf, json, prost, prost_encode, serde, serde_write] =
        [protobuf, json, prost, prost_encode, serde, serde_write].map(Samples::of);
    let kind = view.kind.name();
    let row = |what: &str, samples: &Samples| {
        Row::new("encode", format!("encode {kind}, {what}"), "ns", samples.clone())
    };
    let size = |what: &str, bytes| {
        Row::new(
            "encode",
            format!("size of {kind}, {what}"),
            "B",
            Samples::of(vec![bytes]),
        )
    };
    let prost_size = float(built.encoded_len() as u64);
    let serde_size = float(serde_json::to_vec(&built)?.len() as u64);
    Ok(vec![
        row("protobuf", &protobuf)
            .faster_than("prost: build the struct, encode", prost)
            .ratio_at_least(3.0, "≥ 3x"),
        row("protobuf", &protobuf)
            .faster_than("prost: encode only", prost_encode)
            .at_most(60.0, "≤ 60 ns"),
        row("protobuf", &protobuf)
            .faster_than("serde_json: build the struct, write", serde.clone())
            .ratio_at_least(9.0, "≥ 9x"),
        row("JSON (CloudEvents)", &json).faster_than("serde_json: build the struct, write", serde),
        row("JSON (CloudEvents)", &json).faster_than("serde_json: write only", serde_write),
        size("protobuf", protobuf_bytes)
            .beside("prost, event by event", Samples::of(vec![prost_size]))
            .at_most(160.0, "≤ 160 B"),
        size("JSON (CloudEvents)", json_bytes)
            .beside("serde_json, event by event", Samples::of(vec![serde_size])),
    ])
}

/// Nanoseconds and bytes per event of whole messages, sealing included.
fn batches(builder: &mut BatchBuilder, view: &EventView<'_>) -> (f64, f64) {
    let begin = thread_cpu_ns();
    let (mut bytes, mut base, mut payloads) = (0, 1, Payloads::default());
    for number in 0..EVENTS {
        builder.push(black_box(&varied(view, number)));
        if builder.events() == BATCH || number + 1 == EVENTS {
            let sealed = builder.seal(base, &mut payloads);
            base += u64::from(sealed.events);
            bytes += black_box(sealed.payload).len() as u64;
        }
    }
    let nanos = float(thread_cpu_ns() - begin);
    (nanos / f64::from(EVENTS), float(bytes) / f64::from(EVENTS))
}

/// Nanoseconds per event of a way to write a single one.
fn each(view: &EventView<'_>, mut write: impl FnMut(&EventView<'_>) -> Result<()>) -> Result<f64> {
    let begin = thread_cpu_ns();
    for number in 0..EVENTS {
        write(black_box(&varied(view, number)))?;
    }
    let nanos = float(thread_cpu_ns() - begin);
    Ok(nanos / f64::from(EVENTS))
}

/// No two events have the same time and process.
fn varied<'a>(view: &EventView<'a>, number: u32) -> EventView<'a> {
    EventView {
        time_unix_nanos: view.time_unix_nanos + u64::from(number) * 10_007,
        process: ProcessView {
            pid: 2_000 + number % 512,
            tid: 2_000 + number % 512,
            ..view.process
        },
        ..*view
    }
}

fn header(kind: Kind) -> BatchHeader {
    BatchHeader {
        cluster: "prod".to_owned(),
        node: "node-1.example".to_owned(),
        epoch: 1_767_300_000_000,
        profile: "baseline".to_owned(),
        kind,
    }
}

fn workload() -> WorkloadRef {
    let workload = Workload {
        namespace: "shop".to_owned(),
        pod: "cart-6d5f8b7c9-x2x7p".to_owned(),
        pod_uid: "0f4c1c1e-7a51-4b39-9a0e-2f6f0b7c8d11".to_owned(),
        container: "cart".to_owned(),
        container_id: "4a1f0c9be2d34f5aa6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3".to_owned(),
        image: "registry.example/shop/cart:1.4.2".to_owned(),
        owner_kind: "ReplicaSet".to_owned(),
        owner_name: "cart-6d5f8b7c9".to_owned(),
        node: "node-1.example".to_owned(),
    };
    WorkloadRef::new(7, workload)
}

fn view<'a>(payload: PayloadView<'a>, workload: &'a WorkloadRef) -> EventView<'a> {
    EventView {
        time_unix_nanos: 1_767_323_045_678_901_234,
        time_error_nanos: 1_500,
        kind: payload.kind(),
        event: "events",
        generation: 3,
        attribution: Attribution::Exact,
        process: ProcessView {
            pid: 4_242,
            tid: 4_243,
            ppid: 4_200,
            uid: Some(1_000),
            gid: Some(1_000),
            comm: b"curl",
            exe: b"/usr/bin/curl",
            args: b"",
            args_truncated: false,
            start_time_unix_nanos: 1_767_323_043_678_901_233,
        },
        workload: Some(workload),
        weight: 1,
        synthetic: false,
        payload,
    }
}
