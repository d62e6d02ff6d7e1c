//! The data of a record: from tokens to wire form, and from there to hickory's `RData`.
//!
//! NLnet Labs' `domain` knows the text form of most types, and reads it here one record at a time:
//! a single line, absolute names, every odd byte as `\DDD`. Its own reading of whole files is not
//! used, because it gives no line for a record that is legal but wrong in its zone, reports an
//! error where the text before it was read rather than where it stands, panics on a TXT whose
//! parenthesis is not closed, and takes an hour as TTL where none is given. Hickory's own parser
//! drops records silently and knows no URI, DNAME or RFC 3597 data.

use std::str::FromStr;

use bytes::Bytes;
use domain::base::ParsedName;
use domain::base::iana::Rtype;
use domain::base::rdata::{ComposeRecordData, ParseRecordData};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{
    BinDecoder, BinEncodable, BinEncoder, NameEncoding, Restrict,
};

use super::super::diagnostic::Problem;
use super::lexer::{Place, Token};
use super::{name, ttl};

/// The most rdata of a record, in bytes: RDLENGTH has 16 bits (RFC 1035 §3.2.1).
const MAX_RDATA_LEN: usize = 65_535;
/// The marker of RFC 3597 §5.
const UNKNOWN_MARKER: &[u8] = b"\\#";

/// What `domain` says of a field behind the last.
const TRAILING: &str = "trailing tokens";

/// Something wrong in the data of a record, and where it stands if not at its last token.
pub(super) type RdataError = (Option<Place>, Problem);

/// Reads the data of a record of type `rtype`; relative names are completed with `origin`.
pub(super) fn read(rtype: Rtype, tokens: &[Token], origin: &[u8]) -> Result<RData, RdataError> {
    let generic = tokens
        .first()
        .is_some_and(|first| first.raw == UNKNOWN_MARKER);
    let wire = if rtype == Rtype::URI && !generic {
        uri(tokens)?
    } else {
        scan(rtype, tokens, generic, origin)?
    };
    if wire.len() > MAX_RDATA_LEN {
        return Err((None, Problem::LongRdata(wire.len())));
    }
    if generic {
        check_generic(rtype, &wire)?;
    }
    Ok(to_hickory(rtype, wire))
}

/// The type whose text form `rtype` shares, for types that `domain` does not read under their own
/// name: RFC 8162 (SMIMEA), RFC 1183 (AFSDB, RT), RFC 2230 (KX), RFC 6742 (LP), RFC 7208 (SPF).
fn read_as(rtype: Rtype) -> Rtype {
    match rtype {
        Rtype::SMIMEA => Rtype::TLSA,
        Rtype::AFSDB | Rtype::RT | Rtype::KX | Rtype::LP => Rtype::MX,
        Rtype::SPF => Rtype::TXT,
        other => other,
    }
}

/// Whether the field of this number, counted from 0, is a domain name.
fn is_name(rtype: Rtype, field: usize, tokens: &[Token]) -> bool {
    match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => field == 0,
        Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => field == 0,
        Rtype::SOA | Rtype::MINFO | Rtype::RP => field < 2,
        Rtype::MX | Rtype::SVCB | Rtype::HTTPS => field == 1,
        Rtype::SRV => field == 3,
        Rtype::NAPTR => field == 5,
        // RFC 4025 §2.3: gateway type 3 is a name.
        Rtype::IPSECKEY => field == 3 && tokens.get(1).is_some_and(|t| t.raw == b"3"),
        _ => false,
    }
}

/// Has `domain` read the record's data.
fn scan(
    rtype: Rtype,
    tokens: &[Token],
    generic: bool,
    origin: &[u8],
) -> Result<Vec<u8>, RdataError> {
    let scanned_as = read_as(rtype);
    let mut line = format!(". 0 IN TYPE{}", scanned_as.to_int()).into_bytes();
    let mut starts = Vec::with_capacity(tokens.len());
    for (field, token) in tokens.iter().enumerate() {
        if field == 0 || token.spaced || !token.is_quoted() {
            line.push(b' ');
        }
        starts.push(line.len());
        if !generic && is_name(scanned_as, field, tokens) {
            let wire = name::parse(token.raw, origin)
                .map_err(|why| (Some(token.place), Problem::Name(token.text(), why)))?;
            line.extend_from_slice(name::to_text(&wire).as_bytes());
        } else if !generic && rtype == Rtype::SOA && field > 2 {
            // RFC 1035 has seconds alone; `1h` and the like are what every other server reads.
            let seconds = ttl::parse(token.raw)
                .ok_or_else(|| (Some(token.place), Problem::BadTtl(token.text())))?;
            line.extend_from_slice(seconds.to_string().as_bytes());
        } else {
            push_printable(&mut line, token.raw).ok_or((Some(token.place), Problem::BadEscape))?;
        }
    }
    line.push(b'\n');
    let entry = Zonefile::from(&line[..]).next_entry();
    match entry {
        Ok(Some(Entry::Record(record))) => {
            let mut wire = Vec::new();
            // Writing to a Vec cannot fail.
            let Ok(()) = record.data().compose_rdata(&mut wire);
            Ok(wire)
        }
        Ok(_) => Err((None, rdata_problem(rtype, "it is not a record"))),
        Err(error) => {
            let (field, message) = locate(&error.to_string(), &starts, tokens);
            let place = field.and_then(|field| tokens.get(field)).map(|t| t.place);
            Err((place, rdata_problem(rtype, &message)))
        }
    }
}

