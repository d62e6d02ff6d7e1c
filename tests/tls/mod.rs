//! DNS over TLS: kdig, openssl and unbound as clients, and one of our own.

mod certificates;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
};

use crate::harness::{PATIENCE, Server, Setup, eventually, output, parse, plain_query, query, run};
use crate::redis::make_certificates;
use crate::resolver::Unbound;

const STATIC: &str = "ns1.s.example.com.";

const HOSTNAME: &str = "ns1.s.example.com";

/// The option of RFC 7830, by which a query asks for a padded reply.
const PADDING: u16 = 12;

/// RFC 8467 §4.1.
const BLOCK: usize = 468;

/// A server with DNS over TLS.
struct Secure {
    server: Server,
    address: SocketAddr,
    /// The authority, the certificate and its key.
    dir: TempDir,
}

impl Secure {
    fn start() -> Self {
        Self::with(Setup::new())
    }

    fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path());
        let server = setup.section(&section(dir.path())).start();
        let line = server.log().wait_for("\"DNS over TLS\"");
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        Self {
            server,
            address,
            dir,
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The configuration of a client that trusts the authority.
    fn trust(&self) -> Arc<ClientConfig> {
        let ca = CertificateDer::from_pem_file(self.file("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let client = builder.with_root_certificates(roots).with_no_client_auth();
        Arc::new(client)
    }

    fn connect(&self) -> Client {
        self.connect_as(&self.trust())
    }

    fn connect_as(&self, config: &Arc<ClientConfig>) -> Client {
        let name = self.address.ip().into();
        let session = ClientConnection::new(config.clone(), name).unwrap();
        Client(StreamOwned::new(session, self.raw()))
    }

    /// A connection without TLS.
    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn handshakes(&self, result: &str) -> f64 {
        let labels = [("result", result)];
        self.server
            .metric("tinyns_dns_tls_handshakes_total", &labels)
    }

    fn come_to_be(&self, result: &str, number: f64) {
        eventually(&format!("{number} {result}"), PATIENCE, || {
            self.handshakes(result) == number
        });
    }

    fn s_client(&self, more: &[&str]) -> Output {
        let (address, ca) = (self.address.to_string(), self.file("ca.pem"));
        let base = ["s_client", "-connect", &address, "-CAfile", &ca];
        let checks = ["-verify_return_error", "-verify_ip", "127.0.0.1"];
        output("openssl", &[&base[..], &checks, more].concat())
    }
}

pub fn section(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[dns.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{dir}/server.pem\"\n\
         key = \"{dir}/server.key\"\n"
    )
}

/// A client's end of a connection.
struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn send(&mut self, messages: &[Vec<u8>]) {
        let framed = messages.iter().flat_map(|message| {
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            [&length[..], message].concat()
        });
        self.0.write_all(&framed.collect::<Vec<_>>()).unwrap();
        self.0.flush().unwrap();
    }

    /// The next reply; none behind the server's close_notify (RFC 8446 §6.1). An end without that is an
    /// error.
    fn reply(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        match self.0.read(&mut length[..1]).unwrap() {
            0 => return None,
            _ => self.0.read_exact(&mut length[1..]).unwrap(),
        }
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut reply).unwrap();
        Some(reply)
    }

    fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        self.send(&[message.to_vec()]);
        self.reply().expect("no reply")
    }

    fn is_served(&mut self) {
        let reply = parse(&self.ask(&query(STATIC, RecordType::A).to_bytes().unwrap()));
        assert_eq!(reply.answers.len(), 1);
    }
}

fn padded(mut message: Message) -> Message {
    let edns = message.edns.get_or_insert_default();
    let option = EdnsOption::Unknown(PADDING, vec![0; 20]);
    edns.options_mut().insert(option);
    message
}

/// The codes of the options in the OPT record of a reply.
fn codes(reply: &[u8]) -> Vec<u16> {
    let reply = parse(reply);
    let options = reply.edns.as_ref().map(|edns| edns.options().as_ref());
    let options = options.into_iter().flatten();
    options.map(|(code, _)| u16::from(*code)).collect()
}

