//! IPv4 and IPv6 networks, as strict as the API server's `isCIDR`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// A network: an address whose host bits are zero, and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The network's address, host bits zero.
    pub addr: IpAddr,
    /// Length of the prefix in bits, 0 to 32 or 0 to 128.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8` or `fd00::/8`; host bits are cleared. IPv4-mapped IPv6 addresses are refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (addr, prefix) = text.split_once('/')?;
        let addr: IpAddr = addr.parse().ok()?;
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (prefix.len() > 1 && prefix.starts_with('0')) {
            return None;
        }
        let prefix: u8 = prefix.parse().ok()?;
        let addr = match addr {
            IpAddr::V4(addr) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask))
            }
            IpAddr::V6(addr) if prefix <= 128 && addr.to_ipv4_mapped().is_none() => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { addr, prefix })
    }

    /// Whether every address of `other` is in this network.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let same_bits = match (self.addr, other.addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        };
        same_bits && self.prefix <= other.prefix
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn parse_clears_host_bits() {
        assert_eq!(cidr("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(cidr("0.0.0.0/0").to_string(), "0.0.0.0/0");
        assert_eq!(cidr("fd00:1::1/16").to_string(), "fd00::/16");
        assert_eq!(cidr("::1/128").to_string(), "::1/128");
    }

    #[test]
    fn parse_refuses_what_the_api_server_refuses() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::ffff:1.2.3.4/96",
            "x/8",
            "1.2.3.4/",
        ] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn contains_follows_the_prefix() {
        assert!(cidr("10.0.0.0/8").contains(&cidr("10.9.0.0/16")));
        assert!(!cidr("10.9.0.0/16").contains(&cidr("10.0.0.0/8")));
        assert!(cidr("0.0.0.0/0").contains(&cidr("10.0.0.0/8")));
        assert!(!cidr("0.0.0.0/0").contains(&cidr("::/0")));
    }
}
