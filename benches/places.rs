//! How long a large database of places takes to load, what it takes of memory, and how long the place of a client takes to find.
//!
//! The databases are made here: five million networks, four of IPv4 and one of IPv6, with 100,000 places all over the earth. In
//! one database each network has a random place, so that hardly any neighbours have the same pool, and the tables are as large
//! as they can be. In the other one, as in those that are sold, most neighbours are at the same place.
//!
//!     cargo bench --bench places
//!
//! The memory is that of the process, with the allocator of the system. Clients are random, so the processor's caches hardly
//! help; each look-up begins when the one before it has ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tinyns::base::name::ZoneName;
use tinyns::routing::{
    Fail, Family, Letters, Location, Owner, Pool, Route, Routing, RoutingConfig,
};

const POOLS: u16 = 200;
const PLACES: u32 = 100_000;
/// IPv4 has networks of this length from its first address on, and IPv6 from [`FIRST_IPV6`] on.
const IPV4: (u32, u8) = (4_000_000, 24);
const IPV6: (u32, u8) = (1_000_000, 48);
const FIRST_IPV6: u128 = 0x2a00 << 112;
const ROUNDS: usize = 3;
const LOOK_UPS: usize = 1 << 22;

/// Of how many networks one is at another place than the one before.
const CASES: [u32; 2] = [1, 16];

fn main() {
    let words: Vec<String> = env::args().collect();
    if let [_, word, file] = &words[..]
        && word == "--measure"
    {
        return measure(Path::new(file));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("places.mmdb");
    for moves in CASES {
        write_database(&file, moves);
        println!(
            "one network of {moves} is at another place than the one before; {} networks, {} MiB, {POOLS} pools",
            IPV4.0 + IPV6.0,
            fs::metadata(&file).unwrap().len() >> 20
        );
        // A process of its own, whose memory has nothing else.
        let program = env::current_exe().unwrap();
        let run = Command::new(program).arg("--measure").arg(&file).status();
        assert!(run.unwrap().success());
    }
}

fn measure(file: &Path) {
    let before = resident("VmRSS:");
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let routing = Routing::open(config(file)).unwrap();
        let took = began.elapsed();
        println!("loaded in {:.2} s", took.as_secs_f64());
        if round == 1 {
            println!(
                "{} ranges; resident {} MiB more, {} MiB at the most",
                routing.ranges(),
                (resident("VmRSS:") - before) >> 10,
                (resident("VmHWM:") - before) >> 10,
            );
        }
        let networks = routing.source().unwrap().networks;
        assert_eq!(networks, u64::from(IPV4.0 + IPV6.0));
        for (what, clients) in [
            ("IPv4", clients(ipv4_client)),
            ("IPv6", clients(ipv6_client)),
            ("6to4", clients(six_to_four_client)),
        ] {
            println!(
                "a look-up of {what} takes {:.0} ns",
                look_up(&routing, &clients)
            );
        }
    }
}

/// Pools all over the earth, one of which is nearest for each client.
fn config(file: &Path) -> RoutingConfig {
    let mut random = Random(7);
    let pool = |number: u16| Pool {
        name: format!("pool-{number}").into(),
        ipv4: vec![Ipv4Addr::from_bits(0xC000_0200 + u32::from(number))],
        ipv6: Vec::new(),
        countries: Vec::new(),
        continents: Vec::new(),
        networks: Vec::new(),
        location: Some(place(&mut random)),
        weight: 1,
        default: false,
        check: None,
    };
    RoutingConfig {
        pools: (0..POOLS).map(pool).collect(),
        routes: vec![Route {
            owner: Owner::Links(ZoneName::parse("s.example.com").unwrap()),
            pools: (0..POOLS).collect(),
        }],
        database: Some(file.into()),
        ttl: 60,
        client_subnet: true,
        fail: Fail::Open,
    }
}

/// The mean time of a look-up, in nanoseconds.
fn look_up(routing: &Routing, clients: &[IpAddr]) -> f64 {
    let owner = routing.config().routes[0].owner.clone();
    let list = routing.list_of(&owner).unwrap();
    let mut found = 0;
    let began = Instant::now();
    for client in clients {
        let located = routing.locate(list, *client, Family::Ipv4);
        found += u64::from(located.pool.unwrap_or(0) + u16::from(located.scope));
    }
    let took = began.elapsed();
    black_box(found);
    took.as_nanos() as f64 / clients.len() as f64
}

fn clients(client: fn(&mut Random) -> IpAddr) -> Vec<IpAddr> {
    let mut random = Random(1);
    (0..LOOK_UPS).map(|_| client(&mut random)).collect()
}

fn ipv4_client(random: &mut Random) -> IpAddr {
    Ipv4Addr::from_bits(random.below(IPV4.0) << 8).into()
}

fn ipv6_client(random: &mut Random) -> IpAddr {
    Ipv6Addr::from_bits(FIRST_IPV6 | u128::from(random.below(IPV6.0)) << 80).into()
}

fn six_to_four_client(random: &mut Random) -> IpAddr {
    let ipv4 = random.below(IPV4.0) << 8;
    Ipv6Addr::from_bits(0x2002 << 112 | u128::from(ipv4) << 80).into()
}

/// A figure of this process, in KiB.
fn resident(figure: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(figure));
    let words = line.unwrap().split_whitespace();
    words.skip(1).next().unwrap().parse().unwrap()
}

/// Random numbers that are the same in each run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end)) as u32
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }
}

fn place(random: &mut Random) -> Location {
    Location {
        latitude: random.part() * 140.0 - 60.0,
        longitude: random.part() * 360.0 - 180.0,
    }
}

