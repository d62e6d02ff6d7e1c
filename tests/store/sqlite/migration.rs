//! A server that brings a file of an earlier version up to date: kill -9 at each of its steps, and queries meanwhile.

use std::io::{BufRead, BufReader};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use super::*;
use crate::harness::{
    Answer, PATIENCE, Process, Server, Setup, TOKEN, free_port, parse, query, tinyns,
};

/// More than a file may have before the log shows each step.
const LINKS: u64 = 60_000;
/// The text of the log lines when a step begins, and when it is done.
const BEGINS: &str = "the link store is updated to a new schema version";
const DONE: &str = "the link store was updated to a new schema version";

fn file(setup: &Setup) -> PathBuf {
    setup.dir().join("data/links.sqlite")
}

/// A server that is to start with a file of an earlier version.
fn old_server() -> Setup {
    let setup = Setup::new();
    fs::create_dir(setup.dir().join("data")).unwrap();
    earlier::make(&file(&setup), LINKS);
    setup
}

/// All columns of the earlier version, of all links, as one text.
fn links(path: &Path) -> String {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT group_concat(concat_ws(' ', origin, code, url, created_at, created_by, ttl, version), '\n') \
        FROM (SELECT * FROM link ORDER BY origin, code)";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn schema_version(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let version = conn.pragma_query_value(None, "user_version", |row| row.get(0));
    version.unwrap()
}

/// Starts a server and kills it when the log has had so many lines about the migration; false if it started before that.
fn start_and_kill(config: &Path, lines: usize) -> bool {
    let server = tinyns()
        .args(["serve", "--config"])
        .arg(config)
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Process(server.unwrap());
    let log = BufReader::new(server.0.stderr.take().unwrap());
    let mut seen = 0;
    for line in log.lines().map_while(Result::ok) {
        if line.contains(BEGINS) || line.contains(DONE) {
            seen += 1;
        }
        if seen == lines {
            // Dropping it kills it.
            return true;
        }
        if line.contains("admin API") {
            return false;
        }
    }
    panic!("the server has ended by itself");
}

#[test]
fn kill_9_amid_a_migration_leaves_the_file_as_it_was() {
    let setup = old_server();
    let path = file(&setup);
    let config = setup.write();
    let before = links(&path);
    assert_eq!(before.lines().count() as u64, LINKS);
    let mut kills = 0;
    while start_and_kill(&config, kills + 1) {
        kills += 1;
        let version = schema_version(&path);
        // The last line of all is written before the commit, which may be quicker than the kill.
        assert!(version == 3 || version > 10, "{version}");
        if version == 3 {
            assert_eq!(links(&path), before, "after {kills} kills");
        }
    }
    assert!(kills >= 10, "{kills}");
    let mut server = setup.start();
    for number in [1, 777, LINKS] {
        let url = format!(
            "https://h{}.example/some/words/in-the-path-of-it?id={number}",
            number % 100
        );
        let answer = server.answer(&format!("c{number}.s.example.com."));
        assert_eq!(answer, Answer::url(&url));
    }
    // 5999 and 59990 to 59999, whether the text index has them already or not.
    let path_to = "/v1/links?q=the-path-of-it%3Fid%3D5999&sort=code&limit=20";
    let (mut found, mut cursor) = (0, String::new());
    loop {
        let page = server
            .api("GET", &format!("{path_to}{cursor}"), None)
            .json();
        found += page["links"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, 11);
    assert!(server.stop().success());
    assert_eq!(links(&path), before);
    let conn = Connection::open(&path).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn queries_during_a_migration_are_answered_after_it() {
    let port = free_port();
    let setup = old_server().listen(&format!("[\"127.0.0.1:{port}\"]"));
    let path = file(&setup);
    let manager = setup.dir().join("notify");
    let messages = UnixDatagram::bind(&manager).unwrap();
    messages.set_read_timeout(Some(PATIENCE)).unwrap();
    let message = || {
        let mut bytes = [0; 500];
        let length = messages.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let setup = setup.env("NOTIFY_SOCKET", &manager.display().to_string());
    let server = std::thread::spawn(move || setup.start());
    // The manager waits longer, and shows why.
    let first = message();
    assert!(first.starts_with("EXTEND_TIMEOUT_USEC="), "{first}");
    assert!(first.contains("STATUS=updating the link store"), "{first}");
    let (_, rest) = first.split_once('=').unwrap();
    let (micros, _) = rest.split_once('\n').unwrap();
    assert!(micros.parse::<u64>().unwrap() > 60_000_000, "{first}");
    let name = "c777.s.example.com.";
    let packet = query(name, RecordType::TXT).to_bytes().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    udp.connect(("127.0.0.1", port)).unwrap();
    udp.send(&packet).unwrap();
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = u16::try_from(packet.len()).unwrap();
    tcp.write_all(&[&length.to_be_bytes(), &*packet].concat())
        .unwrap();
    assert_eq!(
        schema_version(&path),
        3,
        "the migration was over before the queries"
    );
    let mut reply = [0; 1_500];
    let length = udp.recv(&mut reply).unwrap();
    let url = "https://h77.example/some/words/in-the-path-of-it?id=777";
    assert_eq!(Answer::of(&parse(&reply[..length])), Answer::url(url));
    assert!(schema_version(&path) > 10);
    let length = std::io::Read::read(&mut tcp, &mut reply).unwrap();
    assert_eq!(Answer::of(&parse(&reply[2..length])), Answer::url(url));
    let server: Server = server.join().unwrap();
    assert_eq!(message(), "READY=1\nSTATUS=serving\n");
    drop(server);
}
