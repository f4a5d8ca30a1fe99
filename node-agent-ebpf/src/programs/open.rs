//! `file.open`: at the exit of the open system calls, where both arguments and result are at hand.
//!
//! The entry registers still hold the arguments at the exit, so that one hook and no map does it.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use weir_node_agent_common::config::{KindConfig, field};
use weir_node_agent_common::record::{FLAG_PATH_TRUNCATED, FLAG_PATH_UNREADABLE, Header, Open, PATH_BYTES};
use weir_node_agent_common::{hook, kind};

use crate::address::bound;
use crate::emit::{count_hook, decide, output};
use crate::matching::{self, Candidates, Listed};
use crate::programs::process::binary;
use crate::scratch::{Work, claim, release};
use crate::task::{self, Typed};
use crate::visit::Visit;

/// Offset of the tail.
const TAIL: usize = size_of::<Header>() + size_of::<Open>();
/// `ret` in the record of a `sys_exit_*` tracepoint.
const RET: usize = 16;
/// `O_ACCMODE`.
const ACCESS_MODE: u32 = 3;
/// `O_PATH`: a descriptor that can neither be read nor written; the same number on every architecture that is built for.
const O_PATH: u32 = 0o10_000_000;
/// `O_WRONLY | O_CREAT | O_TRUNC`: what creat(2) is.
const CREAT_FLAGS: u32 = 0o1101;

/// Where an open system call keeps its arguments.
struct Arguments {
    path: u64,
    flags: u32,
    mode: u32,
    relative_to_directory: bool,
}

/// Registers at the system call's entry, in the kernel's `pt_regs` order.
#[cfg(bpf_target_arch = "x86_64")]
mod register {
    /// First to fourth argument.
    pub const ARGUMENTS: [usize; 4] = [14, 13, 12, 7];
}
#[cfg(bpf_target_arch = "aarch64")]
mod register {
    /// The first register holds the result at the exit: `orig_x0` (35) keeps the argument.
    pub const ARGUMENTS: [usize; 4] = [35, 1, 2, 3];
}

/// The arguments of the current task's system call.
#[derive(Clone, Copy)]
pub struct Entry(Typed);

impl Entry {
    #[inline(always)]
    pub fn of(visit: &Visit) -> Self {
        Self(visit.task.registers())
    }

    /// The argument of this number, from 0.
    #[inline(always)]
    pub fn argument(self, number: usize) -> u64 {
        self.0.read(register::ARGUMENTS[number] * size_of::<u64>())
    }
}

#[inline(always)]
fn result(ctx: &TracePointContext) -> i32 {
    // SAFETY: every sys_exit tracepoint's record has `long ret` there.
    let result = unsafe { *ctx.as_ptr().cast::<u8>().add(RET).cast::<i64>() as i32 };
    // ERESTARTSYS to ERESTART_RESTARTBLOCK are the kernel's own: to the program it is EINTR, or another call.
    if (-516..=-512).contains(&result) {
        -4
    } else {
        result
    }
}

/// `openat(int dfd, const char *filename, int flags, umode_t mode)`.
#[tracepoint(category = "syscalls", name = "sys_exit_openat")]
pub fn file_openat(ctx: TracePointContext) -> u32 {
    opened(hook::OPENAT, result(&ctx), |entry| Arguments {
        path: entry.argument(1),
        flags: entry.argument(2) as u32,
        mode: entry.argument(3) as u32,
        relative_to_directory: true,
    })
}

/// `open(const char *filename, int flags, umode_t mode)`.
#[tracepoint(category = "syscalls", name = "sys_exit_open")]
pub fn file_open(ctx: TracePointContext) -> u32 {
    opened(hook::OPEN, result(&ctx), |entry| Arguments {
        path: entry.argument(0),
        flags: entry.argument(1) as u32,
        mode: entry.argument(2) as u32,
        relative_to_directory: false,
    })
}

/// `creat(const char *pathname, umode_t mode)`.
#[tracepoint(category = "syscalls", name = "sys_exit_creat")]
pub fn file_creat(ctx: TracePointContext) -> u32 {
    opened(hook::CREAT, result(&ctx), |entry| Arguments {
        path: entry.argument(0),
        flags: CREAT_FLAGS,
        mode: entry.argument(1) as u32,
        relative_to_directory: false,
    })
}

