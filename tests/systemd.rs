//! Under a service manager: the sockets that it hands over, the messages that it gets, and the unit files. systemd
//! itself does not run here; some of its programs work without it.

use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::process::Command;

use hickory_proto::rr::{Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use nix::sys::signal::Signal;

use crate::harness::{
    PATIENCE, Server, Setup, ZONE, eventually, free_port, output, parse, query, tinyns,
};

/// Binds sockets and executes a program with them, as systemd does: `<name>/<protocol>/<ip>/<port>`
/// each. Its own descriptors are closed by then, or have numbers that are free.
const LAUNCHER: &str = r#"
import os, socket, sys
sockets, names = [], []
while sys.argv[1] != "--":
    name, protocol, ip, port = sys.argv.pop(1).split("/")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM, "bound": socket.SOCK_STREAM}
    s = socket.socket(family, kinds[protocol])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if name == "both" else 1)
    s.bind((ip, int(port)))
    if protocol == "tcp":
        s.listen()
    sockets.append(os.dup2(s.fileno(), 100 + len(sockets)))
    names.append(name)
for place, descriptor in enumerate(sockets):
    os.dup2(descriptor, 3 + place)
os.environ["LISTEN_FDS"] = str(len(sockets))
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(sys.argv[2], sys.argv[2:])
"#;

/// The launcher with these sockets, to be put before a program.
fn launcher(sockets: &[String]) -> Vec<&str> {
    let sockets = sockets.iter().map(String::as_str);
    ["python3", "-c", LAUNCHER]
        .into_iter()
        .chain(sockets)
        .chain(["--"])
        .collect()
}

/// Asks by both protocols, again and again: the system gives each client to one of several sockets.
fn check_serves(server: &Server) {
    for _ in 0..16 {
        let reply = server.ask("ns1.s.example.com.", RecordType::A);
        assert_eq!(reply.answers.len(), 1);
    }
    let query = query("ns1.s.example.com.", RecordType::A);
    assert!(!server.tcp(&query.to_bytes().unwrap()).is_empty());
}

/// The inodes of sockets that a process has open, a line each.
fn sockets_of(server: &Server) -> Vec<String> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let links = links.map(|link| link.display().to_string());
    links.filter(|link| link.starts_with("socket:")).collect()
}

#[test]
fn sockets_that_are_handed_over_are_served() {
    for (name, udp) in [("dns", 1), ("tinyns.socket", 1), ("dns", 3)] {
        let port = free_port();
        let mut sockets = vec![format!("{name}/udp/127.0.0.1/{port}"); udp];
        sockets.insert(1, format!("{name}/tcp/127.0.0.1/{port}"));
        let server = Setup::new()
            .listen(&format!("[\"127.0.0.1:{port}\"]"))
            .launcher(&launcher(&sockets))
            .start();
        assert_eq!(server.dns.port(), port);
        // Those, and none that it has bound beside them.
        let inodes = sockets_of(&server);
        let here: Vec<_> = std::fs::read_to_string(format!("/proc/{}/net/udp", server.pid()))
            .unwrap()
            .lines()
            .filter(|line| line.contains(&format!("0100007F:{port:04X}")))
            .map(|line| format!("socket:[{}]", line.split_whitespace().nth(9).unwrap()))
            .collect();
        assert_eq!(here.len(), udp, "{here:?}");
        assert!(here.iter().all(|inode| inodes.contains(inode)));
        check_serves(&server);
    }
}

#[test]
fn sockets_that_do_not_fit_fail_the_start() {
    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    for (sockets, expected) in [
        (
            vec![format!("dns/udp/127.0.0.1/{port}")],
            format!(
                "sockets for [dns] were handed over, but none for TCP on {at}, where it is to listen"
            ),
        ),
        (
            vec![format!("dns/tcp/127.0.0.1/{port}")],
            format!(
                "sockets for [dns] were handed over, but none for UDP on {at}, where it is to listen"
            ),
        ),
        (
            vec![
                format!("dns/udp/127.0.0.1/{port}"),
                format!("dns/bound/127.0.0.1/{port}"),
            ],
            format!(
                "socket 4 (\"dns\"), TCP on {at}: neither a UDP socket nor a TCP socket that listens \
                 (with Accept=no)"
            ),
        ),
        (
            vec![format!("dns/udp/127.0.0.2/{port}")],
            format!("socket 3 (\"dns\"), UDP on 127.0.0.2:{port}: [dns] does not listen there"),
        ),
        (
            vec![format!("x.socket/tcp/127.0.0.2/{port}")],
            format!(
                "socket 3 (\"x.socket\"), TCP on 127.0.0.2:{port}: no section of the configuration \
                 listens there"
            ),
        ),
        (
            vec![format!("both/udp/::/{port}")],
            format!(
                "socket 3 (\"both\"), UDP on [::]:{port}: it takes IPv4 as well; add \
                 BindIPv6Only=ipv6-only to its unit"
            ),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("tinyns.toml");
        let text =
            format!("[dns]\nlisten = \"{at}\"\n[admin]\nlisten = []\n[redirect]\nlisten = []\n");
        std::fs::write(&config, text).unwrap();
        let words = launcher(&sockets);
        let output = Command::new(words[0])
            .args(&words[1..])
            .arg(tinyns().get_program())
            .args(["serve", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "tinyns: the service manager's sockets do not fit the configuration: {expected}\n"
        );
        assert_eq!(said, expected);
    }
}

/// systemd's own program hands over, for one part of the server; the others it binds itself.
#[test]
fn systemd_socket_activate_hands_over() {
    let admin: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let listen = admin.to_string();
    let launcher = [
        "systemd-socket-activate",
        "--setenv=TINYNS_ADMIN_TOKEN",
        "--setenv=TINYNS_LOG",
        "--fdname=admin",
        "--listen",
        &listen,
    ];
    // It executes the server when the first client connects.
    let visitor = std::thread::spawn(move || {
        eventually("the port is open", PATIENCE, || {
            TcpStream::connect(admin).is_ok()
        });
    });
    let server = Setup::new().admin(admin).launcher(&launcher).start();
    visitor.join().unwrap();
    assert_eq!(server.admin, admin);
    check_serves(&server);
    server.add("https://example.net/");
}

/// A service manager that receives messages.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &UnixAddress) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message that is not a sign of life.
    fn notification(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1_024];
        let length = self.0.recv(&mut buffer).expect("no notification");
        String::from_utf8(buffer[..length].into()).unwrap()
    }
}

