//! A flood with a victim's addresses as the source, and resolvers that go on meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::serialize::binary::BinEncodable;

use super::{TRY, VICTIM, limited, name, socket, start, target, url};
use crate::harness::{PATIENCE, Server, parse, query};

/// How long a flood lasts at least.
const FLOOD: Duration = Duration::from_secs(3);

/// How many queries a second a flood sends at most.
const FLOOD_RATE: u64 = 2_000;

/// How many queries a flood sends at once at most. After a pause of the machine it does not catch up: the server's
/// receive buffer has room for a few hundred packets, and would lose those of the resolvers.
const FLOOD_BURST: u64 = 50;

/// A flood goes on until each resolver has asked for all names this many times, after the limit has met it.
const ROUNDS: usize = 10;

/// A flood goes on until the victim has got this many truncated replies.
const SLIPS: u64 = 500;

const VICTIMS: u8 = 16;

/// A network that has nothing to do with the flood.
const ELSEWHERE: [u8; 3] = [127, 77, 0];

/// The cookie of a client that has none of the server yet (RFC 7873 §4.1).
const CLIENT_COOKIE: &[u8] = b"a cookie";

/// How long the counters must stay the same before a test takes them for final.
const QUIET: Duration = Duration::from_secs(1);

/// The replies that a client received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Replies {
    whole: u64,
    truncated: u64,
    bad_cookie: u64,
    /// The longest truncated reply, in bytes.
    longest_slip: usize,
}

impl Replies {
    fn count(&mut self, reply: &[u8]) {
        let message = parse(reply);
        match (message.metadata.response_code, message.metadata.truncation) {
            (ResponseCode::BADCOOKIE, false) => self.bad_cookie += 1,
            (ResponseCode::NoError, true) => {
                self.truncated += 1;
                self.longest_slip = self.longest_slip.max(reply.len());
            }
            (ResponseCode::NoError, false) => self.whole += 1,
            _ => panic!("{message:?}"),
        }
    }

    /// Counts all replies that wait in the receive buffer of a socket.
    fn take(&mut self, socket: &UdpSocket) {
        let mut buffer = [0; 4_096];
        socket.set_nonblocking(true).unwrap();
        while let Ok(length) = socket.recv(&mut buffer) {
            self.count(&buffer[..length]);
        }
    }

    fn all(&self) -> u64 {
        self.whole + self.truncated + self.bad_cookie
    }
}

/// An attacker who sends queries with the addresses of a victim. The sockets are the victim's: they receive the
/// replies.
struct Flood {
    sockets: Vec<UdpSocket>,
    packet: Vec<u8>,
    sent: u64,
    replies: Replies,
}

