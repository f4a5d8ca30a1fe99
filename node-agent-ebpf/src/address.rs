//! Keeping the verifier informed: bounds that the optimiser may not remove.

/// `value & MASK`, as an instruction that stands where it is written.
///
/// The compiler drops a mask it can prove redundant; the verifier then lacks the bound it needed.
#[inline(always)]
pub fn bound<const MASK: u64>(value: u64) -> u64 {
    let mut bounded = value;
    // SAFETY: one and-instruction on a register.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) bounded, const MASK as i32, options(pure, nomem, nostack));
    }
    bounded
}
