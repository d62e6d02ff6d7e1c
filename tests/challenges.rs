//! The challenges of ACME in DNS: one server puts them into the store, and all answer with them.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable as _;
use nix::sys::signal::Signal;
use tinyns::base::clock::{Clock, UnixTime};
use tinyns::certificates::Challenges;
use tinyns::link::Origin;
use tokio::runtime::Runtime;

use crate::dynamo::{self, Emulator, Proxy};
use crate::harness::{PATIENCE, Server, Setup, ZONE, eventually, output, parse, query, run};
use crate::redis::make_certificates;

/// The name of the challenges of the usual zone.
pub const CHALLENGE: &str = "_acme-challenge.s.example.com.";
/// How many reads of the challenges of a zone begin in a second at most.
const READS_PER_SECOND: f64 = 20.0;

/// Sections for ACME with a directory that nobody serves. The key file is made in this directory.
pub fn sections(dir: &Path) -> String {
    let key = dir.join("certificates.key");
    std::fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    format!(
        "[https]\nlisten = \"127.0.0.1:0\"\n[https.acme]\n\
         directory = \"https://127.0.0.1:1/directory\"\naccept_terms = true\nkey_file = \"{}\"\n",
        key.display()
    )
}

/// The lines of `[store]` for a DynamoDB table.
pub fn table(url: &str) -> String {
    format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\ncreate_table = true\n")
}

/// Puts challenges into a table, as another server would.
pub struct Orderer {
    runtime: Runtime,
    challenges: Challenges,
    origin: Origin,
}

impl Orderer {
    pub fn of(emulator: &Emulator) -> Self {
        let runtime = Runtime::new().unwrap();
        let config = dynamo::config(&emulator.url());
        let store = runtime.block_on(dynamo::open(&config)).unwrap();
        Self {
            runtime,
            challenges: Challenges::new(Arc::new(store), Clock::default()),
            origin: Origin::parse("s.example.com").unwrap(),
        }
    }

    pub fn offer(&self, values: &[&str]) {
        let until = UnixTime(Clock::default().now().0 + 3_600);
        let offer = self.challenges.offer(&self.origin, values, until);
        self.runtime.block_on(offer).unwrap();
    }

    pub fn withdraw(&self, values: &[&str]) {
        let withdraw = self.challenges.withdraw(&self.origin, values);
        self.runtime.block_on(withdraw).unwrap();
    }
}

/// A server with ACME on a DynamoDB table.
fn node(url: &str, dir: &Path) -> Server {
    let setup = Setup::new().store(&table(url)).section(&sections(dir));
    let setup = match dir.join("server.pem").exists() {
        true => setup.section(&format!(
            "[dns.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"{0}/server.pem\"\nkey = \"{0}/server.key\"\n",
            dir.display()
        )),
        false => setup,
    };
    setup.start()
}

/// The values by DNS over TLS, sorted.
fn by_tls(server: &Server) -> Vec<String> {
    let line = server.log().wait_for("\"DNS over TLS\"");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    let (host, port) = (format!("@{}", address.ip()), address.port().to_string());
    let said = run(
        "kdig",
        &[&host, "-p", &port, "+tls", "+short", "TXT", CHALLENGE],
    );
    let mut texts: Vec<_> = said
        .lines()
        .map(|line| line.trim_matches('"').to_owned())
        .collect();
    texts.sort_unstable();
    texts
}

/// The values in a reply, sorted; all of its TTLs are 0.
fn values(reply: &Message) -> Vec<String> {
    assert_eq!(
        reply.metadata.response_code,
        ResponseCode::NoError,
        "{reply:?}"
    );
    assert!(
        reply.metadata.authoritative && !reply.metadata.truncation,
        "{reply:?}"
    );
    let records = reply.answers.iter().chain(&reply.authorities);
    assert!(
        records.clone().count() > 0 && records.clone().all(|record| record.ttl == 0),
        "{reply:?}"
    );
    let texts = reply.answers.iter().map(|record| record.data.to_string());
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts
}

