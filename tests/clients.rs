//! The programs that people use: dig, kdig, drill, nslookup and curl against the server itself.

use serde_json::json;

use crate::harness::{Server, output, run};

const TARGET: &str = "https://example.net/some/page?x=1";

fn server() -> (Server, String, String) {
    let server = Server::start();
    server.add_with(&json!({"url": TARGET, "code": "abc"}));
    let (ip, port) = (server.dns.ip().to_string(), server.dns.port().to_string());
    (server, ip, port)
}

#[test]
fn dig() {
    let (_server, ip, port) = server();
    let at = format!("@{ip}");
    let dig = |args: &[&str]| run("dig", &[&[at.as_str(), "-p", &port], args].concat());
    let short = dig(&["+short", "TXT", "abc.s.example.com"]);
    assert_eq!(short, format!("abc.r.s.example.com.\n\"{TARGET}\"\n"));
    let short = dig(&["+short", "URI", "abc.s.example.com"]);
    assert_eq!(short, format!("abc.r.s.example.com.\n10 1 \"{TARGET}\"\n"));
    let short = dig(&["+short", "A", "abc.s.example.com"]);
    assert_eq!(short, "abc.r.s.example.com.\n192.0.2.10\n");
    let whole = dig(&["TXT", "abc.s.example.com"]);
    assert!(whole.contains("flags: qr aa rd; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1"));
    assert!(!whole.contains("WARNING: Message"), "{whole}");
    let whole = dig(&["+tcp", "+dnssec", "A", "nosuch.s.example.com"]);
    assert!(whole.contains("status: NXDOMAIN"), "{whole}");
    assert!(whole.contains("s.example.com.\t\t60\tIN\tSOA"), "{whole}");
    for flags in [
        "+noedns",
        "+ignore",
        "+bufsize=512",
        "+nocookie",
        "+keepalive",
        "+nsid",
        "+cdflag",
    ] {
        let whole = dig(&[flags, "TXT", "abc.s.example.com"]);
        assert!(
            whole.contains(TARGET) && whole.contains("NOERROR"),
            "{flags}: {whole}"
        );
    }
    let badvers = dig(&["+edns=7", "+noednsneg", "TXT", "abc.s.example.com"]);
    assert!(badvers.contains("status: BADVERS"), "{badvers}");
    let refused = dig(&["A", "www.example.org"]);
    assert!(refused.contains("status: REFUSED"), "{refused}");
    assert!(refused.contains("EDE: 20 (Not Authoritative)"), "{refused}");
}

#[test]
fn dig_follows_tc_to_tcp() {
    let (server, ip, port) = server();
    let url = format!("https://example.net/{}", "z".repeat(2_028));
    server.add_with(&json!({"url": url, "code": "long"}));
    let at = format!("@{ip}");
    let text = run("dig", &[&at, "-p", &port, "TXT", "long.s.example.com"]);
    assert!(
        text.contains(";; Truncated, retrying in TCP mode."),
        "{text}"
    );
    let strings: String = text.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings, url);
}

#[test]
fn kdig() {
    let (_server, ip, port) = server();
    let at = format!("@{ip}");
    let kdig = |args: &[&str]| run("kdig", &[&[at.as_str(), "-p", &port], args].concat());
    let short = kdig(&["+short", "TXT", "abc.s.example.com"]);
    assert_eq!(short, format!("abc.r.s.example.com.\n\"{TARGET}\"\n"));
    let short = kdig(&["+short", "+tcp", "URI", "abc.s.example.com"]);
    assert_eq!(
        short.trim_end(),
        format!("abc.r.s.example.com.\n10 1 \"{TARGET}\"")
    );
    let whole = kdig(&["+edns", "+dnssec", "AAAA", "abc.s.example.com"]);
    assert!(
        whole.contains("2001:db8::10") && !whole.contains("WARNING"),
        "{whole}"
    );
}

#[test]
fn drill() {
    let (_server, ip, port) = server();
    let at = format!("@{ip}");
    let drill = |args: &[&str]| run("drill", &[&["-p", &port, at.as_str()], args].concat());
    let text = drill(&["abc.s.example.com", "TXT"]);
    assert!(
        text.contains(&format!("abc.r.s.example.com.\t300\tIN\tTXT\t\"{TARGET}\"")),
        "{text}"
    );
    let text = drill(&["nosuch.s.example.com", "A"]);
    assert!(text.contains("rcode: NXDOMAIN"), "{text}");
}

#[test]
fn nslookup() {
    let (_server, ip, port) = server();
    let port = format!("-port={port}");
    let text = run("nslookup", &["-type=TXT", &port, "abc.s.example.com", &ip]);
    assert!(
        text.contains("abc.s.example.com\tcanonical name = abc.r.s.example.com."),
        "{text}"
    );
    assert!(
        text.contains(&format!("abc.r.s.example.com\ttext = \"{TARGET}\"")),
        "{text}"
    );
    let text = run("nslookup", &[&port, "abc.s.example.com", &ip]);
    assert!(
        text.contains("Name:\tabc.r.s.example.com\nAddress: 192.0.2.10"),
        "{text}"
    );
    let failed = output("nslookup", &[&port, "nosuch.s.example.com", &ip]);
    let text = String::from_utf8_lossy(&failed.stdout);
    assert!(text.contains("NXDOMAIN"), "{text}");
}

#[test]
fn curl_through_the_redirect_host() {
    let (server, _, _) = server();
    let port = server.redirect.port();
    let resolve = format!("*:{port}:{}", server.redirect.ip());
    let curl = |args: &[&str]| {
        run(
            "curl",
            &[&["-sS", "--max-time", "10", "--resolve", &resolve], args].concat(),
        )
    };
    let url = |host: &str, path: &str| format!("http://{host}:{port}{path}");
    let format = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    let go = |host: &str, path: &str| curl(&[&format[..], &[&url(host, path)]].concat());
    assert_eq!(go("abc.s.example.com", "/"), format!("302 {TARGET}"));
    assert_eq!(go("ABC.S.Example.COM.", "/"), format!("302 {TARGET}"));
    assert_eq!(go("abc.r.s.example.com", "/"), format!("302 {TARGET}"));
    assert_eq!(go("abc.s.example.com", "/+"), "200 ");
    assert_eq!(go("nosuch.s.example.com", "/"), "404 ");
    assert_eq!(go("s.example.com", "/"), "200 ");
    let head = curl(&["-I", &url("abc.s.example.com", "/")]);
    assert!(head.starts_with("HTTP/1.1 302 Found"), "{head}");
    let two = curl(&[
        "--http2-prior-knowledge",
        "-I",
        &url("abc.s.example.com", "/"),
    ]);
    assert!(two.starts_with("HTTP/2 302"), "{two}");
}
