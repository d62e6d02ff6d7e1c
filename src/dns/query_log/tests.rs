use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::dnstap::Encoder;
use super::file::FileSink;
use super::frames::Control;
use super::socket::SocketSink;
use super::*;

/// A value of a field, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Fixed(u32),
    Bytes(Vec<u8>),
}

use Value::{Fixed, Number};

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.into())
}

type Fields = BTreeMap<u64, Value>;

/// Reads a message of protobuf, whose fields are there once.
fn fields(mut wire: &[u8]) -> Fields {
    fn varint(wire: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = wire.split_first().unwrap();
            *wire = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
        }
        panic!("a number without end");
    }
    let mut fields = Fields::new();
    while !wire.is_empty() {
        let key = varint(&mut wire);
        let value = match key & 7 {
            0 => Number(varint(&mut wire)),
            2 => {
                let len = varint(&mut wire) as usize;
                let (value, rest) = wire.split_at(len);
                wire = rest;
                bytes(value)
            }
            5 => {
                let (value, rest) = wire.split_first_chunk().unwrap();
                wire = rest;
                Fixed(u32::from_le_bytes(*value))
            }
            other => panic!("wire type {other}"),
        };
        assert!(fields.insert(key >> 3, value).is_none(), "twice: {key}");
    }
    fields
}

