//! Start and reload: what works, what is refused, and that it is said in one clear line.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    PATIENCE, Process, Server, Setup, TOKEN, ZONE, free_port, http, output, query, tinyns, wait,
};

/// Runs `tinyns serve` with a configuration that it must refuse; returns what it said.
fn refused(config: &str, zone: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let zone_file = dir.path().join("test.zone");
    std::fs::write(&zone_file, zone).unwrap();
    let file = dir.path().join("tinyns.toml");
    std::fs::write(
        &file,
        config.replace("DIR", &dir.path().display().to_string()),
    )
    .unwrap();
    let mut command = tinyns();
    command
        .args(["serve", "--log-format", "human", "--config"])
        .arg(&file);
    let output = finished(command.env("TINYNS_ADMIN_TOKEN", TOKEN));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said.replace(&dir.path().display().to_string(), "DIR")
}

/// What a program says that is to end by itself; if it does not, it is killed.
fn finished(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let status = wait(&mut process.0);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    process
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    process
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut stderr)
        .unwrap();
    Output {
        status,
        stdout,
        stderr,
    }
}

const REST: &str = "[store]\npath = \"DIR/links.sqlite\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                    [redirect]\nlisten = \"127.0.0.1:0\"\n";
const ZONES: &str =
    "[[zone]]\norigin = \"s.example.com\"\nfile = \"DIR/test.zone\"\nredirect_host = \"r\"\n";
const DNS: &str = "[dns]\nlisten = [\"127.0.0.1:0\"]\n";

#[test]
fn refusals_are_one_clear_line() {
    let held_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let held_tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp_port = held_udp.local_addr().unwrap().to_string();
    let tcp_port = held_tcp.local_addr().unwrap().to_string();
    for (config, zone, wanted) in [
        (
            format!("[dns]\nlisten = [\"{udp_port}\"]\n{ZONES}{REST}"),
            ZONE,
            vec![udp_port.as_str(), "DNS"],
        ),
        (
            format!("[dns]\nlisten = [\"{tcp_port}\"]\n{ZONES}{REST}"),
            ZONE,
            vec![tcp_port.as_str(), "DNS"],
        ),
        (
            format!("{DNS}{ZONES}[admin]\nlisten = \"{tcp_port}\"\n"),
            ZONE,
            vec![tcp_port.as_str(), "admin"],
        ),
        (
            format!("[dns]\nlissten = [\"127.0.0.1:0\"]\n{ZONES}{REST}"),
            ZONE,
            vec!["tinyns.toml:2:1", "lissten", "\"listen\""],
        ),
        (
            format!("{DNS}{ZONES}{REST}\n[cash]\n"),
            ZONE,
            vec!["tinyns.toml", "cash"],
        ),
        (
            format!(
                "{DNS}{ZONES}{}",
                REST.replace("DIR/links", "/proc/nowhere/links")
            ),
            ZONE,
            vec!["/proc/nowhere"],
        ),
        (
            format!(
                "{DNS}{ZONES}{}",
                REST.replace("DIR/links.sqlite", "DIR/test.zone")
            ),
            ZONE,
            vec!["DIR/test.zone", "database"],
        ),
        (
            format!("{DNS}{ZONES}{REST}[query_log]\nfile = \"DIR/test.zone\"\n"),
            ZONE,
            vec!["DIR/test.zone", "no query log"],
        ),
        (
            format!("{DNS}{ZONES}{REST}"),
            "@ 300 IN SOA ns1 hostmaster 1 2 3 4 5\n@ 300 IN NS ns1\nns1 300 IN A 192.0.2.256\n",
            vec!["DIR/test.zone:3"],
        ),
        (
            format!("{DNS}{}{REST}", ZONES.replace("test.zone", "absent.zone")),
            ZONE,
            vec!["DIR/absent.zone"],
        ),
    ] {
        let said = refused(&config, zone);
        let errors: Vec<&str> = said.lines().filter(|l| !l.contains("WARN")).collect();
        assert_eq!(errors.len(), 1, "{config}\n{said}");
        for part in wanted {
            assert!(errors[0].contains(part), "{part:?} in {said}\n{config}");
        }
    }
}

