//! Response rate limiting: the real program, and clients at addresses of the loopback network, which is
//! large enough for many client networks.

// Packet by packet, without a socket.
mod flood;
mod packets;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use crate::harness::{PATIENCE, Server, Setup, eventually, output, plain_query, query, run};
use crate::resolver::Unbound;

/// The network of the victim, and how many of its hosts the flood names as the source.
const VICTIM: [u8; 3] = [127, 66, 0];

/// How long a client waits for a reply.
const TRY: Duration = Duration::from_millis(500);

fn socket([a, b, c]: [u8; 3], d: u8) -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::new(a, b, c, d), 0)).unwrap()
}

fn url(reply: &Message) -> String {
    let texts = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        });
    String::from_utf8(texts.collect::<Vec<_>>().concat()).unwrap()
}

/// A server whose links each lead to a long URL of their own.
fn start(section: &str, codes: &[&str]) -> Server {
    let server = Setup::new()
        .section(&format!("[rate_limit]\n{section}"))
        // A line for each query would slow it down.
        .env("TINYNS_LOG", "info")
        .start();
    for code in codes {
        server.register(code, &target(code));
    }
    server
}

fn target(code: &str) -> String {
    format!("https://example.net/{}/{code}", "long".repeat(100))
}

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

/// How many replies by UDP the server limited with this action.
fn limited(server: &Server, action: &str) -> u64 {
    server.metric("tinyns_rate_limited_total", &[("action", action)]) as u64
}

/// Sends packets that exhaust an account of the limiter while `work` runs.
fn exhausting<T>(
    server: &Server,
    network: [u8; 3],
    packets: &[Vec<u8>],
    work: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    let socket = socket(network, 99);
    socket.connect(server.dns).unwrap();
    let send = || {
        for packet in packets {
            let _ = socket.send(packet);
        }
    };
    for _ in 0..5 {
        send();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                send();
            }
        });
        // Also if it panics: the scope waits for the thread.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|failure| std::panic::resume_unwind(failure))
    })
}

fn txt(code: &str) -> Vec<u8> {
    query(&name(code), RecordType::TXT).to_bytes().unwrap()
}

/// dig at another address of a network that is limited.
fn dig(server: &Server, arguments: &[&str]) -> String {
    let (ip, port) = (server.dns.ip().to_string(), server.dns.port().to_string());
    let at = format!("@{ip}");
    let mut all = vec![
        at.as_str(),
        "-p",
        &port,
        "-b",
        "127.66.0.9",
        "+tries=5",
        "+timeout=2",
    ];
    all.extend(arguments);
    run("dig", &all)
}

