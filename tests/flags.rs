//! All query options of dig and kdig, by UDP and TCP: with each of them the programs get the right reply, and report
//! no problem.
//!
//! The options come from the help of the installed programs, so other versions are covered, too.

use std::collections::BTreeSet;

use crate::harness::{Server, Setup, output, run};

/// A reply about a link, as [`shown`] has it, with EDNS and without.
const LINK: &str = "QUERY NOERROR, qr aa rd, 1 2 0 1";
const PLAIN_LINK: &str = "QUERY NOERROR, qr aa rd, 1 2 0 0";
/// Options that suppress the header.
const NO_HEADER: &str = "";

/// Options that need another transport or a resolver.
const OTHERS: [&str; 9] = [
    "tls",
    "https",
    "http-plain",
    "quic",
    "fastopen",
    "proxy",
    "trace",
    "nssearch",
    "dns64prefix",
];

/// A word behind the program's name, the reply, and something that is to be shown of it, or, behind
/// `!`, not to be shown.
type Case<'c> = (&'c str, &'static str, &'static str);

/// Switches of dig that do not leave the reply as it is.
const DIG_SWITCHES: [Case<'static>; 19] = [
    ("+noall", NO_HEADER, ""),
    ("+nocomments", NO_HEADER, "CNAME"),
    ("+short", NO_HEADER, "abc.r.s.example.com."),
    ("+yaml", NO_HEADER, "status: NOERROR"),
    ("+noedns", PLAIN_LINK, "!EDNS"),
    ("+nordflag", "QUERY NOERROR, qr aa, 1 2 0 1", ""),
    ("+norecurse", "QUERY NOERROR, qr aa, 1 2 0 1", ""),
    // RFC 7873 §5.4: a cookie without a question.
    ("+header-only", "QUERY NOERROR, qr rd, 0 0 0 1", "(good)"),
    ("+cookie", LINK, "(good)"),
    ("+nocookie", LINK, "!COOKIE"),
    ("+dnssec", LINK, "flags: do; udp: 1232"),
    ("+nodnssec", LINK, "flags:; udp: 1232"),
    ("+nsid", LINK, "NSID: 66 72 61 31 (\"fra1\")"),
    ("+nonsid", LINK, "!NSID"),
    ("+expire", LINK, "!EXPIRE"),
    ("+edns", LINK, "version: 0"),
    // RFC 6891 §6.1.4 and RFC 1035 §4.1.1: bits without a meaning are zero in replies.
    ("+coflag", LINK, "!MBZ"),
    ("+zflag", LINK, "!MBZ"),
    ("+multiline", LINK, "300 IN CNAME abc.r.s.example.com."),
];

