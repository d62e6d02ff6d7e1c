//! The self-check: whether every name server of a zone answers with the challenge.
//!
//! A certificate authority asks one of the name servers, or several from several places. If one of them does not have
//! the challenge yet, validation may fail, and authorities limit failed validations to a few an hour. So the server
//! asks all of them first, as a resolver would: the addresses of all names in the zone's NS set, by UDP, and by TCP
//! after a truncated reply.
//!
//! An address without a route from this host, such as an IPv6 address on a host that has only IPv4, cannot be checked
//! from here. It is reported, but it does not stop the order as long as another address answers rightly: otherwise such
//! a host would never get a certificate.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT, EHOSTUNREACH, ENETUNREACH};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::zones::NameServer;

/// The most addresses that are asked: the root zone, the most served one, has 26.
const MAX_ADDRESSES: usize = 64;
/// How long a server has for a reply by UDP.
const UDP_TIME: Duration = Duration::from_secs(2);
/// How often a query is sent by UDP.
const UDP_TRIES: usize = 3;
/// How long a server has for a connection and a reply by TCP.
const TCP_TIME: Duration = Duration::from_secs(5);
/// How long the system's resolver has for the addresses of a name server.
const LOOKUP_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a reply by UDP (RFC 9715 §3.1).
const MAX_UDP: u16 = 1_232;

/// An address of a name server that does not answer with the challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongAnswer {
    /// The name of the server in the NS set.
    pub server: String,
    /// Its address; none if it has no address.
    pub address: Option<IpAddr>,
    /// What it answers, or why there is no answer.
    pub answer: String,
}

impl fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{} ({address}): {}", self.server, self.answer),
            None => write!(f, "{}: {}", self.server, self.answer),
        }
    }
}

/// The result of a self-check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// How many addresses answer rightly.
    right: usize,
    /// The addresses that answer wrongly or not at all.
    wrong: Vec<WrongAnswer>,
    /// The addresses without a route from this host.
    unreachable: Vec<WrongAnswer>,
}

impl Checked {
    /// The addresses that stop an order: none if the challenge can be validated.
    pub(super) fn obstacles(self) -> Vec<WrongAnswer> {
        match self {
            Self { right: 0, .. } => [self.wrong, self.unreachable].concat(),
            Self { wrong, .. } => wrong,
        }
    }

    /// The addresses that could not be checked.
    pub(super) fn unchecked(&self) -> &[WrongAnswer] {
        &self.unreachable
    }
}

/// What an address says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Right,
    Wrong(String),
    NoRoute(String),
}

/// Asks all addresses of these name servers at this port for the TXT records of `name`, which have to contain all
/// `values`.
pub(super) async fn check(
    servers: &[NameServer],
    port: u16,
    name: &str,
    values: &[String],
) -> Checked {
    let mut checked = Checked::default();
    let located = join_all(servers.iter().map(locate)).await;
    let mut addresses = Vec::new();
    for (server, found) in servers.iter().zip(located) {
        match found {
            Ok(found) => addresses.extend(found.into_iter().map(|address| (server, address))),
            Err(answer) => checked.wrong.push(wrong(server, None, answer)),
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    let asked = addresses.iter();
    let asked = asked.map(|(_, address)| ask(SocketAddr::new(*address, port), name, values));
    let answers = join_all(asked).await;
    for ((server, address), answer) in addresses.into_iter().zip(answers) {
        match answer {
            Answer::Right => checked.right += 1,
            Answer::Wrong(answer) => checked.wrong.push(wrong(server, Some(address), answer)),
            Answer::NoRoute(answer) => {
                let answer = wrong(server, Some(address), answer);
                checked.unreachable.push(answer);
            }
        }
    }
    checked
}

fn wrong(server: &NameServer, address: Option<IpAddr>, answer: String) -> WrongAnswer {
    WrongAnswer {
        server: server.name.to_string(),
        address,
        answer,
    }
}

/// The addresses of a name server: those that the zones give, or those that the system's resolver finds.
async fn locate(server: &NameServer) -> Result<Vec<IpAddr>, String> {
    if !server.addresses.is_empty() {
        return Ok(server.addresses.clone());
    }
    let found = timeout(LOOKUP_TIME, lookup_host((&*server.name, 0))).await;
    let mut addresses = match found {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(format!("the system's resolver finds no address: {error}")),
        Err(_) => return Err("the system's resolver does not reply".into()),
    };
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("it has no address".into());
    }
    Ok(addresses)
}

/// Asks one address.
async fn ask(address: SocketAddr, name: &str, values: &[String]) -> Answer {
    let Some((id, packet)) = query(name) else {
        return Answer::Wrong(format!("{name} is not a name that can be asked for"));
    };
    let reply = match ask_by_udp(address, id, &packet).await {
        Ok(reply) if reply.metadata.truncation => ask_by_tcp(address, id, &packet).await,
        reply => reply,
    };
    match reply {
        Ok(reply) => judge(&reply, name, values),
        Err(answer) => answer,
    }
}

fn query(name: &str) -> Option<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).ok()?;
    let id = u16::from_be_bytes(id);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("{name}.")).ok()?;
    message.add_query(Query::query(name, RecordType::TXT));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP);
    message.edns = Some(edns);
    Some((id, message.to_bytes().ok()?))
}

