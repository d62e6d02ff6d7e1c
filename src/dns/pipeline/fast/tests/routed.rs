//! Answers that depend on the client: the client subnet (RFC 7871), its scope, and hot answers by pool.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;

use super::signed::judge_of;
use super::*;
use crate::routing::health::testing::tcp;
use crate::routing::{Fail, Owner, Pool, Route, Routing, RoutingConfig};

const ROUTED_ZONE: &str = "\
$TTL 300
@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60
@      IN NS ns
ns     IN A 192.0.2.1
*.r    IN A 192.0.2.10
*.r    IN AAAA 2001:db8::10
*.r    IN HTTPS 1 . ipv4hint=192.0.2.10 ipv6hint=2001:db8::10
www    IN A 192.0.2.20
www 30 IN AAAA 2001:db8::20
www    IN MX 10 www
www    IN HTTPS 1 . alpn=h2
promo  IN CNAME www
plain  IN A 192.0.2.30
plain  IN MX 10 plain
below.www IN A 192.0.2.40
";

const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;

/// The pool `near` is for 198.51.100.0/25 and 2001:db8:1::/48. The pool `six` is for 203.0.113.0/24 and has only an IPv6
/// address. No pool is for other clients.
fn routing(client_subnet: bool) -> Arc<Routing> {
    failing(Fail::Open, client_subnet)
}

/// The same; `fail` says what clients get while all their pools are down.
fn failing(fail: Fail, client_subnet: bool) -> Arc<Routing> {
    let pool = |name: &str, ipv4: &[&str], ipv6: &[&str], networks: &[&str]| Pool {
        name: name.into(),
        ipv4: ipv4.iter().map(|ip| ip.parse().unwrap()).collect(),
        ipv6: ipv6.iter().map(|ip| ip.parse().unwrap()).collect(),
        countries: Vec::new(),
        continents: Vec::new(),
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        location: None,
        weight: 1,
        default: false,
        check: Some(tcp(1).into()),
    };
    let near = ["198.51.100.0/25", "2001:db8:1::/48"];
    let pools = vec![
        pool(
            "near",
            &["192.0.2.101", "192.0.2.102"],
            &["2001:db8::101"],
            &near,
        ),
        pool("six", &[], &["2001:db8::106"], &["203.0.113.0/24"]),
    ];
    let name = |text: &str| ZoneName::parse(text).unwrap();
    let route = |owner| Route {
        owner,
        pools: [0, 1].into(),
    };
    let config = RoutingConfig {
        pools,
        routes: vec![
            route(Owner::Links(name("s.example.com"))),
            route(Owner::Name(name("www.s.example.com"))),
        ],
        database: None,
        ttl: 60,
        client_subnet,
        fail,
    };
    Arc::new(Routing::open(config).unwrap())
}

fn routed(layout: Layout, algorithm: Option<Algorithm>) -> Fixture {
    routed_by(routing(true), layout, algorithm)
}

fn routed_by(routing: Arc<Routing>, layout: Layout, algorithm: Option<Algorithm>) -> Fixture {
    let zone = ("s.example.com", ROUTED_ZONE.to_owned(), Some("r"), layout);
    let fixture = Fixture::signed_by(&[zone], algorithm, Settings::default());
    fixture.handler.set_routing(routing);
    fixture.add("abc", "https://example.net/", None, None);
    let end = Some(UnixTime(NOW.0 + 20));
    fixture.add("short", "https://example.net/", end, None);
    fixture
}

/// A query with these contents of the client subnet.
fn with_subnet(name: &str, qtype: u16, dnssec_ok: bool, subnet: &[u8]) -> Vec<u8> {
    let mut packet = query(name, qtype, Some((1_232, dnssec_ok)));
    let len = packet.len();
    packet[len - 1] = 4 + subnet.len() as u8;
    packet.extend([0, 8, 0, subnet.len() as u8]);
    packet.extend(subnet);
    packet
}

/// Contents of the option.
const NEAR: &[u8] = &[0, 1, 24, 0, 198, 51, 100];
const NEAR_LONG: &[u8] = &[0, 1, 32, 0, 198, 51, 100, 7];
const BESIDE: &[u8] = &[0, 1, 32, 0, 198, 51, 100, 129];
const SIX: &[u8] = &[0, 1, 24, 0, 203, 0, 113];
const FAR: &[u8] = &[0, 1, 24, 0, 8, 8, 8];
const NEAR_V6: &[u8] = &[0, 2, 56, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 1, 0x77];
const NOWHERE: &[u8] = &[0, 1, 0, 0];
const SUBNETS: [&[u8]; 8] = [
    NEAR,
    NEAR_LONG,
    BESIDE,
    SIX,
    FAR,
    NEAR_V6,
    NOWHERE,
    &[0, 0, 0, 0],
];