const DIG_VALUES: [Case<'static>; 68] = [
    ("+bufsize=0", LINK, "udp: 1232"),
    ("+bufsize=1", LINK, ""),
    ("+bufsize=511", LINK, ""),
    ("+bufsize=512", LINK, ""),
    ("+bufsize=65535", LINK, "udp: 1232"),
    ("+ednsflags=0x7fff", LINK, "!MBZ"),
    ("+ednsflags=0xffff", LINK, "!MBZ"),
    ("+ednsflags=1", LINK, "!MBZ"),
    ("+qid=0", LINK, ", id: 0"),
    ("+qid=65535", LINK, ", id: 65535"),
    // RFC 7873 §5.2.2: a client's cookie alone, one with a server's that is not ours, and lengths that
    // no cookie has.
    ("+cookie=0102030405060708", LINK, "(good)"),
    ("+cookie=0102030405060708090a0b0c0d0e0f10", LINK, "(good)"),
    ("+cookie=01", "QUERY FORMERR, qr rd, 1 0 0 1", ""),
    (
        "+cookie=010203040506070809",
        "QUERY FORMERR, qr rd, 1 0 0 1",
        "",
    ),
    // RFC 6891 §6.1.2: options that we do not know, or do not answer, are passed over.
    ("+ednsopt=1:00", LINK, "!; OPT="),
    ("+ednsopt=2", LINK, "!; OPT="),
    ("+ednsopt=4", LINK, "!; OPT="),
    ("+ednsopt=5:0808", LINK, "!; OPT="),
    ("+ednsopt=9", LINK, "!; OPT="),
    ("+ednsopt=12:0000", LINK, "!PAD"),
    ("+ednsopt=15:0000", LINK, "!EDE"),
    ("+ednsopt=65001:0123456789abcdef", LINK, "!; OPT="),
    ("+ednsopt=65535", LINK, "!; OPT="),
    ("+subnet=192.0.2.0/24", LINK, "!CLIENT-SUBNET"),
    ("+subnet=0/0", LINK, "!CLIENT-SUBNET"),
    ("+subnet=2001:db8::/56", LINK, "!CLIENT-SUBNET"),
    // RFC 7830 §6: no padding where nothing is encrypted.
    ("+padding=128", LINK, "!PAD"),
    ("+padding=468", LINK, "!PAD"),
    // RFC 6891 §6.1.3
    ("+edns=0", LINK, "version: 0"),
    ("+edns=1", LINK, "BADVERS, retrying with EDNS version 0"),
    ("+edns=255", LINK, "BADVERS, retrying with EDNS version 0"),
    (
        "+edns=1 +noednsneg",
        "QUERY BADVERS, qr rd, 1 0 0 1",
        "version: 0",
    ),
    (
        "+edns=255 +noednsneg",
        "QUERY BADVERS, qr rd, 1 0 0 1",
        "version: 0",
    ),
    // RFC 9619 §4: no question, and nothing else either.
    (
        "+header-only +nocookie",
        "QUERY FORMERR, qr rd, 0 0 0 1",
        "",
    ),
    // RFC 1035 §4.1.1, RFC 6895 §2.2: the opcode comes back, whatever it is.
    ("+opcode=0", LINK, ""),
    ("+opcode=1", "IQUERY NOTIMP, qr rd, 1 0 0 1", ""),
    ("+opcode=2", "STATUS NOTIMP, qr rd, 1 0 0 1", ""),
    ("+opcode=3", "RESERVED3 NOTIMP, qr rd, 1 0 0 1", ""),
    ("+opcode=4", "NOTIFY FORMERR, qr rd, 1 0 0 1", ""),
    ("+opcode=5", "UPDATE FORMERR, qr rd, 1 0 0 1", ""),
    ("+opcode=6", "RESERVED6 NOTIMP, qr rd, 1 0 0 1", ""),
    ("+opcode=15", "RESERVED15 NOTIMP, qr rd, 1 0 0 1", ""),
    (
        "+opcode=2 +header-only",
        "STATUS NOTIMP, qr rd, 0 0 0 1",
        "",
    ),
    // Classes.
    ("-c CH", "QUERY REFUSED, qr rd, 1 0 0 1", ""),
    ("-c HS", "QUERY REFUSED, qr rd, 1 0 0 1", ""),
    ("-c ANY", "QUERY REFUSED, qr rd, 1 0 0 1", ""),
    (
        "-c CH -q version.bind",
        "QUERY NOERROR, qr aa rd, 1 1 0 1",
        "\"of the tests\"",
    ),
    (
        "-c CH -q version.server",
        "QUERY NOERROR, qr aa rd, 1 1 0 1",
        "\"of the tests\"",
    ),
    (
        "-c CH -q id.server",
        "QUERY NOERROR, qr aa rd, 1 1 0 1",
        "\"ns1.fra\"",
    ),
    (
        "-c CH -q hostname.bind",
        "QUERY NOERROR, qr aa rd, 1 1 0 1",
        "\"ns1.fra\"",
    ),
    ("-c CH -q authors.bind", "QUERY REFUSED, qr rd, 1 0 0 1", ""),
    // Types.
    ("-t ANY", "QUERY NOERROR, qr aa rd, 1 1 0 1", "CNAME"),
    ("-t OPT", "QUERY FORMERR, qr rd, 1 0 0 1", ""),
    ("-t TSIG", "QUERY FORMERR, qr rd, 1 0 0 1", ""),
    ("-t MAILB", "QUERY NOTIMP, qr rd, 1 0 0 1", ""),
    ("-t TYPE65535", "QUERY NOERROR, qr aa rd, 1 1 1 1", "SOA"),
    ("-t AXFR -q s.example.com", NO_HEADER, "Transfer failed."),
    (
        "-t IXFR=1 -q s.example.com +notcp +qr +all",
        "QUERY REFUSED, qr, 1 0 0 1",
        "EDE: 18",
    ),
    // Names.
    (
        "-q ABC.s.Example.COM",
        LINK,
        ";ABC.s.Example.COM.\t\tIN\tTXT",
    ),
    (
        "-q nosuch.s.example.com",
        "QUERY NXDOMAIN, qr aa rd, 1 0 1 1",
        "SOA",
    ),
    (
        "-q a.sub.s.example.com",
        "QUERY NOERROR, qr rd, 1 0 1 2",
        "ns.sub.s.example.com.",
    ),
    (
        "-q a.wild.s.example.com",
        "QUERY NOERROR, qr aa rd, 1 1 0 1",
        "from a wildcard",
    ),
    ("-q example.org", "QUERY REFUSED, qr rd, 1 0 0 1", "EDE: 20"),
    ("-q .", "QUERY REFUSED, qr rd, 1 0 0 1", "EDE: 20"),
    ("-x 192.0.2.1", "QUERY REFUSED, qr rd, 1 0 0 1", ""),
    // Sizes.
    ("-q mid.s.example.com", LINK, "mmmmmm"),
    ("-q mid.s.example.com +bufsize=512", LINK, "mmmmmm"),
    ("-q mid.s.example.com +noedns", PLAIN_LINK, "mmmmmm"),
];