/// Takes an error of the form `line:column: message` apart and tells the field it is about, unless
/// that is the last one.
fn locate(error: &str, starts: &[usize], tokens: &[Token]) -> (Option<usize>, String) {
    let mut parts = error.splitn(3, ':');
    let (Some(line), Some(column), Some(message)) = (parts.next(), parts.next(), parts.next())
    else {
        return (None, error.into());
    };
    let message = message.trim();
    let field = match (line, column.parse::<usize>()) {
        // Past the end of the line, everything was read.
        ("1", Ok(column)) => {
            let reached = starts.partition_point(|&start| start < column);
            let reached = reached.saturating_sub(1);
            // Where the reader stands before a field of which it has read nothing, it did not like
            // the one before, unless it did not expect any more.
            let untouched = starts.get(reached).zip(tokens.get(reached));
            let untouched = untouched
                .is_some_and(|(start, token)| start + 1 + usize::from(token.is_quoted()) == column);
            match untouched && message != TRAILING {
                true => Some(reached.saturating_sub(1)),
                false => Some(reached),
            }
        }
        _ => None,
    };
    (field, message.into())
}

/// The problem, in the words of an operator rather than a scanner.
fn rdata_problem(rtype: Rtype, message: &str) -> Problem {
    let why = match message {
        "unexpected end of entry" | "short buffer" => "a field is missing",
        TRAILING => "there is something left behind it",
        "bad charstr" => "a string has more than 255 bytes",
        "unknown record type with concrete data" => {
            "only its RFC 3597 form is read (TYPEnnn \\# length hex)"
        }
        other => other,
    };
    Problem::Rdata {
        rtype: to_record_type(rtype),
        why: why.into(),
    }
}

/// Writes a token with its line ends, control characters and bytes beyond ASCII as `\DDD`; none if
/// an escape is wrong.
fn push_printable(line: &mut Vec<u8>, raw: &[u8]) -> Option<()> {
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        let (meant, tail) = match byte {
            b'\\' => name::unescape(tail)?,
            byte => (byte, tail),
        };
        match (byte, meant) {
            (b'\\', 0x20..=0x7E) => line.extend_from_slice(&rest[..rest.len() - tail.len()]),
            (_, 0x20..=0x7E) => line.push(meant),
            _ => push_decimal(line, meant),
        }
        rest = tail;
    }
    Some(())
}

fn push_decimal(line: &mut Vec<u8>, byte: u8) {
    line.extend_from_slice(format!("\\{byte:03}").as_bytes());
}

/// RFC 7553 §4: priority, weight, and the target in quotes.
fn uri(tokens: &[Token]) -> Result<Vec<u8>, RdataError> {
    let bad = |field: usize, why: &str| {
        let place = tokens.get(field).map(|token| token.place);
        (place, rdata_problem(Rtype::URI, why))
    };
    let [priority, weight, target] = tokens else {
        return Err(bad(3, "it has three fields: priority, weight and target"));
    };
    let mut wire = Vec::new();
    for (field, token) in [priority, weight].into_iter().enumerate() {
        let number = u16::from_str(&token.text())
            .map_err(|_| bad(field, "priority and weight are numbers up to 65535"))?;
        wire.extend_from_slice(&number.to_be_bytes());
    }
    let quoted = target.raw.strip_prefix(b"\"");
    let Some(mut rest) = quoted.and_then(|raw| raw.strip_suffix(b"\"")) else {
        return Err(bad(2, "the target stands in quotes"));
    };
    if rest.is_empty() {
        return Err(bad(2, "the target is empty"));
    }
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'\\' => name::unescape(tail).ok_or((Some(target.place), Problem::BadEscape))?,
            byte => (byte, tail),
        };
        wire.push(byte);
        rest = tail;
    }
    Ok(wire)
}

/// RFC 3597 §5: data in generic form of a type that is known must be data of that type; and §4:
/// no name in it may be compressed, since there is no message to point into.
fn check_generic(rtype: Rtype, wire: &[u8]) -> Result<(), RdataError> {
    let bad = || {
        (
            None,
            rdata_problem(rtype, "the bytes are not data of this type"),
        )
    };
    let octets = Bytes::copy_from_slice(wire);
    let mut parser = Parser::from_ref(&octets);
    let parsed =
        ZoneRecordData::<Bytes, ParsedName<Bytes>>::parse_rdata(read_as(rtype), &mut parser)
            .map_err(|_| bad())?
            .ok_or_else(bad)?;
    let mut composed = Vec::new();
    // Writing to a Vec cannot fail.
    let Ok(()) = parsed.compose_rdata(&mut composed);
    if parser.remaining() > 0 || composed != wire {
        return Err(bad());
    }
    Ok(())
}

/// The type as hickory knows it.
pub(super) fn to_record_type(rtype: Rtype) -> RecordType {
    RecordType::from(rtype.to_int())
}

/// Hands the data over to hickory; what it does not know, or would send with other bytes than the
/// file gave, is kept as the bytes that it is.
fn to_hickory(rtype: Rtype, wire: Vec<u8>) -> RData {
    let code = to_record_type(rtype);
    let mut decoder = BinDecoder::new(&wire);
    // The length is within 16 bits by now.
    match RData::read(&mut decoder, code, Restrict::new(wire.len() as u16)) {
        Ok(rdata) if rdata.record_type() == code && encode(&rdata).as_ref() == Some(&wire) => rdata,
        _ => RData::Unknown {
            code,
            rdata: NULL::with(wire),
        },
    }
}

/// The bytes that hickory would send.
fn encode(rdata: &RData) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    rdata.emit(&mut encoder).ok()?;
    Some(wire)
}