#[test]
fn rfc7858_3_kdig_uses_tls() {
    let secure = Secure::start();
    let link = secure.server.register("sale", "https://example.net/sale");
    let port = secure.address.port().to_string();
    let ca = format!("+tls-ca={}", secure.file("ca.pem"));
    let hostname = format!("+tls-hostname={HOSTNAME}");
    let server = ["@127.0.0.1", "-p", &port];
    let asked = ["TXT", &link, "+padding"];
    // RFC 8310 §5: strict, and opportunistic.
    for profile in [&[ca.as_str(), &hostname][..], &["+tls"]] {
        let said = run("kdig", &[&server[..], &asked, profile].concat());
        assert!(said.contains("TLS session (TLS1.3)"), "{said}");
        assert!(said.contains("\"https://example.net/sale\""), "{said}");
        assert!(said.contains("PADDING: "), "{said}");
        assert!(said.contains(";; Received 468 B"), "{said}");
    }
    // Another name than that of the certificate, and an authority that has not signed it.
    let other = tempfile::tempdir().unwrap();
    make_certificates(other.path());
    let other = format!("+tls-ca={}", other.path().join("ca.pem").display());
    for refused in [
        [ca.as_str(), "+tls-hostname=other.example"],
        [&other, &hostname],
    ] {
        let said = output("kdig", &[&server[..], &asked, &refused].concat());
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(!said.contains("https://example.net/sale"), "{said}");
    }
    let labels = [("transport", "Tls")];
    assert_eq!(
        secure.server.metric("tinyns_dns_responses_total", &labels),
        2.0
    );
}

