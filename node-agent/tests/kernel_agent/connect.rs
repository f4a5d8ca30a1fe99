//! `net.connect`: one event per connect(2), with its result, however it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use crate::agent::{Setup, may_test};
use crate::profile::profile;
use crate::stream::{Event, Stream, number};
use crate::workload::{own_copy, perl_says};

/// Commands from standard input, one per line: `tcp ADDRESS PORT [HOW]` or `udp ADDRESS PORT`. Each prints the result
/// of its connection. HOW: `later` does not block and waits for the end, `twice` asks again meanwhile, `close` closes
/// before there is one; `alarm` blocks until a signal comes and then closes; `fault` passes an address that is none, which
/// is Linux' system call 42 of x86-64.
const CONNECTS: &str = r"
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
$| = 1; $0 = 'weirtest';
my @kept;
while (<STDIN>) {
  my ($what, $to, $port, $how) = split;
  my $six = $to =~ /:/;
  my $family = $six ? AF_INET6 : AF_INET;
  my $address = $six ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $to)) : pack_sockaddr_in($port, inet_aton($to));
  socket(my $s, $family, $what eq 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0) or die $!;
  fcntl($s, 4, 04000) if $how && $how ne 'alarm';
  if ($how eq 'fault') { syscall(42, fileno($s), 1, 16); print 0 + $!, qq(\n); next }
  if ($how eq 'alarm') { $SIG{ALRM} = sub {}; alarm 1 }
  my $result = connect($s, $address) ? 0 : 0 + $!;
  if ($result == 115 && $how eq 'twice') { connect($s, $address); print 0 + $!, ' '; }
  if ($result == 115 && $how eq 'close') { close($s); print qq($result\n); next }
  if ($result == 115) {
    print $result, q( );
    my $w = ''; vec($w, fileno($s), 1) = 1; select(undef, $w, undef, 10);
    $result = unpack('i', getsockopt($s, SOL_SOCKET, SO_ERROR));
  }
  print $result, qq(\n);
  close($s) if $how eq 'alarm';
  push @kept, $s;
}
";