/// `openat2(int dfd, const char *filename, struct open_how *how, size_t usize)`.
#[tracepoint(category = "syscalls", name = "sys_exit_openat2")]
pub fn file_openat2(ctx: TracePointContext) -> u32 {
    opened(hook::OPENAT2, result(&ctx), |entry| {
        // struct open_how: flags, mode, resolve, all u64.
        let mut how = [0_u64; 2];
        // SAFETY: the helper fills the array or leaves it zero.
        unsafe { bpf_probe_read_user((&raw mut how).cast(), 16, entry.argument(2) as *const _) };
        Arguments {
            path: entry.argument(1),
            flags: how[0] as u32,
            mode: how[1] as u32,
            relative_to_directory: true,
        }
    })
}

#[inline(always)]
fn opened(hook: u32, result: i32, arguments: impl Fn(Entry) -> Arguments) -> u32 {
    let Some(visit) = Visit::enter(hook) else { return 0 };
    let Some(config) = visit.kind(kind::FILE_OPEN) else {
        return 0;
    };
    if config.slots == 0 || visit.profiles == 0 {
        return 0;
    }
    let arguments = arguments(Entry::of(&visit));
    let mut mask = config.slots
        & match arguments.flags & (ACCESS_MODE | O_PATH) {
            0 => config.access_read,
            1 => config.access_write,
            2 => config.access_read_write,
            // Neither: what is left is in every mask, and no constraint is in both of these.
            _ => config.access_read & config.access_write,
        };
    let errno = if result < 0 { result.wrapping_neg() } else { 0 };
    mask = matching::number(
        &visit,
        kind::FILE_OPEN,
        field::ERRNO,
        config.any_errno,
        mask,
        errno as u32,
    );
    if mask == 0 {
        return 0;
    }
    let Some(work) = claim() else {
        count_hook(hook, hook::ERROR_SCRATCH);
        return 0;
    };
    record(&visit, config, mask, result, &arguments, work);
    release(work);
    0
}

#[inline(always)]
fn record(
    visit: &Visit,
    config: &KindConfig,
    mask: u64,
    result: i32,
    arguments: &Arguments,
    work: &mut Work,
) {
    const KIND: u8 = kind::FILE_OPEN;
    // Most opens match nothing: what only a record needs is read last.
    let mut candidates = Candidates::of(matching::task(visit, KIND, config, mask, &visit.task));
    if candidates.slots == 0 {
        return;
    }
    let mut flags = 0;
    let tail = work.at(TAIL);
    // SAFETY: the tail has PATH_BYTES.
    let read = unsafe { bpf_probe_read_user_str(tail.cast(), PATH_BYTES as u32, arguments.path as *const _) };
    let mut path_len = 0;
    let constrained = candidates.slots & !config.any_path != 0;
    if read <= 0 {
        flags |= FLAG_PATH_UNREADABLE;
        candidates.keep(config.any_path, Listed::UNKNOWN);
    } else {
        path_len = bound::<511>(read as u64 - 1);
        if read as usize == PATH_BYTES {
            flags |= FLAG_PATH_TRUNCATED;
        }
        // SAFETY: at least one byte was read.
        if constrained && unsafe { *tail } == b'/' {
            let listed = matching::path(visit, KIND, field::PATH, work.at(TAIL - 8));
            candidates.keep(config.any_path, Listed::by(listed));
        } else if constrained {
            candidates.keep(config.any_path, Listed::UNKNOWN);
        }
    }
    if candidates.slots & !config.any_binary != 0 {
        let listed = binary(visit, KIND, work, task::current());
        candidates.keep(config.any_binary, listed);
    }
    let mask = candidates.matched(visit, KIND);
    if mask == 0 {
        return;
    }
    let now = task::now();
    let admitted = decide(visit, KIND, mask, now, visit.task.start_ns());
    if admitted == 0 {
        return;
    }
    *work.fixed::<Open>() = Open {
        result,
        flags: arguments.flags,
        path_len: path_len as u16,
        reserved: u16::from(arguments.relative_to_directory),
        mode: arguments.mode,
    };
    work.write_current_header(visit, KIND, flags, admitted, now);
    output(
        visit,
        KIND,
        admitted,
        work.at(0),
        TAIL as u64 + bound::<511>(path_len),
    );
}
