//! Data that `domain` reads, one record at a time: a single line, absolute names, every odd byte as
//! `\DDD`.
//!
//! Its own reading of whole files is not used, because it gives no line for a record that is legal
//! but wrong in its zone, reports an error where the text before it was read rather than where it
//! stands, panics on a TXT whose parenthesis is not closed, and takes an hour as TTL where none is
//! given.

use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use super::super::super::diagnostic::Problem;
use super::super::lexer::Token;
use super::super::{name, ttl};
use super::{RdataError, rdata_problem};

/// What `domain` says of a field behind the last.
const TRAILING: &str = "trailing tokens";

/// Whether the field of this number, counted from 0, is a domain name.
fn is_name(rtype: Rtype, field: usize, tokens: &[Token]) -> bool {
    match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => field == 0,
        Rtype::MB | Rtype::MD | Rtype::MF | Rtype::MG | Rtype::MR => field == 0,
        Rtype::SOA | Rtype::MINFO | Rtype::RP => field < 2,
        Rtype::MX => field == 1,
        Rtype::SRV => field == 3,
        Rtype::NAPTR => field == 5,
        // RFC 4025 §2.3: gateway type 3 is a name.
        Rtype::IPSECKEY => field == 3 && tokens.get(1).is_some_and(|t| t.raw == b"3"),
        _ => false,
    }
}

/// Has `domain` read the record's data.
pub(super) fn scan(
    rtype: Rtype,
    tokens: &[Token],
    generic: bool,
    origin: &[u8],
) -> Result<Vec<u8>, RdataError> {
    let mut line = format!(". 0 IN TYPE{}", rtype.to_int()).into_bytes();
    let mut starts = Vec::with_capacity(tokens.len());
    for (field, token) in tokens.iter().enumerate() {
        if field == 0 || token.spaced || !token.is_quoted() {
            line.push(b' ');
        }
        starts.push(line.len());
        if !generic && is_name(rtype, field, tokens) {
            let wire = name::parse(token.raw, origin)
                .map_err(|why| (Some(token.place), Problem::Name(token.shown(), why)))?;
            line.extend_from_slice(name::to_text(&wire).as_bytes());
        } else if !generic && rtype == Rtype::SOA && field > 2 {
            // RFC 1035 has seconds alone; `1h` and the like are what every other server reads.
            let seconds = ttl::parse(token.raw)
                .ok_or_else(|| (Some(token.place), Problem::BadTtl(token.shown())))?;
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
            Err((place, rdata_problem(rtype, in_plain_words(&message))))
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

/// In the words of an operator rather than a scanner.
fn in_plain_words(message: &str) -> &str {
    match message {
        "unexpected end of entry" | "short buffer" => "a field is missing",
        TRAILING => "there is something left behind it",
        "bad charstr" => "a string has more than 255 bytes",
        "unknown record type with concrete data" => {
            "only its RFC 3597 form is read (TYPEnnn \\# length hex)"
        }
        other => other,
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
