//! Names of IP protocols.

/// The protocol's name as OpenTelemetry's `network.transport` writes it (lower case), or its IANA keyword; empty for
/// protocols that connect(2) is not known to serve.
pub(crate) const fn transport(protocol: u8) -> &'static str {
    match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        58 => "ipv6-icmp",
        132 => "sctp",
        136 => "udplite",
        255 => "raw",
        _ => "",
    }
}