/// A process that connects as told.
struct Connects {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Connects {
    fn start(perl: &Path) -> Self {
        let mut command = Command::new(perl);
        command
            .args(["-e", CONNECTS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("perl starts");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        Self { child, output }
    }

    fn ask(&mut self, what: &str, to: SocketAddr, how: &str) {
        let input = self.child.stdin.as_mut().expect("is piped");
        writeln!(input, "{what} {} {} {how}", to.ip(), to.port()).expect("perl reads");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("perl answers");
        line.trim().to_owned()
    }

    fn connect(&mut self, what: &str, to: SocketAddr, how: &str) -> String {
        self.ask(what, to, how);
        self.answer()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("ends").success());
    }
}

fn listener(ip: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).expect("listens");
    let address = listener.local_addr().expect("has an address");
    (listener, address)
}

/// An address where nobody listens.
fn refusing(ip: IpAddr) -> SocketAddr {
    listener(ip).1
}

/// A listener that answers nobody, its backlog being full.
fn silent(connects: &mut Connects) -> (TcpListener, SocketAddr) {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("makes a socket");
    bind(&fd, &SocketAddr::new(V4, 0)).expect("binds");
    listen(&fd, 0).expect("listens");
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().expect("has an address");
    assert_eq!(
        connects.connect("tcp", address, ""),
        "0",
        "the one place of the backlog"
    );
    (listener, address)
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn results(events: &[&Event]) -> Vec<u64> {
    events
        .iter()
        .map(|event| number(&event.data()["netConnect"]["errno"]))
        .collect()
}

fn latency_us(event: &Event) -> Option<u64> {
    event.data()["netConnect"]
        .get("latencyNanos")
        .map(|latency| number(latency) / 1000)
}

/// *Scenario:* one process connects by TCP and UDP, over IPv4 and IPv6, to who listens, to who refuses, to where no
/// way leads, and without waiting to a listener that answers a second later, refuses later, or never, or until a signal comes.
///
/// *Guarantees:* one event per connect(2), with the result of the connection; the latency is there for TCP and covers
/// the wait; each field matches what it says.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one process lives through all of it, and the counts are of all of it"
)]
fn connects_are_told_once_with_their_result_and_latency() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let perl = own_copy("/usr/bin/perl", dir.path());
    let (_four, four) = listener(V4);
    let (_six, six) = listener(V6);
    let (refused_four, refused_six) = (refusing(V4), refusing(V6));
    let datagrams = UdpSocket::bind((V4, 0)).expect("binds");
    let datagram = datagrams.local_addr().expect("has an address");
    let nowhere = SocketAddr::from((Ipv4Addr::BROADCAST, 9));

    let own = "comm: [weirtest]";
    let event =
        |name: &str, matches: &str| format!("{{name: {name}, kind: net.connect, match: {{{own}{matches}}}}}");
    let events = [
        event("all", ""),
        event("port", &format!(", ports: [{{from: {0}}}]", four.port())),
        event("range", &format!(", ports: [{{from: 1, to: {}}}]", u16::MAX)),
        event("six", ", cidrs: [\"::1/128\"]"),
        event("refused", ", errnos: [111]"),
        event("tcp", ", protocol: Tcp"),
        event("udp", ", protocol: Udp"),
        event("slow", ", minLatencyMicroseconds: 500000"),
        event("binary", &format!(", binaries: {{exact: [{}]}}", perl.display())),
    ];
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    let mut connects = Connects::start(&perl);
    assert_eq!(connects.connect("tcp", four, ""), "0");
    assert_eq!(connects.connect("tcp", six, ""), "0");
    assert_eq!(connects.connect("tcp", refused_four, ""), "111");
    assert_eq!(connects.connect("tcp", refused_six, ""), "111");
    assert_eq!(connects.connect("udp", datagram, ""), "0");
    assert_eq!(connects.connect("tcp", nowhere, ""), "101");
    // A SYN that finds the backlog full is sent again after a second.
    let (listener, later) = silent(&mut connects);
    connects.ask("tcp", later, "later");
    until_syn_sent(later);
    listener.accept().expect("accepts the one before");
    assert_eq!(connects.answer(), "115 0");
    let (listener, refused_later) = silent(&mut connects);
    connects.ask("tcp", refused_later, "twice");
    until_syn_sent(refused_later);
    drop(listener);
    assert_eq!(connects.answer(), "114 115 111");
    let (_listener, never) = silent(&mut connects);
    assert_eq!(connects.connect("tcp", never, "close"), "115");
    let (_other, interrupted) = silent(&mut connects);
    assert_eq!(connects.connect("tcp", interrupted, "alarm"), "4");
    connects.end();

    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));

    let to = |address: SocketAddr| -> Vec<&Event> {
        let is_there = |event: &&&Event| {
            let connect = &event.data()["netConnect"];
            number(&connect["destinationPort"]) == u64::from(address.port())
                && connect["destinationAddress"] == address.ip().to_string()
        };
        stream.named("all").iter().filter(is_there).copied().collect()
    };
    for (address, expected, transport) in [
        (four, vec![0], "tcp"),
        (six, vec![0], "tcp"),
        (refused_four, vec![111], "tcp"),
        (refused_six, vec![111], "tcp"),
        (datagram, vec![0], "udp"),
        (nowhere, vec![101], "tcp"),
        (later, vec![0, 0], "tcp"),
        // EALREADY is the answer to the second connect(2) on the same socket.
        (refused_later, vec![0, 114, 111], "tcp"),
        (never, vec![0, 125], "tcp"),
        (interrupted, vec![0, 125], "tcp"),
    ] {
        let found = to(address);
        assert_eq!(results(&found), expected, "{address}: {found:?}");
        for event in found {
            let connect = &event.data()["netConnect"];
            assert_eq!(connect["networkTransport"], transport, "{event:?}");
            assert_eq!(
                connect["networkType"],
                if address.is_ipv4() { "ipv4" } else { "ipv6" },
                "{event:?}"
            );
            let answered = transport == "tcp" && ![101, 114].contains(&number(&connect["errno"]));
            assert_eq!(latency_us(event).is_some(), answered, "{event:?}");
            if number(&connect["errno"]) == 0 {
                assert!(number(&connect["sourcePort"]) > 0, "{event:?}");
            }
            assert_eq!(event.data()["process"]["comm"], "weirtest", "{event:?}");
        }
    }
    let waited = [to(later)[1], to(refused_later)[2], to(interrupted)[1]];
    for event in waited {
        assert!(
            latency_us(event).is_some_and(|latency| (500_000..10_000_000).contains(&latency)),
            "{event:?}"
        );
    }
    assert!(
        latency_us(to(four)[0]).is_some_and(|latency| latency < 500_000),
        "{:?}",
        to(four)
    );

    let all = stream.named("all").len();
    let count = |name: &str| stream.named(name).len();
    assert_eq!((all, count("range"), count("port"), count("six")), (15, 15, 1, 2));
    assert_eq!(
        count("binary"),
        all,
        "the executable counts where the connection ends later, too"
    );
    assert_eq!(
        (count("refused"), count("tcp"), count("udp"), count("slow")),
        (3, 14, 1, 3)
    );
    assert_eq!(ledger.total("undecided"), 0, "{ledger:?}");
}