#[test]
fn all_errors_of_a_configuration_are_told_at_once() {
    let config = format!("[dns]\nlisten = \"localhost:53\"\nnsid = \"\"\n{ZONES}{REST}\n[cash]\n");
    let said = refused(&config, ZONE);
    let places: Vec<_> = said
        .lines()
        .map(|line| line.split_once("tinyns.toml:").unwrap().1)
        .map(|place| place.split(": ").take(2).collect::<Vec<_>>())
        .collect();
    let expected = [
        ["2:10", "dns.listen"],
        ["3:8", "dns.nsid"],
        ["15:2", "cash"],
    ];
    assert_eq!(places, expected, "{said}");
}

/// A pipe that nobody writes to would be waited for; nothing says how long.
#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let pipe = path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::fs::write(path("zone"), ZONE).unwrap();
    std::fs::write(path("state.toml"), "").unwrap();
    let zones = ZONES.replace("DIR/test.zone", &path("zone"));
    let rest = REST.replace("DIR", &path(""));
    let redis = "[redis]\nurl = \"rediss://127.0.0.1:1\"\n";
    let tls = "[dns.tls]\nlisten = \"127.0.0.1:0\"\n";
    let token = rest.replace("[admin]\n", &format!("[admin]\ntoken_file = \"{pipe}\"\n"));
    let with = |section: &str| format!("{DNS}{zones}{rest}{section}");
    let device = "/dev/zero";
    for (config, named) in [
        (format!("{DNS}{zones}{token}"), pipe.as_str()),
        (
            format!("{DNS}{}{rest}", zones.replace(&path("zone"), &pipe)),
            &pipe,
        ),
        (
            with(&format!("[cookies]\nsecret_file = \"{pipe}\"\n")),
            &pipe,
        ),
        (
            with(&format!("{redis}password_file = \"{device}\"\n")),
            device,
        ),
        (with(&format!("{redis}ca_file = \"{pipe}\"\n")), &pipe),
        (
            with(&format!(
                "{tls}certificate = \"{pipe}\"\nkey = \"{device}\"\n"
            )),
            &pipe,
        ),
    ] {
        let file = dir.path().join("tinyns.toml");
        std::fs::write(&file, &config).unwrap();
        for command in ["serve", "check"] {
            let mut tinyns = tinyns();
            let output = finished(tinyns.arg(command).arg("--config").arg(&file));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command}: {config}\n{said}");
            let line = said.lines().find(|line| line.contains(named));
            let line = line.unwrap_or_else(|| panic!("{command}: {config}\n{said}"));
            assert!(line.contains("not a regular file"), "{line}");
        }
    }
    // The configuration itself, and what clients are given.
    for arguments in [
        &["check", "--config", &pipe][..],
        &[
            "get",
            "a",
            "--server",
            "http://127.0.0.1:1",
            "--token-file",
            &pipe,
        ],
        &["add", "http://a/", "--config", device],
    ] {
        let output = finished(tinyns().args(arguments));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("this is not a regular file"),
            "{arguments:?}: {said}"
        );
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

