//! `net.connect`: one event per connect(2), at its exit, or after EINPROGRESS at the socket's state change.
//!
//! The state change runs in interrupt context, where the current task is anyone; so the task's identity is kept
//! by socket when its SYN is sent, in the task's own context.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::{btf_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use weir_node_agent_common::config::{KindConfig, field};
use weir_node_agent_common::record::{Connect, Header, LATENCY_UNKNOWN};
use weir_node_agent_common::{hook, kind};

use crate::emit::{at_least_latency, count_hook, decide, output};
use crate::globals::offset;
use crate::limit::take;
use crate::maps::PENDING;
use crate::matching::{self, Candidates, Listed};
use crate::programs::open::Entry;
use crate::programs::process::binary;
use crate::scratch::{Work, claim, release};
use crate::task::{
    self, PENDING_ARMED, PENDING_DONE, PENDING_SENT, PENDING_TOLD, Typed, pointer, read_or_zero,
};
use crate::visit::Visit;

const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
const EALREADY: i32 = 114;
const EINPROGRESS: i32 = 115;
const ECANCELED: i32 = 125;
/// `ERESTARTSYS` to `ERESTART_RESTARTBLOCK`: a signal came; the call is restarted, or the program gets EINTR.
const RESTARTS: core::ops::RangeInclusive<i32> = -516..=-512;
/// In place of the family: the address that the program passed cannot be read.
const UNREADABLE: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP: u16 = 6;
const UDP: u16 = 17;
/// `O_NONBLOCK`; the same number on every architecture that is built for.
const O_NONBLOCK: u32 = 0o4000;
/// Socket states of `include/net/tcp_states.h`.
const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_CLOSE: i32 = 7;

/// The file behind a descriptor of the current task; null when there is none.
#[inline(always)]
fn file(fd: u32) -> *const u8 {
    let fdt = pointer(pointer(task::current(), offset!(task_files)), offset!(files_fdt));
    if fd >= read_or_zero::<u32>(fdt, offset!(fdtable_max)) {
        return core::ptr::null();
    }
    pointer(pointer(fdt, offset!(fdtable_fd)), fd as usize * 8)
}

/// Reads the address that the program passed; false when it is neither IPv4 nor IPv6. The family is [`UNREADABLE`] when
/// it cannot be read and may be either.
#[inline(always)]
fn address(from: u64, sk: *const u8, to: &mut Connect) -> bool {
    to.destination = [0; 16];
    // struct sockaddr_in6: family 2, port 2, flowinfo 4, address 16; sockaddr_in has its address at 4.
    let mut head = 0_u64;
    // SAFETY: the helper fills the word or fails.
    let mut failed = unsafe { bpf_probe_read_user((&raw mut head).cast(), 8, from as *const _) };
    to.family = head as u16;
    to.destination_port = u16::from_be((head >> 16) as u16);
    if failed == 0 {
        let (at, len) = match to.family {
            AF_INET => (4, 4),
            AF_INET6 => (8, 16),
            _ => return false,
        };
        // SAFETY: the helper fills at most the sixteen bytes.
        failed =
            unsafe { bpf_probe_read_user((&raw mut to.destination).cast(), len, (from + at) as *const _) };
    }
    if failed == 0 {
        return true;
    }
    to.family = UNREADABLE;
    // A socket of another family has shorter addresses, and none that is told.
    sk.is_null() || matches!(read_or_zero(sk, offset!(sock_family)), AF_INET | AF_INET6)
}

/// Reads an address of the socket; IPv4 in the first four bytes.
#[inline(always)]
fn socket_address(sk: *const u8, family: u16, v4: usize, v6: usize, to: &mut [u8; 16]) {
    *to = [0; 16];
    let (at, len) = if family == AF_INET { (v4, 4) } else { (v6, 16) };
    // SAFETY: the helper fills at most the sixteen bytes.
    unsafe { bpf_probe_read_kernel((&raw mut *to).cast(), len, sk.wrapping_add(at).cast()) };
}

