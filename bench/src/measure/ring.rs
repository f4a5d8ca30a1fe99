//! The ring: our consumer beside aya's on the same ring, filled by the agent's own programs; then decoding.

use std::hint::black_box;
use std::os::fd::AsFd as _;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Map, MapData, RingBuf};
use weir_events::{
    Attribution, BatchBuilder, BatchHeader, Encoding, EventView, Kind, PayloadView, Payloads, ProcessView,
};
use weir_node_agent::bpf::kernel::Kernel;
use weir_node_agent::bpf::ring::Ring;
use weir_node_agent::control::side::Side;
use weir_node_agent::decode::{self, Payload};
use weir_node_agent::enrich::SharedCounts;
use weir_node_agent_common::config::Active;
use weir_profile::{Assignment, Document, NodeFacts, SinkPlan, place, plan_with_sink};

use crate::config::{self, Event, Sink};
use crate::procfs::thread_cpu_ns;
use crate::report::Row;
use crate::stat::{Samples, float};
use crate::storm::{Plan, Storm, Target};

const ROUNDS: usize = 9;
/// The agent's default.
const RING_BYTES: u32 = 4 << 20;
/// Opens that a ring of that size takes: records have about 150 bytes.
const OPENS: u64 = 25_000;

/// The rows.
pub(super) fn rows() -> Result<Vec<Row>> {
    let target = Target::new()?;
    let (kernel, parts) = Kernel::load(RING_BYTES, None).context("loading the agent's programs")?;
    let mut side = Side::Kernel(Box::new(kernel), SharedCounts::default());
    collect(&mut side, &target.prefix())?;
    let ring = parts.bulk;
    let (mut ours, mut aya, mut decoded, mut whole) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut batch = Encoder::new();
    for _ in 0..ROUNDS {
        fill(&target)?;
        ours.push(drain(&ring, |record| {
            black_box(record.first());
        })?);
        fill(&target)?;
        aya.push(drain_aya(&ring)?);
        fill(&target)?;
        decoded.push(drain(&ring, |record| {
            black_box(read(record));
        })?);
        fill(&target)?;
        whole.push(drain(&ring, |record| batch.take(record))?);
    }
    side.detach_all();
    let [ours, aya, decoded, whole] = [ours, aya, decoded, whole].map(Samples::of);
    let decode = decoded.minus(&ours);
    let per_second = |samples: &Samples| Samples::of(samples.rounds.iter().map(|ns| 1e9 / ns).collect());
    Ok(vec![
        Row::new("ring", "drain a full 4 MiB ring, per record", "ns", ours)
            .faster_than("aya's RingBuf on the same ring", aya)
            .ratio_at_least(1.0, "≥ 1.0x a plain reader"),
        Row::new("ring", "decode, per record", "ns", decode)
            .note("drain with decoding less drain alone; nothing comparable exists to set beside it"),
        Row::new(
            "ring",
            "drain and decode, records of one core",
            "/s",
            per_second(&decoded),
        )
        .at_least(10e6, "≥ 10 M/s per core"),
        Row::new("ring", "drain, decode and encode as protobuf", "ns", whole)
            .note("without attribution, ledger and sealing"),
    ])
}

/// Runs a profile in the kernel.
fn collect(side: &mut Side, prefix: &str) -> Result<()> {
    let text = config::opens(
        "Active",
        prefix,
        &[Event::unlimited("opens")],
        Sink::default("nats://127.0.0.1:4222"),
    );
    let documents = weir_profile::load(&text).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let Some(Document::Profile(profile)) = documents.into_iter().next() else {
        bail!("no profile in {text}")
    };
    let plan = plan_with_sink(&profile, SinkPlan::from_url("stdout")?)
        .map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let placement = place(&[plan], &NodeFacts::supporting_all(0), &Assignment::default());
    let to = side.prepare(&placement.config)?;
    side.switch(Active::new(to, 0, 1))?;
    Ok(())
}

fn fill(target: &Target) -> Result<()> {
    let made = Storm::run(&target.file(), 0, Plan::Opens(OPENS))?;
    ensure!(made.opens == OPENS, "the storm ended early");
    Ok(())
}

/// Nanoseconds per record.
fn drain(ring: &Ring, mut each: impl FnMut(&[u8])) -> Result<f64> {
    // A fresh consumer takes up the position where the last one left it.
    let mut ring = Ring::new(duplicate(ring)?)?;
    let begin = thread_cpu_ns();
    let until = ring.producer_position();
    let records = ring.drain(until, |record| {
        each(record);
        true
    });
    per_record(begin, records)
}

/// As a program that uses aya reads a ring.
fn drain_aya(ring: &Ring) -> Result<f64> {
    let mut ring: RingBuf<MapData> = Map::RingBuf(duplicate(ring)?).try_into()?;
    let begin = thread_cpu_ns();
    let mut records = 0;
    while let Some(record) = ring.next() {
        black_box(record.first());
        records += 1;
    }
    per_record(begin, records)
}

fn duplicate(ring: &Ring) -> Result<MapData> {
    let fd = ring
        .as_fd()
        .try_clone_to_owned()
        .context("duplicating the ring's descriptor")?;
    MapData::from_fd(fd).context("opening the ring again")
}

fn per_record(begin: u64, records: u64) -> Result<f64> {
    let nanos = float(thread_cpu_ns() - begin);
    ensure!(
        records >= OPENS,
        "the ring held {records} records after {OPENS} opens"
    );
    Ok(nanos / float(records))
}

fn read(record: &[u8]) -> Option<(weir_node_agent_common::record::Header, PayloadView<'_>)> {
    let header = decode::header(record)?;
    match decode::payload(&header, record) {
        Ok(Payload::Event(payload)) => Some((header, payload)),
        Ok(Payload::Cgroup { .. }) | Err(_) => None,
    }
}

/// Encodes records into an open batch, as the drain thread does.
struct Encoder(BatchBuilder, Payloads);

impl Encoder {
    fn new() -> Self {
        let header = BatchHeader {
            cluster: "bench".to_owned(),
            node: "bench-node".to_owned(),
            epoch: 1_767_300_000_000,
            profile: config::PROFILE.to_owned(),
            kind: Kind::FileOpen,
        };
        Self(BatchBuilder::new(Encoding::Protobuf, header), Payloads::default())
    }

    fn take(&mut self, record: &[u8]) {
        let Some((header, payload)) = read(record) else {
            return;
        };
        if payload.kind() != Kind::FileOpen {
            return;
        }
        let comm_len = header
            .comm
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(header.comm.len());
        self.0.push(&EventView {
            time_unix_nanos: 1_767_000_000_000_000_000 + header.boot_ns,
            time_error_nanos: 1_000,
            kind: Kind::FileOpen,
            event: "opens",
            generation: 1,
            attribution: Attribution::Host,
            process: ProcessView {
                pid: header.tgid,
                tid: header.tid,
                ppid: header.ppid,
                uid: Some(header.uid),
                gid: Some(header.gid),
                comm: &header.comm[..comm_len],
                start_time_unix_nanos: 1_767_000_000_000_000_000 + header.start_ns,
                ..ProcessView::default()
            },
            workload: None,
            weight: 1,
            synthetic: false,
            payload,
        });
        if self.0.events() == 1_024 {
            black_box(self.0.seal(1, &mut self.1));
        }
    }
}