/// Compose files and units pass on variables that the caller does not have.
#[test]
fn variables_that_are_empty_count_as_unset() {
    let admin = ([127, 0, 0, 1], free_port()).into();
    let setup = Setup::new().admin(admin).env("TINYNS_ADMIN_TOKEN", "");
    let server = setup.start();
    let empty = |command: &mut Command| {
        for name in ["CONFIG", "SERVER", "ADMIN_TOKEN", "REDIS_PASSWORD", "LOG"] {
            command.env(format!("TINYNS_{name}"), "");
        }
        let output = finished(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut add = tinyns();
    add.args(["add", "https://example.net/", "--config"]);
    let said = empty(add.arg(server.config()));
    assert!(said.contains("s.example.com"), "{said}");
    let mut health = tinyns();
    health.args(["health", "--config"]);
    empty(health.arg(server.config()));
    // Without a file, the defaults.
    let mut check = tinyns();
    check.arg("check").current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(empty(&mut check).contains("ok: s.example.com: zones/s.example.com.zone"));
}

/// A request that has begun and not ended, which a stop waits for.
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

/// As a service manager and a shell send them.
#[test]
fn signals_to_stop_that_come_together_are_one() {
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

#[test]
fn one_store_has_one_server() {
    let server = Server::start();
    let mut command = tinyns();
    command.args(["serve", "--config"]).arg(server.config());
    let output = finished(command.env("TINYNS_ADMIN_TOKEN", TOKEN));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("links.sqlite"), "{said}");
    server.add("https://example.net/still-here");
}

#[test]
fn sighup_reloads_all_zones_or_none() {
    let other = "@ 60 IN SOA ns hostmaster 7 1 1 1 30\n@ 60 IN NS ns\nns 60 IN A 192.0.2.77\n";
    let server = Setup::new().zone("static.example", "", other).start();
    server.add_with(&json!({"url": "https://example.net/", "code": "abc"}));
    let write = |name: &str, text: &str| {
        std::fs::write(server.dir().join(format!("{name}.zone")), text).unwrap();
    };
    let answers = |name: &str| server.ask(name, RecordType::A).answers.len();
    assert_eq!(answers("new.s.example.com."), 0);

    // One good and one bad file: both old zones serve on, and the log says where the mistake is.
    write("s.example.com", &format!("{ZONE}new IN A 192.0.2.99\n"));
    write("static.example", &format!("{other}bad IN AAAA nonsense\n"));
    server.signal(Signal::SIGHUP);
    server.log().wait_for("static.example.zone:4");
    server.log().wait_for("the old zones serve on");
    assert_eq!(answers("new.s.example.com."), 0);
    assert_eq!(answers("ns.static.example."), 1);

    // Both good: both new, the links untouched.
    write("static.example", &format!("{other}good IN A 192.0.2.98\n"));
    server.signal(Signal::SIGHUP);
    server.log().wait_for("zone files reloaded");
    assert_eq!(answers("new.s.example.com."), 1);
    assert_eq!(answers("good.static.example."), 1);
    assert_eq!(answers("abc.s.example.com."), 2);

    // A static name that comes later wins over a link that was there.
    write("s.example.com", &format!("{ZONE}abc IN A 192.0.2.97\n"));
    server.signal(Signal::SIGHUP);
    let end = Instant::now() + PATIENCE;
    while answers("abc.s.example.com.") != 1 {
        assert!(Instant::now() < end, "the reload has no effect");
    }
    let reply = server.api(
        "POST",
        "/v1/links",
        Some(&json!({"url": "https://example.org/", "code": "abc"})),
    );
    assert_eq!(reply.status, 422, "{reply:?}");
}

/// Static names win. That a link is not served any more is said when its name is taken, and at each start.
#[test]
fn a_link_that_a_zone_file_hides_is_named() {
    let server = Server::start();
    for code in ["abc", "held", "free"] {
        server.add_with(&json!({"url": "https://example.net/", "code": code}));
    }
    let hidden = |code: &str| {
        format!("the link {code}.s.example.com is not served: a zone file has its name")
    };
    let write = |text: &str| {
        std::fs::write(
            server.dir().join("s.example.com.zone"),
            format!("{ZONE}{text}"),
        )
        .unwrap();
    };
    write("abc IN A 192.0.2.97\nnolink IN A 192.0.2.97\n");
    server.signal(Signal::SIGHUP);
    server.log().wait_for(&hidden("abc"));
    // The serial is what others go by.
    server.log().wait_for(
        "s.example.com.zone:3: the zone has changed and its serial has not; raise it above 1",
    );
    // What was taken before is not said again.
    write("abc IN A 192.0.2.97\nheld.r IN A 192.0.2.98\n");
    server.signal(Signal::SIGHUP);
    server.log().wait_for(&hidden("held"));
    let text = server.log().text();
    assert_eq!(text.matches(&hidden("abc")).count(), 1, "{text}");
    assert!(
        !text.contains(&hidden("free")) && !text.contains(&hidden("nolink")),
        "{text}"
    );
    let server = server.restart();
    server.log().wait_for(&hidden("abc"));
    server.log().wait_for(&hidden("held"));
    let text = server.log().text();
    assert!(!text.contains(&hidden("free")), "{text}");
}

/// RFC 2317 §4: the zone of an address range has a slash in its name. Its names are the same in the configuration, on
/// the wire and in what is said of them.
#[test]
fn a_zone_may_have_any_name() {
    let range = "$ORIGIN 0/25.2.0.192.in-addr.arpa.\n$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 60\n\
                 @ NS ns.example.\n1 PTR a.example.\n1 PTR a.example.\n";
    let root = "$TTL 60\n@ SOA ns.example. h.example. 1 2 3 4 60\n@ NS ns.example.\nexample NS ns.example.\n\
                ns.example A 192.0.2.1\nx A 192.0.2.2\n";
    let server = Setup::new()
        .zone("0/25.2.0.192.in-addr.arpa.", "", range)
        .zone(".", "", root)
        .start();
    server
        .log()
        .wait_for("1.0/25.2.0.192.in-addr.arpa. has this PTR record already");
    let dig = |words: &[&str]| {
        let port = server.dns.port().to_string();
        let all = [&["@127.0.0.1", "-p", &port, "+norec"], words].concat();
        String::from_utf8(output("dig", &all).stdout).unwrap()
    };
    let name = "1.0/25.2.0.192.in-addr.arpa.";
    assert_eq!(dig(&["+short", "PTR", name]), "a.example.\n");
    assert_eq!(dig(&["+short", "A", "x."]), "192.0.2.2\n");
    let denied = dig(&["A", "nosuch."]);
    assert!(
        denied.contains("NXDOMAIN") && denied.contains("\n.\t"),
        "{denied}"
    );
    // A link may lead to what the root delegates, which is all the world.
    server.add("https://www.example/");
    let mut command = tinyns();
    let checked = finished(command.args(["check", "--config"]).arg(server.config()));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        said.contains("ok: 0/25.2.0.192.in-addr.arpa: ") && said.contains("ok: .: "),
        "{said}"
    );
    // A signed one, whose keys have files of their own, is found by its name.
    let config = std::fs::read_to_string(server.config()).unwrap();
    let keys = server.dir().join("keys");
    let signed = "file = ";
    let config = config.replacen(
        "[[zone]]\norigin = \".\"",
        &format!("[zone.dnssec]\nkeys = {keys:?}\n[[zone]]\norigin = \".\""),
        1,
    );
    assert!(config.contains("[zone.dnssec]") && config.contains(signed));
    let file = server.dir().join("signed.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = tinyns();
    let made = finished(command.args(["keys", "generate", "--config"]).arg(&file));
    assert!(made.status.success(), "{made:?}");
    let files: Vec<_> = std::fs::read_dir(&keys)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    let is_key = |file: &std::ffi::OsString| {
        file.to_str()
            .unwrap()
            .starts_with("K0%2F25.2.0.192.in-addr.arpa.+013+")
    };
    assert!(files.iter().any(is_key), "{files:?}");
    let mut command = tinyns();
    let ds = finished(command.args(["keys", "ds", "--config"]).arg(&file));
    let ds = String::from_utf8(ds.stdout).unwrap();
    assert!(ds.starts_with("0/25.2.0.192.in-addr.arpa. IN DS "), "{ds}");
    let mut command = tinyns();
    let checked = finished(command.args(["check", "--config"]).arg(&file));
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_reload_under_load_drops_no_query() {
    let server = Server::start();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let reply = server.ask("ns1.s.example.com.", RecordType::A);
                assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
                assert_eq!(reply.answers.len(), 1);
                asked += 1;
            }
            asked
        });
        for _ in 0..20 {
            server.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(10));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(asker.join().unwrap() > 20);
    });
}

