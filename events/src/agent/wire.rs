//! The schema of the agent's own events: which part of a payload is which field. Names no encoding.

use super::{
    AgentEvent, AgentHealth, AgentLedger, AgentLoss, AgentProfile, LedgerCut, LedgerHook, LedgerProfile,
    LedgerSlot, LossRange,
};
use crate::encode::{Encoder, fields};

/// Fields of `UnifiedEvent`.
mod own {
    super::fields! {
        AGENT_LEDGER = 60, "agentLedger";
        AGENT_LOSS = 61, "agentLoss";
        AGENT_PROFILE = 62, "agentProfile";
        AGENT_HEALTH = 63, "agentHealth";
    }
}

/// Fields of `AgentLedger`.
mod ledger {
    super::fields! {
        BOOT_ID = 1, "bootId";
        CUT = 2, "cut";
        HOOKS = 3, "hooks";
        PROFILES = 4, "profiles";
    }
}

/// Fields of `LedgerCut`.
mod cut {
    super::fields! {
        ID = 1, "id";
        TIME = 2, "time";
        CLOSED = 3, "closed";
        FINAL = 4, "final";
        UNKNOWN_AFTER = 5, "unknownAfter";
        EPOCH = 6, "epoch";
    }
}

/// Fields of `LedgerHook`.
mod hook {
    super::fields! {
        HOOK = 1, "hook";
        MISSED = 2, "missed";
        EXCLUDED = 3, "excluded";
        HOOK_ERROR = 4, "hookError";
        UNTRACKED = 5, "untracked";
        HOOK_ERROR_REASONS = 6, "hookErrorReasons";
    }
}

/// Fields of `HookError`.
mod hook_error {
    super::fields! {
        REASON = 1, "reason";
        COUNT = 2, "count";
    }
}

/// Fields of `LedgerProfile`.
mod profile_ledger {
    super::fields! {
        NAME = 1, "name";
        GENERATION = 2, "generation";
        DIGEST = 3, "digest";
        SLOTS = 4, "slots";
    }
}

/// Fields of `LedgerSlot`.
mod slot {
    super::fields! {
        EVENT = 1, "event";
        KIND = 2, "kind";
        MATCHED = 3, "matched";
        SAMPLED_OUT = 4, "sampledOut";
        LIMITED_EVENT = 5, "limitedEvent";
        LIMITED_PROFILE = 6, "limitedProfile";
        LIMITED_WORKLOAD = 7, "limitedWorkload";
        RING_FULL = 8, "ringFull";
        DRY_RUN = 9, "dryRun";
        THROTTLED = 10, "throttled";
        SUPPRESSED = 11, "suppressed";
        RINGED = 12, "ringed";
        IN_RING = 13, "inRing";
        MALFORMED = 14, "malformed";
        OUT_OF_SCOPE = 15, "outOfScope";
        FILTERED = 16, "filtered";
        HELD = 17, "held";
        ACCEPTED = 18, "accepted";
        ACKED = 19, "acked";
        SHED = 20, "shed";
        REJECTED = 21, "rejected";
        QUEUED = 22, "queued";
        SPOOLED = 23, "spooled";
        UNACKED = 24, "unacked";
        UNDECIDED = 25, "undecided";
    }
}

/// Fields of `AgentLoss`.
mod loss {
    super::fields! {
        PROFILE = 1, "profile";
        EPOCH = 2, "epoch";
        RANGES = 3, "ranges";
    }
}

/// Fields of `LossRange`.
mod range {
    super::fields! {
        REASON = 1, "reason";
        BASE = 2, "base";
        COUNT = 3, "count";
    }
}

/// Fields of `AgentProfile`.
mod profile {
    super::fields! {
        PROFILE = 1, "profile";
        UID = 2, "uid";
        GENERATION = 3, "generation";
        DIGEST = 4, "digest";
        STATE = 5, "state";
        REASON = 6, "reason";
        MESSAGE = 7, "message";
        SINK = 8, "sink";
        NEXT_SEQ = 9, "nextSeq";
    }
}