/// Switches of kdig, which sends no EDNS by itself, that do not leave the reply as it is.
const KDIG_SWITCHES: [Case<'static>; 13] = [
    ("+noall", NO_HEADER, ""),
    ("+noheader", NO_HEADER, "CNAME"),
    ("+short", NO_HEADER, "abc.r.s.example.com."),
    ("+json", NO_HEADER, "\"answerRRs\""),
    ("+nordflag", "QUERY NOERROR, qr aa, 1 2 0 0", ""),
    ("+norecurse", "QUERY NOERROR, qr aa, 1 2 0 0", ""),
    ("+dnssec", LINK, "flags: do; UDP size: 1232 B"),
    ("+nsid", LINK, "\"fra1\""),
    ("+expire", LINK, "!EXPIRE"),
    ("+cookie", LINK, "COOKIE"),
    ("+edns", LINK, "Version: 0"),
    ("+alignment", LINK, "!PADDING"),
    ("+padding", LINK, "!PADDING"),
];

const KDIG_VALUES: [Case<'static>; 17] = [
    ("+bufsize=512", LINK, "UDP size: 1232 B"),
    ("+bufsize=65535", LINK, "UDP size: 1232 B"),
    ("+padding=128", LINK, "!PADDING"),
    ("+alignment=128", LINK, "!PADDING"),
    ("+subnet=192.0.2.0/24", LINK, "!SUBNET"),
    ("+edns=1", "QUERY BADVERS, qr rd, 1 0 0 1", "Version: 0"),
    ("+edns=255", "QUERY BADVERS, qr rd, 1 0 0 1", "Version: 0"),
    ("+cookie=0102030405060708", LINK, "COOKIE"),
    ("+ednsopt=65001:abcd", LINK, "!65001"),
    (
        "-c CH -q version.bind",
        "QUERY NOERROR, qr aa rd, 1 1 0 0",
        "\"of the tests\"",
    ),
    ("-t ANY", "QUERY NOERROR, qr aa rd, 1 1 0 0", "CNAME"),
    ("-t TYPE65535", "QUERY NOERROR, qr aa rd, 1 1 1 0", "SOA"),
    (
        "-t NOTIFY -q s.example.com",
        "NOTIFY REFUSED, qr, 1 0 0 0",
        "",
    ),
    (
        "-q nosuch.s.example.com",
        "QUERY NXDOMAIN, qr aa rd, 1 0 1 0",
        "SOA",
    ),
    ("-q example.org", "QUERY REFUSED, qr rd, 1 0 0 0", ""),
    ("-q mid.s.example.com +edns", LINK, "mmmmmm"),
    ("-q mid.s.example.com", PLAIN_LINK, "mmmmmm"),
];

