//! The schema of an event: which part of a view is which field. Names no encoding.

#![expect(
    clippy::inline_always,
    reason = "measured: with tags and places folded into constants, a third of the time"
)]

use super::address::with_text;
use super::{Encoder, fields};
use crate::fact::{errno, network, open, signal};
use crate::view::{
    EventView, FileOpenView, NetConnectView, PayloadView, ProcessExecView, ProcessExitView, ProcessView,
    arguments,
};

/// Fields of `UnifiedEvent` that are an event's own in every batch.
mod own {
    super::fields! {
        TIME_ERROR_NANOS = 3, "timeErrorNanos";
        ATTRIBUTION = 12, "attribution";
        PROCESS = 13, "process";
        SAMPLING_WEIGHT = 16, "samplingWeight";
        SYNTHETIC = 17, "synthetic";
        PROCESS_EXEC = 20, "processExec";
        PROCESS_EXIT = 21, "processExit";
        NET_CONNECT = 22, "netConnect";
        FILE_OPEN = 23, "fileOpen";
    }
}

/// Fields of `Process`.
mod process {
    super::fields! {
        PID = 1, "pid";
        TID = 2, "tid";
        PPID = 3, "ppid";
        UID = 4, "uid";
        GID = 5, "gid";
        COMM = 6, "comm";
        EXE = 7, "exe";
        ARGS = 8, "args";
        ARGS_TRUNCATED = 9, "argsTruncated";
        START_TIME = 10, "startTime";
    }
}

/// Fields of `ProcessExec`.
mod exec {
    super::fields! {
        EXE = 1, "exe";
        ARGS = 2, "args";
        ARGS_TRUNCATED = 3, "argsTruncated";
        EXE_RELATIVE = 4, "exeRelative";
        EXE_TRUNCATED = 5, "exeTruncated";
    }
}

/// Fields of `ProcessExit`.
mod exit {
    super::fields! {
        EXIT_CODE = 1, "exitCode";
        SIGNAL = 2, "signal";
        SIGNAL_NAME = 3, "signalName";
        CORE_DUMPED = 4, "coreDumped";
        DURATION_NANOS = 5, "durationNanos";
    }
}

/// Fields of `NetConnect`.
mod connect {
    super::fields! {
        NETWORK_TRANSPORT = 1, "networkTransport";
        NETWORK_TYPE = 2, "networkType";
        DESTINATION_ADDRESS = 3, "destinationAddress";
        DESTINATION_PORT = 4, "destinationPort";
        SOURCE_ADDRESS = 5, "sourceAddress";
        SOURCE_PORT = 6, "sourcePort";
        ERRNO = 7, "errno";
        ERRNO_NAME = 8, "errnoName";
        LATENCY_NANOS = 9, "latencyNanos";
    }
}

/// Fields of `FileOpen`.
mod file {
    super::fields! {
        PATH = 1, "path";
        PATH_TRUNCATED = 2, "pathTruncated";
        PATH_RELATIVE = 3, "pathRelative";
        FLAGS = 4, "flags";
        FLAG_NAMES = 5, "flagNames";
        ACCESS = 6, "access";
        ERRNO = 7, "errno";
        ERRNO_NAME = 8, "errnoName";
    }
}

/// What is an event's own, the workload aside, whose place depends on the encoding.
#[inline(always)]
pub(crate) fn own_fields<E: Encoder>(encoder: &mut E, event: &EventView<'_>) {
    encoder.u32(own::TIME_ERROR_NANOS, event.time_error_nanos);
    encoder.enumeration(own::ATTRIBUTION, event.attribution.wire());
    encoder.message(own::PROCESS, |encoder| process_fields(encoder, &event.process));
    encoder.u32(own::SAMPLING_WEIGHT, event.weight);
    encoder.bool(own::SYNTHETIC, event.synthetic);
    match &event.payload {
        PayloadView::ProcessExec(exec) => {
            encoder.message(own::PROCESS_EXEC, |encoder| exec_fields(encoder, exec));
        }
        PayloadView::ProcessExit(exit) => {
            encoder.message(own::PROCESS_EXIT, |encoder| exit_fields(encoder, *exit));
        }
        PayloadView::NetConnect(connect) => {
            encoder.message(own::NET_CONNECT, |encoder| connect_fields(encoder, connect));
        }
        PayloadView::FileOpen(file) => encoder.message(own::FILE_OPEN, |encoder| file_fields(encoder, file)),
    }
}