async fn ask_by_udp(address: SocketAddr, id: u16, packet: &[u8]) -> Result<Message, Answer> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connect = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        Ok::<_, io::Error>(socket)
    };
    let socket = connect.await.map_err(|error| no_route(&error))?;
    let mut buffer = [0; MAX_UDP as usize];
    for _ in 0..UDP_TRIES {
        // A refusal of the former packet may be reported here.
        if let Err(error) = socket.send(packet).await {
            return Err(Answer::Wrong(format!("no reply by UDP: {error}")));
        }
        // Packets that are no reply to this query do not end the wait.
        let reply = timeout(UDP_TIME, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                match Message::from_bytes(&buffer[..length]) {
                    Ok(reply) if is_reply(&reply, id) => return Ok::<_, io::Error>(reply),
                    _ => {}
                }
            }
        });
        match reply.await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => return Err(Answer::Wrong(format!("no reply by UDP: {error}"))),
            Err(_) => {}
        }
    }
    let waited = UDP_TIME.as_secs() * UDP_TRIES as u64;
    Err(Answer::Wrong(format!("no reply by UDP within {waited} s")))
}

/// Whether this error of a socket that has sent nothing yet says that the host has no route.
fn no_route(error: &io::Error) -> Answer {
    match error.raw_os_error() {
        Some(EADDRNOTAVAIL | EAFNOSUPPORT | EHOSTUNREACH | ENETUNREACH) => {
            Answer::NoRoute(format!("this host has no route to it: {error}"))
        }
        _ => Answer::Wrong(format!("it cannot be asked by UDP: {error}")),
    }
}

async fn ask_by_tcp(address: SocketAddr, id: u16, packet: &[u8]) -> Result<Message, Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes(), packet].concat())
            .await?;
        let mut reply = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut reply).await?;
        Ok::<_, io::Error>(reply)
    };
    let reply = match timeout(TCP_TIME, exchange).await {
        Ok(Ok(reply)) => Message::from_bytes(&reply).ok(),
        Ok(Err(error)) => return Err(Answer::Wrong(format!("no reply by TCP: {error}"))),
        Err(_) => {
            let waited = TCP_TIME.as_secs();
            return Err(Answer::Wrong(format!("no reply by TCP within {waited} s")));
        }
    };
    let reply = reply.filter(|reply| is_reply(reply, id));
    reply.ok_or_else(|| Answer::Wrong("the reply by TCP is not one to the query".into()))
}

fn is_reply(reply: &Message, id: u16) -> bool {
    reply.metadata.id == id && reply.metadata.message_type == MessageType::Response
}

