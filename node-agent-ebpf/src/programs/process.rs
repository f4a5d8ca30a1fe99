//! `process.exec` and `process.exit`; both also feed the agent's process table.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use weir_node_agent_common::config::{KIND_TABLE, field};
use weir_node_agent_common::record::{
    ARGS_BYTES, Exec, Exit, FLAG_ARGS_TRUNCATED, FLAG_PATH_TRUNCATED, FLAG_TABLE, Header, PATH_BYTES,
};
use weir_node_agent_common::{hook, kind};

use crate::address::bound;
use crate::emit::{count_hook, decide, output};
use crate::globals::{exit_has_group_dead, offset};
use crate::maps::ENDED;
use crate::matching::{Candidates, Listed};
use crate::path::Walked;
use crate::scratch::{Work, claim, release};
use crate::task::{self, pointer, read_or_zero};
use crate::visit::Visit;
use crate::{matching, path};

/// Offset of the tail of `process.exec`.
const EXEC_TAIL: usize = size_of::<Header>() + size_of::<Exec>();

/// `BPF_NOEXIST`: only an entry that is not there yet.
const BPF_NOEXIST: u64 = 1;
/// What that flag's refusal is.
const EEXIST: i32 = -17;

/// `SIGNAL_GROUP_EXIT`: the group's exit code is the process's.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, in the task itself,
/// after its new program is in place.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(_ctx: BtfTracePointContext) -> i32 {
    let Some(visit) = Visit::enter(hook::PROCESS_EXEC) else {
        return 0;
    };
    let Some(config) = visit.kind(kind::PROCESS_EXEC) else {
        return 0;
    };
    let for_table = config.flags & KIND_TABLE != 0;
    if config.slots == 0 && !for_table {
        return 0;
    }
    let Some(work) = claim() else {
        count_hook(visit.hook, hook::ERROR_SCRATCH);
        return 0;
    };
    exec(&visit, config, for_table, work);
    release(work);
    0
}

#[inline(always)]
fn exec(
    visit: &Visit,
    config: &weir_node_agent_common::config::KindConfig,
    for_table: bool,
    work: &mut Work,
) {
    let now = task::now();
    let task = task::current();
    let tail = work.at(EXEC_TAIL);
    let exe = path::executable(work, task, tail);
    let mask = matching::task(visit, kind::PROCESS_EXEC, config, config.slots, &visit.task);
    let mut candidates = Candidates::of(mask);
    if mask & !config.any_binary != 0 {
        // The fixed part is eight bytes: the key's head lies over it and is rewritten below.
        let head = work.at(size_of::<Header>());
        candidates.keep(config.any_binary, listed(visit, kind::PROCESS_EXEC, &exe, head));
    }
    let mask = candidates.matched(visit, kind::PROCESS_EXEC);
    let admitted = decide(visit, kind::PROCESS_EXEC, mask, now, visit.task.start_ns());
    if admitted == 0 && !for_table {
        return;
    }
    let mut flags = if for_table { FLAG_TABLE } else { 0 };
    if exe.cut {
        flags |= FLAG_PATH_TRUNCATED;
    }
    let exe_len = bound::<511>(exe.len);
    let mut args_len = 0;
    if admitted != 0 {
        let mm = pointer(task, offset!(task_mm));
        let from: u64 = read_or_zero(mm, offset!(mm_arg_start));
        let to: u64 = read_or_zero(mm, offset!(mm_arg_end));
        let whole = to.wrapping_sub(from);
        if whole > ARGS_BYTES as u64 {
            flags |= FLAG_ARGS_TRUNCATED;
        }
        let kept = bound::<2047>(if whole > ARGS_BYTES as u64 {
            ARGS_BYTES as u64
        } else {
            whole
        });
        if kept <= ARGS_BYTES as u64 {
            // SAFETY: `exe_len` is below 512 and `kept` at most ARGS_BYTES, inside the record's tail.
            let read = unsafe {
                bpf_probe_read_user(
                    work.at(EXEC_TAIL + exe_len as usize).cast(),
                    kept as u32,
                    from as *const _,
                )
            };
            if read == 0 {
                args_len = kept;
            } else {
                count_hook(visit.hook, hook::ERROR_READ);
            }
        }
    }
    *work.fixed::<Exec>() = Exec {
        exe_len: exe_len as u16,
        args_len: args_len as u16,
        reserved: 0,
    };
    work.write_current_header(visit, kind::PROCESS_EXEC, flags, admitted, now);
    let len = EXEC_TAIL as u64 + exe_len + bound::<2047>(args_len);
    const LONGEST: u64 = (EXEC_TAIL + PATH_BYTES + ARGS_BYTES) as u64;
    output(
        visit,
        kind::PROCESS_EXEC,
        admitted,
        work.at(0),
        if len > LONGEST { LONGEST } else { len },
    );
}