/// The data of frames.
fn data(mut frames: &[u8]) -> Vec<Vec<u8>> {
    let mut data = Vec::new();
    while let Some((length, rest)) = frames.split_first_chunk() {
        let (one, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        data.push(one.to_vec());
        frames = rest;
    }
    assert!(frames.is_empty());
    data
}

const V4: (&str, &str) = ("192.0.2.77:5353", "198.51.100.1:53");
const V6: (&str, &str) = ("[2001:db8:1:2:3:4:5:6]:65535", "[2001:db8::53]:853");
const SECONDS: u64 = 1_795_000_000;

fn ends((client, server): (&str, &str), transport: Transport) -> Ends {
    Ends {
        client: client.parse().unwrap(),
        server: Some(server.parse().unwrap()),
        transport,
    }
}

fn record(ends: Ends, query: &[u8], reply: Option<&[u8]>) -> Record {
    let time = SystemTime::UNIX_EPOCH + Duration::new(SECONDS, 7);
    Record {
        ends,
        asked_at: time,
        replied_at: reply.map(|_| time + Duration::new(1, 1)),
        bytes: [query, reply.unwrap_or_default()].concat(),
        query_len: query.len(),
    }
}

/// The messages of a record, each with the fields around it.
fn fields_of(record: &Record, messages: Messages, anonymise: bool) -> Vec<(Fields, Fields)> {
    let mut frames = Vec::new();
    Encoder::new(messages, anonymise, "ns1").encode(record, &mut frames);
    let outer = data(&frames).into_iter().map(|data| fields(&data));
    let split = outer.map(|mut outer| match outer.remove(&14) {
        Some(Value::Bytes(inner)) => (outer, fields(&inner)),
        other => panic!("{other:?}"),
    });
    split.collect()
}

#[test]
fn a_query_and_its_reply_field_by_field() {
    let query = b"\x12\x34\0\0a query";
    let long = [7; 300];
    let messages = fields_of(
        &record(ends(V4, Transport::Udp), query, Some(&long)),
        Messages::Both,
        false,
    );
    let version = concat!("tinyns ", env!("CARGO_PKG_VERSION"));
    let envelope = Fields::from([
        (1, bytes(b"ns1")),
        (2, bytes(version.as_bytes())),
        (15, Number(1)),
    ]);
    let common = Fields::from([
        (2, Number(1)),
        (3, Number(1)),
        (4, bytes(&[192, 0, 2, 77])),
        (5, bytes(&[198, 51, 100, 1])),
        (6, Number(5_353)),
        (7, Number(53)),
        (8, Number(SECONDS)),
        (9, Fixed(7)),
    ]);
    let mut asked = common.clone();
    asked.extend([(1, Number(1)), (10, bytes(query))]);
    let mut replied = common;
    replied.extend([
        (1, Number(2)),
        (12, Number(SECONDS + 1)),
        (13, Fixed(8)),
        (14, bytes(&long)),
    ]);
    assert_eq!(messages, [(envelope.clone(), asked), (envelope, replied)]);
}

#[test]
fn ipv6_and_tcp() {
    let messages = fields_of(
        &record(ends(V6, Transport::Tcp), b"", Some(b"")),
        Messages::Both,
        false,
    );
    let client: Ipv6 = "2001:db8:1:2:3:4:5:6".parse().unwrap();
    let server: Ipv6 = "2001:db8::53".parse().unwrap();
    assert_eq!(messages.len(), 2);
    for (_, message) in messages {
        assert_eq!(message[&2], Number(2));
        assert_eq!(message[&3], Number(2));
        assert_eq!(message[&4], bytes(&client.octets()));
        assert_eq!(message[&5], bytes(&server.octets()));
        assert_eq!(message[&6], Number(65_535));
    }
    let mapped = ("[::ffff:192.0.2.77]:1", "[::ffff:192.0.2.1]:53");
    let messages = fields_of(
        &record(ends(mapped, Transport::Udp), b"", None),
        Messages::Both,
        false,
    );
    assert_eq!(messages[0].1[&2], Number(1));
    assert_eq!(messages[0].1[&4], bytes(&[192, 0, 2, 77]));
    assert_eq!(messages[0].1[&5], bytes(&[192, 0, 2, 1]));
}

type Ipv6 = std::net::Ipv6Addr;

#[test]
fn an_unknown_local_address_is_left_out() {
    let ends = Ends {
        server: None,
        ..ends(V4, Transport::Tcp)
    };
    let messages = fields_of(&record(ends, b"q", None), Messages::Both, false);
    let fields: Vec<_> = messages[0].1.keys().copied().collect();
    assert_eq!(fields, [1, 2, 3, 4, 6, 8, 9, 10]);
}

#[test]
fn clients_addresses_are_cut_to_networks_if_configured() {
    let network: Ipv6 = "2001:db8:1::".parse().unwrap();
    let server: Ipv6 = "2001:db8::53".parse().unwrap();
    for (pair, client, server) in [
        (V4, &[192, 0, 2, 0][..], &[198, 51, 100, 1][..]),
        (V6, &network.octets(), &server.octets()),
    ] {
        let record = record(ends(pair, Transport::Udp), b"q", Some(b"r"));
        for (_, message) in fields_of(&record, Messages::Both, true) {
            assert_eq!(message[&4], bytes(client), "{pair:?}");
            assert_eq!(message[&5], bytes(server), "{pair:?}");
        }
    }
    let last_bit = ("[2001:db8:1:ff:ffff::1]:1", "[::1]:53");
    let record = record(ends(last_bit, Transport::Udp), b"q", None);
    let network: Ipv6 = "2001:db8:1::".parse().unwrap();
    let messages = fields_of(&record, Messages::Both, true);
    assert_eq!(messages[0].1[&4], bytes(&network.octets()), "56 bits");
}

#[test]
fn only_the_configured_messages_are_written() {
    let kinds = |record: &Record, messages| {
        let fields_of = fields_of(record, messages, false);
        let kinds = fields_of.iter().map(|(_, message)| message[&1].clone());
        kinds.collect::<Vec<_>>()
    };
    let ends = ends(V4, Transport::Udp);
    let whole = record(ends, b"q", Some(b"r"));
    assert_eq!(kinds(&whole, Messages::Both), [Number(1), Number(2)]);
    assert_eq!(kinds(&whole, Messages::Queries), [Number(1)]);
    assert_eq!(kinds(&whole, Messages::Responses), [Number(2)]);
    let dropped = record(ends, b"q", None);
    assert_eq!(kinds(&dropped, Messages::Both), [Number(1)]);
    assert_eq!(kinds(&dropped, Messages::Queries), [Number(1)]);
    assert_eq!(kinds(&dropped, Messages::Responses), []);
    // RFC 2136: opcode 5, with other bits beside it.
    let update = record(ends, b"\0\0\x29\0", Some(b"r"));
    assert_eq!(kinds(&update, Messages::Both), [Number(13), Number(14)]);
    let notify = record(ends, b"\0\0\x21\0", Some(b"r"));
    assert_eq!(kinds(&notify, Messages::Both), [Number(1), Number(2)]);
}

#[test]
fn without_an_identity_there_is_none() {
    let mut frames = Vec::new();
    let record = record(ends(V4, Transport::Udp), b"q", None);
    Encoder::new(Messages::Both, false, "").encode(&record, &mut frames);
    assert!(!fields(&data(&frames)[0]).contains_key(&1));
}

/// A log without a writer.
fn unwritten(sample: u32, messages: Messages) -> (QueryLog, Receiver<Box<Record>>, Arc<Metrics>) {
    let (sender, records) = sync_channel(QUEUE_BYTES / RECORD_BYTES);
    let metrics = Arc::new(Metrics::new());
    let queue = Queue {
        records: sender,
        weight: AtomicUsize::new(0),
        sample,
        messages,
        is_up: AtomicBool::new(true),
        writer: OnceLock::new(),
        reopen: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        metrics: metrics.clone(),
    };
    (QueryLog(Some(Arc::new(queue))), records, metrics)
}

fn lost(metrics: &Metrics, reason: QueryLogDropReason) -> u64 {
    let label = QueryLogDrop { reason };
    metrics.query_log_dropped.get_or_create(&label).get()
}

#[test]
fn a_log_that_is_off_picks_nothing() {
    let log = QueryLog::off();
    assert!(!log.is_on());
    assert!(log.sample(b"q", ends(V4, Transport::Udp)).is_none());
}

#[test]
fn a_sampled_query_is_logged_once_with_its_reply_or_without() {
    let ends = ends(V4, Transport::Udp);
    for (messages, with_reply, alone) in [
        (Messages::Both, Some(&b"qr"[..]), Some(&b"q"[..])),
        (Messages::Queries, Some(b"q"), Some(b"q")),
        (Messages::Responses, Some(b"qr"), None),
    ] {
        let (log, records, _) = unwritten(1, messages);
        let next = || records.try_recv().ok().map(|record| record.bytes);
        log.sample(b"q", ends).unwrap().replied(b"r");
        assert_eq!(next().as_deref(), with_reply, "{messages:?}");
        drop(log.sample(b"q", ends));
        assert_eq!(next().as_deref(), alone, "{messages:?}");
        assert!(next().is_none());
    }
}

#[test]
fn one_in_so_many_is_picked() {
    const DRAWS: usize = 100_000;
    fastrand::seed(1);
    for sample in [1, 2, 10, 1_000] {
        let (log, _, _) = unwritten(sample, Messages::Both);
        let queue = log.0.unwrap();
        let picks: Vec<_> = (0..DRAWS).filter(|_| queue.picks()).collect();
        let expected = DRAWS as f64 / f64::from(sample);
        // Six standard deviations, and the seed is the same each time.
        let room = 6.0 * (expected * (1.0 - 1.0 / f64::from(sample))).sqrt();
        let off = (picks.len() as f64 - expected).abs();
        assert!(off <= room, "{sample}: {}", picks.len());
        // Those at even places are picked as often as those at odd ones.
        let even = picks.iter().filter(|place| *place % 2 == 0).count() as f64;
        let half = picks.len() as f64 / 2.0;
        assert!(
            sample == 2 || (even - half).abs() <= 6.0 * half.sqrt(),
            "{sample}"
        );
    }
}

#[test]
fn records_without_room_are_dropped_and_counted() {
    let (log, records, metrics) = unwritten(1, Messages::Both);
    let ends = ends(V4, Transport::Tcp);
    let reply = vec![0; 65_000];
    let room = QUEUE_BYTES / (RECORD_BYTES + 1 + reply.len());
    let fill = |count| {
        for _ in 0..count {
            log.sample(b"q", ends).unwrap().replied(&reply);
        }
    };
    fill(room + 3);
    assert_eq!(lost(&metrics, QueryLogDropReason::TooSlow), 3);
    let queue = log.0.as_ref().unwrap();
    queue.is_up.store(false, Ordering::Relaxed);
    fill(2);
    assert_eq!(lost(&metrics, QueryLogDropReason::Unavailable), 2);
    assert_eq!(lost(&metrics, QueryLogDropReason::TooSlow), 3);
    // Small ones find the room that large ones have left.
    log.sample(b"q", ends).unwrap().replied(b"r");
    assert_eq!(records.try_iter().count(), room + 1);
}

/// The weight of records bounds the queue, and not their number: so many are never refused.
#[test]
fn the_smallest_records_fill_the_queue_to_its_bound() {
    let (log, records, metrics) = unwritten(1, Messages::Both);
    let ends = ends(V4, Transport::Udp);
    let room = QUEUE_BYTES / RECORD_BYTES;
    for _ in 0..room + 1 {
        drop(log.sample(b"", ends));
    }
    assert_eq!(records.try_iter().count(), room);
    assert_eq!(lost(&metrics, QueryLogDropReason::TooSlow), 1);
}

/// Starts the real thing.
fn started(to: Destination) -> (QueryLog, QueryLogKeeper, Arc<Metrics>) {
    let config = QueryLogConfig {
        to,
        sample: NonZeroU32::MIN,
        messages: Messages::Queries,
        identity: None,
        anonymise: false,
    };
    let metrics = Arc::new(Metrics::new());
    let (log, keeper) = QueryLog::start(&config, metrics.clone()).unwrap();
    (log, keeper, metrics)
}

#[tokio::test]
async fn waiting_records_are_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q");
    let max_bytes = 1 << 30;
    let (log, keeper, metrics) = started(Destination::File {
        path: path.clone(),
        max_bytes,
    });
    const QUERIES: u64 = 20_000;
    for _ in 0..QUERIES {
        drop(log.sample(b"query", ends(V4, Transport::Udp)));
    }
    keeper.end().await;
    assert_eq!(metrics.query_log_queries.get(), QUERIES);
    assert_eq!(metrics.query_log_up.get(), 0);
    let stream = std::fs::read(&path).unwrap();
    let frames = stream.strip_prefix(&Control::Start.frame()[..]).unwrap();
    let frames = frames.strip_suffix(&Control::Stop.frame()[..]).unwrap();
    assert_eq!(frames.len() as u64, metrics.query_log_bytes.get());
    assert_eq!(data(frames).len() as u64, QUERIES);
    assert_eq!(log.0.unwrap().weight.load(Ordering::Relaxed), 0);
    FileSink::new(path, max_bytes).unwrap();
}

