//! Where the server listens, and which address its replies come from.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use crate::harness::{PATIENCE, Server, Setup, parse, query};

/// Asks at an address by UDP, from a socket that would take a reply from anywhere.
fn udp(to: SocketAddr) -> (Message, SocketAddr) {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let packet = query("ns1.s.example.com.", RecordType::A)
        .to_bytes()
        .unwrap();
    socket.send_to(&packet, to).unwrap();
    let mut buffer = [0; 1_500];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (parse(&buffer[..length]), from)
}

fn tcp(to: SocketAddr) -> Message {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let packet = query("ns1.s.example.com.", RecordType::A)
        .to_bytes()
        .unwrap();
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, &packet[..]].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    parse(&reply)
}

/// Asks at an address by both protocols, again and again: the system gives each client to one of the
/// server's sockets.
fn check(to: SocketAddr) {
    for _ in 0..8 {
        let (reply, from) = udp(to);
        assert_eq!(from, to, "the reply came from another address");
        assert_eq!(reply.answers.len(), 1);
    }
    assert_eq!(tcp(to).answers.len(), 1);
}

fn server(listen: &str) -> Server {
    Setup::new().listen(listen).start()
}

/// The addresses of this machine that are good on one link only, with the number of that link.
fn link_local() -> Vec<SocketAddrV6> {
    let Ok(interfaces) = std::fs::read_to_string("/proc/net/if_inet6") else {
        return Vec::new();
    };
    let addresses = interfaces.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let bits = u128::from_str_radix(fields.next()?, 16).ok()?;
        let interface = u32::from_str_radix(fields.next()?, 16).ok()?;
        let address = Ipv6Addr::from_bits(bits);
        address
            .is_unicast_link_local()
            .then(|| SocketAddrV6::new(address, 0, 0, interface))
    });
    addresses.collect()
}

#[test]
fn each_listener_has_its_own_address_and_port() {
    let server = server(r#"["127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]"#);
    let addresses = server.dns_addresses();
    let hosts: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    assert_eq!(hosts, ["127.0.0.1", "127.0.0.1", "127.0.0.2", "::1"]);
    assert_ne!(addresses[0].port(), addresses[1].port());
    addresses.into_iter().for_each(check);
}

/// RFC 2181 §4.1: a reply comes from the address that was asked.
#[test]
fn rfc2181_4_1_replies_of_wildcard_listeners_come_from_the_address_that_was_asked() {
    let server = server(r#"["0.0.0.0:0", "[::]:0"]"#);
    let [v4, v6] = server.dns_addresses()[..] else {
        panic!("not two listeners");
    };
    for ip in ["127.0.0.1", "127.0.0.2", "127.1.2.3", "127.0.0.1"] {
        check(SocketAddr::new(ip.parse().unwrap(), v4.port()));
    }
    check(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), v6.port()));
    for mut address in link_local() {
        address.set_port(v6.port());
        check(address.into());
    }
}

#[test]
fn both_families_share_a_port() {
    // One that is free for both now, and that nothing else is given in between: it is asked for by
    // number, from below those that the system gives away.
    let port = (0..100)
        .map(|n| 20_000 + (std::process::id() % 100) * 100 + n)
        .find(|port| std::net::TcpListener::bind(("::", u16::try_from(*port).unwrap())).is_ok())
        .unwrap();
    let server = server(&format!(r#"["0.0.0.0:{port}", "[::]:{port}"]"#));
    for address in server.dns_addresses() {
        let ip: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        check(SocketAddr::new(ip, address.port()));
    }
}

#[test]
fn link_local_addresses_are_listened_on() {
    let Some(address) = link_local().into_iter().next() else {
        return println!("skipped: this machine has no link-local IPv6 address");
    };
    let server = server(&format!("[\"{address}\"]"));
    assert_eq!(server.dns_addresses(), [server.dns]);
    check(server.dns);
}
