//! Validators: unbound, delv and drill. Each result is one of three verdicts.
//!
//! * unbound is a resolver: it sets AD (RFC 4035 §3.2.3), or replies SERVFAIL (§5.5).
//! * delv contains BIND's validator. It queries the server as if it were a resolver, for every name of a chain, so it
//!   cannot follow referrals. Its exit code says only whether it reached a result, so the tests read its output.
//! * `drill -S` follows the chain of trust from an answer up to the anchor. Of an alias chain it checks only the first
//!   name. `drill -D` checks one answer with given keys.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use super::anchor::Anchor;
use super::wire::{self, SIZE};
use crate::differential::message::Reply;
use crate::harness::{PATIENCE, output};
use crate::resolver::Unbound;

/// The time-out of a program, in seconds.
const SECONDS: &str = "60";
/// The header flags RD and AD; AD in a query asks for AD in the reply (RFC 6840 §5.7).
const RD_AD: [u8; 2] = [0x01, 0x20];
const AD: u16 = 0x0020;
const SERV_FAIL: u16 = 2;

/// The verdict of a validator about an answer (RFC 4035 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Secure,
    Insecure,
    Bogus,
}

/// A name without its final dot, and a type.
pub type Question<'q> = (&'q str, &'q str);

/// A verdict, and the output that it was read from.
pub type Judgement = (Verdict, String);

/// Validators that run once for each question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Delv,
    DrillChase,
    DrillVerify,
}

/// Runs a program for a bounded time.
pub fn bounded(program: &str, args: &[&str]) -> Output {
    output("timeout", &[&[SECONDS, program], args].concat())
}

impl Program {
    pub const ALL: [Self; 3] = [Self::Delv, Self::DrillChase, Self::DrillVerify];