#[test]
fn all_servers_of_a_fleet_answer_challenges_at_once() {
    let (emulator, dir) = (Emulator::start(), tempfile::tempdir().unwrap());
    make_certificates(dir.path());
    let servers = [(); 2].map(|()| node(&emulator.url(), dir.path()));
    let orderer = Orderer::of(&emulator);
    let packet = query(CHALLENGE, RecordType::TXT).to_bytes().unwrap();
    let ask = |server: &Server| {
        let (udp, tcp) = (parse(&server.udp(&packet)), parse(&server.tcp(&packet)));
        let (udp, tcp) = (values(&udp), values(&tcp));
        assert_eq!(udp, tcp);
        assert_eq!(udp, by_tls(server));
        udp
    };
    for round in 0..10 {
        for server in &servers {
            assert!(ask(server).is_empty(), "round {round}");
        }
        let both = [format!("{round}-origin"), format!("{round}-wildcard")];
        let both = both.each_ref().map(String::as_str);
        orderer.offer(&both[..1]);
        for server in &servers {
            assert_eq!(ask(server), both[..1], "round {round}");
        }
        orderer.offer(&both[1..]);
        for server in &servers {
            assert_eq!(ask(server), both, "round {round}");
        }
        orderer.withdraw(&both);
    }
    // Names next to it are as before.
    for name in [
        "_acme-challenges.s.example.com.",
        "x._acme-challenge.s.example.com.",
    ] {
        let reply = servers[0].ask(name, RecordType::TXT);
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
    }
    drop(emulator);
    for server in &servers {
        let reply = server.ask(CHALLENGE, RecordType::TXT);
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert!(reply.answers.is_empty() && reply.authorities.is_empty());
    }
}

/// Anybody can ask for the name as often as they like, and each read costs money.
#[test]
fn a_flood_of_queries_for_challenges_costs_few_reads() {
    let (emulator, dir) = (Emulator::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::spawn(&emulator);
    let server = node(&proxy.url(), dir.path());
    server.register("sale", "https://example.net/");
    let orderer = Orderer::of(&emulator);
    orderer.offer(&["value"]);
    let packet = query(CHALLENGE, RecordType::TXT).to_bytes().unwrap();
    let link = query("sale.s.example.com.", RecordType::TXT);
    let link = link.to_bytes().unwrap();
    let is_over = &AtomicBool::new(false);
    proxy.count("acme:challenge:");
    let began = Instant::now();
    let sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                let _ = socket.send_to(&packet, server.dns);
                sent += 1;
                if sent.is_multiple_of(50) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            sent
        });
        // Also if an assertion fails.
        let over = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        let (mut answered, mut failed) = (0, 0);
        while began.elapsed() < Duration::from_secs(3) {
            // Links are answered meanwhile, and so are clients that ask for the challenge by TCP.
            let link = parse(&server.tcp(&link));
            assert_eq!(link.metadata.response_code, ResponseCode::NoError);
            let reply = parse(&server.tcp(&packet));
            match reply.metadata.response_code {
                // On a busy machine, a read of the emulator may take longer than a query waits.
                ResponseCode::ServFail => failed += 1,
                _ => answered += usize::from(values(&reply) == ["value"]),
            }
        }
        drop(over);
        assert!(answered > failed, "{answered} answers, {failed} failures");
        flood.join().unwrap()
    });
    let (reads, bound) = (
        proxy.counted(),
        began.elapsed().as_secs_f64() * READS_PER_SECOND + 1.0,
    );
    assert!(
        reads > 0 && (reads as f64) <= bound,
        "{reads} reads for {sent} queries"
    );
    assert!(sent as f64 > 10.0 * bound, "{sent} queries are no flood");
}

/// Calls a function when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// A zone file that has the name, so that no challenge could be answered.
#[test]
fn a_zone_file_with_the_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new().section(&sections(dir.path()));
    let mut server = setup.start();
    let file = server.dir().join("s.example.com.zone");
    let number = ZONE.lines().count() + 1;
    for (rtype, data) in [("NS", "ns.example.org."), ("TXT", "x")] {
        let line = format!("_acme-challenge IN {rtype} {data}");
        std::fs::write(&file, format!("{ZONE}{line}\n")).unwrap();
        server.signal(Signal::SIGHUP);
        let said = format!("has {rtype}, but [https.acme] answers this name itself");
        let said = server.log().wait_for(&said);
        assert!(
            said.contains(&format!("s.example.com.zone:{number}: ")),
            "{said}"
        );
        server.log().wait_for("the old zones serve on");
        assert!(values(&server.ask(CHALLENGE, RecordType::TXT)).is_empty());
    }
    std::fs::write(&file, ZONE.replace(" 1 3600 ", " 2 3600 ")).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the zone is loaded", PATIENCE, || {
        let reply = server.ask("s.example.com.", RecordType::SOA);
        reply.answers[0].data.to_string().contains(" 2 3600 ")
    });
    std::fs::write(&file, format!("{ZONE}_acme-challenge IN TXT x\n")).unwrap();
    assert!(server.stop().success());
    let config = server.config().display().to_string();
    let program = env!("CARGO_BIN_EXE_tinyns");
    for command in ["check", "serve"] {
        let refused = output(program, &[command, "--config", &config]);
        assert!(!refused.status.success(), "{command}: {refused:?}");
        let said = String::from_utf8([refused.stdout, refused.stderr].concat()).unwrap();
        assert!(
            said.contains("[https.acme] answers this name itself"),
            "{command}: {said}"
        );
        assert!(
            said.contains(&format!("s.example.com.zone:{number}: ")),
            "{command}: {said}"
        );
    }
}
