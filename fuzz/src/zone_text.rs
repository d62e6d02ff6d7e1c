//! A master file: the first byte of the input is a choice, the rest is the file.
//!
//! * What is refused is refused with at least one error, each of them one line that tells the file and, but
//!   for what is wrong with the zone as a whole, a line and a column that the file has.
//! * What is accepted has warnings of the same form, and is answered from: queries for names that the file
//!   has, for those beside and below them and for the types that it has, get a reply of legal form
//!   (`message`), no larger than allowed, that is neither SERVFAIL nor FORMERR nor NOTIMP, nor REFUSED
//!   within the zone. The reply is the same when it is asked for again, and what
//!   is cut by UDP is whole by TCP.
//! * The file that is read again after it was replaced is the one that is answered from: what was kept of
//!   an old zone is used no more (all inputs go to the same few servers, as reloads).
//! * Time and memory: libFuzzer watches over both.
//!
//! The lowest bit of the first byte chooses whether the zone holds links, the next their layout, the third
//! whether the origin is `example` or `s.example.com`.

use std::cell::RefCell;
use std::sync::Arc;

use tinyns::zone::{Defect, Diagnostic, Layout, LoadError, ZoneSet};

use super::assert_one_line;
use super::message::{MIN_UDP, Message, assert_reply_form, query, rcode, wire_name};
use super::world::{Files, FirstLink, NameServer, Via, origin, zone_config};

/// The zone before the first input, and where nothing else is chosen to be there.
const PLAIN: &str = "@ 60 SOA ns.test. host.test. 1 2 3 4 5\n@ 60 NS ns.test.\n";
/// What `$INCLUDE` finds.
const INCLUDES: [(&str, &str); 2] = [
    ("inc", "inc 60 A 192.0.2.1\n$ORIGIN inner\n@ 60 TXT inner\n"),
    ("loop", "$INCLUDE loop\n"),
];
/// The file's name, in its directory.
const FILE: &str = "zone";
/// With so many digits a number may be too large for a range to go there.
const MANY_DIGITS: usize = 5;
/// How many words of a file are asked for.
const MAX_WORDS: usize = 12;
/// Types that are asked for at every name.
const TYPES: [u16; 8] = [1, 2, 6, 16, 39, 43, 255, 65_280];
/// Bytes for hot answers.
const HOT_BYTES: usize = 64 << 10;

thread_local! {
    static SERVERS: RefCell<Vec<Server>> = RefCell::new((0..8).map(Server::new).collect());
}

/// A server with one zone.
struct Server {
    origin: &'static str,
    files: Files,
    names: NameServer,
}

impl Server {
    fn new(choice: u8) -> Self {
        let has_links = choice & 1 != 0;
        let layout = match choice & 2 {
            0 => Layout::Cname,
            _ => Layout::Direct,
        };
        let origin = match choice & 4 {
            0 => "example",
            _ => "s.example.com",
        };
        let files = Files::new();
        for (name, text) in INCLUDES {
            files.write(name, text);
        }
        files.write(FILE, PLAIN);
        let config = zone_config(origin, &files.path(FILE), has_links, layout);
        let (zones, _) = ZoneSet::load(vec![config]).expect("the plain zone");
        let names = NameServer::new(Arc::new(zones), HOT_BYTES);
        add_links(&names, origin);
        Self {
            origin,
            files,
            names,
        }
    }

    /// Asks for a name in wire form.
    fn check_name(&mut self, name: &[u8], context: &str) {
        if name.len() > 255 {
            return;
        }
        let apex = wire_name(self.origin);
        let is_inside = is_below(&name.to_ascii_lowercase(), &apex);
        for qtype in TYPES {
            let packet = query(name, qtype, None);
            let first = self.names.ask(&packet, Via::Udp);
            let first = first.unwrap_or_else(|| panic!("no reply: {packet:02x?}\n{context}"));
            check_reply(&packet, &first, is_inside, context);
            let again = self.names.ask(&packet, Via::Udp);
            assert_eq!(again.as_ref(), Some(&first), "{packet:02x?}\n{context}");
            if first[2] & 0x02 != 0 {
                let whole = self.names.ask(&packet, Via::Tcp { keepalive: 0 });
                check_whole(&first, &whole.unwrap_or_default(), context);
            }
        }
    }
}

fn add_links(names: &NameServer, of: &str) {
    for (code, ends_in, ttl) in [("abc", None, None), ("later", Some(100), Some(5))] {
        let link = FirstLink {
            code,
            url: "https://example.net/",
            ends_in,
            ttl,
        };
        names.store.put(&origin(of), link);
    }
}

fn check_reply(packet: &[u8], reply: &[u8], is_inside: bool, context: &str) {
    let message = assert_reply_form(reply);
    let asked = Message::read(packet).expect("our own query");
    let context = || format!("{asked:?}\n{message:#?}\n{context}");
    assert!(
        reply.len() <= MIN_UDP,
        "{} bytes: {}",
        reply.len(),
        context()
    );
    assert_eq!(reply[..2], packet[..2], "id: {}", context());
    assert_eq!(message.questions, asked.questions, "{}", context());
    let rcode = message.rcode();
    let is_good = match is_inside {
        true => matches!(rcode, rcode::NO_ERROR | rcode::NX_DOMAIN | rcode::YX_DOMAIN),
        false => rcode == rcode::REFUSED,
    };
    assert!(is_good, "{}", context());
}

