//! Turns a node's placed profiles into what the kernel's maps must hold. Pure: no map, no side, no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_node_agent_common::config::{
    KIND_TABLE, KindConfig, PATH_KEY_BYTES, SLOT_DRY_RUN, SLOT_PER_CONTAINER, SLOT_PER_POD,
    SLOT_SAMPLE_BY_PROCESS, SlotConfig, field,
};
use weir_node_agent_common::{kind, limit};
use weir_profile::api::{Access, Mode, Per, Protocol, SampleBy};
use weir_profile::cidr::Cidr;
use weir_profile::plan::{Matches, StringMatches};
use weir_profile::{EventKind, NodeConfig, PlacedProfile, PlacedSlot};

/// An exact match: kind, field, value.
pub type Exact = (u8, u8, [u8; 16]);
/// A path match: kind, field, the bytes that must lead (with a NUL at the end: the whole).
pub type Path = (u8, u8, Vec<u8>);
/// Bits of `::ffff:0:0/96`, below which are the IPv4 addresses that an IPv6 socket connects to.
const MAPPED_BITS: u32 = 96;

/// A network match: kind, field, number of leading bits, value.
pub type Net = (u8, u8, u32, [u8; 16]);

/// What one side of the configuration maps holds. Masks are over a kind's slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// By kind.
    pub kinds: BTreeMap<u8, KindConfig>,
    /// By kind and bit.
    pub slots: BTreeMap<(u8, u8), SlotConfig>,
    /// Exact values.
    pub exact: BTreeMap<Exact, u64>,
    /// Paths; each value includes the masks of its own prefixes.
    pub paths: BTreeMap<Path, u64>,
    /// Ports and networks; each value includes the masks of its own prefixes.
    pub nets: BTreeMap<Net, u64>,
}

/// The kernel's number of a kind.
#[must_use]
pub const fn kind_number(kind: EventKind) -> u8 {
    match kind {
        EventKind::ProcessExec => kind::PROCESS_EXEC,
        EventKind::ProcessExit => kind::PROCESS_EXIT,
        EventKind::NetConnect => kind::NET_CONNECT,
        EventKind::FileOpen => kind::FILE_OPEN,
    }
}

impl Image {
    /// Compiles the configuration.
    #[must_use]
    pub fn of(config: &NodeConfig) -> Self {
        let mut image = Self::default();
        for profile in &config.profiles {
            for slot in &profile.slots {
                image.add(profile, slot);
            }
        }
        if !config.profiles.is_empty() {
            // The process table needs these while any profile is active.
            for number in [kind::PROCESS_EXEC, kind::PROCESS_EXIT] {
                image.kinds.entry(number).or_insert(KindConfig::EMPTY).flags |= KIND_TABLE;
            }
        }
        image.inherit();
        image
    }

