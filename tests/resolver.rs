//! Behind a caching resolver, as nearly every user is: unbound with a stub zone and 0x20.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{PATIENCE, Process, Server, Setup, free_port, parse, query, unhurried};

const TARGET: &str = "https://example.net/some/page?x=1";

/// An unbound that asks one tinyns for `s.example.com`.
pub struct Unbound {
    _child: Process,
    pub address: SocketAddr,
    dir: TempDir,
}

impl Unbound {
    pub fn start(server: &Server) -> Self {
        Self::with(server, "")
    }

    /// With a further line for its section `server`.
    pub fn with(server: &Server, line: &str) -> Self {
        let (ip, port) = (server.dns.ip(), server.dns.port());
        Self::start_with(&format!("  stub-addr: {ip}@{port}\n"), line)
    }

    /// With these lines for its stub zone, and one more for its section `server`.
    pub fn start_with(stub: &str, line: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = dir.path().join("unbound.conf");
        let text = format!(
            "server:\n  interface: 127.0.0.1\n  port: {port}\n  do-daemonize: no\n  username: \"\"\n  \
             chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
             do-not-query-localhost: no\n  use-caps-for-id: yes\n  module-config: \"iterator\"\n  \
             num-threads: 1\n  access-control: 127.0.0.0/8 allow\n  \
             local-zone: \"example.com.\" nodefault\n  {line}\n\
             stub-zone:\n  name: \"s.example.com\"\n{stub}\
             remote-control:\n  control-enable: no\n",
            port = address.port(),
            dir = dir.path().display(),
        );
        std::fs::write(&config, text).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new("unbound")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map(Process)
            .expect("unbound; tests/run.sh installs what tests need");
        let unbound = Self {
            _child: child,
            address,
            dir,
        };
        let end = Instant::now() + PATIENCE;
        while unbound.try_ask("s.example.com.", RecordType::SOA).is_none() {
            assert!(
                Instant::now() < end,
                "unbound does not answer:\n{}",
                unbound.log()
            );
        }
        unbound
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn try_ask(&self, name: &str, qtype: RecordType) -> Option<Message> {
        let mut message = query(name, qtype);
        message.metadata.recursion_desired = true;
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        socket.connect(self.address).ok()?;
        socket.send(&message.to_bytes().ok()?).ok()?;
        let mut buffer = [0; 4_096];
        let length = socket.recv(&mut buffer).ok().or_else(|| {
            std::thread::sleep(Duration::from_millis(20));
            None
        })?;
        Some(parse(&buffer[..length]))
    }

    pub fn ask(&self, name: &str, qtype: RecordType) -> Message {
        self.try_ask(name, qtype).expect("no reply from unbound")
    }
}

fn types(message: &Message) -> Vec<String> {
    let mut types: Vec<_> = message
        .answers
        .iter()
        .map(|r| r.record_type().to_string())
        .collect();
    types.sort();
    types
}

/// The answers for each type, from the server or from the resolver's cache.
fn check(unbound: &Unbound, layout: &str, name: &str, qtype: RecordType) {
    let reply = unbound.ask(name, qtype);
    assert_eq!(
        reply.metadata.response_code,
        ResponseCode::NoError,
        "{name} {qtype}"
    );
    let own = match qtype {
        RecordType::CNAME | RecordType::MX => vec![],
        qtype => vec![qtype.to_string()],
    };
    let mut expected = own;
    if layout == "cname" {
        expected.push("CNAME".into());
    }
    expected.sort();
    assert_eq!(
        types(&reply),
        expected,
        "{layout} {name} {qtype}: {reply:?}"
    );
    if qtype == RecordType::TXT {
        let text = reply.answers.last().unwrap().data.to_string();
        assert!(text.contains(TARGET), "{text}");
    }
}

#[test]
fn every_order_of_types_is_right_from_cache() {
    let qtypes = [
        RecordType::A,
        RecordType::TXT,
        RecordType::CNAME,
        RecordType::MX,
    ];
    for layout in ["cname", "direct"] {
        let server = Setup::with_layout(layout).start();
        let unbound = Unbound::start(&server);
        for (number, order) in permutations(&qtypes).into_iter().enumerate() {
            let code = format!("code{number}");
            let link = server.add_with(&json!({"url": TARGET, "code": code}));
            let name = format!("{}.", link["name"].as_str().unwrap());
            // Twice over: the second round is answered from the cache alone.
            for qtype in order.iter().chain(&order) {
                check(&unbound, layout, &name, *qtype);
            }
        }
    }
}

fn permutations(items: &[RecordType]) -> Vec<Vec<RecordType>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (place, first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(place);
        for mut tail in permutations(&rest) {
            tail.insert(0, *first);
            all.push(tail);
        }
    }
    all
}

#[test]
fn a_new_code_appears_within_the_negative_ttl() {
    let zone = crate::harness::ZONE.replace("604800 60", "604800 2");
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"", &zone)
        .start();
    let unbound = Unbound::start(&server);
    let rcode = |code: &str| {
        unbound
            .ask(&format!("{code}.s.example.com."), RecordType::TXT)
            .metadata
            .response_code
    };
    let late = unhurried(Duration::from_secs(1), |number| {
        let code = format!("late{number}");
        assert_eq!(rcode(&code), ResponseCode::NXDomain);
        server.add_with(&json!({"url": TARGET, "code": code}));
        assert_eq!(
            rcode(&code),
            ResponseCode::NXDomain,
            "the resolver did not cache the absence"
        );
        code
    });
    std::thread::sleep(Duration::from_millis(3_100));
    assert_eq!(rcode(&late), ResponseCode::NoError);
}

#[test]
fn a_long_url_and_a_referral_pass_through() {
    let server = Server::start();
    let unbound = Unbound::start(&server);
    let url = format!("https://example.net/{}", "z".repeat(2_028));
    server.add_with(&json!({"url": url, "code": "long"}));
    // Too large for UDP between client and resolver as well.
    let reply = unbound.ask("long.s.example.com.", RecordType::TXT);
    assert!(reply.metadata.truncation);
    let port = unbound.address.port().to_string();
    let text = crate::harness::run(
        "dig",
        &[
            "@127.0.0.1",
            "-p",
            &port,
            "+short",
            "TXT",
            "long.s.example.com",
        ],
    );
    let strings: String = text.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings, url);
}

/// RFC 7766 §5: TCP is as good as UDP. A resolver that uses TCP only, and keeps its connections open.
#[test]
fn rfc7766_5_a_resolver_may_use_tcp_only() {
    const LINKS: usize = 50;
    let server = Server::start();
    let unbound = Unbound::with(&server, "tcp-upstream: yes");
    for number in 0..LINKS {
        let code = format!("code{number}");
        server.add_with(&json!({"url": TARGET, "code": code}));
        check(
            &unbound,
            "cname",
            &format!("{code}.s.example.com."),
            RecordType::TXT,
        );
    }
    let replies = |transport| {
        let labels = [("transport", transport)];
        server.metric("tinyns_dns_responses_total", &labels)
    };
    assert_eq!(replies("Udp"), 0.0);
    assert!(replies("Tcp") >= LINKS as f64);
    let connections = server.metric("tinyns_dns_tcp_accepted_total", &[]);
    assert!(connections < LINKS as f64 / 2.0, "{connections}");
}
