//! DNS cookies that the servers of a fleet share (RFC 9018 §5), and the rollover of their secrets without a restart.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::serialize::binary::BinEncodable;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{PATIENCE, Server, Setup, eventually, parse, query, tinyns};

const OLD: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const NEW: &str = "445536bcd2513298075a5d379663c962";
/// The client's part.
const CLIENT: &[u8] = b"a client";

/// A file of secrets.
struct Secrets {
    _directory: TempDir,
    file: PathBuf,
}

impl Secrets {
    fn new(lines: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cookies");
        let secrets = Self {
            _directory: directory,
            file,
        };
        secrets.write(lines);
        secrets
    }

    fn write(&self, lines: &[&str]) {
        fs::write(&self.file, lines.join("\n")).unwrap();
        fs::set_permissions(&self.file, Permissions::from_mode(0o600)).unwrap();
    }

    /// A server that reads the file, and answers a name only once a second to clients without a server cookie.
    fn server(&self) -> Server {
        let section = format!(
            "[cookies]\nsecret_file = \"{}\"\n\
             [rate_limit]\nresponses_per_second = 1\nburst = 1\nslip = 1\n",
            self.file.display()
        );
        Setup::new().section(&section).start()
    }
}

/// The reply of a server to a client with this cookie.
fn ask(server: &Server, cookie: &[u8]) -> (ResponseCode, Option<Vec<u8>>) {
    let mut message = query("ns1.s.example.com", RecordType::A);
    let edns = message.edns.as_mut().unwrap();
    edns.options_mut()
        .insert(EdnsOption::Unknown(10, cookie.into()));
    let reply = parse(&server.udp(&message.to_bytes().unwrap()));
    (reply.metadata.response_code, cookie_of(&reply))
}

fn cookie_of(reply: &Message) -> Option<Vec<u8>> {
    match reply.edns.as_ref()?.option(EdnsCode::Cookie)? {
        EdnsOption::Unknown(_, cookie) => Some(cookie.clone()),
        other => panic!("{other:?}"),
    }
}

/// A server has a client answered again and again if the cookie is one of its own; else it is BADCOOKIE.
fn knows(server: &Server, cookie: &[u8]) -> bool {
    let rcodes = [(); 10].map(|()| ask(server, cookie).0);
    rcodes == [ResponseCode::NoError; 10]
}

fn new_cookie(server: &Server) -> Vec<u8> {
    ask(server, CLIENT).1.unwrap()
}

/// Has a server read its files again.
fn reload(server: &Server, reloads: usize) {
    server.signal(Signal::SIGHUP);
    eventually("the secrets are read again", PATIENCE, || {
        let log = server.log().text();
        log.matches("secrets of DNS cookies reloaded").count() == reloads
    });
}

#[test]
fn rfc9018_5_a_fleet_rolls_its_secret_over() {
    let secrets = Secrets::new(&["# of the fleet", OLD]);
    let servers = [secrets.server(), secrets.server()];
    let mut cookie = new_cookie(&servers[0]);
    assert_eq!(cookie.len(), 24);
    assert!(knows(&servers[0], &cookie) && knows(&servers[1], &cookie));
    let stages = [&[OLD, "", "# since Monday", NEW][..], &[NEW, OLD], &[NEW]];
    for (number, stage) in stages.into_iter().enumerate() {
        secrets.write(stage);
        // One server after the other; a client that meets both of them is known to both.
        for server in &servers {
            reload(server, number + 1);
            for server in &servers {
                assert!(knows(server, &cookie), "{stage:?}");
                cookie = ask(server, &cookie).1.unwrap();
            }
        }
    }
    // A server that still had the old one would not be known any more.
    let late = Secrets::new(&[OLD]).server();
    assert!(!knows(&late, &cookie));
    assert!(!knows(&servers[0], &new_cookie(&late)));
    for server in &servers {
        let log = server.log().text();
        assert!(!log.contains(&OLD[..8]) && !log.contains(&NEW[..8]));
        assert!(!log.contains("can be read by others"));
    }
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let secrets = Secrets::new(&[OLD]);
    let server = secrets.server();
    let cookie = new_cookie(&server);
    secrets.write(&[NEW, &OLD[1..]]);
    server.signal(Signal::SIGHUP);
    let line = server.log().wait_for("the old ones stay");
    assert!(line.contains("ERROR"), "{line}");
    let file = secrets.file.display();
    let expected = format!("{file}:2: not a secret for DNS cookies: 32 hexadecimal digits");
    assert!(server.log().text().contains(&expected));
    assert!(knows(&server, &cookie));
    fs::remove_file(&secrets.file).unwrap();
    server.signal(Signal::SIGHUP);
    server.log().wait_for("No such file");
    assert!(knows(&server, &cookie));
    secrets.write(&[NEW]);
    fs::set_permissions(&secrets.file, Permissions::from_mode(0o644)).unwrap();
    reload(&server, 1);
    assert!(!knows(&server, &cookie));
    let text = server.log().text();
    assert!(text.contains("can be read by others"));
    assert!(!text.contains(&OLD[1..9]) && !text.contains(&NEW[..8]));
}

/// What `tinyns` says about a configuration.
fn refused(command: &str, config: &Path) -> String {
    let output = tinyns()
        .args([command, "--config"])
        .arg(config)
        .current_dir(config.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn neither_check_nor_the_start_takes_a_file_that_is_wrong() {
    let secrets = Secrets::new(&["nothing"]);
    let directory = secrets.file.parent().unwrap();
    let zone = directory.join("zone");
    fs::write(&zone, crate::harness::ZONE).unwrap();
    let config = directory.join("tinyns.toml");
    let text = "[dns]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = []\n[redirect]\nlisten = []\n\
                [[zone]]\norigin = \"s.example.com\"\nfile = \"zone\"\nredirect_host = \"r\"\n\
                [cookies]\nsecret_file = \"cookies\"\n";
    fs::write(&config, text).unwrap();
    for command in ["check", "serve"] {
        let message = refused(command, &config);
        assert!(message.contains("cookies:1: not a secret"), "{message}");
    }
    fs::remove_file(&secrets.file).unwrap();
    for command in ["check", "serve"] {
        let message = refused(command, &config);
        let expected = "cannot read the secrets of DNS cookies in cookies: No such file";
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn cookies_can_be_turned_off() {
    let server = Setup::new().section("[cookies]\nenabled = false\n").start();
    assert_eq!(ask(&server, CLIENT), (ResponseCode::NoError, None));
    let server = Server::start();
    let (rcode, cookie) = ask(&server, CLIENT);
    assert_eq!(rcode, ResponseCode::NoError);
    assert!(cookie.unwrap().starts_with(CLIENT));
}