#[inline(always)]
fn process_fields<E: Encoder>(encoder: &mut E, process: &ProcessView<'_>) {
    encoder.u32(process::PID, process.pid);
    encoder.u32(process::TID, process.tid);
    encoder.u32(process::PPID, process.ppid);
    if let Some(uid) = process.uid {
        encoder.present_u32(process::UID, uid);
    }
    if let Some(gid) = process.gid {
        encoder.present_u32(process::GID, gid);
    }
    encoder.text(process::COMM, process.comm);
    encoder.text(process::EXE, process.exe);
    encoder.texts(process::ARGS, arguments(process.args));
    encoder.bool(process::ARGS_TRUNCATED, process.args_truncated);
    if process.start_time_unix_nanos != 0 {
        encoder.timestamp(process::START_TIME, process.start_time_unix_nanos);
    }
}

#[inline(always)]
fn exec_fields<E: Encoder>(encoder: &mut E, exec: &ProcessExecView<'_>) {
    encoder.text(exec::EXE, exec.exe);
    encoder.texts(exec::ARGS, arguments(exec.args));
    encoder.bool(exec::ARGS_TRUNCATED, exec.args_truncated);
    encoder.bool(exec::EXE_RELATIVE, is_relative(exec.exe));
    encoder.bool(exec::EXE_TRUNCATED, exec.exe_truncated);
}

#[inline(always)]
fn exit_fields<E: Encoder>(encoder: &mut E, exit: ProcessExitView) {
    let signal = exit.status & 0x7f;
    if signal == 0 {
        encoder.present_u32(exit::EXIT_CODE, exit.status >> 8 & 0xff);
    }
    encoder.u32(exit::SIGNAL, signal);
    encoder.text(exit::SIGNAL_NAME, signal::name(signal).as_bytes());
    encoder.bool(exit::CORE_DUMPED, exit.status & 0x80 != 0);
    if let Some(duration) = exit.duration_nanos {
        encoder.present_u64(exit::DURATION_NANOS, duration);
    }
}

#[inline(always)]
fn connect_fields<E: Encoder>(encoder: &mut E, connect: &NetConnectView) {
    encoder.text(
        connect::NETWORK_TRANSPORT,
        network::transport(connect.protocol).as_bytes(),
    );
    let network_type = if connect.destination.is_ipv4() {
        "ipv4"
    } else {
        "ipv6"
    };
    encoder.text(connect::NETWORK_TYPE, network_type.as_bytes());
    with_text(connect.destination.ip(), |address| {
        encoder.text(connect::DESTINATION_ADDRESS, address);
    });
    encoder.u32(connect::DESTINATION_PORT, u32::from(connect.destination.port()));
    if let Some(source) = connect.source {
        with_text(source.ip(), |address| {
            encoder.text(connect::SOURCE_ADDRESS, address);
        });
        encoder.u32(connect::SOURCE_PORT, u32::from(source.port()));
    }
    encoder.present_u32(connect::ERRNO, connect.errno);
    encoder.text(connect::ERRNO_NAME, errno::name(connect.errno).as_bytes());
    if let Some(latency) = connect.latency_nanos {
        encoder.present_u64(connect::LATENCY_NANOS, latency);
    }
}

#[inline(always)]
fn file_fields<E: Encoder>(encoder: &mut E, file: &FileOpenView<'_>) {
    encoder.text(file::PATH, file.path);
    encoder.bool(file::PATH_TRUNCATED, file.path_truncated);
    encoder.bool(file::PATH_RELATIVE, is_relative(file.path));
    encoder.u32(file::FLAGS, file.flags);
    encoder.texts(file::FLAG_NAMES, open::flag_names(file.flags));
    encoder.enumeration(file::ACCESS, open::access(file.flags));
    encoder.present_u32(file::ERRNO, file.errno);
    encoder.text(file::ERRNO_NAME, errno::name(file.errno).as_bytes());
}

fn is_relative(path: &[u8]) -> bool {
    path.first().is_some_and(|&first| first != b'/')
}