/// Accepts a connection as a collector does.
fn collect(listener: &UnixListener) -> std::os::unix::net::UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut ready = Control::Ready.frame();
    let expected = ready.clone();
    stream.read_exact(&mut ready).unwrap();
    assert_eq!(ready, expected);
    stream.write_all(&Control::Accept.frame()).unwrap();
    let mut start = Control::Start.frame();
    let expected = start.clone();
    stream.read_exact(&mut start).unwrap();
    assert_eq!(start, expected);
    stream
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_frame_loses_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let (log, keeper, metrics) = started(Destination::Socket(path));
    let mut first = collect(&listener);
    // More than fits into a socket, so that the writer is in the midst of it.
    const QUERIES: usize = 1_000;
    for number in 0..QUERIES {
        let mut query = vec![0; 4_000];
        query[..8].copy_from_slice(&number.to_be_bytes());
        drop(log.sample(&query, ends(V4, Transport::Udp)));
    }
    // Whole frames, and a piece of one.
    let mut got = vec![0; 100_001];
    first.read_exact(&mut got).unwrap();
    drop(first);
    let collector = std::thread::spawn(move || {
        let mut stream = collect(&listener);
        let mut all = Vec::new();
        let stop = Control::Stop.frame();
        let mut piece = vec![0; 64 << 10];
        while !all.ends_with(&stop) {
            let len = stream.read(&mut piece).unwrap();
            assert!(len > 0, "no STOP");
            all.extend(&piece[..len]);
        }
        stream.write_all(&Control::Finish.frame()).unwrap();
        all.truncate(all.len() - stop.len());
        all
    });
    keeper.end().await;
    let all = collector.join().unwrap();
    let numbers: Vec<_> = data(&all)
        .iter()
        .map(|data| match &fields(data)[&14] {
            Value::Bytes(message) => match &fields(message)[&10] {
                Value::Bytes(query) => usize::from_be_bytes(query[..8].try_into().unwrap()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    // What the system held for the first connection is gone with it; the rest is there, once each.
    let expected: Vec<_> = (numbers[0]..QUERIES).collect();
    assert_eq!(numbers, expected);
    assert!((24..QUERIES / 2).contains(&numbers[0]), "{}", numbers[0]);
    assert_eq!(metrics.query_log_queries.get(), QUERIES as u64);
}

#[tokio::test]
async fn a_collector_of_another_content_type_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let collector = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let other = b"\0\0\0\0\0\0\0\x0D\0\0\0\x01\0\0\0\x01\0\0\0\x01x";
        stream.write_all(other).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let mut sink = SocketSink::new(path.clone());
    let error = sink.open().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the other side does not take dnstap",
        "{error:?}"
    );
    assert_eq!(collector.join().unwrap(), Control::Ready.frame());
    // And one that says nothing is not waited for without end, as is none that is not there.
    let listener = UnixListener::bind(path.with_extension("2")).unwrap();
    let mut sink = SocketSink::new(path.with_extension("2"));
    let error = sink.open().unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ),
        "{error:?}"
    );
    drop(listener);
    assert!(sink.open().is_err());
}
