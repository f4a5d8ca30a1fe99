//! The borrowed event: what the agent knows of one event, pointing into ring memory and tables.
//!
//! A view owns nothing and costs no allocation. Text from the kernel is bytes: it need not be UTF-8, and each
//! maximal invalid sequence becomes U+FFFD in both encodings.

use std::net::SocketAddr;

use crate::kind::Kind;
use crate::workload::WorkloadRef;

/// One event, complete but for its sequence number, which its batch gets when it is sealed.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// Wall clock, nanoseconds since 1970.
    pub time_unix_nanos: u64,
    /// How far `time_unix_nanos` may be off, nanoseconds.
    pub time_error_nanos: u32,
    /// What the event is about; its batch's kind.
    pub kind: Kind,
    /// The name of the event in its profile.
    pub event: &'a str,
    /// The profile's generation whose configuration admitted the event.
    pub generation: u64,
    /// How sure `workload` is.
    pub attribution: Attribution,
    /// Who did it.
    pub process: ProcessView<'a>,
    /// The pod and container, where there is one.
    pub workload: Option<&'a WorkloadRef>,
    /// How many occurrences this event stands for (1 when nothing is sampled out).
    pub weight: u32,
    /// Made by a generator, not by the kernel.
    pub synthetic: bool,
    /// What is particular to the kind.
    pub payload: PayloadView<'a>,
}

/// How sure the agent is of an event's workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribution {
    /// Pod and container are known.
    Exact,
    /// The pod is known, the container is not.
    Pod,
    /// Metadata came too late to tell whether the event is in scope.
    Late,
    /// A process of the host.
    Host,
    /// The cgroup could not be told.
    Unknown,
}

impl Attribution {
    /// Number and name in the schema's `Attribution`.
    pub(crate) const fn wire(self) -> (u32, &'static str) {
        match self {
            Self::Exact => (1, "ATTRIBUTION_EXACT"),
            Self::Pod => (2, "ATTRIBUTION_POD"),
            Self::Late => (3, "ATTRIBUTION_LATE"),
            Self::Host => (4, "ATTRIBUTION_HOST"),
            Self::Unknown => (5, "ATTRIBUTION_UNKNOWN"),
        }
    }
}

/// The process that caused the event. Zero, empty and `None` mean: not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessView<'a> {
    /// Process id in the node's initial namespace (the kernel's tgid).
    pub pid: u32,
    /// Thread id in the node's initial namespace (the kernel's pid).
    pub tid: u32,
    /// The parent's process id.
    pub ppid: u32,
    /// Real user id.
    pub uid: Option<u32>,
    /// Real group id.
    pub gid: Option<u32>,
    /// The thread's name.
    pub comm: &'a [u8],
    /// The program's path, as in [`ProcessExecView`].
    pub exe: &'a [u8],
    /// Its arguments, each ended by NUL; the last one's NUL may be missing.
    pub args: &'a [u8],
    /// Arguments are missing, or the last one is cut.
    pub args_truncated: bool,
    /// When the process started, wall clock, nanoseconds since 1970.
    pub start_time_unix_nanos: u64,
}

/// What is particular to a kind.
#[derive(Clone, Copy, Debug)]
pub enum PayloadView<'a> {
    /// Of `process.exec`.
    ProcessExec(ProcessExecView<'a>),
    /// Of `process.exit`.
    ProcessExit(ProcessExitView),
    /// Of `net.connect`.
    NetConnect(NetConnectView),
    /// Of `file.open`.
    FileOpen(FileOpenView<'a>),
}

impl PayloadView<'_> {
    /// The kind this payload belongs to.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::ProcessExec(_) => Kind::ProcessExec,
            Self::ProcessExit(_) => Kind::ProcessExit,
            Self::NetConnect(_) => Kind::NetConnect,
            Self::FileOpen(_) => Kind::FileOpen,
        }
    }
}

/// A started program.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessExecView<'a> {
    /// Path of the file that the kernel runs, from the process's root directory; of a script, the interpreter's. One
    /// without a leading `/` is reported as relative.
    pub exe: &'a [u8],
    /// `exe` is cut.
    pub exe_truncated: bool,
    /// The arguments, each ended by NUL; the last one's NUL may be missing.
    pub args: &'a [u8],
    /// Arguments are missing, or the last one is cut.
    pub args_truncated: bool,
}

/// An ended process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessExitView {
    /// The kernel's `task_struct.exit_code`: bits 8-15 the exit code, 0-6 the ending signal, 7 a core dump, as
    /// wait(2) reports it.
    pub status: u32,
    /// From the process's start to its end, nanoseconds.
    pub duration_nanos: Option<u64>,
}

/// One connect(2).
#[derive(Clone, Copy, Debug)]
pub struct NetConnectView {
    /// The IP protocol number: 6 is TCP, 17 UDP.
    pub protocol: u8,
    /// Where to.
    pub destination: SocketAddr,
    /// From where, if the hook could tell.
    pub source: Option<SocketAddr>,
    /// The result as a positive errno; 0 is success.
    pub errno: u32,
    /// From the call to its result, nanoseconds, where the hook sees both.
    pub latency_nanos: Option<u64>,
}

/// One open(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOpenView<'a> {
    /// The path given to open(2); one without a leading `/` is reported as relative.
    pub path: &'a [u8],
    /// `path` is cut.
    pub path_truncated: bool,
    /// The flags given to open(2), of the agent's own architecture.
    pub flags: u32,
    /// The result as a positive errno; 0 is success.
    pub errno: u32,
}

/// The arguments in a NUL-separated slice, in order; empty ones count.
pub(crate) fn arguments(args: &[u8]) -> impl Iterator<Item = &[u8]> {
    let trimmed = args.strip_suffix(&[0]).unwrap_or(args);
    let none = args.is_empty();
    trimmed.split(|&byte| byte == 0).filter(move |_| !none)
}

#[cfg(test)]
mod tests {
    use super::arguments;

    #[test]
    fn arguments_with_and_without_a_last_nul_are_the_same() {
        let split = |args: &'static [u8]| arguments(args).collect::<Vec<_>>();
        assert_eq!(split(b""), Vec::<&[u8]>::new());
        assert_eq!(split(b"\0"), vec![b"".as_slice()]);
        assert_eq!(split(b"a"), vec![b"a".as_slice()]);
        assert_eq!(split(b"a\0"), vec![b"a".as_slice()]);
        assert_eq!(split(b"a\0\0b\0"), vec![b"a".as_slice(), b"", b"b"]);
        assert_eq!(split(b"a\0\0"), vec![b"a".as_slice(), b""]);
    }
}