/// Whether a name is the apex or below it; by its labels, for the bytes of a label may look like some.
fn is_below(mut name: &[u8], apex: &[u8]) -> bool {
    while let Some((len, rest)) = name.split_first() {
        if name == apex {
            return true;
        }
        name = rest.get(usize::from(*len)..).unwrap_or_default();
    }
    false
}

/// What does not fit UDP has to come whole by TCP.
fn check_whole(cut: &[u8], whole: &[u8], context: &str) {
    let (cut, whole) = (assert_reply_form(cut), assert_reply_form(whole));
    assert!(!whole.is_truncated(), "{whole:?}\n{context}");
    assert_eq!(cut.rcode(), whole.rcode(), "{whole:?}\n{context}");
}

/// See the [module](self).
pub fn check(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    // The files of this machine are none of the fuzzer's business.
    if reaches_out(text) || makes_many(text) {
        return;
    }
    SERVERS.with_borrow_mut(|servers| check_text(&mut servers[usize::from(choice & 7)], text));
}

fn check_text(server: &mut Server, text: &[u8]) {
    server.files.write(FILE, text);
    let context = format!("{:?}", String::from_utf8_lossy(text));
    let warnings = match server.names.zones.reload() {
        Ok(warnings) => warnings,
        Err(LoadError { errors }) => {
            assert!(!errors.is_empty(), "refused for no reason: {context}");
            for error in &errors {
                check_diagnostic(error, text);
            }
            return;
        }
    };
    for warning in &warnings {
        check_diagnostic(warning, text);
    }
    server.names.handler.zones_replaced();
    for name in names(text, server.origin) {
        server.check_name(&name, &context);
    }
}

fn check_diagnostic(diagnostic: &Diagnostic, text: &[u8]) {
    let shown = diagnostic.to_string();
    assert_one_line(&shown);
    let is_whole = matches!(
        diagnostic.defect,
        Defect::NoSoa(_) | Defect::NoNs(_) | Defect::NoTemplate(_) | Defect::More(_)
    );
    let Some(line) = diagnostic.line else {
        assert!(is_whole, "no line: {shown}");
        return;
    };
    if !diagnostic.file.ends_with(FILE) {
        return;
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let found = usize::try_from(line).ok().and_then(|n| n.checked_sub(1));
    let found = found.and_then(|n| lines.get(n));
    let found = found.unwrap_or_else(|| panic!("there is no such line: {shown}"));
    if let Some(column) = diagnostic.column {
        let columns = 1..=found.len() + 1;
        let column = usize::try_from(column).unwrap_or(usize::MAX);
        assert!(
            columns.contains(&column),
            "there is no such column: {shown}"
        );
    }
}

/// Whether a file is included that is not in its directory.
fn reaches_out(text: &[u8]) -> bool {
    let upper = text.to_ascii_uppercase();
    let includes = upper.windows(8).any(|word| word == b"$INCLUDE");
    // Also where the slash or the dots are escaped.
    let is_path = |byte: &u8| matches!(byte, b'/' | b'\\') || *byte >= 0x80;
    includes && (text.iter().any(is_path) || text.windows(2).any(|dots| dots == b".."))
}

/// Whether a `$GENERATE` may make more records than there is time for; that they have a bound is tested elsewhere.
fn makes_many(text: &[u8]) -> bool {
    let upper = text.to_ascii_uppercase();
    let generates = upper.windows(9).any(|word| word == b"$GENERATE");
    let is_long = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    generates && text.windows(MANY_DIGITS).any(is_long)
}

/// Names that a file may have something to say about: of its words, as they are and below the origin.
fn names(text: &[u8], origin: &str) -> Vec<Vec<u8>> {
    let apex = wire_name(origin);
    let mut names = vec![apex.clone(), wire_name("elsewhere.test")];
    let mut add = |name: &[u8]| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_vec());
        }
    };
    let words = text.split(|byte| b" \t\r\n()\"".contains(byte));
    let words = words.filter(|word| (1..=250).contains(&word.len()));
    let fixed: [&[u8]; 3] = [b"abc", b"abc.r", b"x"];
    for word in fixed.into_iter().chain(words).take(MAX_WORDS) {
        let Some(labels) = labels(word) else {
            continue;
        };
        add(&[&labels[..], &apex].concat());
        add(&[b"\x01X", &labels[..], &apex].concat());
        if word.ends_with(b".") {
            add(&[&labels[..], b"\0"].concat());
        }
    }
    names
}

/// A word as labels in wire form, without the root; none if it cannot be a name.
fn labels(word: &[u8]) -> Option<Vec<u8>> {
    let word = word.strip_suffix(b".").unwrap_or(word);
    let mut labels = Vec::new();
    for label in word.split(|byte| *byte == b'.') {
        let len = u8::try_from(label.len()).ok()?;
        if !(1..=63).contains(&len) {
            return None;
        }
        labels.push(len);
        labels.extend(label);
    }
    Some(labels)
}
