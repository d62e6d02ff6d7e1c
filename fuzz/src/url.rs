//! The text of the URL of a new link.
//!
//! * What is refused is refused in one line.
//! * What is accepted is `http` or `https` with a host and without user info, in printable ASCII, at most
//!   2,048 bytes, and read again it is what it was: the same URL, and so the same code.
//! * Its code is the fold of RFC 1321's digest that docs/records.md describes, worked out here in another way.
//! * As a link, it comes back byte for byte: by the TXT record, whose strings are 1 to 255 bytes long (RFC
//!   1035 §3.3.14), and by the URI record (RFC 7553 §4), through a packet and hickory's decoder; or, where
//!   that is too long for UDP, there is TC and nothing else. Once it is deleted, its name is denied.
//! * It is refused as a link only if it leads into the zone of the links.

use std::cell::RefCell;
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, RecordType};
use md5::{Digest, Md5};
use tinyns::link::{Code, LinkName, TargetUrl};
use tinyns::links::{CreateLink, Creation, LinkError};
use tinyns::zone::{Layout, ZoneSet};

use super::assert_one_line;
use super::message::{MAX_UDP, assert_reply_form, query, rcode, wire_name};
use super::world::{Files, NameServer, Via, origin, zone_config};

const ORIGIN: &str = "s.example.com";
const ZONE: &str = "@ 60 SOA ns.test. host.test. 1 2 3 4 5\n@ 60 NS ns.test.\n*.r 60 A 192.0.2.1\n";
const TXT: u16 = 16;
const URI: u16 = 256;

thread_local! {
    static SERVER: RefCell<NameServer> = RefCell::new(server());
}

fn server() -> NameServer {
    let files = Files::new();
    files.write("zone", ZONE);
    let config = zone_config(ORIGIN, &files.path("zone"), true, Layout::Cname);
    let (zones, _) = ZoneSet::load(vec![config]).expect("a zone");
    NameServer::new(Arc::new(zones), 64 << 10)
}

/// See the [module](self).
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let url = match TargetUrl::parse(text) {
        Ok(url) => url,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    check_form(&url);
    for attempt in 0..3 {
        let code = Code::fold(&url, attempt);
        assert_eq!(code.as_str(), fold(url.as_str(), attempt), "{url}");
    }
    SERVER.with_borrow_mut(|server| check_link(server, &url));
}

fn check_form(url: &TargetUrl) {
    let text = url.as_str();
    assert!(text.len() <= TargetUrl::MAX_LEN, "{text}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    let rest = text.strip_prefix("http://");
    let rest = rest.or_else(|| text.strip_prefix("https://"));
    let rest = rest.unwrap_or_else(|| panic!("the scheme of {text}"));
    let (authority, _) = rest
        .split_once('/')
        .unwrap_or_else(|| panic!("no path: {text}"));
    assert!(!authority.is_empty() && !authority.contains('@'), "{text}");
    assert_eq!(TargetUrl::parse(text).as_ref(), Ok(url), "read again");
    if let Some(domain) = url.domain() {
        assert!(authority.starts_with(domain), "{domain} of {text}");
        assert!(!domain.ends_with('.'), "{domain} of {text}");
        assert_eq!(domain, domain.to_ascii_lowercase(), "{text}");
        // RFC 1035 §2.3.4: what is no name in DNS leads nowhere.
        let mut labels = domain.split('.').map(str::len);
        assert!(labels.all(|len| (1..=63).contains(&len)), "{text}");
        assert!(domain.len() <= 253, "{text}");
    }
}

/// The article's fold, by way of the hex digits.
fn fold(url: &str, attempt: u32) -> String {
    let mut text = url.as_bytes().to_vec();
    if attempt > 0 {
        text.extend(format!("\0{attempt}").bytes());
    }
    let digest = Md5::digest(&text);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let number = |digits: &str| u64::from_str_radix(digits, 16).expect("hex digits");
    let mut rest = number(&hex[..10]) ^ number(&hex[10..22]) ^ number(&hex[22..]);
    let mut code = [b'0'; 8];
    for digit in code.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
        rest /= 36;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Whether a URL leads into the zone of the links.
fn is_own(url: &TargetUrl) -> bool {
    url.domain()
        .is_some_and(|domain| domain == ORIGIN || domain.ends_with(&format!(".{ORIGIN}")))
}

fn check_link(server: &mut NameServer, url: &TargetUrl) {
    let request = CreateLink {
        origin: origin(ORIGIN),
        target: url.clone(),
        code: None,
        use_reserved: false,
        expires_at: None,
        ttl: None,
        about: tinyns::link::About::default(),
        destinations: None,
        withheld: None,
        created_by: "fuzz".into(),
    };
    let link = match server.wait(server.links.create(request)) {
        Ok(Creation::New(link)) => link,
        Ok(Creation::Same(link)) => panic!("it was there already: {link:?}"),
        Err(LinkError::OwnZone(_)) if is_own(url) => return,
        Err(error) => panic!("{url}: {error}"),
    };
    assert!(!is_own(url), "{url} leads in circles");
    assert_eq!(link.name.code(), Code::fold(url, 0).as_str());
    for qtype in [TXT, URI] {
        check_record(server, &link.name, url, qtype);
    }
    let deleted = server.wait(server.links.delete(&link.name, None, &"fuzz".into()));
    deleted.unwrap_or_else(|error| panic!("{url}: {error}"));
    let reply = ask(server, &link.name, TXT);
    assert_eq!(assert_reply_form(&reply).rcode(), rcode::NX_DOMAIN, "{url}");
    server.store.clear();
}

fn check_record(server: &mut NameServer, name: &LinkName, url: &TargetUrl, qtype: u16) {
    let reply = ask(server, name, qtype);
    assert!(reply.len() <= MAX_UDP, "{} bytes for {url}", reply.len());
    let form = assert_reply_form(&reply);
    assert_eq!(form.rcode(), rcode::NO_ERROR, "{url}");
    if form.is_truncated() {
        // Two owner names, two headers of records, and an OPT record are all that is to be added.
        let overhead = usize::from(u8::MAX);
        assert!(url.as_str().len() + overhead > MAX_UDP, "{url} fits");
        return;
    }
    let message = Message::from_vec(&reply).expect("it was decoded before");
    let wanted = RecordType::from(qtype);
    let mut found = message.answers.iter().filter(|r| r.record_type() == wanted);
    let (Some(record), None) = (found.next(), found.next()) else {
        panic!("not one record: {message}");
    };
    let text = match &record.data {
        RData::TXT(txt) => {
            assert!(txt.txt_data.iter().all(|s| (1..=255).contains(&s.len())));
            txt.txt_data.concat()
        }
        RData::Unknown { rdata, .. } => rdata.anything[4..].to_vec(),
        other => panic!("another type: {other}"),
    };
    assert_eq!(text, url.as_str().as_bytes(), "type {qtype}");
}

fn ask(server: &mut NameServer, name: &LinkName, qtype: u16) -> Vec<u8> {
    let packet = query(&wire_name(name.as_str()), qtype, Some(u16::MAX));
    let reply = server.ask(&packet, Via::Udp);
    reply.unwrap_or_else(|| panic!("no reply about {name}"))
}