    /// The verdict about the answer of a server.
    pub fn judge(self, server: SocketAddr, anchor: &Anchor, question: Question<'_>) -> Judgement {
        let (name, qtype) = question;
        let at = format!("@{}", server.ip());
        let port = server.port().to_string();
        let drill = |switch: &str, file: &Path| {
            let file = file.to_str().unwrap();
            bounded(
                "drill",
                &[switch, "-k", file, "-p", &port, &at, name, qtype],
            )
        };
        let output = match self {
            Self::Delv => {
                let root = format!("+root={}", anchor.origin);
                let file = anchor.delv_file();
                let file = file.to_str().unwrap();
                bounded("delv", &[&at, "-p", &port, "-a", file, &root, name, qtype])
            }
            Self::DrillChase => drill("-S", &anchor.ds_file()),
            Self::DrillVerify => drill("-D", &anchor.key_file(server)),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let verdict = match self {
            Self::Delv => of_delv(&text, &errors),
            Self::DrillChase if text.contains(";; Chase successful") => Verdict::Secure,
            Self::DrillVerify if text.contains("; VALIDATED by") => Verdict::Secure,
            Self::DrillVerify if text.contains("; Existence denied for") => Verdict::Secure,
            _ => Verdict::Bogus,
        };
        assert!(
            output.status.success() || verdict == Verdict::Bogus,
            "{text}{errors}"
        );
        (verdict, format!("{text}{errors}"))
    }

    /// Whether the program supports a question. drill takes one type at a time. `drill -S` does not know that a CNAME
    /// record synthesised from a DNAME record has no signature (RFC 6672 §5.3.1), and `drill -D` does not know aliases.
    pub fn can_judge(self, server: SocketAddr, (name, qtype): Question<'_>) -> bool {
        let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
        let args = [&at, "-p", &port, "+noall", "+answer", qtype, name];
        let answer = || crate::harness::run("dig", &args);
        let foreign = |alias: &str| qtype != alias && answer().contains(&format!("\t{alias}\t"));
        match self {
            Self::Delv => true,
            _ if qtype == "ANY" => false,
            Self::DrillChase => !foreign("DNAME"),
            Self::DrillVerify => !foreign("CNAME"),
        }
    }
}

/// Reads the output of delv, which also reports a negative answer as a failure.
fn of_delv(text: &str, errors: &str) -> Verdict {
    let failures = errors.split("resolution failed: ").skip(1);
    let failed = failures.filter(|why| !why.starts_with("ncache")).count() > 0;
    if failed || !text.contains("validated") && !text.contains("unsigned") {
        Verdict::Bogus
    } else if text.contains("unsigned answer") {
        Verdict::Insecure
    } else {
        assert!(text.contains("fully validated"), "{text}");
        Verdict::Secure
    }
}

/// An unbound with a trust anchor that queries a server about `s.example.com`. `lines` are added to its section
/// `server`.
pub fn unbound(anchor: &Anchor, server: SocketAddr, lines: &str) -> Unbound {
    unbound_with(anchor, server, &[], lines)
}

/// Like [`Unbound::start`], with servers of further zones.
pub fn unbound_with(
    anchor: &Anchor,
    server: SocketAddr,
    others: &[(&str, SocketAddr)],
    lines: &str,
) -> Unbound {
    let stub = |server: SocketAddr| format!("  stub-addr: {}@{}\n", server.ip(), server.port());
    let mut stubs = stub(server);
    for (zone, server) in others {
        stubs += &format!("stub-zone:\n  name: \"{zone}\"\n{}", stub(*server));
    }
    let file = anchor.ds_file();
    // Do not signal the trust anchor to servers (RFC 8145).
    let validator = format!(
        "module-config: \"validator iterator\"\n  trust-anchor-file: \"{}\"\n  \
         trust-anchor-signaling: no\n  val-log-level: 2\n  {lines}",
        file.display()
    );
    Unbound::start_with(&stubs, &validator)
}

/// The verdict of unbound about the answer to a question.
pub fn by_unbound(unbound: &Unbound, (name, qtype): Question<'_>) -> Judgement {
    let reply = ask_resolver(unbound.address, name, number(qtype), PATIENCE);
    let reply = reply.unwrap_or_else(|| panic!("no reply:\n{}", unbound.log()));
    (of_reply(&reply), format!("{reply}\n{}", unbound.log()))
}

/// How long a client waits for a reply before it asks again. Unbound discards what takes longer than 1.9 seconds
/// (`discard-timeout`), as resolutions do on a busy machine, and relies on clients that ask again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// The reply of a resolver; none after the time-out.
pub fn ask_resolver(
    resolver: SocketAddr,
    name: &str,
    qtype: u16,
    patience: Duration,
) -> Option<Reply> {
    let mut query = wire::query(&wire::wire(&format!("{name}.")), qtype, SIZE, 0);
    query[2..4].copy_from_slice(&RD_AD);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(resolver).unwrap();
    socket
        .set_read_timeout(Some(patience.min(ASK_AGAIN)))
        .unwrap();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let began = Instant::now();
    let length = loop {
        socket.send(&query).ok()?;
        match socket.recv(&mut buffer) {
            Ok(length) => break length,
            Err(_) if began.elapsed() < patience => {}
            Err(_) => return None,
        }
    };
    Some(Reply::read(buffer[..length].to_vec()).unwrap())
}

/// The verdict that a resolver expresses by a reply.
pub fn of_reply(reply: &Reply) -> Verdict {
    match reply.rcode {
        SERV_FAIL => Verdict::Bogus,
        _ if reply.has(AD) => Verdict::Secure,
        _ => Verdict::Insecure,
    }
}

/// The number of a type that the tests query.
pub fn number(qtype: &str) -> u16 {
    match qtype {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "DNAME" => 39,
        "DS" => 43,
        "NSEC" => 47,
        "DNSKEY" => 48,
        "NSEC3PARAM" => 51,
        "CDS" => 59,
        "CDNSKEY" => 60,
        "HTTPS" => 65,
        "ANY" => 255,
        "URI" => 256,
        other => other.strip_prefix("TYPE").unwrap().parse().unwrap(),
    }
}