/// A zone that takes a good while to read.
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

#[test]
fn a_stalled_reader_of_the_log_stops_no_answer() {
    let mut server = Server::start();
    server.log().wait_for("redirect host");
    let log = server.log().clone();
    let stalled = log.stall();
    // Each has a line in the log; together they are some times what a pipe holds.
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.redirect).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let get = "GET / HTTP/1.1\r\nHost: absent.s.example.com\r\n\r\n";
        let last = get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        stream
            .write_all((get.repeat(9) + &last).as_bytes())
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert_eq!(reply.matches("HTTP/1.1 404").count(), 10);
    }
    let reply = server.ask("ns1.s.example.com.", RecordType::A);
    assert_eq!(reply.answers.len(), 1);
    let begin = Instant::now();
    assert!(server.stop().success());
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    drop(stalled);
}

#[test]
fn without_descriptors_udp_goes_on_and_the_rest_recovers() {
    let server = Setup::new().limits("ulimit -n 64").start();
    let udp = || {
        let reply = server.ask("ns1.s.example.com.", RecordType::A);
        assert_eq!(reply.answers.len(), 1);
    };
    for listener in [server.redirect, server.dns] {
        let crowd: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(listener).unwrap())
            .collect();
        udp();
        drop(crowd);
        udp();
        // Both wait up to PATIENCE for a connection to be served again.
        let query = query("ns1.s.example.com.", RecordType::A)
            .to_bytes()
            .unwrap();
        assert!(!server.tcp(&query).is_empty());
        let url = format!("http://{}/", server.redirect);
        assert_eq!(http("GET", &url, &[], None).status, 421);
    }
}