/// Whatever the reply is.
#[test]
fn rfc8467_4_1_replies_by_tls_are_padded_if_the_query_is() {
    let setup = Setup::new().dns_line("nsid = \"test\"");
    let secure = Secure::with(setup);
    let long = format!("https://example.net/{}", "x".repeat(1_500));
    let link = secure.server.register("long", &long);
    let with = |name: &str, qtype| padded(query(name, qtype));
    let mut badvers = with(STATIC, RecordType::A);
    badvers.edns.as_mut().unwrap().set_version(1);
    let mut notify = with("s.example.com.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    let mut twice = with(STATIC, RecordType::A);
    twice.queries.push(twice.queries[0].clone());
    let queries = [
        (with(STATIC, RecordType::A), ResponseCode::NoError, 1),
        (
            with("s.example.com.", RecordType::MX),
            ResponseCode::NoError,
            1,
        ),
        (with(&link, RecordType::TXT), ResponseCode::NoError, 4),
        (
            with("none.s.example.com.", RecordType::A),
            ResponseCode::NXDomain,
            1,
        ),
        (
            with("example.org.", RecordType::A),
            ResponseCode::Refused,
            1,
        ),
        (
            with("s.example.com.", RecordType::AXFR),
            ResponseCode::Refused,
            1,
        ),
        (twice, ResponseCode::FormErr, 1),
        (notify, ResponseCode::Refused, 1),
        // Without TSIG, 16 is BADVERS.
        (badvers, ResponseCode::BADSIG, 1),
    ];
    let mut client = secure.connect();
    for (query, rcode, blocks) in &queries {
        let query = query.to_bytes().unwrap();
        let reply = client.ask(&query);
        let message = parse(&reply);
        assert_eq!(message.metadata.response_code, *rcode, "{message:?}");
        assert_eq!(reply.len(), blocks * BLOCK, "{message:?}");
        assert_eq!(codes(&reply).last(), Some(&PADDING), "{message:?}");
    }
    // RFC 7830 §4 and §6: not without the query's, and not where everybody reads it.
    let bare = query(STATIC, RecordType::A).to_bytes().unwrap();
    assert_eq!(codes(&client.ask(&bare)), [] as [u16; 0]);
    let bare = plain_query(STATIC, RecordType::A).to_bytes().unwrap();
    assert!(parse(&client.ask(&bare)).edns.is_none());
    let asking = queries[0].0.to_bytes().unwrap();
    for reply in [secure.server.udp(&asking), secure.server.tcp(&asking)] {
        assert_eq!(codes(&reply), [] as [u16; 0]);
    }
}

/// RFC 8945 §5.3.2: TSIG is the last record, also behind padding.
#[test]
fn rfc8467_4_1_a_reply_with_tsig_is_padded() {
    let secure = Secure::start();
    let mut message = padded(query(STATIC, RecordType::A)).to_bytes().unwrap();
    message[11] += 1;
    message.extend(b"\x03key\0\0\xFA\0\xFF\0\0\0\0\0\x3D");
    message.extend(b"\x0Bhmac-sha256\0");
    message.extend([0, 0, 0x60, 0, 0, 0, 1, 0x2C, 0, 32]);
    message.extend([7; 32]);
    message.extend([0x5A, 0x17, 0, 0, 0, 0]);
    let reply = secure.connect().ask(&message);
    assert_eq!(reply[3] & 0x0F, 9, "NOTAUTH");
    assert_eq!(reply[10..12], [0, 2]);
    assert_eq!(reply.len(), BLOCK);
}

#[test]
fn rfc7858_6_versions_and_alpn_by_openssl() {
    let secure = Secure::start();
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let without = secure.s_client(&[version]);
        assert!(without.status.success(), "{without:?}");
        assert!(said(&without).contains(name), "{without:?}");
        assert!(said(&without).contains("No ALPN negotiated"), "{without:?}");
        let with = secure.s_client(&[version, "-alpn", "h2,dot"]);
        assert!(with.status.success(), "{with:?}");
        assert!(said(&with).contains("ALPN protocol: dot"), "{with:?}");
        // RFC 7301 §3.2: a client that wants another protocol gets an alert.
        let other = secure.s_client(&[version, "-alpn", "h2"]);
        assert!(!other.status.success(), "{other:?}");
        let error = String::from_utf8_lossy(&other.stderr);
        assert!(error.contains("no application protocol"), "{error}");
    }
    // RFC 8996: nothing older.
    let old = secure.s_client(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(!old.status.success(), "{old:?}");
    let error = String::from_utf8_lossy(&old.stderr);
    // Which of the two alerts depends on the client's other offers.
    let is_refused = ["alert protocol version", "alert handshake failure"];
    assert!(
        is_refused.iter().any(|alert| error.contains(alert)),
        "{error}"
    );
    secure.come_to_be("Full", 4.0);
    secure.come_to_be("Failed", 3.0);
}

#[test]
fn rfc7858_3_3_pipelining() {
    let secure = Secure::start();
    let mut client = secure.connect();
    let many = (0..1_000).map(|id| {
        let mut message = padded(query(STATIC, RecordType::A));
        message.metadata.id = id;
        message.to_bytes().unwrap()
    });
    client.send(&many.collect::<Vec<_>>());
    for id in 0..1_000 {
        let reply = client.reply().unwrap();
        assert_eq!((parse(&reply).metadata.id, reply.len()), (id, BLOCK));
    }
}

/// RFC 7858 §3.4: a session is resumed, by whichever version.
#[test]
fn rfc7858_3_4_sessions_are_resumed() {
    let secure = Secure::start();
    let trust = secure.trust();
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = secure.connect_as(&trust);
        client.is_served();
        assert_eq!(client.0.conn.handshake_kind(), Some(expected));
    }
    assert_eq!(
        (secure.handshakes("Full"), secure.handshakes("Resumed")),
        (1.0, 1.0)
    );
    let sessions = tempfile::tempdir().unwrap();
    let file = sessions.path().join("session").display().to_string();
    let first = secure.s_client(&["-tls1_2", "-sess_out", &file]);
    assert!(first.status.success(), "{first:?}");
    let second = secure.s_client(&["-tls1_2", "-sess_in", &file]);
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(said.contains("Reused, TLSv1.2"), "{said}");
}

/// RFC 7766 §6.2.4 holds as well, with close_notify (RFC 8446 §6.1) and, as many a client does, without.
#[test]
fn rfc7858_3_4_a_half_closed_connection_is_answered() {
    let secure = Secure::start();
    let asked = query(STATIC, RecordType::A).to_bytes().unwrap();
    for notifies in [true, false] {
        let mut client = secure.connect();
        client.is_served();
        if notifies {
            client.send(std::slice::from_ref(&asked));
            client.0.conn.send_close_notify();
            client.0.flush().unwrap();
        } else {
            client.send(std::slice::from_ref(&asked));
            client.0.sock.shutdown(Shutdown::Write).unwrap();
        }
        assert!(client.reply().is_some(), "{notifies}");
        assert_eq!(client.reply(), None, "{notifies}");
    }
    eventually("both have ended well", PATIENCE, || {
        let labels = [("reason", "Client")];
        secure.server.metric("tinyns_dns_tcp_closed_total", &labels) == 2.0
    });
}