/// *Scenario:* sockets of IPv6 connect to IPv4 addresses, as `::ffff:a.b.c.d`: by TCP, where the socket's state change
/// tells of the end, and by UDP; one of IPv4 and one of IPv6 connect to the same networks.
///
/// *Guarantees:* an IPv4 network takes both, whatever the socket's family; another one takes neither.
#[test]
fn ipv4_networks_match_what_sockets_of_ipv6_connect_to() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let perl = own_copy("/usr/bin/perl", dir.path());
    let (_four, four) = listener(V4);
    let (_six, six) = listener(V6);
    let datagrams = UdpSocket::bind((V4, 0)).expect("binds");
    let datagram = datagrams.local_addr().expect("has an address");
    let event = |name: &str, networks: &str| {
        format!("{{name: {name}, kind: net.connect, match: {{comm: [weirtest], cidrs: [{networks}]}}}}")
    };
    let events = [
        event("all", "\"0.0.0.0/0\", \"::/0\""),
        event("any", "0.0.0.0/0"),
        event("loop", "127.0.0.0/8"),
        event("host", "127.0.0.1/32"),
        event("other", "10.0.0.0/8"),
        event("six", "\"::1/128\""),
    ];
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    let mapped = |address: SocketAddr| {
        let IpAddr::V4(ip) = address.ip() else {
            panic!("{address} is of IPv4")
        };
        SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())
    };
    let mut connects = Connects::start(&perl);
    assert_eq!(connects.connect("tcp", four, ""), "0");
    assert_eq!(connects.connect("tcp", mapped(four), ""), "0");
    assert_eq!(connects.connect("tcp", mapped(refusing(V4)), ""), "111");
    assert_eq!(connects.connect("udp", mapped(datagram), ""), "0");
    assert_eq!(connects.connect("tcp", six, ""), "0");
    let (listener, later) = silent(&mut connects);
    connects.ask("tcp", mapped(later), "later");
    until_syn_sent(mapped(later));
    listener.accept().expect("accepts the one before");
    assert_eq!(connects.answer(), "115 0");
    connects.end();

    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    for (name, count) in [
        ("all", 7),
        ("any", 6),
        ("loop", 6),
        ("host", 6),
        ("other", 0),
        ("six", 1),
    ] {
        assert_eq!(ledger.slot(name).count("acked"), count, "{name}: {ledger:?}");
    }
    assert!(agent.stop().0.success());
    let stream = Stream::of_file(&agent.setup.events());
    let to = stream.named("host");
    let to: Vec<_> = to
        .iter()
        .filter(|event| event.data()["netConnect"]["destinationAddress"] == "::ffff:127.0.0.1")
        .collect();
    assert_eq!(to.len(), 4, "{to:?}");
}

