//! Imports and exports that are interrupted: kills, a table that fails, servers that restart.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{
    PLAIN, Said, Source, check_links, code, csv, fill_with_everything, links, on, run, target,
};
use crate::dynamo::{Fate, Proxy};
use crate::harness::{PATIENCE, Process, Server, wait};

/// How many records are done, by the state file.
fn done(state: &Path) -> u64 {
    let Ok(text) = std::fs::read_to_string(state) else {
        return 0;
    };
    let state: Value = serde_json::from_str(&text).unwrap();
    state["ledger"]["counts"]["read"].as_u64().unwrap()
}

/// Waits until this many records are done, by the state file; some must be left.
fn until_done(process: &mut Process, state: &Path, number: u64) {
    let end = Instant::now() + PATIENCE;
    while done(state) < number {
        let ended = process.0.try_wait().unwrap();
        assert_eq!(ended, None, "the import ended before it could be disturbed");
        assert!(Instant::now() < end, "the import does not get on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn output(mut process: Process) -> Said {
    let mut stdout = String::new();
    let mut stderr = String::new();
    let (out, err) = (process.0.stdout.take(), process.0.stderr.take());
    // The output is short, and fits into the pipes.
    let status = wait(&mut process.0);
    out.unwrap().read_to_string(&mut stdout).unwrap();
    err.unwrap().read_to_string(&mut stderr).unwrap();
    Said {
        code: status.code(),
        stdout,
        stderr,
    }
}

#[test]
fn an_import_of_a_file_goes_on_after_kills() {
    const NUMBER: u64 = 12_000;
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("links.csv"), dir.path().join("state"));
    // Pairs that differ by case, one half at each end of the file.
    let mut text = csv(NUMBER);
    for i in 0..50 {
        let (code, url) = (
            code(i).to_lowercase(),
            format!("https://example.net/other/{i}"),
        );
        writeln!(text, "{code},{url}\n{},{}", code.to_uppercase(), target(i)).unwrap();
    }
    std::fs::write(&file, &text).unwrap();
    let (path, state_path) = (file.to_str().unwrap(), state.to_str().unwrap());
    let args = ["import", "csv", path, "--state", state_path];
    for (rest, signal) in [
        (3_000, Signal::SIGKILL),
        (6_000, Signal::SIGINT),
        (9_000, Signal::SIGKILL),
    ] {
        let mut process = Process(on(server.admin, &args).spawn().unwrap());
        until_done(&mut process, &state, rest);
        kill(Pid::from_raw(process.0.id().try_into().unwrap()), signal).unwrap();
        let said = output(process);
        if signal == Signal::SIGINT {
            assert_eq!(said.code, Some(1), "{}", said.stderr);
            let advice = format!("run the same command again with --state {state_path}");
            assert!(said.stderr.contains(&advice), "{}", said.stderr);
            assert!(said.stderr.contains("stopped by SIGINT"), "{}", said.stderr);
            assert_eq!(said.counts().read, done(&state));
        }
        assert!(done(&state) >= rest);
    }
    // The state is for this file alone.
    let other = dir.path().join("other.csv");
    std::fs::write(&other, &text).unwrap();
    let refused = [
        "import",
        "csv",
        other.to_str().unwrap(),
        "--state",
        state_path,
    ];
    let refused = run(on(server.admin, &refused));
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("is the state of another import"),
        "{}",
        refused.stderr
    );

    let before = done(&state);
    let said = run(on(server.admin, &args));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr
            .contains(&format!("continuing after {before} records")),
        "{}",
        said.stderr
    );
    let counts = said.counts();
    assert_eq!(counts.read, NUMBER + 100);
    // At each kill one piece of 500 may have been made and not counted as that.
    assert!(counts.there <= 3 * 500, "{counts:?}");
    assert_eq!(counts.made + counts.there, NUMBER, "{counts:?}");
    // Two runs later, the links of the first one are still known to be of this import.
    assert_eq!((counts.renamed, counts.merged), (50, 50), "{}", said.stdout);
    assert!(!state.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    let links = links(&server, "s.example.com");
    assert_eq!(links.len() as u64, NUMBER + 50);
    for i in 0..NUMBER {
        assert_eq!(links[&code(i).to_lowercase()].0, target(i));
    }
}