#[test]
fn rfc7858_3_4_an_idle_connection_ends_with_close_notify() {
    let secure = Secure::with(Setup::new().section("[dns.tcp]\nidle = 1\n"));
    let mut client = secure.connect();
    client.is_served();
    assert_eq!(client.reply(), None);
}

/// A client that stalls in its handshake keeps its seat until another client needs it, and for five seconds at most.
#[test]
fn rfc7858_a_client_that_stalls_in_the_handshake_is_disconnected() {
    let secure = Secure::with(Setup::new().section("[dns.tcp]\nconnections = 3\n"));
    // Silent, and in the midst of a record.
    let silent = secure.raw();
    let mut halfway = secure.raw();
    halfway.write_all(b"\x16\x03\x01\x02\0\x01").unwrap();
    let mut others: Vec<_> = (0..3).map(|_| secure.connect()).collect();
    for client in &mut others {
        client.is_served();
    }
    for mut stalled in [silent, halfway] {
        assert!(is_over(&mut stalled));
    }
    secure.come_to_be("Dropped", 2.0);
    drop(others);
    let mut late = secure.raw();
    assert!(is_over(&mut late));
    secure.come_to_be("TimedOut", 1.0);
    eventually("it is counted", PATIENCE, || {
        let labels = [("reason", "Handshake")];
        secure.server.metric("tinyns_dns_tcp_closed_total", &labels) == 1.0
    });
    secure.connect().is_served();
}

/// Whether a connection ends without a word.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Neither other bytes than TLS, nor another transport.
#[test]
fn rfc7858_3_1_the_port_is_for_tls_alone() {
    let secure = Secure::start();
    let message = query(STATIC, RecordType::A).to_bytes().unwrap();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let garbage = [
        [&length[..], &message].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x16; 70_000],
        vec![0; 3],
    ];
    for bytes in &garbage {
        let mut stream = secure.raw();
        // It may be closed before all is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said);
        let is_end = |e: &std::io::Error| e.kind() == ErrorKind::ConnectionReset;
        assert!(end.as_ref().err().is_none_or(is_end), "{end:?}");
        // At most an alert (RFC 8446 §6).
        assert!(
            said.is_empty() || said[0] == 0x15 && said.len() == 7,
            "{said:?}"
        );
    }
    secure.come_to_be("Failed", 4.0);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(secure.address).unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    udp.send(&message).unwrap();
    assert!(udp.recv(&mut [0; 512]).is_err());
    secure.connect().is_served();
    let text = secure.server.log().text();
    let message = |line: &&str| line.contains("handshake") && !line.contains("\"DEBUG\"");
    assert_eq!(text.lines().find(message), None, "a client writes no log");
}

#[test]
fn rfc8310_a_resolver_that_uses_tls_gets_answers() {
    let secure = Secure::start();
    let link = secure.server.register("sale", "https://example.net/sale");
    let stub = format!(
        "  stub-addr: {ip}@{port}#{HOSTNAME}\n  stub-tls-upstream: yes\n",
        ip = secure.address.ip(),
        port = secure.address.port(),
    );
    let bundle = format!("tls-cert-bundle: \"{}\"", secure.file("ca.pem"));
    let unbound = Unbound::start_with(&stub, &bundle);
    let reply = unbound.ask(&format!("{link}."), RecordType::TXT);
    assert_eq!(reply.answers.len(), 2, "{reply:?}");
    let responses = |transport| {
        let labels = [("transport", transport)];
        secure.server.metric("tinyns_dns_responses_total", &labels)
    };
    assert!(responses("Tls") >= 2.0);
    assert_eq!(responses("Udp") + responses("Tcp"), 0.0);
}