/// *Scenario:* a connection waits for its answer when the agent starts, and has it afterwards; others need not wait; a
/// program passes an address that cannot be read.
///
/// *Guarantees:* where a latency is not known, those slots that ask for it count it as undecided, and no others; what has
/// none, having waited for nothing, is decided. Of an address that is not known nothing can be told: it is undecided
/// for each slot that nothing else rules out.
#[cfg(target_arch = "x86_64")]
#[test]
fn connects_of_unknown_latency_or_address_are_counted_undecided() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let perl = own_copy("/usr/bin/perl", dir.path());
    let event = |name: &str, matches: &str| {
        format!("{{name: {name}, kind: net.connect, match: {{comm: [weirtest]{matches}}}}}")
    };
    let events = [
        event("all", ""),
        event("slow", ", minLatencyMicroseconds: 500000"),
        event("refused", ", errnos: [111], minLatencyMicroseconds: 1"),
    ];
    let mut connects = Connects::start(&perl);
    let (listener, early) = silent(&mut connects);
    connects.ask("tcp", early, "");
    until_syn_sent(early);
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    listener.accept().expect("accepts the one before");
    assert_eq!(connects.answer(), "0");
    let of_early = agent.until_settled();
    assert_eq!(of_early.slot("all").count("acked"), 1, "{of_early:?}");
    assert_eq!(of_early.slot("slow").count("undecided"), 1, "{of_early:?}");

    let datagrams = UdpSocket::bind((V4, 0)).expect("binds");
    let datagram = datagrams.local_addr().expect("has an address");
    assert_eq!(connects.connect("udp", datagram, ""), "0");
    let nowhere = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
    assert_eq!(connects.connect("tcp", nowhere, ""), "101");
    let waited_for_nothing = agent.until_settled();
    assert_eq!(waited_for_nothing.total("undecided"), 1, "{waited_for_nothing:?}");

    assert_eq!(connects.connect("tcp", nowhere, "fault"), "14");
    connects.end();
    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    for (name, acked, undecided) in [("all", 3, 1), ("slow", 0, 1), ("refused", 0, 0)] {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("acked"), acked, "{name}: {ledger:?}");
        assert_eq!(slot.count("undecided"), undecided, "{name}: {ledger:?}");
    }
    assert!(agent.stop().0.success());
}

/// *Scenario:* again and again a signal ends a connect that waits, the program closes its socket, and the next one, which
/// the kernel likes to put in the same place, finds no way.
///
/// *Guarantees:* each is one event with its own result: nothing of a connect stays behind to hide another.
#[test]
fn connects_after_interrupted_ones_are_each_told() {
    const ROUNDS: usize = 20;
    const INTERRUPTED: &str = r"
use Socket;
use Time::HiRes qw(ualarm);
$0 = 'weirtest';
$SIG{ALRM} = sub {};
for (1..20) {
  socket(my $s, AF_INET, SOCK_STREAM, 0) or die $!;
  ualarm(20_000);
  connect($s, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK)) and die;
  die $! unless $! == 4;
  close($s);
  socket(my $t, AF_INET, SOCK_STREAM, 0) or die $!;
  connect($t, pack_sockaddr_in(9, INADDR_BROADCAST)) and die;
  die $! unless $! == 101;
  close($t);
}
";
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let perl = own_copy("/usr/bin/perl", dir.path());
    let mut connects = Connects::start(&perl);
    let (_listener, silent) = silent(&mut connects);
    connects.end();
    let all = "{name: all, kind: net.connect, match: {comm: [weirtest]}}";
    let mut agent = Setup::new(&profile("", &[all])).with_file().start();
    perl_says(INTERRUPTED, &[&silent.port().to_string()]);
    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    assert!(agent.stop().0.success());
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(results(&stream.named("all")), [125, 101].repeat(ROUNDS));
}

/// Waits until a connection to the address waits for its answer.
fn until_syn_sent(to: SocketAddr) {
    let (table, octets) = match to.ip() {
        IpAddr::V4(ip) => ("/proc/net/tcp", ip.octets().to_vec()),
        IpAddr::V6(ip) => ("/proc/net/tcp6", ip.octets().to_vec()),
    };
    // The kernel's own table: remote address by words in hexadecimal, then the state, 02 for SYN_SENT.
    let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("are four bytes"));
    let words: Vec<_> = octets
        .chunks(4)
        .map(|bytes| format!("{:08X}", word(bytes)))
        .collect();
    let address = words.concat();
    let wanted = format!("{address}:{:04X} 02", to.port());
    crate::agent::until("the SYN is sent", || {
        let table = std::fs::read_to_string(table).expect("reads");
        if table.contains(&wanted) {
            Ok(())
        } else {
            Err(format!("no {wanted} in {table}"))
        }
    });
}