/// The option of a reply.
fn option_of(reply: &[u8]) -> Option<Vec<u8>> {
    // The OPT record is the last one; it has no other option in these replies.
    let at = reply.windows(3).rposition(|w| w == [0, 0, 41])?;
    let options = &reply[at + 11..];
    match options {
        [0, 8, 0, len, data @ ..] => Some(data[..usize::from(*len)].to_vec()),
        _ => None,
    }
}

/// The addresses of an answer and their TTL.
fn addresses(reply: &[u8]) -> (Vec<String>, Option<u32>) {
    let mut reply = reply.to_vec();
    // hickory does not know the family 0.
    if let Some(at) = reply.windows(8).position(|w| w == [0, 8, 0, 4, 0, 0, 0, 0]) {
        reply[at + 5] = 1;
    }
    let message = Message::from_vec(&reply).unwrap();
    let is_address = |record: &&Record| matches!(record.data, RData::A(_) | RData::AAAA(_));
    let found: Vec<_> = message.answers.iter().filter(is_address).collect();
    let shown = found.iter().map(|record| record.data.to_string());
    (shown.collect(), found.first().map(|record| record.ttl))
}

#[test]
fn both_paths_send_the_same_bytes_to_every_client() {
    let names = [
        "abc",
        "ABC.r",
        "short",
        "www",
        "WWW",
        "promo",
        "plain",
        "nosuch",
        "below.www",
        "",
    ];
    for layout in [Layout::Cname, Layout::Direct] {
        let fixture = routed(layout, None);
        for name in names {
            let name = format!("{name}.s.example.com");
            let name = name.trim_start_matches('.');
            for qtype in TYPES {
                for subnet in SUBNETS {
                    let packet = with_subnet(name, qtype, false, subnet);
                    let context = format!("{name} {qtype} {subnet:?}");
                    check_packet(&fixture, &packet, 1_232, &context);
                    let (_, reply) = fixture.ask(&packet);
                    let option = option_of(&reply).expect("the option comes back");
                    assert_eq!((&option[..3], &option[4..]), (&subnet[..3], &subnet[4..]));
                }
                // RFC 7871 §7.2.1: no option to those that have sent none.
                for edns in [None, Some((1_232, false))] {
                    check_both(&fixture, name, qtype, edns);
                    let (_, reply) = fixture.ask(&query(name, qtype, edns));
                    assert_eq!(option_of(&reply), None);
                }
            }
        }
    }
}

#[test]
fn rfc7871_7_2_1_the_scope_is_that_of_the_answer() {
    let fixture = routed(Layout::Cname, None);
    let check = |name: &str, qtype, subnet, expected: &[&str], scope: u8| {
        let packet = with_subnet(&format!("{name}.s.example.com"), qtype, false, subnet);
        // Anew, then from a hot answer.
        for time in 0..2 {
            let (_, reply) = fixture.ask(&packet);
            let context = format!("{name} {qtype} {subnet:?} {time}");
            assert_eq!(addresses(&reply).0, expected, "{context}");
            assert_eq!(option_of(&reply).unwrap()[3], scope, "{context}");
        }
    };
    let near = ["192.0.2.101", "192.0.2.102"];
    for name in ["abc", "abc.r"] {
        // SOURCE is shorter than the scope: the first address decides.
        check(name, A, NEAR, &near, 25);
        check(name, A, NEAR_LONG, &near, 25);
        check(name, A, BESIDE, &["192.0.2.10"], 25);
        check(name, A, FAR, &["192.0.2.10"], 1);
        check(name, A, NEAR_V6, &near, 48);
        check(name, AAAA, NEAR, &["2001:db8::101"], 25);
        check(name, AAAA, SIX, &["2001:db8::106"], 24);
        // The pool has no IPv4 address.
        check(name, A, SIX, &["192.0.2.10"], 24);
        check(name, TXT, NEAR, &[], 0);
        check(name, 256, NEAR, &[], 0);
        check(name, 15, NEAR, &[], 0);
        check(name, A, NOWHERE, &["192.0.2.10"], 0);
    }
    check("www", A, NEAR, &near, 25);
    check("promo", A, NEAR, &near, 25);
    check("www", HTTPS, NEAR, &[], 0);
    check("www", 15, NEAR, &[], 0);
    check("plain", A, NEAR, &["192.0.2.30"], 0);
    check("below.www", A, NEAR, &["192.0.2.40"], 0);
    check("nosuch", A, NEAR, &[], 0);
    check("ns", A, NEAR, &["192.0.2.1"], 0);
}