#[test]
fn check_says_ok_or_where_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let zone = dir.path().join("test.zone");
    let config = dir.path().join("tinyns.toml");
    std::fs::write(
        &config,
        ZONES.replace("DIR", &dir.path().display().to_string()),
    )
    .unwrap();
    let check = || {
        let output = tinyns()
            .args(["check", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    std::fs::write(&zone, ZONE).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("s.example.com"), "{said}");
    std::fs::write(&zone, format!("{ZONE}www IN A 192.0.2.1\n")).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("test.zone:20: www"), "{said}");
    assert!(said.contains("CNAME"), "{said}");
}

#[test]
fn the_command_line_registers_and_reads() {
    let server = Server::start();
    let tinyns = |args: &[&str]| {
        let mut command = tinyns();
        command.arg("--config").arg(server.config()).args(args);
        command.env("TINYNS_ADMIN_TOKEN", TOKEN);
        command.env("TINYNS_SERVER", format!("http://{}", server.admin));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, err) = tinyns(&["add", "https://example.net/cli", "--code", "cli"]);
    assert_eq!(code, Some(0), "{out}{err}");
    for part in [
        "cli.s.example.com",
        "http://cli.s.example.com",
        "https://example.net/cli",
        "dig ",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = tinyns(&["get", "cli"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("https://example.net/cli"), "{out}");
    let (code, out, err) = tinyns(&["get", "nosuch"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err.lines().count(), 1, "{err}");
    let (code, _, err) = tinyns(&["add", "ftp://example.net/"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("ftp") && err.lines().count() == 1, "{err}");
    let (code, _, _) = tinyns(&["frobnicate"]);
    assert_eq!(code, Some(2));
}
