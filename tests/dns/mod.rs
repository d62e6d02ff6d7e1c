//! Answers and messages, by raw packets over UDP and TCP.

mod answers;
mod messages;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use crate::harness::{Server, parse, plain_query, query};

const URI: RecordType = RecordType::Unknown(256);

const TARGET: &str = "https://example.net/some/page?x=1";

/// A reply in the form of these tests: rcode and AA, then one line for each record.
fn show(message: &Message) -> String {
    let aa = if message.metadata.authoritative {
        " aa"
    } else {
        ""
    };
    let mut lines = vec![format!("{}{aa}", rcode(message))];
    let sections = [
        ("an", &message.answers),
        ("au", &message.authorities),
        ("ad", &message.additionals),
    ];
    for (section, records) in sections {
        lines.extend(records.iter().map(|r| format!("{section} {}", record(r))));
    }
    lines.join("\n")
}

fn rcode(message: &Message) -> &'static str {
    match message.metadata.response_code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::NotAuth => "NOTAUTH",
        // 16 is also BADSIG, as hickory reads it; without TSIG it is BADVERS.
        ResponseCode::BADVERS | ResponseCode::BADSIG => "BADVERS",
        other => panic!("rcode {other}"),
    }
}

fn record(record: &Record) -> String {
    let data = match &record.data {
        RData::TXT(txt) => txt
            .txt_data
            .iter()
            .map(|s| format!("{:?}", String::from_utf8_lossy(s)))
            .collect::<Vec<_>>()
            .join(" "),
        RData::Unknown { rdata, .. } => format!("{:?}", String::from_utf8_lossy(&rdata.anything)),
        RData::SOA(soa) => soa.serial.to_string(),
        data => data.to_string(),
    };
    let rtype = match record.record_type() {
        URI => "URI".to_owned(),
        rtype => rtype.to_string(),
    };
    format!("{} {} {rtype} {data}", record.name, record.ttl)
}

fn check(server: &Server, name: &str, qtype: RecordType, expected: &[&str]) {
    let reply = server.ask(name, qtype);
    assert_eq!(show(&reply), expected.join("\n"), "{name} {qtype}");
    // The same by TCP, and without EDNS.
    let packet = query(name, qtype).to_bytes().unwrap();
    assert_eq!(show(&parse(&server.tcp(&packet))), expected.join("\n"));
    let packet = plain_query(name, qtype).to_bytes().unwrap();
    assert_eq!(show(&parse(&server.tcp(&packet))), expected.join("\n"));
}