    /// The kinds that have a slot.
    pub fn collected(&self) -> impl Iterator<Item = u8> + '_ {
        self.kinds
            .iter()
            .filter(|(_, config)| config.slots != 0)
            .map(|(number, _)| *number)
    }

    fn add(&mut self, profile: &PlacedProfile, slot: &PlacedSlot) {
        let number = kind_number(slot.kind);
        let bit = 1_u64 << (slot.bit & 63);
        self.slots.insert((number, slot.bit), slot_config(profile, slot));
        // Without `..`: a new match field fails to compile until it is handled.
        let Matches {
            comm,
            binaries,
            paths,
            access,
            uids,
            ports,
            cidrs,
            protocol,
            errnos,
            signals,
            min_latency_microseconds,
        } = &slot.matches;
        let words = |numbers: &mut dyn Iterator<Item = u32>| numbers.map(word).collect::<Vec<_>>();
        let any_comm = self.exact(
            number,
            field::COMM,
            bit,
            comm.iter().map(|comm| text(comm)).collect(),
        );
        let any_uid = self.exact(number, field::UID, bit, words(&mut uids.iter().copied()));
        let any_errno = self.exact(
            number,
            field::ERRNO,
            bit,
            words(&mut errnos.iter().map(|errno| u32::from(*errno))),
        );
        let any_signal = self.exact(
            number,
            field::SIGNAL,
            bit,
            words(&mut signals.iter().map(|signal| u32::from(*signal))),
        );
        let any_binary = self.strings(number, field::BINARY, bit, binaries.as_ref());
        let any_path = self.strings(number, field::PATH, bit, paths.as_ref());
        for (from, to) in ports {
            for (bits, port) in port_prefixes(*from, *to) {
                let mut value = [0; 16];
                value[..2].copy_from_slice(&port.to_be_bytes());
                *self.nets.entry((number, field::PORT, bits, value)).or_default() |= bit;
            }
        }
        for cidr in cidrs {
            for (field, bits, value) in net_prefixes(*cidr) {
                *self.nets.entry((number, field, bits, value)).or_default() |= bit;
            }
        }
        let config = self.kinds.entry(number).or_insert(KindConfig::EMPTY);
        config.slots |= bit;
        let mut set = |mask: fn(&mut KindConfig) -> &mut u64, on: bool| {
            if on {
                *mask(config) |= bit;
            }
        };
        set(|config| &mut config.any_comm, any_comm);
        set(|config| &mut config.any_uid, any_uid);
        set(|config| &mut config.any_errno, any_errno);
        set(|config| &mut config.any_signal, any_signal);
        set(|config| &mut config.any_binary, any_binary);
        set(|config| &mut config.any_path, any_path);
        set(|config| &mut config.any_port, ports.is_empty());
        set(|config| &mut config.any_cidr, cidrs.is_empty());
        set(
            |config| &mut config.access_read,
            !matches!(access, Some(Access::Write | Access::ReadWrite)),
        );
        set(
            |config| &mut config.access_write,
            !matches!(access, Some(Access::Read | Access::ReadWrite)),
        );
        set(|config| &mut config.access_read_write, true);
        set(
            |config| &mut config.protocol_tcp,
            !matches!(protocol, Some(Protocol::Udp)),
        );
        set(
            |config| &mut config.protocol_udp,
            !matches!(protocol, Some(Protocol::Tcp)),
        );
        set(|config| &mut config.protocol_other, protocol.is_none());
        set(
            |config| &mut config.min_latency,
            min_latency_microseconds.is_some(),
        );
    }

    /// Lists the values for the slot; true when there is none, so that any value passes.
    fn exact(&mut self, number: u8, field: u8, bit: u64, values: Vec<[u8; 16]>) -> bool {
        let any = values.is_empty();
        for value in values {
            *self.exact.entry((number, field, value)).or_default() |= bit;
        }
        any
    }

    fn strings(&mut self, number: u8, field: u8, bit: u64, strings: Option<&StringMatches>) -> bool {
        let Some(StringMatches { exact, prefix }) = strings else {
            return true;
        };
        let whole = exact.iter().map(|path| [path.as_bytes(), &[0]].concat());
        let leading = prefix.iter().map(|path| path.as_bytes().to_vec());
        for key in whole.chain(leading) {
            // Validation bounds them; a longer one would never match.
            if key.len() <= PATH_KEY_BYTES {
                *self.paths.entry((number, field, key)).or_default() |= bit;
            }
        }
        exact.is_empty() && prefix.is_empty()
    }

    /// A trie returns its longest match alone: each entry takes over what its own prefixes say.
    fn inherit(&mut self) {
        let own = self.paths.clone();
        for ((number, field, path), mask) in &mut self.paths {
            for len in 0..path.len() {
                *mask |= own
                    .get(&(*number, *field, path[..len].to_vec()))
                    .copied()
                    .unwrap_or(0);
            }
        }
        let own = self.nets.clone();
        for ((number, field, bits, value), mask) in &mut self.nets {
            for len in 0..*bits {
                let shorter = u128::from_be_bytes(*value) & leading_ones(len);
                *mask |= own
                    .get(&(*number, *field, len, shorter.to_be_bytes()))
                    .copied()
                    .unwrap_or(0);
            }
        }
    }
}

fn slot_config(profile: &PlacedProfile, slot: &PlacedSlot) -> SlotConfig {
    let mut config = SlotConfig {
        slot: u32::from(slot.slot),
        profile: u32::from(profile.index),
        flags: 0,
        sample_one_in: 0,
        event_table: 0,
        workload_table: 0,
        event_interval: 0,
        event_tolerance: 0,
        profile_interval: 0,
        profile_tolerance: 0,
        workload_interval: 0,
        workload_tolerance: 0,
        min_latency_ns: slot
            .matches
            .min_latency_microseconds
            .unwrap_or(0)
            .saturating_mul(1000),
        reserved: [0; 2],
    };
    if profile.mode == Mode::DryRun {
        config.flags |= SLOT_DRY_RUN;
    }
    if let Some(sample) = slot.sample {
        config.sample_one_in = sample.one_in;
        if sample.by == SampleBy::Process {
            config.flags |= SLOT_SAMPLE_BY_PROCESS;
        }
    }
    if let Some(own) = slot.limit {
        config.event_interval = limit::interval(own.rate);
        config.event_tolerance = limit::tolerance(own.rate, own.burst);
        config.event_table = own.table.map_or(0, u32::from);
        config.flags |= match own.per {
            Per::Node => 0,
            Per::Pod => SLOT_PER_POD,
            Per::Container => SLOT_PER_CONTAINER,
        };
    }
    if let Some(all) = profile.limit {
        config.profile_interval = limit::interval(all.rate);
        config.profile_tolerance = limit::tolerance(all.rate, all.burst);
    }
    if let Some(each) = profile.per_workload {
        config.workload_interval = limit::interval(each.rate);
        config.workload_tolerance = limit::tolerance(each.rate, each.burst);
        config.workload_table = u32::from(each.table);
    }
    config
}