#[test]
fn rfc7871_7_1_2_source_0_is_located_by_its_resolver() {
    let fixture = routed(Layout::Cname, None);
    // The resolver is in the network of `near`.
    let resolver = SocketAddr::from(([198, 51, 100, 9], 5_353));
    let mut buffers = Buffers::default();
    let mut ask = |packet: &[u8]| loop {
        let asked = fixture
            .handler
            .reply_to(packet, resolver, Via::Udp, &mut buffers);
        match asked {
            Ok(reply) => break reply.unwrap().to_vec(),
            Err(waiting) => {
                let mut other = Buffers::default();
                fixture
                    .runtime
                    .block_on(fixture.handler.reply_after(waiting, &mut other));
            }
        }
    };
    for subnet in [NOWHERE, &[0, 2, 0, 0], &[0, 0, 0, 0]] {
        let reply = ask(&with_subnet("abc.s.example.com", A, false, subnet));
        assert_eq!(addresses(&reply).0, ["192.0.2.101", "192.0.2.102"]);
        assert_eq!(option_of(&reply).unwrap(), subnet, "scope 0");
    }
    // Without the option, too.
    let reply = ask(&query("abc.s.example.com", A, None));
    assert_eq!(addresses(&reply).0, ["192.0.2.101", "192.0.2.102"]);
    // With it, the resolver does not matter.
    let reply = ask(&with_subnet("abc.s.example.com", A, false, FAR));
    assert_eq!(addresses(&reply).0, ["192.0.2.10"]);
}

#[test]
fn ttls_of_addresses_are_short() {
    let fixture = routed(Layout::Cname, None);
    let ttl = |name: &str, qtype, subnet| {
        let packet = with_subnet(&format!("{name}.s.example.com"), qtype, false, subnet);
        addresses(&fixture.ask(&packet).1).1
    };
    // Also where the answer has the addresses of the zone file.
    assert_eq!(
        (ttl("abc", A, NEAR), ttl("abc", A, FAR)),
        (Some(60), Some(60))
    );
    assert_eq!(
        (ttl("www", A, NEAR), ttl("www", AAAA, NEAR)),
        (Some(60), Some(30))
    );
    assert_eq!(
        (ttl("plain", A, NEAR), ttl("short", A, NEAR)),
        (Some(300), Some(19))
    );
}

/// RFC 9460 §7.3
#[test]
fn rfc9460_7_3_hints_agree_with_the_addresses() {
    let fixture = routed(Layout::Cname, None);
    let hints = |subnet| {
        let packet = with_subnet("abc.r.s.example.com", HTTPS, false, subnet);
        let (_, reply) = fixture.ask(&packet);
        let message = Message::from_vec(&reply).unwrap();
        (
            message.answers[0].data.to_string(),
            option_of(&reply).unwrap()[3],
        )
    };
    let (near, scope) = hints(NEAR);
    assert!(
        near.contains("192.0.2.101") && near.contains("2001:db8::101"),
        "{near}"
    );
    assert!(!near.contains("192.0.2.10,") && scope == 25, "{near}");
    let (six, _) = hints(SIX);
    assert!(
        six.contains("192.0.2.10") && six.contains("2001:db8::106"),
        "{six}"
    );
}

const BAD: [&[u8]; 6] = [
    b"",
    &[0, 1, 24, 0, 198, 51],
    &[0, 1, 24, 0, 198, 51, 100, 0],
    &[0, 1, 23, 0, 198, 51, 101],
    &[0, 1, 24, 24, 198, 51, 100],
    &[0, 1, 33, 0, 198, 51, 100, 7, 0],
];

#[test]
fn rfc7871_7_1_2_malformed_subnets_are_refused() {
    let fixture = routed(Layout::Cname, None);
    for subnet in BAD {
        let packet = with_subnet("abc.s.example.com", A, false, subnet);
        let from = (CLIENT.ip(), Via::Udp);
        assert!(
            fixture.handler.prepare(&packet, from).is_none(),
            "{subnet:?}"
        );
        let mut buffers = Buffers::default();
        for via in [Via::Udp, Via::Tcp { keepalive: 10 }] {
            let reply = fixture.handler.reply_to(&packet, CLIENT, via, &mut buffers);
            let reply = reply.unwrap().unwrap();
            assert_eq!(reply[3] & 0x0F, 1, "{subnet:?}: FORMERR");
            assert_eq!(option_of(reply), None);
        }
    }
}