/// `connect(int fd, struct sockaddr *uservaddr, int addrlen)`.
#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub fn net_connect(ctx: TracePointContext) -> u32 {
    // SAFETY: every sys_exit tracepoint's record has `long ret` at 16.
    let result = unsafe { *ctx.as_ptr().cast::<u8>().add(16).cast::<i64>() as i32 };
    let Some(visit) = Visit::enter(hook::CONNECT) else {
        return 0;
    };
    let Some(config) = visit.kind(kind::NET_CONNECT) else {
        return 0;
    };
    if config.slots == 0 {
        return 0;
    }
    let Some(work) = claim() else {
        count_hook(visit.hook, hook::ERROR_SCRATCH);
        return 0;
    };
    let told = connected(&visit, result, work);
    if told != Told::Nothing {
        work.who.fill(&visit);
        emit(&visit, config, work, Current, told == Told::Unmeasured);
    }
    release(work);
    0
}

/// What the exit of a connect(2) tells.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// Nothing, or not yet.
    Nothing,
    /// What became of it.
    Connect,
    /// The same, but how long it took is not known.
    Unmeasured,
}

/// Fills in what became of the connect.
#[inline(always)]
fn connected(visit: &Visit, result: i32, work: &mut Work) -> Told {
    let entry = Entry::of(visit);
    let connect = work.fixed::<Connect>();
    let file = file(entry.argument(0) as u32);
    let sk = if file.is_null() {
        file
    } else {
        pointer(pointer(file, offset!(file_private)), offset!(socket_sk))
    };
    if !address(entry.argument(1), sk, connect) {
        return Told::Nothing;
    }
    connect.result = result;
    connect.latency_ns = LATENCY_UNKNOWN;
    connect.protocol = if sk.is_null() {
        0
    } else {
        read_or_zero::<u16>(sk, offset!(sock_protocol))
    };
    describe_source(sk, connect);
    // Asked again while it is under way: an answer of its own, and the connect under way still has its end to come.
    if result == -EALREADY {
        return Told::Connect;
    }
    let key = sk as u64;
    let interrupted = RESTARTS.contains(&result);
    let Some(pending) = PENDING.get_ptr_mut(&key) else {
        if connect.protocol != TCP {
            return Told::Connect;
        }
        if result == -EINPROGRESS {
            count_hook(visit.hook, hook::UNTRACKED);
        }
        return if interrupted || waited(file, result) {
            Told::Unmeasured
        } else {
            Told::Connect
        };
    };
    // SAFETY: a map value that only this socket's hooks touch.
    let pending = unsafe { &mut *pending };
    if interrupted {
        pending.restarted = 1;
    }
    let under_way = result == -EINPROGRESS || interrupted;
    if under_way && take(&raw mut pending.state, PENDING_SENT, PENDING_ARMED) {
        return Told::Nothing;
    }
    // SAFETY: a map value; `result` and `done_ns` were written before the state became PENDING_DONE.
    let state = unsafe { (&raw const pending.state).read_volatile() };
    let done = state == PENDING_DONE;
    if state == PENDING_TOLD || state == PENDING_ARMED && under_way {
        // The restarted call's own exit, or its next signal: the state change has told it, or will.
        if under_way {
            return Told::Nothing;
        }
        forget(key);
        return if result == pending.result {
            Told::Nothing
        } else {
            // The call was not restarted, and this is another one: by chance its socket lies where the other's was.
            Told::Connect
        };
    }
    if under_way && done {
        connect.result = pending.result;
    }
    let end = if done { pending.done_ns } else { task::now() };
    connect.latency_ns = end.wrapping_sub(pending.begun_ns);
    forget(key);
    Told::Connect
}

/// Whether a TCP connect that left no entry waited for an answer all the same: it began before the hooks ran, or found the
/// map full. Any other had its answer at once.
#[inline(always)]
fn waited(file: *const u8, result: i32) -> bool {
    let answered = matches!(
        result.wrapping_neg(),
        0 | ECONNRESET | ETIMEDOUT | ECONNREFUSED | EHOSTUNREACH
    );
    answered && !file.is_null() && read_or_zero::<u32>(file, offset!(file_flags)) & O_NONBLOCK == 0
}

/// Removes a socket's entry. That it is gone already is fine: the other side was faster.
#[inline(always)]
fn forget(key: u64) {
    let _already_gone = PENDING.remove(&key);
}

