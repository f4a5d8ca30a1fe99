//! Turns a ring record's bytes into typed views. Total: any bytes give a record or a reason, and nothing is copied
//! but the fixed parts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_events::{FileOpenView, NetConnectView, PayloadView, ProcessExecView, ProcessExitView};
use weir_node_agent_common::kind;
use weir_node_agent_common::record::{
    ARGS_BYTES, Cgroup, Connect, Exec, Exit, FLAG_ARGS_TRUNCATED, FLAG_PATH_TRUNCATED, FLAG_PATH_UNREADABLE,
    Header, LATENCY_UNKNOWN, Open, PATH_BYTES,
};
use zerocopy::FromBytes;

/// `AF_INET`.
const AF_INET: u16 = 2;
/// `AF_INET6`.
const AF_INET6: u16 = 10;

/// Why a record is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its fixed part.
    #[error("a record of kind {0} is shorter than its fixed part")]
    Short(u8),
    /// The tail does not have the lengths that the fixed part names.
    #[error("a record of kind {0} has a tail of another length than it says")]
    Tail(u8),
    /// No such kind.
    #[error("no record kind {0} is known")]
    Kind(u8),
    /// Neither IPv4 nor IPv6.
    #[error("address family {0} is neither IPv4 nor IPv6")]
    Family(u16),
}

/// A record's payload.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// An event.
    Event(PayloadView<'a>),
    /// A cgroup was made or removed.
    Cgroup {
        /// Its id.
        id: u64,
        /// Its path from the version 2 root.
        path: &'a [u8],
        /// Made, or removed.
        made: bool,
    },
}

/// Reads the header. `None` when there is none.
#[must_use]
pub fn header(record: &[u8]) -> Option<Header> {
    Header::read_from_prefix(record).ok().map(|(header, _)| header)
}

/// Reads what follows the header.
pub fn payload<'a>(header: &Header, record: &'a [u8]) -> Result<Payload<'a>, DecodeError> {
    let rest = record
        .get(size_of::<Header>()..)
        .ok_or(DecodeError::Short(header.kind))?;
    let event = match header.kind {
        kind::PROCESS_EXEC => PayloadView::ProcessExec(exec(header, rest)?),
        kind::PROCESS_EXIT => {
            let (exit, _) = fixed::<Exit>(header, rest)?;
            let duration_nanos = (header.start_ns != 0).then_some(exit.duration_ns);
            PayloadView::ProcessExit(ProcessExitView {
                status: exit.status,
                duration_nanos,
            })
        }
        kind::NET_CONNECT => PayloadView::NetConnect(connect(header, rest)?),
        kind::FILE_OPEN => PayloadView::FileOpen(open(header, rest)?),
        kind::CGROUP_MKDIR | kind::CGROUP_RMDIR => {
            let (cgroup, tail) = fixed::<Cgroup>(header, rest)?;
            let path = tail
                .get(..usize::from(cgroup.path_len))
                .ok_or(DecodeError::Tail(header.kind))?;
            return Ok(Payload::Cgroup {
                id: cgroup.id,
                path,
                made: header.kind == kind::CGROUP_MKDIR,
            });
        }
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    Ok(Payload::Event(event))
}

fn fixed<'a, T: FromBytes>(header: &Header, rest: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    T::read_from_prefix(rest).map_err(|_| DecodeError::Short(header.kind))
}

fn exec<'a>(header: &Header, rest: &'a [u8]) -> Result<ProcessExecView<'a>, DecodeError> {
    let (fixed, tail) = fixed::<Exec>(header, rest)?;
    let (exe_len, args_len) = (usize::from(fixed.exe_len), usize::from(fixed.args_len));
    if exe_len >= PATH_BYTES || args_len > ARGS_BYTES || tail.len() < exe_len + args_len {
        return Err(DecodeError::Tail(header.kind));
    }
    let (exe, rest) = tail.split_at(exe_len);
    Ok(ProcessExecView {
        exe,
        exe_truncated: header.flags & FLAG_PATH_TRUNCATED != 0,
        args: &rest[..args_len],
        args_truncated: header.flags & FLAG_ARGS_TRUNCATED != 0,
    })
}

fn open<'a>(header: &Header, rest: &'a [u8]) -> Result<FileOpenView<'a>, DecodeError> {
    let (fixed, tail) = fixed::<Open>(header, rest)?;
    let path = tail
        .get(..usize::from(fixed.path_len))
        .ok_or(DecodeError::Tail(header.kind))?;
    Ok(FileOpenView {
        path,
        path_truncated: header.flags & (FLAG_PATH_TRUNCATED | FLAG_PATH_UNREADABLE) != 0,
        flags: fixed.flags,
        errno: errno(fixed.result),
    })
}

fn connect(header: &Header, rest: &[u8]) -> Result<NetConnectView, DecodeError> {
    let (fixed, _) = fixed::<Connect>(header, rest)?;
    let address = |raw: [u8; 16]| match fixed.family {
        AF_INET => Ok(IpAddr::V4(Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3]))),
        AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(raw))),
        other => Err(DecodeError::Family(other)),
    };
    let source = address(fixed.source)?;
    Ok(NetConnectView {
        protocol: u8::try_from(fixed.protocol).unwrap_or(0),
        destination: SocketAddr::new(address(fixed.destination)?, fixed.destination_port),
        source: (fixed.source_port != 0 || !source.is_unspecified())
            .then(|| SocketAddr::new(source, fixed.source_port)),
        errno: errno(fixed.result),
        latency_nanos: (fixed.latency_ns != LATENCY_UNKNOWN).then_some(fixed.latency_ns),
    })
}

/// A call's result as a positive errno, 0 for success.
const fn errno(result: i32) -> u32 {
    if result < 0 { result.unsigned_abs() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_of_any_bytes_is_a_record_or_an_error(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2048),
            kind in prop::sample::select(vec![0_u8, 1, 2, 3, 4, 0x80, 0x81, 0xff]),
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Some(header) = header(&bytes) {
                match payload(&header, &bytes) {
                    Ok(Payload::Event(PayloadView::ProcessExec(exec))) => {
                        prop_assert!(exec.exe.len() < PATH_BYTES && exec.args.len() <= ARGS_BYTES);
                    }
                    Ok(Payload::Event(PayloadView::FileOpen(open))) => prop_assert!(open.path.len() <= bytes.len()),
                    Ok(_) | Err(_) => {}
                }
            } else {
                prop_assert!(bytes.len() < size_of::<Header>());
            }
        }
    }
}