fn word(number: u32) -> [u8; 16] {
    let mut value = [0; 16];
    value[..4].copy_from_slice(&number.to_le_bytes());
    value
}

/// A task name as the kernel keeps it: at most 15 bytes and NULs.
fn text(comm: &str) -> [u8; 16] {
    let mut value = [0; 16];
    let bytes = comm.as_bytes();
    let len = bytes.len().min(15);
    value[..len].copy_from_slice(&bytes[..len]);
    value
}

fn leading_ones(bits: u32) -> u128 {
    if bits == 0 {
        0
    } else {
        u128::MAX << (128 - bits.min(128))
    }
}

/// What to look a network up by: field, bits, address. An IPv4 address is one of four bytes to an IPv4 socket, and
/// `::ffff:a.b.c.d` to an IPv6 socket that connects to it, as many runtimes do for every connection.
fn net_prefixes(cidr: Cidr) -> impl Iterator<Item = (u8, u32, [u8; 16])> {
    let bits = u32::from(cidr.prefix);
    let (own, mapped) = match cidr.addr {
        IpAddr::V4(address) => {
            let mut value = [0; 16];
            value[..4].copy_from_slice(&address.octets());
            let mapped = address.to_ipv6_mapped().octets();
            (
                (field::CIDR4, bits, value),
                Some((field::CIDR6, MAPPED_BITS + bits, mapped)),
            )
        }
        IpAddr::V6(address) => ((field::CIDR6, bits, address.octets()), None),
    };
    std::iter::once(own).chain(mapped)
}

/// The fewest prefixes that cover a range of ports: (bits, first port).
fn port_prefixes(from: u16, to: u16) -> Vec<(u32, u16)> {
    let mut prefixes = Vec::new();
    let (mut next, last) = (u32::from(from), u32::from(to));
    while next <= last {
        let aligned = if next == 0 { 16 } else { next.trailing_zeros() };
        let fits = (last - next + 1).ilog2();
        let free = aligned.min(fits).min(16);
        // `next` is at most `last`, which is a port.
        prefixes.push((16 - free, u16::try_from(next).unwrap_or(u16::MAX)));
        next += 1 << free;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers((bits, first): (u32, u16), port: u16) -> bool {
        u32::from(port) >> (16 - bits) == u32::from(first) >> (16 - bits)
    }

    proptest! {
        #[test]
        fn port_prefixes_of_any_range_cover_exactly_it(a: u16, b: u16, probe: u16) {
            let (from, to) = (a.min(b), a.max(b));
            let prefixes = port_prefixes(from, to);
            prop_assert!(prefixes.len() <= 30);
            for port in [probe, from, to, from.wrapping_sub(1), to.wrapping_add(1)] {
                let hits = prefixes.iter().filter(|prefix| covers(**prefix, port)).count();
                prop_assert_eq!(hits, usize::from((from..=to).contains(&port)), "{} in {:?}", port, prefixes);
            }
        }
    }

    #[test]
    fn networks_of_ipv4_are_also_those_of_ipv6_sockets() {
        let entries = |text: &str| -> Vec<_> {
            let cidr = Cidr::parse(text).expect("is a network");
            net_prefixes(cidr)
                .map(|(field, bits, value)| (field, bits, u128::from_be_bytes(value)))
                .collect()
        };
        let first = u128::from(u32::from_be_bytes([10, 1, 0, 0]));
        assert_eq!(
            entries("10.1.0.0/16"),
            [
                (field::CIDR4, 16, first << 96),
                (field::CIDR6, 112, 0xffff << 32 | first)
            ]
        );
        assert_eq!(
            entries("0.0.0.0/0"),
            [(field::CIDR4, 0, 0), (field::CIDR6, 96, 0xffff << 32)]
        );
        assert_eq!(entries("fd00::/8"), [(field::CIDR6, 8, 0xfd << 120)]);
    }

    #[test]
    fn trie_entries_take_over_what_their_prefixes_say() {
        let mut image = Image::default();
        let strings = |exact: &[&str], prefix: &[&str]| StringMatches {
            exact: exact.iter().map(ToString::to_string).collect(),
            prefix: prefix.iter().map(ToString::to_string).collect(),
        };
        image.strings(3, field::PATH, 1, Some(&strings(&[], &["/etc/"])));
        image.strings(3, field::PATH, 2, Some(&strings(&["/etc/passwd"], &[])));
        image.strings(3, field::PATH, 4, Some(&strings(&[], &["/etc/pass"])));
        image.inherit();
        let mask = |key: &[u8]| image.paths[&(3, field::PATH, key.to_vec())];
        assert_eq!(mask(b"/etc/"), 1);
        assert_eq!(mask(b"/etc/pass"), 5);
        assert_eq!(mask(b"/etc/passwd\0"), 7);
    }
}
