//! The stop: signals, and work that it does not wait for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{DNS, REST, ZONES};
use crate::harness::{PATIENCE, Process, Server, TOKEN, ZONE, tinyns, unhurried, wait};

/// An unfinished request, for which a stop waits.
fn unfinished(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/links HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 30\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = [0; 25];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// How long signals to stop count as one.
const TOGETHER: Duration = Duration::from_millis(500);

/// As a service manager and a shell send them.
#[test]
fn two_signals_at_once_are_one_request_to_stop() {
    // A machine that pauses between the signals makes the last one a second signal.
    unhurried(TOGETHER, |_| {
        let mut server = Server::start();
        let mut request = unfinished(&server);
        server.signal(Signal::SIGTERM);
        server.signal(Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(60));
        server.signal(Signal::SIGTERM);
        server.log().wait_for("finishing the requests in progress");
        let body = b"{\"url\":\"https://example.net/\"}";
        assert_eq!(body.len(), 30);
        request.write_all(body).unwrap();
        let mut reply = String::new();
        request.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 201 "), "{reply}");
        assert!(server.stop_began().success());
    });
}

#[test]
fn a_second_signal_to_stop_ends_at_once() {
    let mut server = Server::start();
    let _request = unfinished(&server);
    server.signal(Signal::SIGTERM);
    server.log().wait_for("finishing the requests in progress");
    std::thread::sleep(Duration::from_millis(700));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.stop_began().code(), Some(1));
    let log = server.log().text();
    assert!(
        log.contains("second signal, SIGTERM: stopping at once"),
        "{log}"
    );
}

/// A zone that takes long to read.
fn large_zone() -> String {
    (0..300_000).fold(ZONE.to_owned(), |zone, host| {
        zone + &format!("h{host} IN A 192.0.2.1\n")
    })
}

#[test]
fn a_stop_does_not_wait_for_a_reload() {
    let mut server = Server::start();
    std::fs::write(server.dir().join("s.example.com.zone"), large_zone()).unwrap();
    server.signal(Signal::SIGHUP);
    server.log().wait_for("reading the files again");
    assert!(server.stop().success());
    assert!(!server.log().text().contains("zone files reloaded"));
}

#[test]
fn a_stop_does_not_wait_for_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("test.zone"), large_zone()).unwrap();
    let config = dir.path().join("tinyns.toml");
    let text = format!("{DNS}{ZONES}{REST}").replace("DIR", &dir.path().display().to_string());
    std::fs::write(&config, text).unwrap();
    let mut command = tinyns();
    command.args(["serve", "--config"]).arg(&config);
    let command = command.env("TINYNS_ADMIN_TOKEN", TOKEN);
    let mut server = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let pid = nix::unistd::Pid::from_raw(server.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    wait(&mut server.0);
    let mut log = String::new();
    let mut stderr = server.0.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(!log.contains("DNS over UDP"), "it started first: {log}");
}