/// Messages of the programs about wrong or missing replies.
const COMPLAINTS: [&str; 12] = [
    "malformed",
    "warning",
    "unexpected",
    "timed out",
    "communications error",
    "mismatch",
    "got bad",
    "extra",
    "couldn't",
    "no servers",
    "can't",
    "invalid",
];
/// And when nothing is: the server is not there to resolve names, longer replies come by TCP, and what
/// the server says of a query is not about its reply.
const REMARKS: [&str; 4] = [
    "recursion requested but not available",
    "truncated reply",
    "ext-rcode",
    "; ede: ",
];

/// The last header in what a program shows: opcode, rcode, flags, and the numbers of records in the
/// sections. Empty if there is none.
fn shown(text: &str) -> String {
    let mut last = String::new();
    let mut lines = text.lines();
    while let Some(header) = lines.find(|line| line.contains("->>HEADER<<-")) {
        let word = |before: &str| {
            let rest = header.split_once(before).unwrap().1;
            rest.split([',', ';']).next().unwrap().to_owned()
        };
        let (opcode, status) = (word("opcode: "), word("status: "));
        let counts = lines.next().unwrap().split_once("lags:").unwrap().1;
        let (flags, counts) = counts.split_once("QUERY:").unwrap();
        let is_digit = |c: char| !c.is_ascii_digit();
        let counts: Vec<_> = counts.split(is_digit).filter(|n| !n.is_empty()).collect();
        let flags = flags.trim_matches([';', ' ']);
        last = format!("{opcode} {status}, {flags}, {}", counts.join(" "));
    }
    last
}

fn complaint(text: &str) -> Option<&str> {
    text.lines().find(|line| {
        let line = line.to_lowercase();
        COMPLAINTS.iter().any(|complaint| line.contains(complaint))
            && !REMARKS.iter().any(|remark| line.contains(remark))
    })
}

/// A program and the server that it is to ask.
struct Client {
    program: &'static str,
    server: Server,
}

impl Client {
    fn new(program: &'static str) -> Self {
        let server = Setup::new()
            .dns_line("nsid = \"fra1\"")
            .dns_line("version = \"of the tests\"")
            .dns_line("identity = \"ns1.fra\"")
            .start();
        server.register("abc", "https://example.net/");
        let long = format!("https://example.net/{}", "m".repeat(700));
        server.register("mid", &long);
        Self { program, server }
    }

    /// The switches that the program's help lists and that can be tried here, with and without `no`.
    fn switches(&self, help: &str) -> BTreeSet<String> {
        let help = run(self.program, &[help]);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let names = help.split_whitespace().filter_map(|word| {
            let word = word.strip_prefix("+[no]")?;
            let name = word.trim_end_matches(|c| !is_part(c));
            let end = name.find(|c| !is_part(c)).unwrap_or(name.len());
            // Without brackets around it, the value has to be there.
            Some((&word[..end], word[end..].starts_with('=')))
        });
        let is_tried = |(name, _): &(&str, bool)| !OTHERS.iter().any(|o| name.starts_with(o));
        let names: BTreeSet<_> = names.filter(is_tried).collect();
        assert!(names.len() > 30, "{names:?} in {help}");
        names
            .into_iter()
            .flat_map(|(name, has_value)| {
                let with = (!has_value).then(|| format!("+{name}"));
                with.into_iter().chain([format!("+no{name}")])
            })
            .collect()
    }