/// Fields of `AgentHealth`.
mod health {
    super::fields! {
        STATE = 1, "state";
        COMPONENT = 2, "component";
        REASON = 3, "reason";
        MESSAGE = 4, "message";
        AGENT_VERSION = 5, "agentVersion";
        KERNEL_RELEASE = 6, "kernelRelease";
    }
}

/// Writes the event's payload.
pub(super) fn payload<E: Encoder>(encoder: &mut E, event: &AgentEvent) {
    match event {
        AgentEvent::Ledger(ledger) => {
            encoder.message(own::AGENT_LEDGER, |encoder| ledger_fields(encoder, ledger));
        }
        AgentEvent::Loss(loss) => encoder.message(own::AGENT_LOSS, |encoder| loss_fields(encoder, loss)),
        AgentEvent::Profile(profile) => {
            encoder.message(own::AGENT_PROFILE, |encoder| profile_fields(encoder, profile));
        }
        AgentEvent::Health(health) => {
            encoder.message(own::AGENT_HEALTH, |encoder| health_fields(encoder, health));
        }
    }
}

fn ledger_fields<E: Encoder>(encoder: &mut E, ledger: &AgentLedger) {
    // Cluster and node are the event's.
    let AgentLedger {
        cluster: _,
        node: _,
        epoch,
        boot_id,
        cut,
        hooks,
        profiles,
    } = ledger;
    encoder.text(ledger::BOOT_ID, boot_id.as_bytes());
    encoder.message(ledger::CUT, |encoder| cut_fields(encoder, cut, *epoch));
    encoder.messages(ledger::HOOKS, hooks, hook_fields);
    encoder.messages(ledger::PROFILES, profiles, profile_ledger_fields);
}

fn cut_fields<E: Encoder>(encoder: &mut E, cut: &LedgerCut, epoch: u64) {
    let LedgerCut {
        id,
        time_unix_nanos,
        closed,
        is_final,
        unknown_after,
    } = cut;
    encoder.u64(cut::ID, *id);
    encoder.timestamp(cut::TIME, *time_unix_nanos);
    encoder.bool(cut::CLOSED, *closed);
    encoder.bool(cut::FINAL, *is_final);
    encoder.bool(cut::UNKNOWN_AFTER, *unknown_after);
    encoder.u64(cut::EPOCH, epoch);
}

fn hook_fields<E: Encoder>(encoder: &mut E, ledger: &LedgerHook) {
    let LedgerHook {
        hook,
        missed,
        excluded,
        hook_error,
        untracked,
        hook_error_reasons,
    } = ledger;
    encoder.text(hook::HOOK, hook.as_bytes());
    if let Some(missed) = *missed {
        encoder.present_u64(hook::MISSED, missed);
    }
    encoder.u64(hook::EXCLUDED, *excluded);
    encoder.u64(hook::HOOK_ERROR, *hook_error);
    encoder.u64(hook::UNTRACKED, *untracked);
    let reasons: Vec<_> = hook_error_reasons.iter().collect();
    encoder.messages(hook::HOOK_ERROR_REASONS, &reasons, |encoder, (reason, count)| {
        encoder.text(hook_error::REASON, reason.as_bytes());
        encoder.u64(hook_error::COUNT, **count);
    });
}

fn profile_ledger_fields<E: Encoder>(encoder: &mut E, ledger: &LedgerProfile) {
    let LedgerProfile {
        name,
        generation,
        digest,
        slots,
    } = ledger;
    encoder.text(profile_ledger::NAME, name.as_bytes());
    encoder.u64(profile_ledger::GENERATION, *generation);
    encoder.text(profile_ledger::DIGEST, digest.as_bytes());
    encoder.messages(profile_ledger::SLOTS, slots, slot_fields);
}

