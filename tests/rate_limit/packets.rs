//! One packet at a time: the replies above the limit, to the byte.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use tinyns::base::metrics::{
    DnsDrop, DnsResponse, DropReason, LimitAction, LimitKind, RateLimited, Transport,
};
use tinyns::dns::Settings;
use tinyns::dns::limits::rate_limit::{RateLimitConfig, Rates};
use tinyns::dns::pipeline::packet::Buffers;
use tinyns::dns::pipeline::via::Via;

use crate::fixture::{CLIENT, Fixture, Size, TXT, query};

const LINKS: u32 = 1_000;
const NX_DOMAIN: u16 = 3;
const REFUSED: u16 = 5;
const BAD_COOKIE: u16 = 23;
/// An option that asks for the name server identifier (RFC 5001 §2.1).
const NSID: &[u8] = &[0, 3, 0, 0];
/// A cookie of a client that has none of ours (RFC 7873 §4.1).
const COOKIE: &[u8] = b"\0\x0a\0\x08\x24\x64\xc4\xab\xcf\x10\xc9\x57";
/// How much longer a cookie is with the server's part, in bytes (RFC 9018 §4).
const SERVER_COOKIE: usize = 16;

/// The time in which there is credit for another reply.
const CREDIT: Duration = Duration::from_secs(1);

/// Two replies of each kind at once, and then one a second.
fn limit() -> RateLimitConfig {
    RateLimitConfig {
        rates: Rates {
            answers: 1,
            nodata: 1,
            nxdomains: 1,
            referrals: 1,
            errors: 1,
            all: 0,
        },
        burst: 2,
        slip: 2,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Vec::new(),
        table_bytes: 1 << 20,
        dry_run: false,
    }
}

struct Case {
    fixture: Fixture,
    buffers: Buffers,
}

impl Case {
    fn new(rate_limit: RateLimitConfig) -> Self {
        let settings = Settings {
            rate_limit: Some(rate_limit),
            nsid: Some((*b"a name server identifier").into()),
            ..Settings::default()
        };
        let size = Size {
            links: LINKS,
            hot_bytes: 1 << 20,
            memory_bytes: 1 << 20,
            filter: false,
        };
        Self {
            fixture: Fixture::with_settings(size, settings),
            buffers: Buffers::default(),
        }
    }

    fn ask(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.fixture.ask(packet, &mut self.buffers)
    }

    /// Asks six times for the same: the third and fifth reply slip, the fourth and sixth are dropped.
    /// Returns a reply that was sent whole, and one that has slipped.
    fn six(&mut self, packet: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let replies = [(); 6].map(|()| self.ask(packet));
        let [Some(one), Some(two), Some(three), None, Some(five), None] = replies else {
            panic!("{replies:?}");
        };
        assert_eq!(one, two);
        assert_eq!(three, five);
        (one, three)
    }

    fn limited(&self, kind: LimitKind) -> [u64; 3] {
        LimitAction::ALL.map(|action| {
            let limited = RateLimited { action, kind };
            let counter = self.fixture.metrics.rate_limited.get_or_create(&limited);
            counter.get()
        })
    }

    fn dropped(&self) -> u64 {
        let reason = DropReason::RateLimited;
        let dropped = &self.fixture.metrics.dns_dropped;
        dropped.get_or_create(&DnsDrop { reason }).get()
    }

    fn replies(&self, rcode: u16) -> u64 {
        let transport = Transport::Udp;
        let sent = DnsResponse { transport, rcode };
        let replies = &self.fixture.metrics.dns_responses;
        replies.get_or_create(&sent).get()
    }
}

/// Runs a test that is to be over before the limit gives credit for another reply.
fn unhurried(test: impl Fn()) {
    crate::harness::unhurried(CREDIT, |_| test());
}

/// The rcode of a reply with that of its OPT record.
fn rcode(reply: &[u8]) -> u16 {
    Message::from_vec(reply)
        .unwrap()
        .metadata
        .response_code
        .into()
}

/// The question of a query or a reply and the header before it, without id and flags.
fn question(packet: &[u8]) -> &[u8] {
    let name = packet[12..].iter().position(|byte| *byte == 0).unwrap();
    &packet[12..12 + name + 5]
}

/// A query for a name of no zone of ours.
fn foreign(options: Option<&[u8]>) -> Vec<u8> {
    let mut packet = query(1, TXT, options);
    // The first letter of its last label but one.
    let at = packet.windows(7).position(|w| w == b"example").unwrap();
    packet[at] = b'f';
    packet
}

