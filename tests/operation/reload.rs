//! Reload by SIGHUP.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{PATIENCE, Server, Setup, ZONE};

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

/// Static names take precedence. When a zone file takes the name of a link, the log says so, and again at each start.
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
    // Secondary servers and tools compare the serial.
    server.log().wait_for(
        "s.example.com.zone:3: the zone has changed and its serial has not; raise it above 1",
    );
    // Names that were taken before are not reported again.
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