/// Where the server does not locate clients by the subnet, it ignores the option as any other.
#[test]
fn without_routing_the_option_is_ignored() {
    let of = |routing: Option<Arc<Routing>>| {
        let zone = (
            "s.example.com",
            ROUTED_ZONE.to_owned(),
            Some("r"),
            Layout::Cname,
        );
        let fixture = Fixture::of(&[zone]);
        if let Some(routing) = routing {
            fixture.handler.set_routing(routing);
        }
        fixture.add("abc", "https://example.net/", None, None);
        fixture
    };
    for fixture in [of(None), of(Some(routing(false)))] {
        for subnet in BAD.iter().chain(&SUBNETS) {
            let packet = with_subnet("abc.s.example.com", A, false, subnet);
            let (_, reply) = fixture.ask(&packet);
            assert_eq!(addresses(&reply).0, ["192.0.2.10"]);
            assert_eq!(option_of(&reply), None);
        }
    }
}

#[test]
fn hot_answers_are_kept_for_each_pool() {
    let fixture = routed(Layout::Cname, None);
    let ask = |subnet: &[u8]| {
        let before = fixture.hot_answers();
        let packet = with_subnet("abc.s.example.com", A, false, subnet);
        let (sent, reply) = fixture.ask(&packet);
        fixture.metrics.dns_hot_answers.inc_by(u64::from(sent.hot));
        (addresses(&reply).0, fixture.hot_answers() > before)
    };
    let near = vec!["192.0.2.101".to_owned(), "192.0.2.102".to_owned()];
    let file = vec!["192.0.2.10".to_owned()];
    assert_eq!(ask(NEAR), (near.clone(), false));
    assert_eq!(ask(NEAR), (near.clone(), true));
    assert_eq!(ask(FAR), (file.clone(), false));
    // Other networks with the same pool, and the others again.
    assert_eq!(ask(NEAR_V6), (near.clone(), true));
    assert_eq!(ask(BESIDE), (file, true));
    assert_eq!(ask(NEAR_LONG), (near, true));
    // A change of the link ends all of them.
    fixture.delete("abc");
    assert_eq!(ask(NEAR), (vec![], false));
    let (_, reply) = fixture.ask(&with_subnet("abc.s.example.com", A, false, FAR));
    assert_eq!(reply[3] & 0x0F, 3, "NXDOMAIN");
}

#[test]
fn replies_are_counted_by_pool() {
    let fixture = routed(Layout::Cname, None);
    let mut buffers = Buffers::default();
    let mut ask = |subnet: &[u8], qtype| {
        let packet = with_subnet("www.s.example.com", qtype, false, subnet);
        let reply = fixture
            .handler
            .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
        assert!(reply.unwrap().is_some());
    };
    for _ in 0..3 {
        ask(NEAR, A);
    }
    ask(SIX, AAAA);
    ask(FAR, A);
    ask(FAR, TXT);
    let counts: Vec<u64> = fixture
        .metrics
        .pool_counters()
        .iter()
        .map(|c| c.get())
        .collect();
    assert_eq!(counts, [1, 3, 1]);
}

/// Signed answers are valid for each client, and each set of addresses is signed once.
#[test]
fn signatures_are_kept_for_each_pool() {
    for layout in [Layout::Cname, Layout::Direct] {
        let fixture = routed(layout, Some(Algorithm::EcdsaP256Sha256));
        let judge = judge_of(&fixture);
        let ask_all = || {
            for name in ["abc", "abc.r", "www", "promo", "plain"] {
                for qtype in [A, AAAA, HTTPS, TXT, 255] {
                    // hickory does not know the family 0.
                    for subnet in &SUBNETS[..7] {
                        let name = format!("{name}.s.example.com");
                        let packet = with_subnet(&name, qtype, true, subnet);
                        let (_, found) = judge.ask(&fixture, &packet);
                        assert!(found.signatures > 0);
                    }
                }
            }
        };
        if matches!(layout, Layout::Cname) {
            let ask = |qtype, subnet| {
                let packet = with_subnet("abc.s.example.com", qtype, true, subnet);
                judge.ask(&fixture, &packet);
                fixture.metrics.dnssec_signatures.get()
            };
            let made = SUBNETS[..7].iter().map(|subnet| ask(A, subnet)).max();
            // The alias is the same for all clients, so only the TXT record has to be signed.
            assert_eq!(Some(ask(TXT, SUBNETS[0])), made.map(|made| made + 1));
        }
        ask_all();
        let made = fixture.metrics.dnssec_signatures.get();
        // Other leases, so that answers are made again.
        fixture.handler.zones_replaced();
        ask_all();
        assert_eq!(fixture.metrics.dnssec_signatures.get(), made);
    }
}