impl Flood {
    /// From the addresses of the victim, for this name.
    fn new(server: &Server, name: &str) -> Self {
        let sockets = (1..=VICTIMS).map(|host| {
            let socket = socket(VICTIM, host);
            socket.connect(server.dns).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        Self {
            sockets: sockets.collect(),
            packet: query(name, RecordType::TXT).to_bytes().unwrap(),
            sent: 0,
            replies: Replies::default(),
        }
    }

    /// Sends queries and receives the replies, for [`FLOOD`] at least, until it is over; for [`PATIENCE`] at most.
    fn run(&mut self, is_over: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        let mut due = 0;
        while began.elapsed() < PATIENCE && !(began.elapsed() >= FLOOD && is_over(self)) {
            let until_now = began.elapsed().as_micros() as u64 * FLOOD_RATE / 1_000_000;
            for _ in 0..(until_now - due).min(FLOOD_BURST) {
                let socket = &self.sockets[self.sent as usize % self.sockets.len()];
                // A query that the system refuses to send is not part of the flood.
                self.sent += u64::from(socket.send(&self.packet).is_ok());
            }
            due = until_now;
            self.take();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn take(&mut self) {
        for socket in &self.sockets {
            self.replies.take(socket);
        }
    }
}

/// A client that behaves like a resolver.
struct Resolver {
    socket: UdpSocket,
    server: SocketAddr,
    /// Whether its network is that of the victim.
    is_with_victim: bool,
    /// The cookie option, if it uses cookies.
    cookie: Option<Vec<u8>>,
    sent: u64,
    by_udp: Replies,
    by_tcp: u64,
}

impl Resolver {
    fn new(server: &Server, network: [u8; 3], host: u8) -> Self {
        let socket = socket(network, host);
        socket.connect(server.dns).unwrap();
        socket.set_read_timeout(Some(TRY)).unwrap();
        Self {
            socket,
            server: server.dns,
            is_with_victim: network == VICTIM,
            cookie: None,
            sent: 0,
            by_udp: Replies::default(),
            by_tcp: 0,
        }
    }

    fn with_cookies(self) -> Self {
        Self {
            cookie: Some(CLIENT_COOKIE.into()),
            ..self
        }
    }

    /// Whether it has met the limit and passed it by a server cookie or TCP. True also outside of the victim's
    /// network, where the limit is never met.
    fn has_met_limit(&self) -> bool {
        match &self.cookie {
            Some(cookie) => cookie.len() > CLIENT_COOKIE.len(),
            None => self.by_tcp > 0 || !self.is_with_victim,
        }
    }

    /// Asks for the URL of a link: again if no reply arrives or the reply is BADCOOKIE, and by TCP if the reply is
    /// truncated.
    fn url(&mut self, name: &str) -> String {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let Some(reply) = self.ask(name) else {
                continue;
            };
            if reply.metadata.truncation {
                self.by_tcp += 1;
                return url(&self.ask_by_tcp(name));
            }
            if reply.metadata.response_code == ResponseCode::NoError {
                return url(&reply);
            }
        }
        panic!("no answer for {name}");
    }

    fn message(&self, name: &str) -> Message {
        let mut message = query(name, RecordType::TXT);
        if let (Some(edns), Some(cookie)) = (&mut message.edns, &self.cookie) {
            let option = EdnsOption::Unknown(10, cookie.clone());
            edns.options_mut().insert(option);
        }
        message
    }

    fn ask(&mut self, name: &str) -> Option<Message> {
        self.sent += 1;
        let mut message = self.message(name);
        message.metadata.id = (self.sent & 0xffff) as u16;
        self.socket.send(&message.to_bytes().unwrap()).unwrap();
        let mut buffer = [0; 4_096];
        let reply = loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            self.by_udp.count(&buffer[..length]);
            let reply = parse(&buffer[..length]);
            // Not a late reply to an earlier query.
            if u64::from(reply.metadata.id) == self.sent & 0xffff {
                break reply;
            }
        };
        let cookie = self.cookie.as_deref().unwrap_or_default();
        let has_server_cookie = cookie.len() > CLIENT_COOKIE.len();
        assert!(
            !(has_server_cookie && reply.metadata.response_code == ResponseCode::BADCOOKIE),
            "limited in spite of a server cookie: {reply:?}"
        );
        let option = reply.edns.as_ref()?.option(EdnsCode::Cookie);
        if let Some(EdnsOption::Unknown(_, cookie)) = option {
            self.cookie = Some(cookie.clone());
        }
        Some(reply)
    }

    fn ask_by_tcp(&self, name: &str) -> Message {
        let packet = self.message(name).to_bytes().unwrap();
        let mut stream = TcpStream::connect(self.server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, &packet[..]].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).unwrap();
        parse(&reply)
    }
}

/// Counters of the server, read when they no longer change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    /// Replies that it sent by UDP.
    sent: u64,
    slipped: u64,
    bad_cookie: u64,
    dropped: u64,
}

impl Counted {
    fn of(server: &Server) -> Self {
        let udp = [("transport", "Udp")];
        Self {
            sent: server.metric("tinyns_dns_responses_total", &udp) as u64,
            slipped: limited(server, "Slipped"),
            bad_cookie: limited(server, "BadCookie"),
            dropped: limited(server, "Dropped"),
        }
    }

    fn when_quiet(server: &Server) -> Self {
        let end = Instant::now() + PATIENCE;
        let mut last = Self::of(server);
        while Instant::now() < end {
            std::thread::sleep(QUIET);
            let now = Self::of(server);
            if now == last {
                return now;
            }
            last = now;
        }
        panic!("the server goes on counting: {last:?}");
    }
}