#[inline(always)]
fn describe_source(sk: *const u8, connect: &mut Connect) {
    connect.reserved = 0;
    connect.source_port = 0;
    connect.source = [0; 16];
    if !sk.is_null() {
        connect.source_port = read_or_zero::<u16>(sk, offset!(sock_num));
        let (v4, v6) = (offset!(sock_saddr), offset!(sock_v6_saddr));
        socket_address(sk, connect.family, v4, v6, &mut connect.source);
    }
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, in any context.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn net_state(ctx: BtfTracePointContext) -> i32 {
    let words = ctx.as_ptr().cast::<u64>();
    // SAFETY: the prototype above.
    let (sk, old, new) = unsafe { (*words, *words.add(1) as i32, *words.add(2) as i32) };
    if new == TCP_SYN_SENT {
        begin(sk);
    } else if old == TCP_SYN_SENT {
        finish(sk, new);
    } else if new == TCP_CLOSE && PENDING.get_ptr(&sk).is_some() {
        // A connect that no connect(2) asked for left its entry behind.
        forget(sk);
    }
    0
}

#[inline(always)]
fn begin(sk: u64) {
    let Some(visit) = Visit::enter(hook::SOCK_STATE) else {
        return;
    };
    let Some(config) = visit.kind(kind::NET_CONNECT) else {
        return;
    };
    if config.slots == 0 || visit.profiles == 0 {
        return;
    }
    let Some(work) = claim() else {
        count_hook(hook::SOCK_STATE, hook::ERROR_SCRATCH);
        return;
    };
    work.pending.state = PENDING_SENT;
    work.pending.result = 0;
    work.pending.begun_ns = task::now();
    work.pending.done_ns = 0;
    work.pending.restarted = 0;
    work.pending.who.fill(&visit);
    work.pending.config_id = visit.active.config_id();
    work.pending.binaries = Listed::by(0);
    if config.slots & !config.any_binary != 0 {
        work.pending.binaries = binary(&visit, kind::NET_CONNECT, work, task::current());
    }
    if PENDING.insert(&sk, &work.pending, 0).is_err() {
        count_hook(hook::SOCK_STATE, hook::UNTRACKED);
    }
    release(work);
}

#[inline(always)]
fn finish(sk: u64, new: i32) {
    let Some(pending) = PENDING.get_ptr_mut(&sk) else {
        return;
    };
    // SAFETY: a map value that only this socket's hooks touch.
    let pending = unsafe { &mut *pending };
    let kernel_sk = sk as *const u8;
    let now = task::now();
    let error = read_or_zero::<i32>(kernel_sk, offset!(sock_err));
    let result = match new {
        TCP_ESTABLISHED => 0,
        _ if error != 0 => error.wrapping_neg(),
        // Closed by the program before there was an answer.
        _ => -ECANCELED,
    };
    pending.done_ns = now;
    pending.result = result;
    if take(&raw mut pending.state, PENDING_SENT, PENDING_DONE) {
        return;
    }
    if !take(&raw mut pending.state, PENDING_ARMED, PENDING_TOLD) {
        return;
    }
    let Some(visit) = Visit::enter_as(
        hook::SOCK_STATE,
        Typed::current(),
        pending.who.pid_tgid,
        pending.who.cgroup_id,
    ) else {
        forget(sk);
        return;
    };
    let Some(config) = visit.kind(kind::NET_CONNECT) else {
        return;
    };
    let Some(work) = claim() else {
        count_hook(hook::SOCK_STATE, hook::ERROR_SCRATCH);
        return;
    };
    work.who = pending.who;
    let connect = work.fixed::<Connect>();
    connect.result = result;
    connect.latency_ns = now.wrapping_sub(pending.begun_ns);
    connect.protocol = TCP;
    connect.family = read_or_zero::<u16>(kernel_sk, offset!(sock_family));
    connect.destination_port = u16::from_be(read_or_zero(kernel_sk, offset!(sock_dport)));
    let (v4, v6) = (offset!(sock_daddr), offset!(sock_v6_daddr));
    socket_address(kernel_sk, connect.family, v4, v6, &mut connect.destination);
    describe_source(kernel_sk, connect);
    let executable = Earlier(if pending.config_id == visit.active.config_id() {
        pending.binaries
    } else {
        Listed::UNKNOWN
    });
    // The entry stays for the exit of a call that was restarted. No such exit comes when the program closed the socket or
    // was killed, and the entry would meet the next socket in its place.
    if pending.restarted == 0 || new == TCP_CLOSE && error == 0 {
        forget(sk);
    }
    emit(&visit, config, work, executable, false);
    release(work);
}

/// How the executable of the task that connected is matched.
trait Executable: Copy {
    /// The slots that list it.
    fn listed(self, visit: &Visit, work: &mut Work) -> Listed;
}

/// It is the current task's.
#[derive(Clone, Copy)]
struct Current;

impl Executable for Current {
    #[inline(always)]
    fn listed(self, visit: &Visit, work: &mut Work) -> Listed {
        binary(visit, kind::NET_CONNECT, work, task::current())
    }
}

/// It is what was looked at when the connect began, if the configuration still runs for which it was: the task that runs
/// here is another.
#[derive(Clone, Copy)]
struct Earlier(Listed);

impl Executable for Earlier {
    #[inline(always)]
    fn listed(self, _: &Visit, _: &mut Work) -> Listed {
        self.0
    }
}

/// Matches, decides and writes the connect that stands in `work`.
#[inline(always)]
fn emit(
    visit: &Visit,
    config: &KindConfig,
    work: &mut Work,
    executable: impl Executable,
    is_unmeasured: bool,
) {
    const KIND: u8 = kind::NET_CONNECT;
    let now = task::now();
    // SAFETY: the fixed part and `who` are disjoint parts of the buffer.
    let (connect, who) = unsafe { (&*(&raw const *work.fixed::<Connect>()), &*(&raw const work.who)) };
    let mut mask = config.slots
        & match connect.protocol {
            TCP => config.protocol_tcp,
            UDP => config.protocol_udp,
            _ => config.protocol_other,
        };
    let errno = if connect.result < 0 {
        connect.result.wrapping_neg()
    } else {
        0
    };
    mask = matching::number(visit, KIND, field::ERRNO, config.any_errno, mask, errno as u32);
    mask = matching::task(visit, KIND, config, mask, who);
    let is_readable = connect.family != UNREADABLE;
    if is_readable && mask & !config.any_port != 0 {
        let mut port = [0; 16];
        let bytes = connect.destination_port.to_be_bytes();
        port[0] = bytes[0];
        port[1] = bytes[1];
        mask = matching::net(visit, KIND, field::PORT, config.any_port, mask, 16, &port);
    }
    if is_readable {
        let (cidr, bits) = if connect.family == AF_INET {
            (field::CIDR4, 32)
        } else {
            (field::CIDR6, 128)
        };
        let to = &connect.destination;
        mask = matching::net(visit, KIND, cidr, config.any_cidr, mask, bits, to);
    }
    let mut candidates = Candidates::of(mask);
    if !is_readable {
        // Where it went cannot be said, whether a slot asks for it or not.
        candidates.keep(0, Listed::UNKNOWN);
    }
    if is_unmeasured {
        candidates.keep(!config.min_latency, Listed::UNKNOWN);
    } else if mask & config.min_latency != 0 {
        // Without a latency there was no handshake to wait for.
        let latency = if connect.latency_ns == LATENCY_UNKNOWN {
            0
        } else {
            connect.latency_ns
        };
        candidates.slots = at_least_latency(visit, KIND, config.min_latency, mask, latency);
    }
    if candidates.slots & !config.any_binary != 0 {
        let listed = executable.listed(visit, work);
        candidates.keep(config.any_binary, listed);
    }
    let mask = candidates.matched(visit, KIND);
    if mask == 0 {
        return;
    }
    let admitted = decide(visit, KIND, mask, now, work.who.start_ns);
    if admitted != 0 {
        work.write_header(visit, KIND, 0, admitted, now);
        output(
            visit,
            KIND,
            admitted,
            work.at(0),
            (size_of::<Header>() + size_of::<Connect>()) as u64,
        );
    }
}
