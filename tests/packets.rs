//! One packet at a time, as a worker handles it, but without a socket: which packets get a reply, now or later,
//! which are dropped, and which counters change.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tinyns::base::metrics::{DnsDrop, DnsResponse, DropReason, Transport};
use tinyns::dns::pipeline::packet::Buffers;
use tinyns::dns::pipeline::via::Via;

use crate::fixture::{CLIENT, Fixture, Size, TXT, query};

/// An option that our own reader of queries leaves to hickory (RFC 6975 §3: DAU, no algorithms).
const ODD: &[u8] = &[0, 5, 0, 0];

fn fixture() -> Fixture {
    Fixture::new(Size {
        links: 10,
        hot_bytes: 1 << 20,
        memory_bytes: 1 << 20,
        filter: false,
    })
}

fn replies(fixture: &Fixture, rcode: u16) -> u64 {
    let transport = Transport::Udp;
    let sent = DnsResponse { transport, rcode };
    let replies = &fixture.metrics.dns_responses;
    replies.get_or_create(&sent).get()
}

fn drops(fixture: &Fixture) -> u64 {
    let reason = DropReason::NotAQuery;
    let dropped = &fixture.metrics.dns_dropped;
    dropped.get_or_create(&DnsDrop { reason }).get()
}

/// A query that is read in the short way and one that hickory reads wait once, and are then replied to at
/// once.
#[test]
fn queries_that_wait_for_one_link_share_one_look_up() {
    for options in [None, Some(&[][..]), Some(ODD)] {
        let (fixture, mut buffers) = (fixture(), Buffers::default());
        let packet = query(1, TXT, options);
        let first = fixture
            .handler
            .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
        let waiting = first.expect_err("nothing is known of it");
        let later = fixture.wait(waiting, &mut buffers).unwrap();
        let now = fixture
            .handler
            .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
        assert_eq!(now.unwrap(), Some(&later[..]), "{options:?}");
        let message = Message::from_vec(&later).unwrap();
        let types: Vec<_> = message.answers.iter().map(|r| r.record_type()).collect();
        assert_eq!(types, [RecordType::CNAME, RecordType::TXT], "{options:?}");
        assert_eq!(replies(&fixture, 0), 2, "{options:?}");
    }
}

#[test]
fn a_query_read_in_advance_gets_the_same_reply() {
    let (fixture, mut buffers) = (fixture(), Buffers::default());
    for options in [None, Some(&[][..]), Some(ODD)] {
        let packet = query(1, TXT, options);
        let whole = fixture.ask(&packet, &mut buffers).unwrap();
        let read = fixture.handler.read(&packet, CLIENT, Via::Udp);
        let reply = fixture.handler.reply_to_read(&read, &mut buffers);
        assert_eq!(reply.unwrap(), Some(&whole[..]), "{options:?}");
    }
}

/// RFC 1035 §4.1.1: a packet shorter than a header is no message, and one with QR set is a reply.
#[test]
fn messages_that_are_no_queries_are_dropped() {
    let (fixture, mut buffers) = (fixture(), Buffers::default());
    let packet = query(1, TXT, None);
    let mut reply = packet.clone();
    reply[2] |= 0x80;
    let mut nowhere = CLIENT;
    nowhere.set_port(0);
    let mut check = |packet: &[u8], peer: SocketAddr| {
        let before = drops(&fixture);
        let reply = fixture
            .handler
            .reply_to(packet, peer, Via::Udp, &mut buffers);
        assert_eq!(reply.unwrap(), None, "{packet:?} from {peer}");
        assert_eq!(drops(&fixture), before + 1, "{packet:?} from {peer}");
    };
    for len in 0..12 {
        check(&packet[..len], CLIENT);
    }
    check(&reply, CLIENT);
    check(&packet, nowhere);
}

/// RFC 1035 §4.1.1: "the name server was unable to interpret the query".
#[test]
fn unreadable_messages_are_formerr() {
    let (fixture, mut buffers) = (fixture(), Buffers::default());
    let packet = query(1, TXT, None);
    let reply = fixture.ask(&packet[..packet.len() - 1], &mut buffers);
    assert_eq!(
        reply.unwrap(),
        [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(replies(&fixture, ResponseCode::FormErr.into()), 1);
}