/// Three resolvers ask while an attacker floods the server from the victim's addresses: two in the victim's network,
/// with and without cookies, and one elsewhere.
///
/// The assertions hold on any machine. A busy one loses packets and pauses for seconds, so the test compares the
/// server's counters with the packets that the clients received, and neither with those that they sent nor with the
/// clock. Only the rate itself is compared with the clock.
#[test]
fn a_flood_in_a_victims_name_harms_neither_the_victim_nor_resolvers() {
    let codes = ["flooded", "one", "two", "three"];
    let rate = 50;
    let server = start(
        &format!("responses_per_second = {rate}\nburst = 1\n"),
        &codes,
    );
    let mut flood = Flood::new(&server, &name("flooded"));
    let mut resolvers = [
        Resolver::new(&server, VICTIM, 201).with_cookies(),
        Resolver::new(&server, VICTIM, 202),
        Resolver::new(&server, ELSEWHERE, 1),
    ];
    let began = Instant::now();
    ask_during(&mut flood, &mut resolvers, &codes);
    let counted = Counted::when_quiet(&server);
    let seconds = began.elapsed().as_secs() + 1;
    flood.take();
    for resolver in &mut resolvers {
        resolver.by_udp.take(&resolver.socket);
    }
    let [with_cookies, without, elsewhere] = &resolvers;
    let replies = flood.replies;
    eprintln!(
        "the flood: {} queries, {replies:?}; {counted:?}",
        flood.sent
    );

    // The victim gets whole replies as often as the rate allows, after a burst of one second's worth.
    let most = rate * (1 + seconds);
    assert!(replies.whole <= most, "{replies:?} in {seconds} s");
    // Of the rest, every second reply is cut short and no longer than its query.
    assert!(replies.truncated >= SLIPS, "{replies:?}");
    assert!(replies.longest_slip <= flood.packet.len(), "{replies:?}");
    assert_eq!(replies.bad_cookie, 0);

    // A resolver needs one cookie (`ask` refuses another BADCOOKIE), or TCP. One elsewhere notices nothing: the first
    // reply that is refused would be cut short, before any is dropped.
    let udp = with_cookies.by_udp;
    assert!(udp.whole > 0, "{udp:?}");
    assert_eq!((udp.truncated, with_cookies.by_tcp), (0, 0));
    assert!(without.by_tcp > 0 && without.by_udp.whole > 0);
    let udp = elsewhere.by_udp;
    assert!(udp.whole > 0, "{udp:?}");
    assert_eq!((udp.truncated, udp.bad_cookie), (0, 0));

    // The counters agree with the received packets, except for replies that the system lost.
    let truncated = replies.truncated + without.by_udp.truncated;
    let bad_cookie = with_cookies.by_udp.bad_cookie;
    let others = resolvers.iter().map(|one| one.by_udp.all());
    let received = replies.all() + others.sum::<u64>();
    assert!(received <= counted.sent, "{received} of {counted:?}");
    let lost = counted.sent - received;
    assert!(lost <= received / 2, "{lost} of {counted:?} were lost");
    let whole = replies.whole + without.by_udp.whole;
    assert!(whole + lost >= rate, "{whole} of a burst of {rate}");
    let slips = truncated..=truncated + lost;
    assert!(slips.contains(&counted.slipped), "{slips:?}; {counted:?}");
    let cookies = bad_cookie..=bad_cookie + lost;
    assert!(
        cookies.contains(&counted.bad_cookie),
        "{cookies:?}; {counted:?}"
    );
    let sent = flood.sent + resolvers.iter().map(|one| one.sent).sum::<u64>();
    assert!(counted.sent + counted.dropped <= sent, "{counted:?}");
    let labels = [("reason", "RateLimited")];
    let dropped = server.metric("tinyns_dns_dropped_total", &labels) as u64;
    assert_eq!(dropped, counted.dropped);
    // Slips and drops take turns, beginning with a slip whenever an account was paid up, which takes a second.
    let slips = counted.slipped + counted.bad_cookie;
    let turns = dropped..=dropped + seconds + 4;
    assert!(turns.contains(&slips), "{slips} slips, {dropped} drops");
    assert_eq!(server.metric("tinyns_rate_limit_evictions_total", &[]), 0.0);

    // The log names the victim's network, and no other.
    let line = server.log().wait_for("replies are limited");
    assert!(line.contains("flooded.s.example.com."), "{line}");
    server.log().wait_for("replies are no longer limited");
    let log = server.log().text();
    for line in log.lines().filter(|line| line.contains("replies are ")) {
        assert!(line.contains("127.66.0.0/24"), "{line}");
    }
}

/// Has the resolvers ask for the links with these codes, again and again, while a flood goes on.
fn ask_during(flood: &mut Flood, resolvers: &mut [Resolver], codes: &[&str]) {
    let rounds: Vec<_> = resolvers.iter().map(|_| AtomicUsize::new(0)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (resolver, rounds) in resolvers.iter_mut().zip(&rounds) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for code in codes {
                        assert_eq!(resolver.url(&name(code)), target(code));
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    if resolver.has_met_limit() {
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        flood.run(|flood| {
            let have_asked = |rounds: &AtomicUsize| rounds.load(Ordering::Relaxed) >= ROUNDS;
            flood.replies.truncated >= SLIPS && rounds.iter().all(have_asked)
        });
        over.store(true, Ordering::Relaxed);
    });
}