/// Writes a database in which one network of `moves` is at another place than the one before, in the format of MaxMind, version 2: a tree of bits with records of 32 bits, then the data, then what is
/// said of both.
fn write_database(file: &Path, moves: u32) {
    let mut random = Random(3);
    let (mut data, mut offsets) = (Vec::new(), Vec::new());
    for _ in 0..PLACES {
        offsets.push(data.len() as u32);
        let Location {
            latitude,
            longitude,
        } = place(&mut random);
        write_record(
            &mut data,
            latitude,
            longitude,
            &Letters::CONTINENTS[random.below(7) as usize],
        );
    }
    let mut tree = Tree::default();
    let mut place = offsets[0];
    let mut next_place = move || {
        if random.below(moves) == 0 {
            place = offsets[random.below(PLACES) as usize];
        }
        place
    };
    for number in 0..IPV4.0 {
        let bits = u128::from(number) << (32 - IPV4.1);
        tree.insert(bits, 96 + IPV4.1, next_place());
    }
    for number in 0..IPV6.0 {
        let bits = FIRST_IPV6 | u128::from(number) << (128 - IPV6.1);
        tree.insert(bits, IPV6.1, next_place());
    }
    // As MaxMind has it: IPv4 also under the prefixes of IPv6 that stand for it.
    let ipv4 = tree.node(0, 96);
    for (bits, len) in [(0xFFFF << 32, 96), (0x2002 << 112, 16), (0x2001 << 112, 32)] {
        let above = tree.node(bits, len - 1) as usize;
        tree.nodes[above][usize::from(bits >> (128 - len) & 1 == 1)] = Edge::Node(ipv4);
    }
    let mut out = BufWriter::new(File::create(file).unwrap());
    let count = tree.nodes.len() as u32;
    for edge in tree.nodes.iter().flatten() {
        let record = match *edge {
            Edge::Nothing => count,
            Edge::Node(node) => node,
            Edge::Place(offset) => count + 16 + offset,
        };
        out.write_all(&record.to_be_bytes()).unwrap();
    }
    out.write_all(&[0; 16]).unwrap();
    out.write_all(&data).unwrap();
    out.write_all(b"\xAB\xCD\xEFMaxMind.com").unwrap();
    out.write_all(&metadata(count)).unwrap();
    out.flush().unwrap();
}

#[derive(Clone, Copy)]
enum Edge {
    Nothing,
    Node(u32),
    Place(u32),
}

/// A tree of bits.
struct Tree {
    nodes: Vec<[Edge; 2]>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![[Edge::Nothing; 2]],
        }
    }
}

impl Tree {
    /// The node behind so many bits.
    fn node(&mut self, bits: u128, len: u8) -> u32 {
        let mut node = 0;
        for bit in 0..len {
            let side = usize::from(bits >> (127 - bit) & 1 == 1);
            node = match self.nodes[node as usize][side] {
                Edge::Node(next) => next,
                _ => {
                    self.nodes.push([Edge::Nothing; 2]);
                    let next = self.nodes.len() as u32 - 1;
                    self.nodes[node as usize][side] = Edge::Node(next);
                    next
                }
            };
        }
        node
    }

    fn insert(&mut self, bits: u128, len: u8, offset: u32) {
        let node = self.node(bits, len - 1) as usize;
        self.nodes[node][usize::from(bits >> (128 - len) & 1 == 1)] = Edge::Place(offset);
    }
}

const STRING: u8 = 2;
const DOUBLE: u8 = 3;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
const UINT64: u8 = 9;
const ARRAY: u8 = 11;

/// The byte before a value: its type and its length.
fn begin(out: &mut Vec<u8>, kind: u8, len: usize) {
    let len = u8::try_from(len).unwrap();
    match kind > 7 {
        true => out.extend([len, kind - 7]),
        false => out.push(kind << 5 | len),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    begin(out, STRING, text.len());
    out.extend(text.as_bytes());
}

fn write_record(out: &mut Vec<u8>, latitude: f64, longitude: f64, continent: &Letters) {
    begin(out, MAP, 2);
    write_text(out, "continent");
    begin(out, MAP, 1);
    write_text(out, "code");
    write_text(out, &continent.to_string());
    write_text(out, "location");
    begin(out, MAP, 2);
    for (key, value) in [("latitude", latitude), ("longitude", longitude)] {
        write_text(out, key);
        begin(out, DOUBLE, 8);
        out.extend(value.to_be_bytes());
    }
}

fn metadata(nodes: u32) -> Vec<u8> {
    let numbers = BTreeMap::from([
        ("binary_format_major_version", (UINT16, 2)),
        ("binary_format_minor_version", (UINT16, 0)),
        ("build_epoch", (UINT64, 1_790_000_000)),
        ("ip_version", (UINT16, 6)),
        ("node_count", (UINT32, nodes.into())),
        ("record_size", (UINT16, 32)),
    ]);
    let mut out = Vec::new();
    begin(&mut out, MAP, numbers.len() + 3);
    for (key, (kind, value)) in numbers {
        write_text(&mut out, key);
        let bytes: [u8; 8] = u64::to_be_bytes(value);
        let len = match kind {
            UINT16 => 2,
            UINT32 => 4,
            _ => 8,
        };
        begin(&mut out, kind, len);
        out.extend(&bytes[8 - len..]);
    }
    write_text(&mut out, "database_type");
    write_text(&mut out, "Places-City");
    write_text(&mut out, "languages");
    begin(&mut out, ARRAY, 0);
    write_text(&mut out, "description");
    begin(&mut out, MAP, 0);
    out
}
