//! A relay between a client and a server that changes replies.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{RRSIG, TXT};
use crate::harness::PATIENCE;

/// The interval at which the relay checks whether it is to stop.
const TICK: Duration = Duration::from_millis(50);
/// The largest message, in bytes.
const MAX_MESSAGE: usize = 65_535;
/// The length of type, class, TTL and RDLENGTH (RFC 1035 §4.1.3), in bytes.
const FIXED: usize = 10;
/// The length of the header (RFC 1035 §4.1.1), in bytes.
const HEADER: usize = 12;
/// The length of the fields before the signer's name in RRSIG rdata (RFC 4034 §3.1), in bytes.
const SIGNATURE_HEAD: usize = 18;

/// The one bit that the relay changes in each reply that has such a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// In the last byte of the rdata of the first record of this type.
    Data(u16),
    /// In the last byte of the first signature over records of this type.
    Signature(u16),
    /// In the expiration time of the first signature over records of this type.
    Expiration(u16),
}

/// Forwards queries and replies by UDP.
pub struct Relay {
    /// The address for queries.
    pub address: SocketAddr,
    changed: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay at a port that the system chooses.
    pub fn to(server: SocketAddr, change: Change) -> Self {
        Self::between(SocketAddr::from(([127, 0, 0, 1], 0)), server, change)
    }

    /// A relay at this address.
    pub fn between(address: SocketAddr, server: SocketAddr, change: Change) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
        upstream.connect(server).unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = socket.local_addr().unwrap();
        let (changed, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, stop) = (changed.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; MAX_MESSAGE];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                upstream.send(&buffer[..length]).unwrap();
                let length = upstream.recv(&mut buffer).unwrap();
                let reply = &mut buffer[..length];
                count.fetch_add(usize::from(change.apply(reply)), Ordering::Relaxed);
                // The client may have closed its socket.
                let _ = socket.send_to(reply, client);
            }
        });
        Self {
            address,
            changed,
            over,
            thread: Some(thread),
        }
    }

    /// The number of changed replies.
    pub fn changed(&self) -> usize {
        self.changed.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the relay died");
    }
}

impl Change {
    /// Changes a reply. Returns whether it has such a record.
    fn apply(self, reply: &mut [u8]) -> bool {
        let found = records(reply).into_iter().find_map(|record| {
            let Range { start, end } = record.data;
            let covered = || u16::from_be_bytes([reply[start], reply[start + 1]]);
            let of_signature = |rtype| record.rtype == RRSIG && covered() == rtype;
            match self {
                Self::None => None,
                Self::Data(rtype) => (record.rtype == rtype).then(|| end - 1),
                Self::Signature(rtype) => of_signature(rtype).then(|| end - 1),
                // Bytes 8 to 11 (RFC 4034 §3.1).
                Self::Expiration(rtype) => of_signature(rtype).then(|| start + 11),
            }
        });
        if let Some(at) = found {
            reply[at] ^= 1;
        }
        found.is_some()
    }
}

/// A record, and the place of its rdata.
struct Record {
    rtype: u16,
    data: Range<usize>,
}

/// The records of a well-formed message.
fn records(message: &[u8]) -> Vec<Record> {
    let u16_at = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let [questions, counts @ ..] = [4, 6, 8, 10].map(u16_at);
    let mut at = HEADER;
    for _ in 0..questions {
        at = after_name(message, at) + 4;
    }
    let mut records = Vec::new();
    for _ in 0..counts.into_iter().map(usize::from).sum() {
        let fixed = after_name(message, at);
        let start = fixed + FIXED;
        at = start + usize::from(u16_at(start - 2));
        records.push(Record {
            rtype: u16_at(fixed),
            data: start..at,
        });
    }
    records
}

/// The position after a name.
fn after_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            0xC0.. => return at + 2,
            length => at += 1 + usize::from(length),
        }
    }
}

#[test]
fn the_relay_changes_exactly_one_bit() {
    let name = b"\x01s\x00";
    let signature = [
        &TXT.to_be_bytes()[..],
        &[7; SIGNATURE_HEAD - 2],
        name,
        b"sig",
    ]
    .concat();
    let record = |rtype: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        let head = [&[0xC0, 12], &rtype.to_be_bytes()[..], &[0, 1, 0, 0, 0, 60]].concat();
        [&head[..], &length, data].concat()
    };
    let question = [&name[..], &[0, 16, 0, 1]].concat();
    let head = [0, 1, 0x84, 0, 0, 1, 0, 2, 0, 0, 0, 0];
    let records = [record(TXT, b"\x03abc"), record(RRSIG, &signature)].concat();
    let message = [&head[..], &question, &records].concat();
    let differs = |change: Change| {
        let mut changed = message.clone();
        assert_eq!(change.apply(&mut changed), changed != message);
        let places = message.iter().zip(&changed).enumerate();
        let places = places.filter(|(_, (a, b))| a != b);
        places.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let text_end = HEADER + question.len() + 2 + FIXED + 4;
    assert!(differs(Change::None).is_empty());
    assert_eq!(differs(Change::Data(TXT)), [text_end - 1]);
    assert_eq!(differs(Change::Signature(TXT)), [message.len() - 1]);
    let expiration = text_end + 2 + FIXED + 8;
    assert_eq!(differs(Change::Expiration(TXT)), [expiration + 3]);
    assert!(differs(Change::Data(1)).is_empty());
}