#[test]
fn an_import_of_a_table_goes_on_after_a_kill() {
    let source = Source::new();
    let number = fill_with_everything(&source);
    let server = Server::start();
    let proxy = source.runtime.block_on(Proxy::start(&source.emulator));
    // There is time to kill it between two pages, and some of them fail.
    proxy.all(Fate::Delay(Duration::from_millis(150)));
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let url = proxy.url();
    let state_args = ["--state", state.to_str().unwrap()];
    let args = [&source.args(&url)[..], &state_args].concat();
    let mut process = Process(on(server.admin, &args).spawn().unwrap());
    until_done(&mut process, &state, 1_000);
    process.0.kill().unwrap();
    drop(output(process));
    let before = done(&state);
    assert!(before < number, "{before}");

    let throttled = || Fate::error(400, "ProvisionedThroughputExceededException");
    proxy.all(Fate::Pass);
    proxy.requests();
    // The description of the table passes; then there is more trouble than the SDK bears alone.
    let trouble = std::iter::repeat_with(throttled).take(20);
    proxy.next(std::iter::once(Fate::Pass).chain(trouble));
    let said = run(on(server.admin, &args));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("trying again"), "{}", said.stderr);
    let counts = said.counts();
    assert_eq!(counts.read, number);
    assert_eq!(
        (counts.renamed, counts.refused, counts.ended, counts.deleted),
        (8, 7, 1, 1)
    );
    assert_eq!(
        counts.made + counts.there + counts.merged,
        PLAIN + 11,
        "{counts:?}"
    );
    // Finished pages are not read again: some pages of the four segments are left.
    let requests = proxy.requests();
    assert!(requests <= 1 + 20 + 8, "{requests} requests");
    assert!(!state.exists());
    check_links(&server);
}

/// A proxy with a fixed address before a server that may restart elsewhere.
struct Front {
    address: SocketAddr,
    behind: Arc<Mutex<Behind>>,
}

struct Behind {
    server: Option<SocketAddr>,
    connections: Vec<TcpStream>,
}

impl Front {
    fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(Behind {
            server: Some(server),
            connections: Vec::new(),
        }));
        let shared = Arc::clone(&behind);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut behind = shared.lock().unwrap();
                // Where there is nothing behind it, the connection is closed at once.
                if let Some(Ok(server)) = behind.server.map(TcpStream::connect) {
                    behind.connections.push(client.try_clone().unwrap());
                    join(client, server);
                }
            }
        });
        Self { address, behind }
    }

    /// Puts another server behind it, or none, and cuts all connections.
    fn set(&self, server: Option<SocketAddr>) {
        let mut behind = self.behind.lock().unwrap();
        behind.server = server;
        for connection in behind.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Passes on the bytes of both sides, until one of them closes.
fn join(client: TcpStream, server: TcpStream) {
    let pairs = [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ];
    for (mut from, mut to) in pairs {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}

#[test]
fn a_server_may_go_and_come_back() {
    const NUMBER: u64 = 12_000;
    let server = Server::start();
    let front = Front::new(server.admin);
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("links.csv"), dir.path().join("state"));
    std::fs::write(&file, csv(NUMBER)).unwrap();
    let state_args = ["--state", state.to_str().unwrap()];
    let args = [&["import", "csv", file.to_str().unwrap()][..], &state_args].concat();
    let mut process = Process(on(front.address, &args).spawn().unwrap());
    until_done(&mut process, &state, 2_000);
    // In the middle of a batch, without a word.
    let server = server.crash_and_restart();
    front.set(None);
    let stood = done(&state);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(process.0.try_wait().unwrap(), None);
    assert_eq!(done(&state), stood);
    front.set(Some(server.admin));
    until_done(&mut process, &state, stood + 2_000);
    // And an orderly stop: lines under way are finished, and the others have to be sent again.
    let server = server.restart();
    front.set(Some(server.admin));
    let said = output(process);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr.contains("; trying again for 40 s"),
        "{}",
        said.stderr
    );
    let counts = said.counts();
    assert_eq!(counts.made + counts.there, NUMBER, "{counts:?}");
    // Some links of the interrupted lines were made, though the report does not mention them.
    assert!(counts.there <= 2 * 500, "{counts:?}");
    let links = links(&server, "s.example.com");
    assert_eq!(links.len() as u64, NUMBER);
    for i in 0..NUMBER {
        assert_eq!(links[&code(i).to_lowercase()].0, target(i));
    }
    // An export, too, outlasts a time without a server. It has come as far as a pipe that is full.
    let mut export = Process(on(front.address, &["export"]).spawn().unwrap());
    let mut stdout = export.0.stdout.take().unwrap();
    let mut lines = vec![0];
    stdout.read_exact(&mut lines).unwrap();
    front.set(None);
    let reader = std::thread::spawn(move || {
        stdout.read_to_end(&mut lines).unwrap();
        String::from_utf8(lines).unwrap()
    });
    let mut stderr = BufReader::new(export.0.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("; trying again for 40 s"), "{said}");
    front.set(Some(server.admin));
    stderr.read_to_string(&mut said).unwrap();
    assert!(wait(&mut export.0).success(), "{said}");
    assert!(said.contains(&format!("exported {NUMBER} links")), "{said}");
    let exported = reader.join().unwrap();
    let codes = exported.lines().map(|line| {
        let link: Value = serde_json::from_str(line).unwrap();
        link["code"].as_str().unwrap().to_owned()
    });
    assert_eq!(
        codes.collect::<Vec<_>>(),
        links.into_keys().collect::<Vec<_>>()
    );
}