    /// The fault of the reply in one case.
    fn fault(&self, transport: &[&str], (words, expected, part): Case<'_>) -> Option<String> {
        let (ip, port) = (self.server.dns.ip(), self.server.dns.port().to_string());
        let once = match self.program {
            "kdig" => "+retry=0",
            _ => "+tries=1",
        };
        let at = format!("@{ip}");
        let mut all = vec![&*at, "-p", &port, once];
        all.extend(transport);
        let words: Vec<_> = words.split(' ').collect();
        if !words.iter().any(|word| ["-q", "-x"].contains(word)) {
            all.extend(["-q", "abc.s.example.com"]);
        }
        if !words.iter().any(|word| ["-t", "-x"].contains(word)) {
            all.extend(["-t", "TXT"]);
        }
        all.extend(words);
        let output = output(self.program, &all);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let is_part_there = match part.strip_prefix('!') {
            None => text.contains(part),
            Some(part) => !text.contains(part),
        };
        let is_right = output.status.success()
            && shown(&text) == expected
            && complaint(&text).is_none()
            && is_part_there;
        let wanted = format!("wanted: {expected}, {part:?}");
        (!is_right).then(|| format!("{} {}\n{wanted}\n{text}", self.program, all.join(" ")))
    }

    /// Tries all switches and these cases, by UDP and by TCP.
    fn check_all(
        &self,
        help: &str,
        switches: &[Case<'_>],
        values: &[Case<'_>],
        other: &'static str,
    ) {
        let all = self.switches(help);
        let switches = all.iter().map(|switch| {
            let case = switches.iter().find(|case| case.0 == switch);
            let (expected, part) = case.map_or((other, ""), |case| (case.1, case.2));
            (&**switch, expected, part)
        });
        let cases: Vec<Case<'_>> = switches.chain(values.iter().copied()).collect();
        let transports: [&[&str]; 2] = [&[], &["+tcp"]];
        let faults: Vec<_> = transports
            .into_iter()
            .flat_map(|transport| cases.iter().map(move |case| (transport, *case)))
            .filter_map(|(transport, case)| self.fault(transport, case))
            .collect();
        assert!(
            faults.is_empty(),
            "{} faults:\n{}",
            faults.len(),
            faults.join("\n\n")
        );
    }
}

#[test]
fn dig() {
    Client::new("dig").check_all("-h", &DIG_SWITCHES, &DIG_VALUES, LINK);
}

#[test]
fn kdig() {
    Client::new("kdig").check_all("--help", &KDIG_SWITCHES, &KDIG_VALUES, PLAIN_LINK);
}

/// A reply that is not repeated by TCP must be there, and be empty.
#[test]
fn rfc2181_9_truncated_replies_have_tc() {
    for (program, expected) in [
        ("dig", "QUERY NOERROR, qr aa tc rd, 1 0 0 1"),
        ("kdig", "QUERY NOERROR, qr aa tc rd, 1 0 0 0"),
    ] {
        let client = Client::new(program);
        let (ip, port) = (client.server.dns.ip(), client.server.dns.port());
        let (at, port) = (format!("@{ip}"), port.to_string());
        let mut words = vec![&*at, "-p", &port, "+ignore", "TXT", "mid.s.example.com"];
        if program == "dig" {
            words.push("+bufsize=512");
        }
        assert_eq!(shown(&run(program, &words)), expected);
    }
}

#[test]
fn complaints_of_dig_are_detected() {
    let text = ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1\n\
                ;; flags: qr rd; MBZ: 0x4; QUERY: 1, ANSWER: 0, AUTHORITY: 0, ADDITIONAL: 1\n\
                ;; WARNING: recursion requested but not available\n";
    assert_eq!(shown(text), "QUERY NOERROR, qr rd; MBZ: 0x4, 1 0 0 1");
    assert_eq!(complaint(text), None);
    let warning = ";; WARNING: Message has 3 extra bytes at end";
    assert_eq!(complaint(&format!("{text}{warning}\n")), Some(warning));
    assert_eq!(shown("nothing"), NO_HEADER);
    // The last of several, and no flags.
    let query = text.replace("flags: qr rd; MBZ: 0x4;", "flags:;");
    assert_eq!(shown(&format!("{text}{query}")), "QUERY NOERROR, , 1 0 0 1");
}