/// A hot answer never has an address that went down, and is used again when the address is back.
#[test]
fn addresses_that_go_down_leave_hot_answers() {
    let routing = routing(true);
    let fixture = routed_by(routing.clone(), Layout::Cname, None);
    let check = |name: &str, qtype, expected: &[&str]| {
        let packet = with_subnet(&format!("{name}.s.example.com"), qtype, false, NEAR);
        // Anew, then from a hot answer.
        for time in 0..2 {
            let (_, reply) = fixture.ask(&packet);
            assert_eq!(addresses(&reply).0, expected, "{name} {qtype} {time}");
        }
    };
    let mark = |address, is_up| routing.mark(address, is_up);
    for _ in 0..3 {
        for name in ["abc", "abc.r", "www"] {
            check(name, A, &["192.0.2.101", "192.0.2.102"]);
        }
        mark("192.0.2.101", false);
        for name in ["abc", "abc.r", "www"] {
            check(name, A, &["192.0.2.102"]);
            check(name, AAAA, &["2001:db8::101"]);
        }
        mark("192.0.2.102", false);
        mark("192.0.2.101", true);
        check("www", A, &["192.0.2.101"]);
        // The pool has no address of the type left, and no other pool is for the client: it fails open.
        mark("192.0.2.101", false);
        check("www", A, &["192.0.2.101", "192.0.2.102"]);
        check("www", AAAA, &["2001:db8::101"]);
        routing.set_drained(|name| name == "near", NOW);
        check("www", A, &["192.0.2.20"]);
        routing.set_drained(|_| false, NOW);
        mark("192.0.2.101", true);
        mark("192.0.2.102", true);
    }
}

/// RFC 4035 §3.1.3.1: a name that has no addresses for now is denied by a record that does not list their type, signed as
/// any other. Other types are there.
#[test]
fn closed_pools_are_denied_with_proof() {
    for algorithm in [None, Some(Algorithm::EcdsaP256Sha256)] {
        let routing = failing(Fail::Closed, true);
        let fixture = routed_by(routing.clone(), Layout::Cname, algorithm);
        let judge = algorithm.map(|_| judge_of(&fixture));
        let answers = |name: &str, qtype, subnet: &[u8]| {
            let packet = with_subnet(&format!("{name}.s.example.com"), qtype, true, subnet);
            let mut counts = (0..2).map(|_| {
                let (_, reply) = fixture.ask(&packet);
                if let Some(judge) = &judge {
                    let (_, found) = judge.ask(&fixture, &packet);
                    assert!(found.signatures > 0);
                }
                let message = Message::from_vec(&reply).unwrap();
                assert_eq!(message.metadata.response_code, ResponseCode::NoError);
                let ttls = message.authorities.iter().map(|record| record.ttl);
                assert!(ttls.max().is_none_or(|ttl| ttl <= 60), "{name} {qtype}");
                addresses(&reply).0.len()
            });
            let first = counts.next().unwrap();
            assert_eq!(counts.next(), Some(first), "from a hot answer");
            first
        };
        for name in ["abc.r", "abc", "www"] {
            assert_eq!(answers(name, A, NEAR), 2);
            for address in ["192.0.2.101", "192.0.2.102"] {
                routing.mark(address, false);
            }
            assert_eq!(answers(name, A, NEAR), 0);
            assert_eq!(answers(name, AAAA, NEAR), 1);
            // No pool is for this client.
            assert_eq!(answers(name, A, FAR), 1);
            routing.mark("2001:db8::101", false);
            assert_eq!(answers(name, AAAA, NEAR), 0);
            for address in ["192.0.2.101", "192.0.2.102", "2001:db8::101"] {
                routing.mark(address, true);
            }
        }
        assert_eq!(answers("abc", A, NEAR), 2);
    }
}
