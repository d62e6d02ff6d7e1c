//! A tinyns of its own for each test: the real program, on ports that the system chooses, with a
//! directory that is removed with it.

mod answer;
mod counts;
mod http;
mod log;
pub mod many;
mod process;
mod server;
mod setup;

pub use self::answer::Answer;
pub use self::counts::with_counts;
pub use self::http::{Reply, http};
pub use self::log::Log;
pub use self::process::{Process, output, run, tinyns, wait};
pub use self::server::{Server, try_api};
pub use self::setup::Setup;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The admin token of every test server.
pub const TOKEN: &str = "test-token-0123456789abcdef";

/// The ports of test servers. They are below those that the system gives to outgoing connections, so that no
/// connection takes the port of a server that is down for a moment.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The text of the log lines with the addresses of DNS.
const DNS_LISTENER: &str = "DNS over UDP and TCP";

/// The zone that tests use unless they bring their own.
pub const ZONE: &str = "\
$ORIGIN s.example.com.
$TTL 300
@       3600 IN SOA ns1 hostmaster 1 3600 600 604800 60
        3600 IN NS  ns1
        3600 IN NS  ns2
ns1          IN A    192.0.2.1
ns1          IN AAAA 2001:db8::1
ns2          IN A    192.0.2.2
@            IN A    192.0.2.10
@            IN MX   10 mail
mail         IN A    192.0.2.25
www          IN CNAME @
*.r          IN A    192.0.2.10
*.r          IN AAAA 2001:db8::10
*.r          IN HTTPS 1 . alpn=\"h2\"
sub          IN NS   ns.sub
ns.sub       IN A    192.0.2.53
a.b.deep     IN TXT  \"below an empty non-terminal\"
*.wild       IN TXT  \"from a wildcard\"
";

/// A port of 127.0.0.1 that is free for UDP and TCP, and that no other test of this process gets.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Another run of the tests at the same time begins elsewhere.
    let begin = u16::try_from(std::process::id() * 199 % u32::from(count)).unwrap();
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (begin + step) % count;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// An address of the loopback interface that no other test has, nor another run of the tests at the same time: its
/// port 53 is free.
pub fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 96 + u8::try_from(number).unwrap(), high, low)
}

/// Waits until a condition holds, for at most `patience`.
pub fn eventually(what: &str, patience: Duration, holds: impl Fn() -> bool) {
    let end = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < end, "in {patience:?} not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a trial that must end within `limit`, because the server's clock goes on meanwhile. If it fails after more
/// time than that, on a busy machine, the failure means nothing, and the trial runs again with another number.
pub fn unhurried<T>(limit: Duration, trial: impl Fn(usize) -> T) -> T {
    for number in 0..20 {
        let began = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| trial(number))) {
            Ok(outcome) => return outcome,
            Err(failure) if began.elapsed() < limit => resume_unwind(failure),
            Err(_) => {}
        }
    }
    panic!("no run of the trial was quick enough");
}

/// A query with EDNS, DO clear, size 1,232, RD clear.
pub fn query(name: &str, qtype: RecordType) -> Message {
    let mut message = plain_query(name, qtype);
    let mut edns = Edns::new();
    edns.set_max_payload(1_232);
    message.edns = Some(edns);
    message
}

/// A query without EDNS.
pub fn plain_query(name: &str, qtype: RecordType) -> Message {
    let mut message = Message::new(0x5A17, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), qtype));
    message
}

/// Reads a reply; whatever cannot be read is a failure of the server.
pub fn parse(reply: &[u8]) -> Message {
    Message::from_bytes(reply).expect("the reply is no DNS message")
}
