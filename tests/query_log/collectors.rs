//! The log to a collector behind a socket.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use super::{NAME, START, STOP, ask, count, dropped, has_logged, large_packet, packet};
use crate::harness::{PATIENCE, Process, Server, Setup, eventually, wait};

/// A server that logs to a socket in this directory.
fn streaming(dir: &TempDir) -> (Server, PathBuf) {
    let path = dir.path().join("s");
    let section = format!("[query_log]\nsocket = \"{}\"\n", path.display());
    (Setup::new().section(&section).start(), path)
}

/// The collector that comes with Frame Streams, writing to a file.
struct Collector(Process);

impl Collector {
    fn start(socket: &Path, out: &Path) -> Self {
        let mut command = Command::new("fstrm_capture");
        command.args(["-t", "protobuf:dnstap.Dnstap", "-u"]);
        let child = command.arg(socket).arg("-w").arg(out).spawn();
        Self(Process(
            child.expect("tests/run.sh installs what tests need"),
        ))
    }

    /// Has it write its data, and ends it.
    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.0.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        wait(&mut self.0.0);
    }
}

#[test]
fn a_collector_may_start_late_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, socket) = streaming(&dir);
    let outs = [1, 2].map(|number| dir.path().join(number.to_string()));
    let packet = packet();
    server.log().wait_for("nothing can be written");
    ask(server.dns, &packet);
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 0.0);
    let collector = Collector::start(&socket, &outs[0]);
    has_logged(&server, 1);
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 1.0);
    ask(server.dns, &packet);
    has_logged(&server, 2);
    collector.stop();
    assert_eq!(count(&outs[0]), (2, 2));
    for _ in 0..3 {
        ask(server.dns, &packet);
    }
    let collector = Collector::start(&socket, &outs[1]);
    has_logged(&server, 5);
    // If the collector is there, the end of the stream is announced and acknowledged.
    ask(server.dns, &packet);
    assert!(server.stop().success());
    collector.stop();
    assert_eq!(count(&outs[1]), (4, 4));
    let log = server.log().text();
    assert!(!log.contains("does not say"), "{log}");
    assert!(!log.contains("could not be written"), "{log}");
}

/// Accepts a connection as a collector does.
fn accept(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut frame = [0; START.len()];
    let control = |kind: u8| {
        let mut frame = START.to_vec();
        frame[11] = kind;
        frame
    };
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame, control(4)[..], "READY");
    stream.write_all(&control(1)).unwrap();
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame, START);
    stream
}

#[test]
fn a_stalled_collector_delays_no_reply() {
    // More than the queue (16 MiB) and the sockets hold.
    const QUERIES: u32 = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (server, _) = streaming(&dir);
    let mut stalled = accept(&listener);
    let packet = large_packet();
    for _ in 0..QUERIES {
        ask(server.dns, &packet);
    }
    let slow = server.metric("tinyns_query_log_dropped_total", &[("reason", "TooSlow")]);
    assert!(slow > 0.0);
    assert_eq!(slow, dropped(&server), "for no other reason");
    assert_eq!(server.metric("tinyns_query_log_up", &[]), 1.0);
    assert_eq!(server.ask(NAME, RecordType::A).answers.len(), 1);
    // It reads on: the queue's content is there, in whole frames.
    let reader = std::thread::spawn(move || {
        let mut frames = 0_u32;
        loop {
            let mut number = [0; 4];
            stalled.read_exact(&mut number).unwrap();
            let length = u32::from_be_bytes(number) as usize;
            if length == 0 {
                let mut rest = [0; 8];
                stalled.read_exact(&mut rest).unwrap();
                assert_eq!(rest, STOP[4..]);
                stalled.write_all(&[&STOP[..11], &[5]].concat()).unwrap();
                return frames;
            }
            stalled.read_exact(&mut vec![0; length]).unwrap();
            frames += 1;
        }
    });
    let logged = || server.metric("tinyns_query_log_queries_total", &[]);
    let sent = || f64::from(QUERIES) + 1.0 - dropped(&server);
    eventually("all records are written", PATIENCE, || logged() == sent());
    let logged = logged();
    let mut server = server;
    assert!(server.stop().success());
    assert_eq!(f64::from(reader.join().unwrap()), 2.0 * logged);
}

#[test]
fn a_stop_does_not_wait_for_a_collector_that_stalls() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (mut server, _) = streaming(&dir);
    let _stalled = accept(&listener);
    let packet = large_packet();
    // More than the sockets hold.
    for _ in 0..500 {
        ask(server.dns, &packet);
    }
    assert!(server.stop().success());
    server.log().wait_for("could not be written");
}

#[test]
fn sighup_connects_to_a_collector_again() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (server, _) = streaming(&dir);
    let mut first = accept(&listener);
    ask(server.dns, &packet());
    has_logged(&server, 1);
    server.signal(Signal::SIGHUP);
    let mut all = Vec::new();
    while !all.ends_with(STOP) {
        let mut byte = [0];
        first.read_exact(&mut byte).unwrap();
        all.extend(byte);
    }
    first.write_all(&[&STOP[..11], &[5]].concat()).unwrap();
    let mut second = accept(&listener);
    ask(server.dns, &packet());
    let mut number = [0; 4];
    second.read_exact(&mut number).unwrap();
    assert!(u32::from_be_bytes(number) > 0);
    assert_eq!(dropped(&server), 0.0);
}