/// The messages about a server that serves already.
fn check_notifications(manager: &Manager, mut server: Server) {
    let check_reloading = || {
        let notification = manager.notification();
        let time = notification
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(
            time.trim_end().parse::<u64>().unwrap() > 0,
            "{notification}"
        );
    };
    server.signal(Signal::SIGHUP);
    check_reloading();
    assert_eq!(manager.notification(), "READY=1\nSTATUS=serving\n");
    let zone = server.dir().join("s.example.com.zone");
    std::fs::write(&zone, format!("{ZONE}bad IN A nonsense\n")).unwrap();
    server.signal(Signal::SIGHUP);
    check_reloading();
    let notification = manager.notification();
    assert!(
        notification.starts_with("READY=1\nSTATUS=serving the old state"),
        "{notification}"
    );
    server.signal(Signal::SIGTERM);
    assert_eq!(manager.notification(), "STOPPING=1\n");
    assert!(server.stop_began().success());
}

#[test]
fn the_service_manager_is_notified_of_start_reload_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&UnixAddress::from_pathname(&path).unwrap());
    let server = Setup::new()
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .start();
    assert_eq!(manager.notification(), "READY=1\nSTATUS=serving\n");
    check_notifications(&manager, server);
}

#[test]
fn a_manager_with_an_abstract_address_and_a_watchdog() {
    let name = format!("tinyns-test-{}", std::process::id());
    let manager = Manager::at(&UnixAddress::from_abstract_name(&name).unwrap());
    // A signed zone has signer threads beside the workers. The watchdog checks them as well.
    let setup = Setup::empty();
    let keys = setup.dir().join("keys");
    let keys = format!("[zone.dnssec]\nkeys = \"{}\"\n", keys.display());
    let setup = setup.zone(
        "s.example.com",
        &format!("redirect_host = \"r\"\n{keys}"),
        ZONE,
    );
    let config = setup.write();
    let config = config.to_str().unwrap();
    let made = tinyns()
        .args(["keys", "generate", "--config", config])
        .status();
    assert!(made.unwrap().success());
    let server = setup
        .env("NOTIFY_SOCKET", &format!("@{name}"))
        .env("WATCHDOG_USEC", "1000000")
        .start();
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving\n");
    let mut query = query("nosuch.s.example.com", RecordType::TXT);
    query.edns.get_or_insert_default().set_dnssec_ok(true);
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
        let reply = parse(&server.udp(&query.to_bytes().unwrap()));
        let is_proof = |record: &Record| record.record_type() == RecordType::NSEC;
        assert!(reply.authorities.iter().any(is_proof), "{reply:?}");
    }
    check_notifications(&manager, server);
}

#[test]
fn a_service_manager_that_is_absent_or_does_not_read_delays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    for is_there in [false, true] {
        let address = UnixAddress::from_pathname(&path).unwrap();
        let manager = is_there.then(|| UnixDatagram::bind_addr(&address).unwrap());
        if manager.is_some() {
            fill(&path);
        }
        let mut server = Setup::new()
            .env("NOTIFY_SOCKET", &path.display().to_string())
            .start();
        check_serves(&server);
        server.log().wait_for("the service manager");
        assert!(server.stop().success());
    }
}

/// Sends to a socket until it takes no more.
fn fill(path: &Path) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.connect(path).unwrap();
    while socket.send(b"X=1").is_ok() {}
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let mut files = Vec::new();
    for unit in ["tinyns.service", "tinyns.socket"] {
        let text = std::fs::read_to_string(zones.join(unit)).unwrap();
        // It wants to see the program that is to be run.
        let program = tinyns().get_program().to_str().unwrap().to_owned();
        let text = text.replace(
            "ExecStart=/usr/local/bin/tinyns",
            &format!("ExecStart={program}"),
        );
        let file = dir.path().join(unit);
        std::fs::write(&file, text).unwrap();
        files.push(file.display().to_string());
    }
    let verify = |files: &[String]| {
        let mut words = vec!["verify", "--man=no"];
        words.extend(files.iter().map(String::as_str));
        let output = output("systemd-analyze", &words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(verify(&files), "");
    // A cause that lasts does not end the attempts, and does not fill the log: the default is five within a second.
    let text = std::fs::read_to_string(&files[0]).unwrap();
    for line in [
        "Restart=on-failure",
        "RestartSec=2s",
        "StartLimitIntervalSec=0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    // It would say so.
    let text = std::fs::read_to_string(&files[0]).unwrap();
    std::fs::write(&files[0], text.replace("MemoryDeny", "MemoryDny")).unwrap();
    assert!(verify(&files).contains("MemoryDny"));
}