#[test]
fn without_a_cookie_a_slipped_reply_is_truncated() {
    unhurried(|| {
        for options in [None, Some(&[][..]), Some(NSID)] {
            let mut case = Case::new(limit());
            let packet = query(1, TXT, options);
            let (whole, slip) = case.six(&packet);
            let message = Message::from_vec(&whole).unwrap();
            assert_eq!(message.answers.len(), 2);
            let cut = Message::from_vec(&slip).unwrap();
            assert!(cut.metadata.truncation && cut.metadata.authoritative);
            assert_eq!(rcode(&slip), 0);
            assert_eq!(slip[..2], packet[..2], "id");
            assert_eq!(question(&slip), question(&packet));
            assert!(cut.answers.is_empty() && cut.authorities.is_empty());
            assert_eq!(cut.edns.is_some(), options.is_some());
            assert!(slip.len() <= packet.len(), "{} bytes", slip.len());
            assert_eq!(case.limited(LimitKind::Answer), [2, 2, 0]);
            assert_eq!((case.dropped(), case.replies(0)), (2, 4));
            assert_eq!(case.fixture.metrics.dns_truncated.get(), 2);
            // Another name is another account.
            case.six(&query(2, TXT, options));
        }
    });
}

#[test]
fn rfc7873_5_2_3_with_a_client_cookie_a_slip_is_badcookie() {
    unhurried(|| {
        let mut case = Case::new(limit());
        let options = [COOKIE, NSID].concat();
        let packet = query(1, TXT, Some(&options));
        let (_, slip) = case.six(&packet);
        assert_eq!(rcode(&slip), BAD_COOKIE);
        let message = Message::from_vec(&slip).unwrap();
        assert!(!message.metadata.truncation && message.answers.is_empty());
        assert_eq!(question(&slip), question(&packet));
        assert!(slip.len() <= packet.len() + SERVER_COOKIE);
        assert_eq!(case.limited(LimitKind::Answer), [2, 0, 2]);
        assert_eq!((case.replies(0), case.replies(BAD_COOKIE)), (2, 2));
        // The cookie is the last thing in it, and with that the client is answered as often as it likes.
        let cookie = &slip[slip.len() - 28..];
        assert_eq!(cookie[..4], [0, 10, 0, 24]);
        assert_eq!(cookie[4..12], COOKIE[4..]);
        for _ in 0..10 {
            let reply = case.ask(&query(1, TXT, Some(cookie))).unwrap();
            assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 2);
        }
        assert_eq!(case.limited(LimitKind::Answer), [2, 0, 2]);
    });
}

#[test]
fn rfc7873_5_2_4_a_cookie_of_another_server_is_ignored() {
    unhurried(|| {
        let mut case = Case::new(limit());
        let mut forged = [COOKIE, &[7; 16]].concat();
        forged[3] = 24;
        let packet = query(1, TXT, Some(&forged));
        let (_, slip) = case.six(&packet);
        assert_eq!(rcode(&slip), BAD_COOKIE);
        assert!(slip.len() <= packet.len());
    });
}

#[test]
fn with_cookies_turned_off_a_slipped_reply_is_truncated() {
    unhurried(|| {
        let settings = Settings {
            cookies: false,
            rate_limit: Some(limit()),
            ..Settings::default()
        };
        let mut case = Case::new(limit());
        case.fixture = Fixture::with_settings(
            Size {
                links: LINKS,
                hot_bytes: 1 << 20,
                memory_bytes: 1 << 20,
                filter: false,
            },
            settings,
        );
        let (_, slip) = case.six(&query(1, TXT, Some(COOKIE)));
        let cut = Message::from_vec(&slip).unwrap();
        assert!(cut.metadata.truncation);
        assert!(cut.edns.unwrap().options().as_ref().is_empty());
    });
}

/// Random names are all alike, whatever their types and lengths.
#[test]
fn denials_count_by_zone() {
    unhurried(|| {
        let mut case = Case::new(limit());
        let mut kinds = [0; 3];
        for number in LINKS..LINKS + 100 {
            let qtype = [TXT, 1, 28][number as usize % 3];
            match case.ask(&query(number, qtype, None)) {
                None => kinds[0] += 1,
                Some(reply) => {
                    assert_eq!(rcode(&reply), NX_DOMAIN);
                    let truncated = Message::from_vec(&reply).unwrap().metadata.truncation;
                    kinds[if truncated { 1 } else { 2 }] += 1;
                }
            }
        }
        assert_eq!(kinds, [49, 49, 2]);
        assert_eq!(case.limited(LimitKind::NxDomain), [49, 49, 0]);
        // Links are answered as before.
        for number in 0..100 {
            assert_eq!(rcode(&case.ask(&query(number, TXT, None)).unwrap()), 0);
        }
    });
}