fn slot_fields<E: Encoder>(encoder: &mut E, ledger: &LedgerSlot) {
    let LedgerSlot {
        event,
        kind,
        matched,
        sampled_out,
        limited_event,
        limited_profile,
        limited_workload,
        ring_full,
        dry_run,
        throttled,
        suppressed,
        ringed,
        in_ring,
        malformed,
        out_of_scope,
        filtered,
        held,
        accepted,
        acked,
        shed,
        rejected,
        queued,
        spooled,
        unacked,
        undecided,
    } = ledger;
    encoder.text(slot::EVENT, event.as_bytes());
    encoder.text(slot::KIND, kind.as_bytes());
    for (field, counter) in [
        (slot::MATCHED, matched),
        (slot::SAMPLED_OUT, sampled_out),
        (slot::LIMITED_EVENT, limited_event),
        (slot::LIMITED_PROFILE, limited_profile),
        (slot::LIMITED_WORKLOAD, limited_workload),
        (slot::RING_FULL, ring_full),
        (slot::DRY_RUN, dry_run),
        (slot::THROTTLED, throttled),
        (slot::SUPPRESSED, suppressed),
        (slot::RINGED, ringed),
        (slot::IN_RING, in_ring),
        (slot::MALFORMED, malformed),
        (slot::OUT_OF_SCOPE, out_of_scope),
        (slot::FILTERED, filtered),
        (slot::HELD, held),
        (slot::ACCEPTED, accepted),
        (slot::ACKED, acked),
        (slot::SHED, shed),
        (slot::REJECTED, rejected),
        (slot::QUEUED, queued),
        (slot::SPOOLED, spooled),
        (slot::UNACKED, unacked),
        (slot::UNDECIDED, undecided),
    ] {
        encoder.u64(field, *counter);
    }
}

fn loss_fields<E: Encoder>(encoder: &mut E, loss: &AgentLoss) {
    let AgentLoss {
        profile,
        epoch,
        ranges,
    } = loss;
    encoder.text(loss::PROFILE, profile.as_bytes());
    encoder.u64(loss::EPOCH, *epoch);
    encoder.messages(
        loss::RANGES,
        ranges,
        |encoder, LossRange { reason, base, count }| {
            encoder.text(range::REASON, reason.name().as_bytes());
            encoder.u64(range::BASE, *base);
            encoder.u64(range::COUNT, *count);
        },
    );
}

fn profile_fields<E: Encoder>(encoder: &mut E, change: &AgentProfile) {
    let AgentProfile {
        profile,
        uid,
        generation,
        digest,
        state,
        reason,
        message,
        sink,
        next_seq,
    } = change;
    encoder.text(profile::PROFILE, profile.as_bytes());
    encoder.text(profile::UID, uid.as_bytes());
    encoder.u64(profile::GENERATION, *generation);
    encoder.text(profile::DIGEST, digest.as_bytes());
    encoder.text(profile::STATE, state.name().as_bytes());
    encoder.text(profile::REASON, reason.as_bytes());
    encoder.text(profile::MESSAGE, message.as_bytes());
    encoder.text(profile::SINK, sink.as_bytes());
    encoder.u64(profile::NEXT_SEQ, *next_seq);
}

fn health_fields<E: Encoder>(encoder: &mut E, change: &AgentHealth) {
    let AgentHealth {
        state,
        component,
        reason,
        message,
        agent_version,
        kernel_release,
    } = change;
    encoder.text(health::STATE, state.name().as_bytes());
    encoder.text(health::COMPONENT, component.as_bytes());
    encoder.text(health::REASON, reason.as_bytes());
    encoder.text(health::MESSAGE, message.as_bytes());
    encoder.text(health::AGENT_VERSION, agent_version.as_bytes());
    encoder.text(health::KERNEL_RELEASE, kernel_release.as_bytes());
}