#[test]
fn dig_is_answered_by_tcp_or_with_its_cookie() {
    let server = start("responses_per_second = 1\nburst = 1\nslip = 1\n", &["busy"]);
    let name = name("busy");
    exhausting(&server, VICTIM, &[txt("busy")], || {
        // Now and then it is dig itself that gets the one reply a second.
        let eventually_shows = |arguments: &[&str], shown: &[&str]| {
            let what = format!("{arguments:?}: {shown:?}");
            eventually(&what, PATIENCE, || {
                let text = dig(&server, arguments);
                shown.iter().all(|part| text.contains(part))
            });
        };
        let txt = ["TXT", &name];
        let with = |flags: &[&'static str]| [flags, &txt[..]].concat();
        let url = target("busy");
        let (first, rest) = url.split_at(255);
        let data = format!("\"{first}\" \"{rest}\"");
        eventually_shows(
            &with(&["+nocookie", "+ignore"]),
            &["flags: qr aa tc", "NOERROR"],
        );
        eventually_shows(
            &with(&["+nocookie"]),
            &["Truncated, retrying in TCP", &data],
        );
        eventually_shows(&with(&["+cookie", "+nobadcookie"]), &["status: BADCOOKIE"]);
        eventually_shows(
            &with(&["+cookie"]),
            &["BADCOOKIE, retrying", "status: NOERROR", "(UDP)", &data],
        );
    });
    assert!(limited(&server, "BadCookie") >= 2);
    assert_eq!(limited(&server, "Dropped"), 0);
}

/// unbound has no cookies for the servers that it asks.
#[test]
fn unbound_still_resolves_for_a_victim() {
    let codes = ["one", "two", "three", "four", "five"];
    let server = start("responses_per_second = 1\nburst = 1\n", &codes);
    let unbound = Unbound::start(&server);
    let packets = codes.map(txt);
    exhausting(&server, [127, 0, 0], &packets, || {
        for code in codes {
            let end = Instant::now() + 3 * PATIENCE;
            let resolved = || {
                let reply = unbound.try_ask(&format!("{}.", name(code)), RecordType::TXT)?;
                // The URL is long, but fits.
                (reply.metadata.response_code == ResponseCode::NoError).then(|| url(&reply))
            };
            let url = loop {
                if let Some(url) = resolved() {
                    break url;
                }
                assert!(Instant::now() < end, "unbound does not resolve {code}");
            };
            assert_eq!(url, target(code));
        }
    });
    assert!(limited(&server, "Slipped") > 0 && limited(&server, "Dropped") > 0);
    let by_tcp = server.metric("tinyns_dns_responses_total", &[("transport", "Tcp")]);
    assert!(by_tcp > 0.0);
}

/// Names that exist count by name, all other names by zone. Exempt clients are not limited.
#[test]
fn existing_names_have_accounts_of_their_own() {
    let names: Vec<_> = (0..20).map(|number| format!("n{number}")).collect();
    let codes: Vec<_> = names.iter().map(String::as_str).collect();
    let section = "\
responses_per_second = 1
all_per_second = 0
burst = 1
slip = 0
exempt = [\"127.88.0.0/16\"]
";

    let server = start(section, &codes);
    let answered = |network: [u8; 3], host: u8, below: &str, qtype: RecordType| {
        let socket = socket(network, host);
        socket.connect(server.dns).unwrap();
        for name in &names {
            let name = format!("{name}{below}.s.example.com");
            let packet = plain_query(&name, qtype).to_bytes().unwrap();
            socket.send(&packet).unwrap();
        }
        let began = Instant::now();
        socket.set_read_timeout(Some(TRY)).unwrap();
        let replies = std::iter::from_fn(|| socket.recv(&mut [0; 512]).ok());
        let count = replies.take(names.len()).count();
        (count, began.elapsed().as_secs() as usize)
    };
    let all = |network, host, below: &str, qtype| {
        let (count, _) = answered(network, host, below, qtype);
        assert_eq!(count, 20, "{below} {qtype}");
    };
    let few = |host, below: &str, qtype| {
        let (count, seconds) = answered([127, 66, 1], host, below, qtype);
        assert!(
            (1..=2 + seconds).contains(&count),
            "{below} {qtype}: {count}"
        );
    };
    // Links, also without data; a wildcard, also without data; a zone cut; a name that does not exist.
    all([127, 66, 1], 1, "", RecordType::TXT);
    all([127, 66, 1], 1, ".r", RecordType::HINFO);
    few(2, ".wild", RecordType::TXT);
    few(3, ".wild", RecordType::A);
    few(4, ".sub", RecordType::A);
    few(5, "x", RecordType::TXT);
    // Another host of the same network has no more of that than the first.
    let (count, seconds) = answered([127, 66, 1], 6, "y", RecordType::TXT);
    assert!(count <= 1 + seconds, "{count}");
    for below in ["", ".wild", ".sub", "x"] {
        all([127, 88, 1], 1, below, RecordType::TXT);
    }
    let kinds = ["Answer", "NoData", "NxDomain", "Referral"].map(|kind| {
        let labels = [("action", "Dropped"), ("kind", kind)];
        server.metric("tinyns_rate_limited_total", &labels) > 0.0
    });
    assert_eq!(kinds, [true; 4]);
}

#[test]
fn check_reports_the_faults_of_the_section() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tinyns.toml");
    std::fs::write(&config, "[rate_limit]\nslip = 11\n").unwrap();
    let config = config.to_str().unwrap();
    let output = output(env!("CARGO_BIN_EXE_tinyns"), &["check", "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("{config}:2:8: rate_limit.slip: 11 is not within 0 to 10");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&expected), "{stderr}");
}
