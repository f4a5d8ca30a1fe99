//! Consumes a BPF ring buffer through its memory mapping: whole runs of records per position update.
//!
//! One of the three places where `unsafe` is allowed. It knows the ring's layout and nothing of records' content.

#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets are masked to the ring's size, which fits a usize on every supported target"
)]
#![allow(
    unsafe_code,
    reason = "the ring is shared memory with the kernel; each block argues its safety"
)]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags};

/// `BPF_RINGBUF_BUSY_BIT`: reserved, not yet committed.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: to be skipped.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const RECORD_HEADER: u64 = 8;
/// Bytes consumed before the producer is told: rarely enough to keep its cache line, often enough to give room.
const RELEASE_BYTES: u64 = 64 * 1024;

/// Why a ring cannot be consumed.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The map is not a ring buffer.
    #[error("the map is no ring buffer, or its size is unknown")]
    Info(#[source] aya::maps::MapError),
    /// Mapping failed.
    #[error("cannot map the ring buffer")]
    Map(#[source] rustix::io::Errno),
    /// Its size is not a power of two.
    #[error("ring of {0} bytes: the size must be a power of two")]
    Size(u32),
}

/// A memory mapping that unmaps itself.
struct Mapping {
    address: *mut std::ffi::c_void,
    len: usize,
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, protection: ProtFlags, offset: u64) -> Result<Self, RingError> {
        // SAFETY: a fresh mapping chosen by the kernel; nothing else refers to it.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }
        .map_err(RingError::Map)?;
        Ok(Self { address, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrowed from it outlives `self`.
        if let Err(error) = unsafe { rustix::mm::munmap(self.address, self.len) } {
            tracing::warn!(%error, "cannot unmap a ring buffer");
        }
    }
}

/// The consumer's end of one ring. There must be only one per map.
pub struct Ring {
    map: MapData,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    mask: u64,
    /// Our position; the shared one follows it.
    at: u64,
}

// SAFETY: the mapping is used by whoever owns the ring, through atomics.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring.
    pub fn new(map: MapData) -> Result<Self, RingError> {
        let size = map.info().map_err(RingError::Info)?.max_entries();
        if !size.is_power_of_two() {
            return Err(RingError::Size(size));
        }
        let page = NonZeroUsize::new(rustix::param::page_size()).map_or(4096, NonZeroUsize::get);
        let fd = map.fd().as_fd();
        let consumer = Mapping::new(fd, page, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        // The data pages are mapped twice in a row, so that a record never wraps.
        let producer = Mapping::new(fd, page + 2 * size as usize, ProtFlags::READ, page as u64)?;
        let mut ring = Self {
            consumer,
            producer,
            page,
            mask: u64::from(size) - 1,
            at: 0,
            map,
        };
        ring.at = ring.consumer_position().load(Ordering::Acquire);
        Ok(ring)
    }

    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the first page holds the consumer's position; it is aligned and lives as long as `self`.
        unsafe { &*self.consumer.address.cast::<AtomicU64>() }
    }

    /// How far the kernel has written.
    #[must_use]
    pub fn producer_position(&self) -> u64 {
        // SAFETY: the second page holds the producer's position; it is aligned and lives as long as `self`.
        unsafe { &*self.producer.address.cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    /// How far we have read.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// Size of the ring, bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.mask + 1
    }

    /// Hands every record before `until` to `each`, in order, as far as they are committed. `each` returns false
    /// to pause after a record. Returns how many were handed out.
    pub fn drain(&mut self, until: u64, mut each: impl FnMut(&[u8]) -> bool) -> u64 {
        let mut records = 0;
        let mut released = self.at;
        while self.at < until {
            let Some((len, header)) = self.next_header() else {
                break;
            };
            let total = (RECORD_HEADER + u64::from(len)).next_multiple_of(8);
            let mut go_on = true;
            if header & DISCARDED == 0 {
                go_on = each(self.record(len));
                records += 1;
            }
            self.at += total;
            if self.at - released >= RELEASE_BYTES {
                self.consumer_position().store(self.at, Ordering::Release);
                released = self.at;
            }
            if !go_on {
                break;
            }
        }
        if self.at != released {
            self.consumer_position().store(self.at, Ordering::Release);
        }
        records
    }

    /// Length and raw header of the record at our position, unless it is not committed yet.
    fn next_header(&self) -> Option<(u32, u32)> {
        // SAFETY: `at & mask` is inside the data area and records are 8-aligned.
        let word = unsafe {
            &*self
                .producer
                .address
                .byte_add(self.page + (self.at & self.mask) as usize)
                .cast::<AtomicU32>()
        };
        let header = word.load(Ordering::Acquire);
        (header & BUSY == 0).then_some((header & !(BUSY | DISCARDED), header))
    }

    fn record(&self, len: u32) -> &[u8] {
        let at = self.page + (self.at & self.mask) as usize + RECORD_HEADER as usize;
        // SAFETY: the kernel committed `len` bytes here, at most the ring's size, and the double mapping makes
        // them contiguous; they stay until our position is released, after the borrow ends.
        unsafe { std::slice::from_raw_parts(self.producer.address.byte_add(at).cast::<u8>(), len as usize) }
    }

    /// Whether anything is left, after making our position visible first: the order that keeps an adaptive
    /// wake-up from being lost.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.consumer_position().store(self.at, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.producer_position() == self.at
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}