#[test]
fn a_slip_of_an_error_is_the_error() {
    unhurried(|| {
        let badvers = {
            let mut packet = query(1, TXT, Some(&[]));
            let version = packet.len() - 5;
            packet[version] = 1;
            packet
        };
        let mut notimp = query(1, TXT, None);
        notimp[2] = 0x10;
        let mut cut_off = query(1, TXT, Some(NSID));
        cut_off.truncate(cut_off.len() - 1);
        for (packet, expected) in [
            (foreign(Some(NSID)), REFUSED),
            (foreign(None), REFUSED),
            (query(1, 252, Some(&[])), 9),
            (badvers, 16),
            (notimp, 4),
            (cut_off, 1),
            (query(1, TXT, None)[..14].to_vec(), 1),
        ] {
            let mut case = Case::new(limit());
            let (whole, slip) = case.six(&packet);
            assert_eq!((rcode(&whole), rcode(&slip)), (expected, expected));
            let message = Message::from_vec(&slip).unwrap();
            assert!(!message.metadata.truncation);
            assert!(
                slip.len() <= packet.len(),
                "{expected}: {} bytes",
                slip.len()
            );
            assert_eq!(case.limited(LimitKind::Error), [2, 2, 0]);
        }
        // They count together, and with a cookie the client learns its own for the next time.
        let mut case = Case::new(limit());
        case.six(&foreign(None));
        let reply = case.ask(&foreign(Some(COOKIE))).unwrap();
        assert_eq!(rcode(&reply), REFUSED);
        assert_eq!(reply[reply.len() - 28..][..4], [0, 10, 0, 24]);
    });
}

/// A reply that waits for a link counts when it is made.
#[test]
fn replies_that_had_to_wait() {
    unhurried(|| {
        let mut case = Case::new(limit());
        let packet = query(1, TXT, None);
        let waiting = [(); 4].map(|()| {
            let handler = &case.fixture.handler;
            let reply = handler.reply_to(&packet, CLIENT, Via::Udp, &mut case.buffers);
            reply.expect_err("nothing is known of it")
        });
        let replies = waiting.map(|one| case.fixture.wait(one, &mut case.buffers));
        let truncated = replies.map(|reply| {
            let reply = reply?;
            Some(Message::from_vec(&reply).unwrap().metadata.truncation)
        });
        assert_eq!(truncated, [Some(false), Some(false), Some(true), None]);
        assert_eq!(case.limited(LimitKind::Answer), [1, 1, 0]);
        assert_eq!((case.dropped(), case.replies(0)), (1, 3));
    });
}

/// A query that is read by hickory (it brings an address along) counts, too.
#[test]
fn odd_queries() {
    unhurried(|| {
        let mut case = Case::new(limit());
        let odd = |number| {
            let mut packet = query(number, TXT, None);
            packet[11] = 1;
            packet.extend([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
            packet
        };
        let (whole, slip) = case.six(&odd(1));
        assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 2);
        assert!(Message::from_vec(&slip).unwrap().metadata.truncation);
        // Which of these names exist is not looked at, so they are all alike.
        let truncated = Message::from_vec(&case.ask(&odd(2)).unwrap()).unwrap();
        assert!(truncated.metadata.truncation);
    });
}

#[test]
fn by_tcp_there_is_no_limit() {
    unhurried(|| {
        let mut case = Case::new(limit());
        let packet = query(1, TXT, None);
        case.six(&packet);
        let via = Via::Tcp { keepalive: 0 };
        for _ in 0..10 {
            let handler = &case.fixture.handler;
            let reply = handler.reply_to(&packet, CLIENT, via, &mut case.buffers);
            let message = Message::from_vec(reply.unwrap().unwrap()).unwrap();
            assert_eq!(message.answers.len(), 2);
        }
    });
}

#[test]
fn a_dry_run_counts_and_sends() {
    unhurried(|| {
        let mut case = Case::new(RateLimitConfig {
            dry_run: true,
            ..limit()
        });
        for options in [None, Some(COOKIE)] {
            for _ in 0..6 {
                let reply = case.ask(&query(1, TXT, options)).unwrap();
                let message = Message::from_vec(&reply).unwrap();
                let types: Vec<_> = message.answers.iter().map(|r| r.record_type()).collect();
                assert_eq!(types, [RecordType::CNAME, RecordType::TXT]);
            }
        }
        assert_eq!(case.limited(LimitKind::Answer), [5, 2, 3]);
        assert_eq!((case.dropped(), case.replies(0)), (0, 12));
    });
}

#[test]
fn clients_of_a_network_share_and_others_do_not() {
    unhurried(|| {
        let mut case = Case::new(RateLimitConfig {
            slip: 0,
            exempt: vec!["198.51.100.7".parse().unwrap()],
            ..limit()
        });
        let packet = query(1, TXT, None);
        case.ask(&packet);
        let mut sent = |client: &str| {
            let client = SocketAddr::new(client.parse().unwrap(), 53);
            let mut replies = 0;
            for _ in 0..5 {
                let handler = &case.fixture.handler;
                let reply = handler.reply_to(&packet, client, Via::Udp, &mut case.buffers);
                replies += usize::from(reply.unwrap().is_some());
            }
            replies
        };
        // One of the two was CLIENT's.
        assert_eq!(CLIENT.ip().to_string(), "192.0.2.99");
        assert_eq!((sent("192.0.2.1"), sent("::ffff:192.0.2.2")), (1, 0));
        assert_eq!((sent("198.51.100.1"), sent("198.51.100.7")), (2, 5));
        assert_eq!((sent("2001:db8::1"), sent("2001:db8:0:1::1")), (2, 0));
    });
}
