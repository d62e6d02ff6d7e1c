//! What `/metrics` says.

use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;

use crate::harness::{PATIENCE, Server, Setup, eventually, http, query};

#[test]
fn metrics_count() {
    let server = Server::start();
    server.ask("nosuch.s.example.com.", RecordType::A);
    server.ask("s.example.com.", RecordType::SOA);
    let url = format!("http://{}/metrics", server.admin);
    let read = || http("GET", &url, &[], None).body;
    // A reply is counted after it was sent.
    eventually("both replies are counted", PATIENCE, || {
        let text = read();
        ["3", "0"].iter().all(|rcode| {
            let labels = format!("transport=\"Udp\",rcode=\"{rcode}\"");
            text.contains(&format!("tinyns_dns_responses_total{{{labels}}} 1"))
        })
    });
    let text = read();
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);
}

/// The time of every reply is counted, also of those that wait for the store.
#[test]
fn every_reply_is_timed() {
    let server = Setup::new().section("[cache]\nfilter = false\n").start();
    for number in 0..5 {
        server.ask(&format!("x{number}.s.example.com."), RecordType::A);
        server.ask("s.example.com.", RecordType::SOA);
        let tcp = query("s.example.com.", RecordType::SOA);
        server.tcp(&tcp.to_bytes().unwrap());
    }
    let tcp = query("fresh.s.example.com.", RecordType::TXT);
    server.tcp(&tcp.to_bytes().unwrap());
    for (transport, replies) in [("Udp", 10.0), ("Tcp", 6.0), ("Tls", 0.0)] {
        let labels = [("transport", transport)];
        let metric =
            |end: &str| server.metric(&format!("tinyns_dns_response_seconds_{end}"), &labels);
        eventually(transport, PATIENCE, || metric("count") == replies);
        let last = [("transport", transport), ("le", "+Inf")];
        let all = server.metric("tinyns_dns_response_seconds_bucket", &last);
        assert_eq!(all, replies, "{transport}");
        let seconds = metric("sum");
        assert_eq!(seconds > 0.0, replies > 0.0, "{transport}: {seconds}");
        assert!(
            seconds < PATIENCE.as_secs_f64() * 16.0,
            "{transport}: {seconds}"
        );
    }
}

/// The names are those of Prometheus's own client libraries, without a prefix.
#[test]
fn metrics_show_the_memory_and_descriptors_of_the_process() {
    let server = Server::start();
    let read = || {
        let text = http(
            "GET",
            &format!("http://{}/metrics", server.admin),
            &[],
            None,
        )
        .body;
        let figure = |name: &str| -> f64 {
            let lines = text.lines();
            let found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let all: Vec<f64> = found.map(|value| value.parse().unwrap()).collect();
            assert_eq!(all.len(), 1, "{name}: {text}");
            all[0]
        };
        [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ]
        .map(figure)
    };
    let [cpu, resident, virtual_memory, threads, open, max, started] = read();
    let expected = server.resident() as f64;
    assert!(
        resident > expected / 4.0 && resident < expected * 4.0,
        "{resident}, not {expected}"
    );
    assert!(virtual_memory >= resident && threads >= 3.0);
    let fds = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count();
    assert!((open - fds as f64).abs() < 16.0, "{open}, not {fds}");
    assert!(max >= open);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let age = now.as_secs_f64() - started;
    assert!((-1.0..3_600.0).contains(&age), "{age}");
    let again = read();
    assert!(again[0] >= cpu && again[6] == started);
}