/// Whether a reply has all values.
fn judge(reply: &Message, name: &str, values: &[String]) -> Answer {
    let code = reply.metadata.response_code;
    if code != ResponseCode::NoError {
        let (number, text) = (u16::from(code), code.to_str());
        return Answer::Wrong(format!("it answers with rcode {number} ({text})"));
    }
    let texts: Vec<Vec<u8>> = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        })
        .collect();
    let found = |value: &&String| texts.iter().any(|text| text == value.as_bytes());
    let missing = values.iter().filter(|value| !found(value)).count();
    match (missing, texts.len()) {
        (0, _) => Answer::Right,
        (_, 0) => Answer::Wrong(format!("it has no TXT record at {name}")),
        (missing, texts) => Answer::Wrong(format!(
            "it has {texts} TXT records at {name}, and {missing} of the {} expected ones are missing",
            values.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::TXT;
    use tokio::net::TcpListener;

    use super::*;

    const NAME: &str = "_acme-challenge.s.example.com";

    fn values() -> Vec<String> {
        vec!["one".into(), "two".into()]
    }

    fn reply_to(query: &[u8], texts: &[&str], truncated: bool, code: ResponseCode) -> Vec<u8> {
        let query = Message::from_bytes(query).unwrap();
        let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.truncation = truncated;
        reply.metadata.response_code = code;
        let name = query.queries[0].name().clone();
        reply.add_query(query.queries[0].clone());
        for text in texts {
            let data = RData::TXT(TXT::new(vec![(*text).into()]));
            reply.add_answer(Record::from_rdata(name.clone(), 0, data));
        }
        reply.to_bytes().unwrap()
    }

    /// A server that sends something else first, then this answer.
    async fn serve(texts: &'static [&'static str], truncated: bool, code: ResponseCode) -> u16 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            let query = &buffer[..length];
            udp.send_to(b"no message", client).await.unwrap();
            udp.send_to(query, client).await.unwrap();
            let by_udp = if truncated { &[] } else { texts };
            let reply = reply_to(query, by_udp, truncated, code);
            udp.send_to(&reply, client).await.unwrap();
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut query = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut query).await.unwrap();
            let reply = reply_to(&query, texts, false, code);
            let length = u16::try_from(reply.len()).unwrap();
            stream.write_u16(length).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        });
        address.port()
    }

    fn server(addresses: &[&str]) -> NameServer {
        NameServer {
            name: "ns1.s.example.com".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    async fn answer_at(port: u16) -> Vec<String> {
        let checked = check(&[server(&["127.0.0.1"])], port, NAME, &values()).await;
        let obstacles = checked.obstacles().into_iter();
        obstacles.map(|wrong| wrong.to_string()).collect()
    }

    #[tokio::test]
    async fn all_values_are_needed_from_every_address() {
        let all = &["two", "other", "one"];
        let port = serve(all, false, ResponseCode::NoError).await;
        assert_eq!(answer_at(port).await, [""; 0]);
        // By TCP.
        let port = serve(all, true, ResponseCode::NoError).await;
        assert_eq!(answer_at(port).await, [""; 0]);
        let said = |answer: &str| vec![format!("ns1.s.example.com (127.0.0.1): {answer}")];
        let port = serve(&["one"], false, ResponseCode::NoError).await;
        let missing =
            format!("it has 1 TXT records at {NAME}, and 1 of the 2 expected ones are missing");
        assert_eq!(answer_at(port).await, said(&missing));
        let port = serve(&[], false, ResponseCode::NoError).await;
        assert_eq!(
            answer_at(port).await,
            said(&format!("it has no TXT record at {NAME}"))
        );
        let port = serve(&[], false, ResponseCode::NXDomain).await;
        let absent = "it answers with rcode 3 (Non-Existent Domain)";
        assert_eq!(answer_at(port).await, said(absent));
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_host_are_named() {
        let free = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let said = answer_at(port).await.concat();
        assert!(said.contains("Connection refused"), "{said}");
        let unknown = NameServer {
            name: "ns.invalid".into(),
            addresses: Vec::new(),
        };
        let wrong = check(&[unknown], port, NAME, &values()).await.obstacles();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].address, None);
        assert!(wrong[0].answer.contains("resolver"), "{wrong:?}");
    }

    #[tokio::test]
    async fn an_address_without_a_route_does_not_stop_an_order_that_another_can_validate() {
        let answer = || wrong(&server(&[]), None, String::new());
        let mut checked = Checked {
            right: 1,
            wrong: Vec::new(),
            unreachable: vec![answer()],
        };
        assert_eq!(checked.clone().obstacles(), []);
        checked.right = 0;
        assert_eq!(checked.obstacles(), [answer()]);
        for code in [EADDRNOTAVAIL, EAFNOSUPPORT, EHOSTUNREACH, ENETUNREACH] {
            let found = no_route(&io::Error::from_raw_os_error(code));
            assert!(matches!(found, Answer::NoRoute(_)), "{found:?}");
        }
        // On a host without IPv6, which most test machines are.
        let documentation = "2001:db8::1";
        let probe = std::net::UdpSocket::bind("[::]:0");
        let has_route = probe
            .and_then(|probe| probe.connect((documentation, 53)))
            .is_ok();
        if !has_route {
            let port = serve(&["one", "two"], false, ResponseCode::NoError).await;
            let both = server(&["127.0.0.1", documentation]);
            let checked = check(&[both], port, NAME, &values()).await;
            assert_eq!(checked.unchecked().len(), 1, "{checked:?}");
            assert_eq!(checked.obstacles(), []);
        }
    }
}