/// `sched_process_exit(struct task_struct *p)`, from 6.16 on with `bool group_dead`, in the ending task.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    let signal = pointer(task, offset!(task_signal));
    if exit_has_group_dead() {
        // SAFETY: the second argument exists on this kernel; the loader looked.
        if unsafe { *ctx.as_ptr().cast::<u64>().add(1) } & 0xff == 0 {
            return 0;
        }
    } else if read_or_zero::<i32>(signal, offset!(signal_live)) != 0 {
        return 0;
    }
    let Some(visit) = Visit::enter(hook::PROCESS_EXIT) else {
        return 0;
    };
    let Some(config) = visit.kind(kind::PROCESS_EXIT) else {
        return 0;
    };
    let for_table = config.flags & KIND_TABLE != 0;
    if config.slots == 0 && !for_table {
        return 0;
    }
    if !exit_has_group_dead() {
        // Two last threads may both see zero threads alive: the first one here is the process's end. An entry that is
        // refused for want of memory tells nothing; the end is told all the same, rather than lost.
        let process = task::start_ns(task) ^ u64::from(visit.tgid()).rotate_left(40);
        if ENDED.insert(&process, &1, BPF_NOEXIST) == Err(EEXIST) {
            return 0;
        }
    }
    let now = task::now();
    let leader = pointer(task, offset!(task_group_leader));
    let status: u32 = if read_or_zero::<u32>(signal, offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
        read_or_zero(signal, offset!(signal_group_exit_code))
    } else {
        read_or_zero(leader, offset!(task_exit_code))
    };
    let Some(work) = claim() else {
        count_hook(visit.hook, hook::ERROR_SCRATCH);
        return 0;
    };
    let mut mask = matching::task(&visit, kind::PROCESS_EXIT, config, config.slots, &visit.task);
    mask = matching::number(
        &visit,
        kind::PROCESS_EXIT,
        field::SIGNAL,
        config.any_signal,
        mask,
        status & 0x7f,
    );
    let mut candidates = Candidates::of(mask);
    if mask & !config.any_binary != 0 {
        let listed = binary(&visit, kind::PROCESS_EXIT, work, task);
        candidates.keep(config.any_binary, listed);
    }
    let mask = candidates.matched(&visit, kind::PROCESS_EXIT);
    let start_ns = visit.task.start_ns();
    let admitted = decide(&visit, kind::PROCESS_EXIT, mask, now, start_ns);
    if admitted != 0 || for_table {
        let duration_ns = if start_ns == 0 {
            0
        } else {
            now.wrapping_sub(start_ns)
        };
        *work.fixed::<Exit>() = Exit {
            status,
            reserved: 0,
            duration_ns,
        };
        let flags = if for_table { FLAG_TABLE } else { 0 };
        work.write_current_header(&visit, kind::PROCESS_EXIT, flags, admitted, now);
        let len = (size_of::<Header>() + size_of::<Exit>()) as u64;
        output(&visit, kind::PROCESS_EXIT, admitted, work.at(0), len);
    }
    release(work);
    0
}

/// Slots that list the task's executable.
#[inline(always)]
pub fn binary(visit: &Visit, kind: u8, work: &mut Work, task: *const u8) -> Listed {
    // SAFETY: the key buffer has its head's eight bytes in front.
    let to = unsafe { work.key.as_mut_ptr().add(8) };
    let exe = path::executable(work, task, to);
    listed(visit, kind, &exe, work.key.as_mut_ptr())
}

/// Slots that list the executable that stands 8 bytes after `head`.
#[inline(always)]
fn listed(visit: &Visit, kind: u8, exe: &Walked, head: *mut u8) -> Listed {
    if exe.lost {
        // What is left of a path that lost its front may read like another one.
        Listed::UNKNOWN
    } else {
        Listed::by(matching::path(visit, kind, field::BINARY, head))
    }
}
